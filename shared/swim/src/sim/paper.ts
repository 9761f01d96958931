// SPDX-License-Identifier: Apache-2.0
/**
 * After the controlled experiments of the Lifeguard paper (arXiv 1707.00788, section V), as far as they are known here:
 * 128 members of which some are blocked for a while, at once (detection) or over and over (false positives), and each
 * part of Lifeguard by itself. Which durations and intervals, and how many members at once, is chosen here. What differs
 * in any case: a blocked member of memberlist waits within its probe, and one here begins another each second.
 */
import { seededRandom, shuffle } from '../core/random.js';
import { lan, type Tuning } from '../core/tuning.js';
import { experiment, type Outcome, stand } from './experiment.js';
import { quantile, table } from './figures.js';
import { variants } from './variants.js';
import { World } from './world.js';

const NODES = 128;
/** memberlist's suspicion multiplier at the time; 4 came after the paper. */
const TUNING: Tuning = { ...lan, suspicionMultiplier: 5 };
const LINK = { latencyMs: [0.2, 1], loss: 0 } as const;
const AT_ONCE = [1, 4, 16, 32];
const DURATIONS_MS = [2048, 8192, 32_768];
const INTERVALS_MS = [64, 1024];
const WATCH_MS = 120_000;
/** Blocked once, for longer than any suspicion lasts that others confirm. */
const DETECTED_MS = 65_536;

export function* paper(seed: number, seeds: number): Iterable<string> {
  const all = Array.from({ length: seeds }, (_, at) => seed + at);
  yield `${NODES} members, suspicion × ${TUNING.suspicionMultiplier}, seeds ${seed} to ${seed + seeds - 1}`;
  yield `False positives: ${AT_ONCE.join(', ')} members blocked for ${DURATIONS_MS.join(', ')} ms and ${INTERVALS_MS.join(', ')} ms not, by turns, for ${WATCH_MS / 1000} s each`;
  yield `Detection: ${AT_ONCE.join(', ')} members blocked once, at one time`;
  yield '';
  const rows: string[][] = [];
  let swim: { readonly about: number; readonly atHealthy: number } | undefined;
  for (const [name, tuning] of variants(TUNING)) {
    const outcomes = all.flatMap((one) => blockedByTurns(one, tuning));
    const about = sum(outcomes, ({ falsePositives }) => falsePositives.about);
    const atHealthy = sum(outcomes, ({ falsePositives }) => falsePositives.atHealthy);
    swim ??= { about, atHealthy };
    const detections = all.flatMap((one) => AT_ONCE.map((count) => detection(one, tuning, count)));
    const ms = sum(outcomes, ({ quiet }) => quiet.ms) * NODES;
    rows.push([
      name,
      String(about),
      percent(about, swim.about),
      String(atHealthy),
      percent(atHealthy, swim.atHealthy),
      ...quantiles(detections.flatMap(({ firstMs }) => firstMs)),
      ...quantiles(detections.flatMap(({ allMs }) => allMs)),
      ((sum(outcomes, ({ quiet }) => quiet.datagrams) / ms) * 1000).toFixed(1),
      ((sum(outcomes, ({ quiet }) => quiet.datagramBytes) / ms) * 1000).toFixed(0),
    ]);
  }
  const shares = ['50 %', '99 %', '99.9 %'];
  const first = shares.map((share) => `first ${share}`);
  const known = shares.map((share) => `all ${share}`);
  yield table([['', 'FP', '% of SWIM', 'FP-', '% of SWIM', ...first, ...known, 'datagrams/s', 'bytes/s'], ...rows]);
  yield '';
  yield 'FP: deaths told of members that are not blocked by turns; FP-: of these, by such members. first, all: seconds from';
  yield 'the beginning until one member, and until every one that is not blocked, says dead. Traffic is per node.';
}

function blockedByTurns(seed: number, tuning: Tuning): Outcome[] {
  return AT_ONCE.flatMap((slowNodes) =>
    DURATIONS_MS.flatMap((ms) =>
      INTERVALS_MS.map((gapMs) => {
        const slow = { kind: 'blocked', ms, gapMs } as const;
        return experiment({ seed, nodes: NODES, tuning, link: LINK, slowNodes, slow, watchMs: WATCH_MS, kills: 0 });
      }),
    ),
  );
}

/** From the beginning until the first says so, and until all others do, for each blocked member of whom they do. */
function detection(seed: number, tuning: Tuning, count: number): { firstMs: number[]; allMs: number[] } {
  const said = new Map<number, number[]>();
  const order = Array.from({ length: NODES }, (_, index) => index);
  shuffle(order, seededRandom(seed ^ 0x5eed));
  const blocked = new Set(order.slice(0, count));
  const world = new World({
    ...{ seed, link: LINK, tuning },
    onEvent: (observer, event, nowMs) => {
      if (event.type === 'dead' && !blocked.has(observer)) {
        said.get(Number(event.node.name.slice('node-'.length)))?.push(nowMs);
      }
    },
  });
  stand(world, NODES);
  const fromMs = world.nowMs;
  for (const index of blocked) {
    said.set(index, []);
    world.block(index, DETECTED_MS);
  }
  world.run(fromMs + DETECTED_MS);
  const times = [...said.values()].filter((all) => all.length > 0);
  return {
    firstMs: times.map(([first = 0]) => first - fromMs),
    allMs: times.filter((all) => all.length >= NODES - count).map((all) => (all[NODES - count - 1] as number) - fromMs),
  };
}

function quantiles(ms: readonly number[]): string[] {
  return [0.5, 0.99, 0.999].map((share) => ((quantile(ms, share) ?? Number.NaN) / 1000).toFixed(2));
}

function percent(part: number, of: number): string {
  return of === 0 ? '-' : ((100 * part) / of).toFixed(1);
}

function sum<T>(of: readonly T[], by: (one: T) => number): number {
  return of.reduce((total, one) => total + by(one), 0);
}
