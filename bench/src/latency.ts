// SPDX-License-Identifier: Apache-2.0
/** Short exchanges beside bulk: what one took, alone, without policies and with priorities. */
import { printTable } from '@marcher/e2e/demo/table';
import type { Scope } from '@marcher/e2e/harness/scope';
import { spread } from './measure.js';
import { LOAD_CORE, pinned } from './peers.js';

/**
 * Few, and due whatever became of those before: a closed loop of a real-time process would keep bulk off its core, and then
 * nothing is saturated. Enough connections that one is free, however long an exchange waits.
 */
export const SHORT = { connections: 64, perSecond: 500, exchanges: 2_500, bytes: 64 } as const;

export interface ShortTarget {
  readonly netns: string;
  readonly host: string;
  readonly port: number;
  /** Program of bench/load, and what it is started by. */
  readonly load: string;
  readonly wrapper: readonly string[];
}

/** Throws when one failed: it would count as the fastest. */
export const shortExchanges = async (
  scope: Scope,
  { netns, host, port, load, wrapper }: ShortTarget,
): Promise<Omit<Latency, 'bulkBitsPerSecond'>> => {
  const { connections, perSecond, exchanges, bytes } = SHORT;
  const argv = [load, 'paced', host, port, connections, exchanges, bytes, perSecond].map(String);
  const printed = await scope.must(pinned(LOAD_CORE, [...wrapper, ...argv]), { netns, timeoutMs: 120_000 });
  const { p50Us, p99Us, seconds, failed } = JSON.parse(printed) as Record<
    'p50Us' | 'p99Us' | 'seconds' | 'failed',
    number
  >;
  if (failed > 0) throw new Error(`${failed} of ${exchanges} short exchanges failed`);
  return { p50Us, p99Us, perSecond: exchanges / seconds };
};

export interface Latency {
  readonly p50Us: number;
  readonly p99Us: number;
  readonly perSecond: number;
  readonly bulkBitsPerSecond: number;
}

/** By round. */
export interface Latencies {
  readonly alone: Latency[];
  readonly without: Latency[];
  readonly with: Latency[];
}

const CASES = [
  ['alone', 'alone'],
  ['beside bulk, no policies', 'without'],
  ['beside bulk, P0 and P3', 'with'],
] as const;

const median = (latencies: readonly Latency[], value: (l: Latency) => number): number =>
  spread(latencies.map(value)).median;

const summary = (latencies: readonly Latency[]): Record<string, unknown> => ({
  p50Us: spread(latencies.map((l) => l.p50Us)),
  p99Us: spread(latencies.map((l) => l.p99Us)),
  perSecond: spread(latencies.map((l) => l.perSecond)),
  bulkBitsPerSecond: spread(latencies.map((l) => l.bulkBitsPerSecond)),
});

/** For the result's file. */
export const summaries = (latencies: Latencies): Record<string, unknown> =>
  Object.fromEntries(CASES.map(([name, key]) => [name, summary(latencies[key])]));

/** Whether the p99 is lower with priorities than without. */
export const priorityHelps = (latencies: Latencies): boolean =>
  median(latencies.with, (l) => l.p99Us) < median(latencies.without, (l) => l.p99Us);

/** A line about the last round. */
export const sayRound = (what: string, i: number, latencies: Latencies): void => {
  const [alone, without, withThem] = CASES.map(([, key]) => latencies[key].at(-1)?.p99Us);
  console.error(
    `${new Date().toISOString().slice(11, 19)} ${what}, round ${i + 1}: P0 p99 ${alone} us alone, ${without} beside bulk, ${withThem} with priorities`,
  );
};

export const printLatencies = (title: string, latencies: Latencies): void => {
  const rows = CASES.map(([name, key]) => [
    name,
    median(latencies[key], (l) => l.p50Us).toFixed(0),
    median(latencies[key], (l) => l.p99Us).toFixed(0),
    median(latencies[key], (l) => l.perSecond).toFixed(0),
    (median(latencies[key], (l) => l.bulkBitsPerSecond) / 1e9).toFixed(3),
  ]);
  printTable([title, 'p50 us', 'p99 us', 'per s', 'bulk Gbit/s'], rows);
  console.log();
};
