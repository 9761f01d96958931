// SPDX-License-Identifier: Apache-2.0
/**
 * How long backends took to be connected to, by time. Agents count connects in buckets, bucket i [2^i, 2^(i+1)) µs, as totals
 * (Counters.connect_time_us): what is of a span is the difference of two. Nothing finer is measured, and nothing of what XDP and tc
 * carry, which make no connections of their own.
 */
import type { StatsResponse } from '@marcher/proto/marcher/v1/traffic_service_pb';

/** Counts by bucket. */
export type Histogram = readonly number[];

export interface LatencyRow {
  readonly key: string;
  /** By slot, the oldest first; undefined: nothing was connected to. */
  readonly cells: readonly (Histogram | undefined)[];
  /** Of all slots. */
  readonly sum: Histogram;
}

export const SLOTS = 90;
/** Of the services with the most connects; more cannot be told apart. */
export const ROWS_MAX = 24;

/** In µs, between the bucket's bounds by share (as Prometheus' histogram_quantile). undefined: nothing was counted. */
export function quantileUs(histogram: Histogram, quantile: number): number | undefined {
  const count = countOf(histogram);
  if (count === 0) return undefined;
  const wanted = quantile * count;
  let before = 0;
  for (const [i, here] of histogram.entries()) {
    if (here > 0 && before + here >= wanted) {
      const [from, to] = [i === 0 ? 0 : 2 ** i, 2 ** (i + 1)];
      return from + (to - from) * Math.max(0, (wanted - before) / here);
    }
    before += here;
  }
  return undefined;
}

export function countOf(histogram: Histogram): number {
  return histogram.reduce((sum, here) => sum + here, 0);
}

export function added(a: Histogram | undefined, b: Histogram): Histogram {
  if (a === undefined) return b;
  return Array.from({ length: Math.max(a.length, b.length) }, (_, i) => (a[i] ?? 0) + (b[i] ?? 0));
}

/** Of one node or service its totals, and what has come by slot. */
interface Course {
  /** By what totals are counted for: a service at a node. */
  readonly totals: Map<string, Histogram>;
  readonly slots: Map<number, Histogram>;
}

/** Takes what agents say, and gives the last SLOTS spans. Bounded: what is older is forgotten. */
export class LatencyCourses {
  readonly #slotMs: number;
  readonly #courses = new Map<string, Course>();

  constructor(slotMs: number) {
    this.#slotMs = slotMs;
  }

  /** row: of which row what a service has at this node is. */
  take(node: string, { services }: StatsResponse, nowMs: number, row: (service: string) => string): void {
    const slot = Math.floor(nowMs / this.#slotMs);
    for (const { service, counters } of services) {
      const now = (counters?.connectTimeUs ?? []).map(Number);
      if (now.length === 0) continue;
      const key = row(service);
      const course = this.#courses.get(key) ?? { totals: new Map(), slots: new Map() };
      this.#courses.set(key, course);
      const of = `${node}/${service}`;
      const before = course.totals.get(of);
      course.totals.set(of, now);
      if (before === undefined) continue;
      const came = now.map((here, i) => here - (before[i] ?? 0));
      // Fewer than before: its engine has begun anew, and all that it says has come since.
      const moved = came.some((here) => here < 0) ? now : came;
      if (countOf(moved) > 0) course.slots.set(slot, added(course.slots.get(slot), moved));
      for (const old of course.slots.keys()) if (old <= slot - SLOTS) course.slots.delete(old);
    }
  }

  /** Those with the most connects, by key. */
  rows(nowMs: number): readonly LatencyRow[] {
    const last = Math.floor(nowMs / this.#slotMs);
    const all = [...this.#courses].map(([key, { slots }]): LatencyRow => {
      const cells = Array.from({ length: SLOTS }, (_, i) => slots.get(last - SLOTS + 1 + i));
      const sum = cells.reduce<Histogram>((total, cell) => (cell === undefined ? total : added(total, cell)), []);
      return { key, cells, sum };
    });
    const busiest = all.sort((a, b) => countOf(b.sum) - countOf(a.sum)).slice(0, ROWS_MAX);
    return busiest.sort((a, b) => (a.key < b.key ? -1 : 1));
  }
}

/** Steps of the colour scale: up to 64 µs, 128 µs, … and more than 1 s. */
export const HEAT_STEPS = 8;
const FIRST_STEP_LOG2 = 6;
const LOG2_PER_STEP = 2;

/** 0: fast. */
export function heatOf(us: number): number {
  const step = Math.ceil((Math.log2(Math.max(1, us)) - FIRST_STEP_LOG2) / LOG2_PER_STEP);
  return Math.min(HEAT_STEPS - 1, Math.max(0, step));
}

/** Up to which a step goes, in µs; undefined: it is the last. */
export function heatBoundUs(step: number): number | undefined {
  return step === HEAT_STEPS - 1 ? undefined : 2 ** (FIRST_STEP_LOG2 + LOG2_PER_STEP * step);
}
