// SPDX-License-Identifier: Apache-2.0
/**
 * Flows of one node's services, from totals and from when they were so.
 *
 * An agent sends the totals that have moved since the batch before, all of them with one time. So what moved did so between that
 * batch and this one, and what is not in this one has stood still. Totals that go backwards have begun anew (the engine was
 * restarted): they count from zero.
 *
 * Numbers of all services stand in one array: 50 nodes × 5,000 services as messages would be 300 MB.
 */
import type { ServiceTier } from '@marcher/proto/marcher/v1/node_service_pb';
import type { Counters, ServiceStats } from '@marcher/proto/marcher/v1/traffic_service_pb';
import type { Flow } from './contract.js';
import { NO_FLOW, settledFlow, sumOfFlows } from './flow.js';

/** Columns of a service: totals as they were last, and its flow by them. */
const OPENED = 0;
const RECEIVED = 1;
const SENT = 2;
const PACKETS_RECEIVED = 3;
const PACKETS_SENT = 4;
const FAILURES = 5;
const OPEN = 6;
/** Of the packet tiers, which count beside the relay. */
const TIER_PACKETS = 7;
const TIER_BYTES = 8;
const TIER_RETURNED = 9;
/** Which of the two have been heard: 1 counters, 2 tier. */
const HEARD = 10;
const WIDTH = 11;

const HEARD_COUNTERS = 1;
const HEARD_TIER = 2;

/**
 * Of an interval: two samples are not nearer. A change of configuration is told as soon as it is made, between two of them, and
 * says nothing about traffic.
 */
const SPAN_MIN = 0.9;

type MutableFlow = { -readonly [K in keyof Flow]: Flow[K] };

export class Rates {
  readonly #rows = new Map<string, number>();
  readonly #free: number[] = [];
  /** Whose counters are all zero: of most services of many meshes nothing else is ever to be kept. */
  readonly #idle = new Set<string>();
  #columns = new Float64Array(WIDTH * 16);
  #flows = new Map<string, Flow>();
  /** Services whose rates are not zero. */
  #moving = new Set<string>();
  /** When what is known was so, and the batch before that: by the node's clock. */
  #timeMs = 0;
  #beforeMs = 0;

  /** Services of which anything is kept. */
  get size(): number {
    return this.#rows.size + this.#idle.size;
  }

  get isMoving(): boolean {
    return this.#moving.size > 0;
  }

  has(service: string): boolean {
    return this.#rows.has(service) || this.#idle.has(service);
  }

  *services(): Iterable<string> {
    yield* this.#rows.keys();
    yield* this.#idle;
  }

  /** Whether counters of it have been heard. */
  counts(service: string): boolean {
    const row = this.#rows.get(service);
    return this.#idle.has(service) || (row !== undefined && (this.#at(row, HEARD) & HEARD_COUNTERS) !== 0);
  }

  /** Of which counters have been heard. */
  *counted(): Iterable<string> {
    yield* this.#idle;
    for (const [service, row] of this.#rows) if ((this.#at(row, HEARD) & HEARD_COUNTERS) !== 0) yield service;
  }

  flow(service: string): Flow {
    return this.#flows.get(service) ?? NO_FLOW;
  }

  /** Of all services together. */
  total(): Flow {
    return sumOfFlows(this.#flows.values());
  }

  /**
   * What one batch says. measure: false where its totals are where counting begins (the first batches of a stream). Gives the
   * services whose flow is another now.
   */
  take(
    timeMs: number,
    traffic: readonly ServiceStats[],
    tiers: readonly ServiceTier[],
    { measure, intervalMs }: { readonly measure: boolean; readonly intervalMs: number },
  ): Set<string> {
    const changed = new Set<string>();
    const isSample = traffic.length > 0 || tiers.length > 0 || timeMs - this.#timeMs >= SPAN_MIN * intervalMs;
    if (!isSample) return changed;
    if (timeMs !== this.#timeMs) {
      this.#beforeMs = timeMs > this.#timeMs ? this.#timeMs : timeMs - intervalMs;
      this.#timeMs = timeMs;
      this.#stand(changed);
    }
    const perSecond = measure ? 1_000 / Math.max(SPAN_MIN * intervalMs, this.#timeMs - this.#beforeMs) : 0;
    for (const { service, counters } of traffic) {
      if (counters !== undefined) this.#takeCounters(service, counters, perSecond, changed);
    }
    for (const tier of tiers) this.#takeTier(tier, perSecond, changed);
    return changed;
  }

  /** Nothing has come for a while, so that nothing has moved. */
  settle(): Set<string> {
    const changed = new Set<string>();
    this.#stand(changed);
    return changed;
  }

  /** The counters of the service are no more, or what its tier has carried. */
  forget(service: string, what: 'counters' | 'tier'): boolean {
    const wasIdle = what === 'counters' && this.#idle.delete(service);
    const row = this.#rows.get(service);
    if (row === undefined) return wasIdle;
    const left = this.#at(row, HEARD) & (what === 'counters' ? ~HEARD_COUNTERS : ~HEARD_TIER);
    this.#columns[row * WIDTH + HEARD] = left;
    if (left === 0) {
      this.#rows.delete(service);
      this.#free.push(row);
      this.#flows.delete(service);
      this.#moving.delete(service);
      return true;
    }
    const [first, last] = what === 'counters' ? [OPENED, OPEN] : [TIER_PACKETS, TIER_RETURNED];
    this.#columns.fill(0, row * WIDTH + first, row * WIDTH + last + 1);
    if (what === 'counters') this.#setFlow(service, { ...this.flow(service), open: 0 });
    return true;
  }

  /** What has moved until now stands still, with its connections. */
  #stand(changed: Set<string>): void {
    for (const service of this.#moving) {
      const { open } = this.flow(service);
      this.#setFlow(service, open === 0 ? NO_FLOW : { ...NO_FLOW, open });
      changed.add(service);
    }
    this.#moving = new Set();
  }

  #takeCounters(service: string, counters: Counters, perSecond: number, changed: Set<string>): void {
    if (!this.#rows.has(service) && isZero(counters)) {
      this.#idle.add(service);
      return;
    }
    const row = this.#row(service);
    const known = this.#idle.delete(service) || (this.#at(row, HEARD) & HEARD_COUNTERS) !== 0;
    const opened = Number(counters.connectionsOpened);
    const received = Number(counters.bytesReceived);
    const sent = Number(counters.bytesSent);
    const packetsReceived = Number(counters.udpPacketsReceived);
    const packetsSent = Number(counters.udpPacketsSent);
    // An attempt that another one made good has let nobody down.
    const failures = Number(
      counters.connectFailures -
        counters.connectRetries +
        counters.rejected +
        counters.noBackend +
        counters.resetsBackend,
    );
    const open = Math.max(0, opened - Number(counters.connectionsClosed));
    const begun = opened < this.#at(row, OPENED) || received < this.#at(row, RECEIVED) || sent < this.#at(row, SENT);
    const scale = known ? perSecond : 0;
    const rate = (column: number, total: number): number => {
      const moved = Math.max(0, begun ? total : total - this.#at(row, column));
      this.#columns[row * WIDTH + column] = total;
      return moved * scale;
    };
    const flow: MutableFlow = { ...this.flow(service), open };
    flow.connections += rate(OPENED, opened);
    flow.bytesReceived += rate(RECEIVED, received);
    flow.bytesSent += rate(SENT, sent);
    flow.packetsReceived += rate(PACKETS_RECEIVED, packetsReceived);
    flow.packetsSent += rate(PACKETS_SENT, packetsSent);
    flow.failures += rate(FAILURES, failures);
    this.#columns[row * WIDTH + OPEN] = open;
    this.#hear(row, HEARD_COUNTERS);
    if (this.#setFlow(service, flow)) changed.add(service);
  }

  #takeTier(tier: ServiceTier, perSecond: number, changed: Set<string>): void {
    const packets = Number(tier.xdpPackets);
    const bytes = Number(tier.xdpBytes);
    const returned = Number(tier.bytesReturned);
    // Of most services these tiers carry nothing, which needs no place. Totals that come later have begun at zero.
    const place = this.#rows.get(tier.service);
    const isHeard = place !== undefined && (this.#at(place, HEARD) & HEARD_TIER) !== 0;
    if (packets + bytes + returned === 0 && !isHeard) return;
    const row = place ?? this.#row(tier.service);
    const begun = packets < this.#at(row, TIER_PACKETS) || bytes < this.#at(row, TIER_BYTES);
    const rate = (column: number, total: number): number => {
      const moved = Math.max(0, begun ? total : total - this.#at(row, column));
      this.#columns[row * WIDTH + column] = total;
      return moved * perSecond;
    };
    const before = this.flow(tier.service);
    const flow: MutableFlow = { ...before };
    flow.packetsReceived += rate(TIER_PACKETS, packets);
    flow.bytesReceived += rate(TIER_BYTES, bytes);
    flow.bytesSent += rate(TIER_RETURNED, returned);
    this.#hear(row, HEARD_TIER);
    if (this.#setFlow(tier.service, flow)) changed.add(tier.service);
  }

  #setFlow(service: string, flow: Flow): boolean {
    const before = this.flow(service);
    const now = settledFlow(before, flow);
    const standing =
      now.connections === 0 &&
      now.bytesReceived === 0 &&
      now.bytesSent === 0 &&
      now.packetsReceived === 0 &&
      now.packetsSent === 0 &&
      now.failures === 0;
    if (!standing) this.#moving.add(service);
    if (now === NO_FLOW) this.#flows.delete(service);
    else this.#flows.set(service, now);
    return now !== before;
  }

  #hear(row: number, what: number): void {
    this.#columns[row * WIDTH + HEARD] = this.#at(row, HEARD) | what;
  }

  #at(row: number, column: number): number {
    return this.#columns[row * WIDTH + column] ?? 0;
  }

  #row(service: string): number {
    const known = this.#rows.get(service);
    if (known !== undefined) return known;
    const row = this.#free.pop() ?? this.#rows.size;
    if ((row + 1) * WIDTH > this.#columns.length) {
      const columns = new Float64Array(this.#columns.length * 2);
      columns.set(this.#columns);
      this.#columns = columns;
    }
    this.#columns.fill(0, row * WIDTH, (row + 1) * WIDTH);
    this.#rows.set(service, row);
    return row;
  }
}

function isZero(counters: Counters): boolean {
  const { connectionsOpened, bytesReceived, bytesSent, udpPacketsReceived, udpPacketsSent } = counters;
  const { connectFailures, rejected, noBackend, resetsBackend } = counters;
  const moved = connectionsOpened | bytesReceived | bytesSent | udpPacketsReceived | udpPacketsSent;
  return (moved | connectFailures | rejected | noBackend | resetsBackend) === 0n;
}
