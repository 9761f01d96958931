// SPDX-License-Identifier: Apache-2.0
/**
 * From what an operator declared to what the engine runs (marcher.engine.v1, snapshot.proto): defaults filled in,
 * addresses binary, ranges as numbers. Input is valid; anything else is a mistake of this program and throws.
 */
import {
  Algorithm,
  type Backend,
  type Bandwidth,
  Ecn,
  type HealthCheck,
  HealthCheckType,
  Priority,
  Protocol,
  type Service,
  type TrafficPolicy,
} from '@marcher/model';
import { ipv4Target, parseIp, parseListenerAddress, parsePrefix, parseTarget } from './address.js';
import { DEFAULTS } from './defaults.js';
import { isPrefix, needsSteering, wantsSteering } from './steering.js';
import { backendName, parseStatusRange } from './validate.js';
import { WireWriter } from './wire-writer.js';

export interface NodeFacts {
  readonly name: string;
  readonly region: string;
  readonly country: string;
  readonly geoipPath: string;
  readonly draining: boolean;
}

const NO_BYTES = new Uint8Array(0);

/** Field numbers of Snapshot. */
const SNAPSHOT = { generation: 1, baseGeneration: 2, node: 3, services: 4, removedServices: 5 } as const;

function ipBytes(text: string): Uint8Array {
  if (text === '') return NO_BYTES;
  const bytes = parseIp(text);
  if (bytes === undefined) throw new Error(`not a valid address: ${text}`);
  return bytes;
}

function writeListeners(out: WireWriter, service: Service, steering: boolean): void {
  for (const listener of service.listeners) {
    const wide = isPrefix(listener);
    const prefix = listener.address === '' ? undefined : parseListenerAddress(listener.address);
    if (listener.address !== '' && prefix === undefined) throw new Error(`not a valid address: ${listener.address}`);
    const address = prefix?.address ?? NO_BYTES;
    for (const range of listener.ports) {
      const { first, last } = range;
      // Which the service's status says.
      if (!steering && needsSteering(service, listener, range)) continue;
      const listenerMark = out.begin(2);
      out.uint(1, listener.protocol === Protocol.UDP ? 2 : 1);
      out.bytes(2, address);
      out.uint(3, first);
      out.uint(4, last);
      for (const text of listener.acceptProxyFrom) {
        const prefix = parsePrefix(text);
        if (typeof prefix === 'string') throw new Error(`not a valid prefix: ${text}`);
        const prefixMark = out.begin(5);
        out.bytes(1, prefix.address);
        out.uint(2, prefix.length);
        out.end(prefixMark);
      }
      out.uint(6, listener.maxConnections ?? 0);
      out.uint(7, listener.backlog ?? DEFAULTS.backlog);
      out.bool(8, steering && wantsSteering(listener, range));
      out.uint(9, wide ? (prefix?.length ?? 0) : 0);
      out.end(listenerMark);
    }
  }
}

function writeTarget(out: WireWriter, address: string): void {
  const ipv4 = ipv4Target(address);
  if (ipv4 !== -1) {
    const mark = out.begin(2);
    out.ipv4(1, Math.floor(ipv4 / 65_536));
    out.uint(2, ipv4 % 65_536);
    out.end(mark);
    return;
  }
  const target = parseTarget(address);
  switch (target.kind) {
    case 'ip': {
      const mark = out.begin(2);
      out.bytes(1, target.address);
      out.uint(2, target.port);
      out.end(mark);
      return;
    }
    case 'dns': {
      const mark = out.begin(3);
      out.text(1, target.host);
      out.uint(2, target.port);
      out.end(mark);
      return;
    }
    case 'unix':
      out.text(4, target.path, true);
      return;
    case 'failure':
      throw new Error(`not a valid backend address: ${address}: ${target.reason}`);
  }
}

function writeBackend(out: WireWriter, backend: Backend, draining: boolean): void {
  out.text(1, backendName(backend));
  writeTarget(out, backend.address);
  out.uint(5, backend.weight ?? DEFAULTS.weight);
  out.text(6, backend.region);
  out.text(7, backend.country);
  out.uint(8, backend.softLimit ?? 0);
  out.uint(9, backend.hardLimit ?? 0);
  out.uint(10, backend.sendProxy);
  out.bytes(11, ipBytes(backend.sourceAddress));
  out.bool(12, backend.drain || draining);
}

function writeHealth(out: WireWriter, health: HealthCheck): void {
  const { http, udp } = health;
  const type = health.type === HealthCheckType.UNSPECIFIED ? HealthCheckType.TCP : health.type;
  out.uint(1, type);
  out.uint(2, health.intervalMs ?? DEFAULTS.healthIntervalMs);
  out.uint(3, health.timeoutMs ?? DEFAULTS.healthTimeoutMs);
  out.uint(4, health.fall ?? DEFAULTS.healthFall);
  out.uint(5, health.rise ?? DEFAULTS.healthRise);
  out.uint(6, health.jitterPercent ?? DEFAULTS.healthJitterPercent);
  out.uint(7, health.port ?? 0);
  if (type === HealthCheckType.HTTP) {
    out.text(8, http?.method || DEFAULTS.httpMethod);
    out.text(9, http?.path || DEFAULTS.httpPath);
    out.text(10, http?.host ?? '');
    const statuses = http?.expectStatus.map(parseStatusRange) ?? [];
    if (statuses.length === 0) statuses.push({ first: DEFAULTS.httpStatusFirst, last: DEFAULTS.httpStatusLast });
    for (const status of statuses) {
      if (status === undefined) throw new Error('not a valid status range');
      const mark = out.begin(11);
      out.uint(1, status.first);
      out.uint(2, status.last);
      out.end(mark);
    }
    out.text(12, http?.expectBody ?? '');
  }
  if (type === HealthCheckType.UDP) {
    out.bytes(13, udp?.payload ?? NO_BYTES);
    out.bytes(14, udp?.expect ?? NO_BYTES);
  }
}

/** Numbers of marcher.v1.Algorithm and marcher.engine.v1.Algorithm are the same; plain default: smooth weighted. */
function algorithmNumber(service: Service): number {
  const algorithm = service.balance?.algorithm ?? Algorithm.UNSPECIFIED;
  return algorithm === Algorithm.UNSPECIFIED ? Algorithm.WEIGHTED_ROUND_ROBIN : algorithm;
}

/** A burst that is not given: so much time's worth of the rate, and at least what one read or one offloaded packet is. */
export function burstOf({ rate, burst }: Bandwidth): bigint {
  if (burst !== undefined) return burst;
  const usual = (rate * DEFAULTS.bandwidthBurstMs) / 8_000n;
  return usual > DEFAULTS.bandwidthBurstBytesMin ? usual : DEFAULTS.bandwidthBurstBytesMin;
}

function writeBandwidth(out: WireWriter, field: number, bandwidth: Bandwidth | undefined): void {
  if (bandwidth === undefined) return;
  const mark = out.begin(field);
  out.uint64(1, bandwidth.rate);
  out.uint64(2, burstOf(bandwidth));
  out.end(mark);
}

/** The engine's number of a priority: 0 is P0. */
export function priorityNumber(priority: Priority): number {
  return (priority === Priority.UNSPECIFIED ? DEFAULTS.priority : priority) - Priority.P0;
}

function writePolicy(out: WireWriter, policy: TrafficPolicy): void {
  const { connections, dscp } = policy;
  out.uint(1, priorityNumber(policy.priority));
  writeBandwidth(out, 2, policy.ingress);
  writeBandwidth(out, 3, policy.egress);
  writeBandwidth(out, 4, policy.connectionIngress);
  writeBandwidth(out, 5, policy.connectionEgress);
  if (connections !== undefined) {
    const mark = out.begin(6);
    out.uint64(1, connections.perSecond);
    out.uint64(2, connections.burst ?? connections.perSecond);
    out.end(mark);
  }
  out.bool(7, dscp !== undefined);
  out.uint(8, dscp ?? 0);
  out.bool(9, policy.ecn === Ecn.MARK);
}

function writeService(
  out: WireWriter,
  service: Service,
  policy: TrafficPolicy | undefined,
  draining: ReadonlySet<string> | undefined,
  listens: boolean,
  steering: boolean,
): void {
  const { balance, health, outlier, timeouts, limits, udp, dns } = service;
  const affinity = balance?.affinity;
  out.text(1, service.name);
  if (listens) writeListeners(out, service, steering);
  for (const backend of service.backends) {
    const mark = out.begin(3);
    writeBackend(out, backend, draining?.has(backendName(backend)) ?? false);
    out.end(mark);
  }
  out.uint(4, algorithmNumber(service));
  if (affinity !== undefined) {
    const mark = out.begin(5);
    out.uint(1, affinity.ttlMs ?? DEFAULTS.affinityTtlMs);
    out.uint(2, affinity.ipv4Prefix ?? DEFAULTS.ipv4Prefix);
    out.uint(3, affinity.ipv6Prefix ?? DEFAULTS.ipv6Prefix);
    out.uint(4, affinity.maxEntries ?? DEFAULTS.affinityMaxEntries);
    out.end(mark);
  }
  if (health !== undefined) {
    const mark = out.begin(6);
    writeHealth(out, health);
    out.end(mark);
  }
  if (outlier !== undefined && outlier.enabled !== false) {
    const base = outlier.baseEjectionMs ?? DEFAULTS.outlierBaseMs;
    const mark = out.begin(7);
    out.uint(1, outlier.consecutiveFailures ?? DEFAULTS.outlierFailures);
    out.uint(2, base);
    out.uint(3, outlier.maxEjectionMs ?? Math.max(base, DEFAULTS.outlierMaxMs));
    out.uint(4, outlier.maxEjectedPercent ?? DEFAULTS.outlierMaxPercent);
    out.end(mark);
  }
  out.uint(8, timeouts?.connectMs ?? DEFAULTS.connectMs);
  out.uint(9, timeouts?.idleMs ?? DEFAULTS.idleMs);
  out.uint(10, timeouts?.idleMs ?? DEFAULTS.udpIdleMs);
  out.uint(11, timeouts?.halfClosedMs ?? DEFAULTS.halfClosedMs);
  out.uint(12, timeouts?.drainMs ?? DEFAULTS.drainMs);
  out.uint(13, limits?.maxConnections ?? 0);
  out.uint(14, limits?.maxConnectionsPerSource ?? 0);
  out.uint(15, limits?.sourceIpv4Prefix ?? DEFAULTS.ipv4Prefix);
  out.uint(16, limits?.sourceIpv6Prefix ?? DEFAULTS.ipv6Prefix);
  out.uint(17, balance?.panicThresholdPercent ?? 0);
  out.uint(18, balance?.slowStartMs ?? 0);
  out.uint(19, balance?.maglevTableSize ?? 0);
  out.uint(20, udp?.maxSessions ?? DEFAULTS.udpMaxSessions);
  out.uint(21, dns?.minTtlMs ?? DEFAULTS.dnsMinTtlMs);
  out.uint(22, dns?.maxTtlMs ?? DEFAULTS.dnsMaxTtlMs);
  if (policy !== undefined) {
    const mark = out.begin(23);
    writePolicy(out, policy);
    out.end(mark);
  }
}

/** Writes one snapshot, complete or delta, piece by piece: begin, then services and removals in any order. */
export class SnapshotWriter {
  readonly #out: WireWriter;

  constructor(capacity?: number) {
    this.#out = new WireWriter(capacity);
  }

  /** baseGeneration 0n: complete. Without node facts (in a delta) those of the base stay. */
  begin(generation: bigint, baseGeneration: bigint, node: NodeFacts | undefined): void {
    const out = this.#out;
    out.reset();
    out.uint64(SNAPSHOT.generation, generation);
    out.uint64(SNAPSHOT.baseGeneration, baseGeneration);
    if (node !== undefined) {
      const mark = out.begin(SNAPSHOT.node);
      out.text(1, node.name);
      out.text(2, node.region);
      out.text(3, node.country);
      out.text(4, node.geoipPath);
      out.bool(5, node.draining);
      out.end(mark);
    }
  }

  /**
   * policy: what the service's trafficPolicy names. draining: names of backends that the operator has taken out of service
   * on this node. Without listeners the engine only probes the backends: another tier carries the service.
   * steering: sk_lookup leads to one group of sockets for many ports or addresses.
   */
  service(
    service: Service,
    policy: TrafficPolicy | undefined,
    draining?: ReadonlySet<string>,
    listens = true,
    steering = false,
  ): void {
    const mark = this.#out.begin(SNAPSHOT.services);
    writeService(this.#out, service, policy, draining, listens, steering);
    this.#out.end(mark);
  }

  removed(name: string): void {
    this.#out.text(SNAPSHOT.removedServices, name, true);
  }

  get length(): number {
    return this.#out.length;
  }

  /** A view of the writer's buffer: valid until begin(). */
  bytes(): Uint8Array<ArrayBuffer> {
    return this.#out.written();
  }
}
