// SPDX-License-Identifier: Apache-2.0
/**
 * A deterministic data plane for tests: no process, no clock, no randomness. It runs snapshots by the engine's rules
 * (generations rise, a delta continues what runs), keeps the merged state and what it was given, and lets the test play
 * the engine: count, log, occupy a port, refuse, not answer, crash.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type ApplyReply,
  ApplyReplySchema,
  type BackendState,
  BackendStateSchema,
  type Connection,
  type ConnectionList,
  ConnectionListSchema,
  ReasonSchema,
  type ServiceLoadElsewhere,
} from '@marcher/proto/marcher/engine/v1/control_pb';
import {
  type Node,
  type Service,
  type Snapshot,
  SnapshotSchema,
  Transport,
} from '@marcher/proto/marcher/engine/v1/snapshot_pb';
import type { Steering } from '../../../domain/steering.js';
import {
  type ApplySnapshotOptions,
  CONNECT_US_BUCKETS,
  type Dataplane,
  DataplaneError,
  type EngineEvent,
  type EngineStatus,
  type EventBatch,
  EventKind,
  type PackedBackend,
  type SelfCheck,
  SlotKind,
  type SlotName,
  type SlotStats,
} from '../../../ports/dataplane.js';

const COUNTERS = 32;
const RING = 8192;

interface Slot extends SlotName {
  readonly counters: bigint[];
  readonly connectUs: bigint[];
}

export class InMemoryDataplane implements Dataplane {
  steering: Steering = { on: false, reason: 'it is in memory' };
  /** What runs, by name. */
  readonly services = new Map<string, Service>();
  node: Node | undefined;
  /** Every snapshot that reached the engine, oldest first, with what was asked for. */
  readonly applied: { readonly snapshot: Snapshot; readonly tolerateBindErrors: boolean }[] = [];
  /** Ports ("tcp/80") that a foreign process holds. */
  readonly occupied = new Set<string>();
  /** Says what is wrong with a snapshot; undefined: nothing. */
  refuse: (snapshot: Snapshot) => string | undefined = () => undefined;
  /** Runs when a snapshot has arrived, before anything becomes of it. */
  beforeReply: (() => Promise<void> | void) | undefined;
  /** The build that an upgrade would start. */
  installed = '0'.repeat(64);
  readonly upgrades: { readonly drainMs: number }[] = [];
  /** Says why an upgrade fails; undefined: it does not. */
  refuseUpgrade: () => string | undefined = () => undefined;
  /** What the probes say, by "service/backend": unknown, healthy, unhealthy. */
  readonly health = new Map<string, string>();
  /** What connections() answers. */
  open: Connection[] = [];
  /** Connections open to backends, and what is known to be open to them elsewhere, by "service/backend". */
  readonly connected = new Map<string, number>();
  /** New connections to backends since the start, by the same. */
  readonly opened = new Map<string, number>();
  readonly elsewhere = new Map<string, number>();

  #generation = 0n;
  #setAside = 0n;
  #saved: { generation: bigint; services: Map<string, Service>; node: Node | undefined } | undefined;
  #running = true;
  #stopped = false;
  #closed = false;
  #pid = 1000;
  #buildId = this.installed;
  #restarts = 0;
  #dropped = 0n;
  #slots: Slot[] = [];
  #nextSlot = 1;
  #events: EngineEvent[] = [];
  #lastError = '';

  async apply(input: Snapshot | Uint8Array, options: ApplySnapshotOptions): Promise<ApplyReply> {
    this.#use();
    const snapshot = input instanceof Uint8Array ? decode(input) : input;
    if (snapshot.generation === 0n) throw new DataplaneError('invalid', 'the snapshot has no generation');
    if (!this.#running) throw new DataplaneError('no-engine', 'no engine is running');
    this.applied.push({ snapshot, tolerateBindErrors: options.tolerateBindErrors });
    // Waited for only when there is one: snapshots take effect in the order of the calls.
    if (this.beforeReply !== undefined) await this.beforeReply();
    const refuse = (path: string, reason: string, service = ''): ApplyReply =>
      create(ApplyReplySchema, {
        accepted: false,
        generation: this.#generation,
        reasons: [create(ReasonSchema, { path, reason, service })],
      });
    if (snapshot.generation <= this.#generation) {
      return refuse('generation', `${snapshot.generation} does not rise above ${this.#generation}`);
    }
    if (snapshot.baseGeneration !== 0n && snapshot.baseGeneration !== this.#generation) {
      return refuse('base_generation', `the change continues ${snapshot.baseGeneration} but ${this.#generation} runs`);
    }
    const reason = this.refuse(snapshot);
    if (reason !== undefined) return refuse('', reason);
    const unbound = this.#unbound(snapshot.services);
    if (unbound.length > 0 && !options.tolerateBindErrors) {
      return create(ApplyReplySchema, { accepted: false, generation: this.#generation, reasons: unbound });
    }
    if (snapshot.baseGeneration === 0n) this.services.clear();
    for (const name of snapshot.removedServices) this.services.delete(name);
    for (const service of snapshot.services) this.services.set(service.name, service);
    if (snapshot.node !== undefined || snapshot.baseGeneration === 0n) this.node = snapshot.node;
    this.#generation = snapshot.generation;
    this.#saved = { generation: this.#generation, services: new Map(this.services), node: this.node };
    this.#fillSlots();
    // As the engine: every listener that is not bound, not only those of this snapshot.
    const still = this.#unbound([...this.services.values()]);
    return create(ApplyReplySchema, { accepted: true, generation: this.#generation, unbound: still });
  }

  #unbound(services: readonly Service[]) {
    return services.flatMap((service, s) =>
      service.listeners.flatMap((listener, l) => {
        const transport = listener.transport === Transport.UDP ? 'udp' : 'tcp';
        for (let port = listener.portFirst; port <= listener.portLast; port++) {
          if (this.occupied.has(`${transport}/${port}`)) {
            const path = `services[${s}].listeners[${l}]`;
            return [
              create(ReasonSchema, {
                path,
                reason: `cannot listen on ${transport}:*:${port}: Address already in use`,
                service: service.name,
              }),
            ];
          }
        }
        return [];
      }),
    );
  }

  async connections(service: string, limit: number): Promise<ConnectionList> {
    this.#use();
    const all = this.open.filter((connection) => service === '' || connection.service === service);
    return create(ConnectionListSchema, { connections: all.slice(0, limit), total: BigInt(all.length) });
  }

  async backends(service: string): Promise<BackendState[]> {
    this.#use();
    return [...this.services.values()]
      .filter(({ name }) => service === '' || name === service)
      .flatMap(({ name, backends }) =>
        backends.map((backend) =>
          create(BackendStateSchema, {
            service: name,
            backend: backend.name,
            weight: backend.weight,
            draining: backend.drain,
            connections: BigInt(this.connected.get(`${name}/${backend.name}`) ?? 0),
            opened: BigInt(service === '' ? 0 : (this.opened.get(`${name}/${backend.name}`) ?? 0)),
            elsewhere: BigInt(this.elsewhere.get(`${name}/${backend.name}`) ?? 0),
            endpoints: [{ address: backend.name, health: this.health.get(`${name}/${backend.name}`) ?? 'unknown' }],
          }),
        ),
      );
  }

  async packedBackends(): Promise<Iterable<PackedBackend>> {
    return (await this.backends('')).map((state) => {
      return { service: state.service, backend: state.backend, packed: toBinary(BackendStateSchema, state) };
    });
  }

  /** It has no clock: what was said counts until it is said otherwise. */
  async loadElsewhere(services: readonly ServiceLoadElsewhere[], validMs: number): Promise<void> {
    this.#use();
    if (!this.#running) throw new DataplaneError('no-engine', 'no engine is running');
    if (validMs < 1 || validMs > 60_000) throw new DataplaneError('protocol', `valid for ${validMs} ms`);
    for (const { service, backends } of services) {
      for (const { name } of this.services.get(service)?.backends ?? []) {
        const said = backends.find(({ backend }) => backend === name);
        this.elsewhere.set(`${service}/${name}`, said?.connections ?? 0);
      }
    }
  }

  status(): EngineStatus {
    this.#use();
    return {
      running: this.#running,
      pid: this.#pid,
      workers: 1,
      restarts: this.#restarts,
      adopted: false,
      retiring: 0,
      generation: this.#generation,
      savedGeneration: this.#saved?.generation ?? 0n,
      setAsideGeneration: this.#setAside,
      startedUnixMs: 0,
      memoryBytes: this.#running ? 1 << 20 : 0,
      eventsDropped: this.#dropped,
      listeningSockets: this.#sockets(),
      bankedSockets: this.#sockets(),
      version: 'in-memory',
      buildId: this.#buildId,
      lastError: this.#lastError,
    };
  }

  #sockets(): number {
    return [...this.services.values()].reduce((sum, service) => sum + service.listeners.length, 0);
  }

  *stats(options: { activeOnly: boolean }): Iterable<SlotStats> {
    this.#use();
    for (const slot of this.#slots) {
      if (options.activeOnly && slot.counters.every((counter) => counter === 0n)) continue;
      const counters = [...slot.counters];
      const connectUs = [...slot.connectUs];
      yield {
        slot: slot.slot,
        kind: slot.kind,
        service: slot.service,
        name: slot.name,
        counter: (index) => at(counters, index),
        connectUs: (bucket) => at(connectUs, bucket),
        counts: Buffer.from(BigUint64Array.from([...counters, ...connectUs]).buffer),
      };
    }
  }

  slotName(number: number): SlotName | undefined {
    this.#use();
    const found = this.#slots.find(({ slot }) => slot === number);
    return found && { slot: found.slot, kind: found.kind, service: found.service, name: found.name };
  }

  events(max = 4096): EventBatch {
    this.#use();
    if (!Number.isInteger(max) || max < 1) throw new RangeError(`events: max ${max}`);
    const events = this.#events.splice(0, max);
    return {
      length: events.length,
      dropped: this.#dropped,
      at: (index) => at(events, index),
      kind: (index) => at(events, index).kind,
    };
  }

  async installedBuildId(): Promise<string> {
    return this.installed;
  }

  async upgrade(options: { drainMs: number }): Promise<void> {
    this.#use();
    if (!this.#running) throw new DataplaneError('no-engine', 'no engine is running');
    this.upgrades.push({ drainMs: options.drainMs });
    const reason = this.refuseUpgrade();
    if (reason !== undefined) throw new DataplaneError('no-engine', reason);
    this.#pid++;
    this.#buildId = this.installed;
    this.#fresh();
  }

  async stop(): Promise<void> {
    this.#use();
    this.#running = false;
    this.#stopped = true;
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  selfCheck(): SelfCheck {
    return { ok: true, libraries: [], forbidden: [] };
  }

  // What a test does as the engine.

  /** The engine dies and a new one takes its place, on the last good snapshot. */
  crash(): void {
    if (this.#stopped) return;
    this.#pid++;
    this.#restarts++;
    this.#lastError = 'the engine was killed by signal 9 (Killed)';
    this.services.clear();
    for (const [name, service] of this.#saved?.services ?? []) this.services.set(name, service);
    this.node = this.#saved?.node;
    this.elsewhere.clear();
    this.#generation = this.#saved?.generation ?? 0n;
    this.#fresh();
  }

  /** As a crash, but the last good snapshot is lost with it. */
  lose(): void {
    this.#saved = undefined;
    this.crash();
  }

  /** What runs keeps ending the engine, which goes back to the services that it ran with that generation. */
  setAsideFor(generation: bigint, services: readonly string[]): void {
    this.#setAside = this.#generation;
    const kept = new Map([...this.services].filter(([name]) => services.includes(name)));
    this.#saved = { generation, services: kept, node: this.node };
    this.crash();
  }

  /** Counts on a service (name '') or one of its backends. */
  count(service: string, name: string, counter: number, by: bigint | number = 1): void {
    const slot = this.#slots.find((s) => s.service === service && s.name === name);
    if (slot === undefined) throw new Error(`no slot for ${service}/${name}`);
    slot.counters[counter] = at(slot.counters, counter) + BigInt(by);
  }

  /** Writes an event; unnamed fields are empty. More than 8,192 unread ones are dropped and counted. */
  log(event: Partial<EngineEvent> & { readonly service: string; readonly backend?: string }): void {
    if (this.#events.length >= RING) {
      this.#dropped++;
      return;
    }
    const { service, backend, ...fields } = event;
    const slot = (name: string): number => this.#slots.find((s) => s.service === service && s.name === name)?.slot ?? 0;
    this.#events.push({
      timeUnixUs: 0n,
      connectionId: 0n,
      serviceSlot: slot(''),
      backendSlot: backend === undefined ? 0 : slot(backend),
      kind: EventKind.connectionClosed,
      reason: 0,
      transport: 'tcp',
      worker: 0,
      retries: 0,
      client: '',
      local: '',
      upstream: '',
      bytesReceived: 0n,
      bytesSent: 0n,
      durationUs: 0n,
      connectUs: 0,
      message: '',
      ...fields,
    });
  }

  #fresh(): void {
    this.#slots = [];
    this.#fillSlots();
  }

  #fillSlots(): void {
    const wanted = [...this.services.values()].flatMap((service) => [
      { kind: SlotKind.service as SlotKind, service: service.name, name: '' },
      ...service.backends.map(({ name }) => ({ kind: SlotKind.backend as SlotKind, service: service.name, name })),
    ]);
    const same = (a: Omit<SlotName, 'slot'>) => (b: Omit<SlotName, 'slot'>) =>
      a.kind === b.kind && a.service === b.service && a.name === b.name;
    this.#slots = wanted.map(
      (want) =>
        this.#slots.find(same(want)) ?? {
          slot: this.#nextSlot++,
          ...want,
          counters: new Array<bigint>(COUNTERS).fill(0n),
          connectUs: new Array<bigint>(CONNECT_US_BUCKETS).fill(0n),
        },
    );
  }

  #use(): void {
    if (this.#closed) throw new DataplaneError('closed', 'the data plane was closed');
  }
}

function decode(bytes: Uint8Array): Snapshot {
  try {
    return fromBinary(SnapshotSchema, bytes);
  } catch {
    throw new DataplaneError('invalid', 'the snapshot is no marcher.engine.v1.Snapshot with a generation');
  }
}

function at<T>(list: readonly T[], index: number): T {
  const value = list[index];
  if (value === undefined) throw new RangeError(`no element ${index} among ${list.length}`);
  return value;
}
