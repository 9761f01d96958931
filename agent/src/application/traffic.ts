// SPDX-License-Identifier: Apache-2.0
/** What the data plane carries: counters, connections and the connection log. */
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { PolicyTraffic, Status } from '@marcher/proto/marcher/packet/v1/packet_pb';
import {
  BackendStatsSchema,
  type Connection,
  ConnectionSchema,
  type Counters,
  CountersSchema,
  type LogEntry,
  type ServiceStats,
  ServiceStatsSchema,
} from '@marcher/proto/marcher/v1/traffic_service_pb';
import { CONNECT_US_BUCKETS, Counter, type Dataplane, SlotKind, type SlotStats } from '../ports/dataplane.js';
import { ApplicationError, type PacketTraffic, type TrafficUseCases } from '../ports/use-cases.js';
import type { EventLog } from './event-log.js';
import { unavailable } from './unavailable.js';

const CONNECTIONS_MAX = 10_000;

function counters(slot: SlotStats): Counters {
  const connectTimeUs = Array.from({ length: CONNECT_US_BUCKETS }, (_, bucket) => slot.connectUs(bucket));
  return create(CountersSchema, {
    connectionsOpened: slot.counter(Counter.connectionsOpened),
    connectionsClosed: slot.counter(Counter.connectionsClosed),
    bytesReceived: slot.counter(Counter.bytesReceived),
    bytesSent: slot.counter(Counter.bytesSent),
    connectFailures: slot.counter(Counter.connectFailures),
    connectRetries: slot.counter(Counter.connectRetries),
    rejected: slot.counter(Counter.rejected),
    noBackend: slot.counter(Counter.noBackend),
    resetsClient: slot.counter(Counter.resetsClient),
    resetsBackend: slot.counter(Counter.resetsBackend),
    idleTimeouts: slot.counter(Counter.idleTimeouts),
    udpPacketsReceived: slot.counter(Counter.udpPacketsReceived),
    udpPacketsSent: slot.counter(Counter.udpPacketsSent),
    udpDropped: slot.counter(Counter.udpDropped),
    healthPassed: slot.counter(Counter.healthPassed),
    healthFailed: slot.counter(Counter.healthFailed),
    ejections: slot.counter(Counter.ejections),
    connectTimeUs,
    connectTimeUsSum: slot.counter(Counter.connectUsSum),
    throttledUs: slot.counter(Counter.throttledUs),
    throttledBytes: slot.counter(Counter.throttledBytes),
    rateDropped: slot.counter(Counter.rateDropped),
    rateRefused: slot.counter(Counter.rateRefused),
    ecnMarked: slot.counter(Counter.ecnMarked),
  });
}

/** What a packet tier dropped, marked and refused by a policy counts as what the relay did. */
function addPolicy(counters: Counters, { ingress, egress, refused }: PolicyTraffic): void {
  counters.rateDropped += (ingress?.dropped ?? 0n) + (egress?.dropped ?? 0n);
  counters.ecnMarked += (ingress?.marked ?? 0n) + (egress?.marked ?? 0n);
  counters.rateRefused += refused;
}

function packPolicy({ ingress, egress, refused }: PolicyTraffic): Uint8Array {
  const counts = [ingress?.dropped, egress?.dropped, ingress?.marked, egress?.marked, refused];
  return new Uint8Array(BigUint64Array.from(counts, (count) => count ?? 0n).buffer);
}

function isSame(before: Uint8Array | undefined, counts: Uint8Array): boolean {
  return before !== undefined && Buffer.compare(before, counts) === 0;
}

function statsOf(service: string, counters: Counters, policy: PolicyTraffic | undefined): ServiceStats {
  if (policy !== undefined) addPolicy(counters, policy);
  return create(ServiceStatsSchema, { service, counters });
}

export interface CountedService {
  readonly service: string;
  /** Absent: nothing of it. */
  readonly moved?: Counted;
}

export interface Counted {
  /** Equal where the counters are. */
  readonly counts: Uint8Array;
  readonly stats: ServiceStats;
}

/** The packet tiers, as far as their counters go. */
export interface PacketSource {
  status(): Status | undefined;
  /** Which of them has a service. */
  tierOf(service: string): 'xdp' | 'tc';
}

export class Traffic implements TrafficUseCases {
  readonly #dataplane: Dataplane;
  readonly #events: EventLog;
  readonly #exists: (service: string) => boolean;
  readonly #packets: PacketSource;

  constructor(dataplane: Dataplane, events: EventLog, exists: (service: string) => boolean, packets: PacketSource) {
    this.#dataplane = dataplane;
    this.#events = events;
    this.#exists = exists;
    this.#packets = packets;
  }

  #check(service: string): void {
    if (service === '' || this.#exists(service)) return;
    throw new ApplicationError('not_found', `there is no service ${JSON.stringify(service)}: see marcher get services`);
  }

  stats(service: string, withBackends: boolean): ServiceStats[] {
    this.#check(service);
    const found = new Map<string, ServiceStats>();
    const of = (name: string): ServiceStats => {
      const known = found.get(name);
      if (known !== undefined) return known;
      const stats = create(ServiceStatsSchema, { service: name });
      found.set(name, stats);
      return stats;
    };
    for (const slot of this.#dataplane.stats({ activeOnly: service === '' })) {
      if (service !== '' && slot.service !== service) continue;
      if (slot.kind === SlotKind.service) of(slot.service).counters = counters(slot);
      else if (slot.kind === SlotKind.backend && withBackends) {
        of(slot.service).backends.push(create(BackendStatsSchema, { backend: slot.name, counters: counters(slot) }));
      }
    }
    for (const { name, policy } of this.#packets.status()?.services ?? []) {
      if (policy === undefined || (service !== '' && name !== service)) continue;
      const stats = of(name);
      stats.counters ??= create(CountersSchema);
      addPolicy(stats.counters, policy);
    }
    return [...found.values()].sort((a, b) => (a.service < b.service ? -1 : 1));
  }

  /** Of all services that have counted something; stats is made only where the counts are not those of before. */
  *counted(before: (service: string) => Uint8Array | undefined): Iterable<CountedService> {
    const policed = new Map<string, PolicyTraffic>();
    for (const { name, policy } of this.#packets.status()?.services ?? []) {
      if (policy !== undefined) policed.set(name, policy);
    }
    for (const slot of this.#dataplane.stats({ activeOnly: true, passing: true })) {
      if (slot.kind !== SlotKind.service) continue;
      const { service } = slot;
      const policy = policed.get(service);
      policed.delete(service);
      const counts = policy === undefined ? slot.counts : Buffer.concat([slot.counts, packPolicy(policy)]);
      if (isSame(before(service), counts)) yield { service };
      else
        yield { service, moved: { counts: Uint8Array.from(counts), stats: statsOf(service, counters(slot), policy) } };
    }
    for (const [service, policy] of policed) {
      const counts = packPolicy(policy);
      if (isSame(before(service), counts)) yield { service };
      else yield { service, moved: { counts, stats: statsOf(service, create(CountersSchema), policy) } };
    }
  }

  packets(): PacketTraffic {
    const status = this.#packets.status();
    const backends = (status?.services ?? []).flatMap(({ name, backends }) =>
      backends.map(({ name: backend, traffic }) => ({
        tier: this.#packets.tierOf(name),
        service: name,
        backend,
        packets: traffic?.packets ?? 0n,
        bytes: traffic?.bytes ?? 0n,
        returnedPackets: traffic?.returnedPackets ?? 0n,
        returnedBytes: traffic?.returnedBytes ?? 0n,
      })),
    );
    return { backends, drops: status?.drops ?? [] };
  }

  get eventsDropped(): bigint {
    return this.#dataplane.status().eventsDropped;
  }

  async connections(service: string, limit: number): Promise<{ connections: Connection[]; total: number }> {
    this.#check(service);
    const most = Math.min(limit === 0 ? 100 : limit, CONNECTIONS_MAX);
    const list = await this.#dataplane.connections(service, most).catch((error: unknown) => {
      throw unavailable(error);
    });
    const connections = list.connections.map(({ $typeName: _, $unknown: __, openedUnixMs, ...connection }) =>
      create(ConnectionSchema, { ...connection, opened: timestampFromMs(Number(openedUnixMs)) }),
    );
    return { connections, total: Number(list.total) };
  }

  logs(
    query: { service: string; tail: number; follow: boolean },
    signal: AbortSignal,
  ): AsyncIterable<{ entry: LogEntry; dropped: bigint }> {
    this.#check(query.service);
    return this.#events.read(query, signal);
  }
}
