// SPDX-License-Identifier: Apache-2.0
/**
 * The experiments of the Lifeguard paper (arXiv 1707.00788, section V), as far as they are known: members that are blocked
 * for a while, over and over (false positives, load) or once (detection), with each part of Lifeguard by itself; and those
 * of its section II, members that are out of processor time. What is printed stands beside what the paper has.
 *
 * Known are how many members are blocked at once, what that does to them, α and β. Chosen here are of how many members,
 * for how long and how often, and how fast a member reads that has fallen behind.
 */
import { seededRandom, shuffle } from '../core/random.js';
import { lan, type Tuning } from '../core/tuning.js';
import { experiment, type Outcome, stand } from './experiment.js';
import { quantile, table } from './figures.js';
import {
  BY_CONCURRENT,
  BY_DISTRESSED,
  CONCURRENT,
  DISTRESSED,
  FALSE_POSITIVES,
  LOAD,
  WITH_ALPHA_4,
} from './published.js';
import { variants } from './variants.js';
import { World } from './world.js';

const NODES = 128;
/** memberlist's suspicion multiplier at the time, α; 4 came after the paper. */
const TUNING: Tuning = { ...lan, suspicionMultiplier: 5 };
const LINK = { latencyMs: [0.2, 1], loss: 0 } as const;
const DURATIONS_MS = [512, 2048, 8192, 32_768];
const INTERVALS_MS = [1, 16, 256];
/** memberlist compresses each of its answers before it reads on. */
const READ_MS = 0.1;
const WATCH_MS = 120_000;
/** Blocked once, for longer than any suspicion lasts that others confirm. */
const DETECTED_MS = 65_536;
const DISTRESSED_NODES = 100;
/** A member without processor time reads everything so much later. */
const DISTRESS_MS = 20_000;

type Name = keyof typeof FALSE_POSITIVES;

/** What one variant did in all experiments, each sum over the seeds. */
interface Sums {
  readonly name: string;
  /** By place in CONCURRENT. */
  readonly about: readonly number[];
  readonly atHealthy: readonly number[];
  readonly datagrams: number;
  readonly bytes: number;
  readonly ms: number;
  readonly firstMs: readonly number[];
  readonly allMs: readonly number[];
}

export function* paper(seed: number, seeds: number): Iterable<string> {
  const all = Array.from({ length: seeds }, (_, at) => seed + at);
  const runs = [...variants(TUNING), [WITH_ALPHA_4.name, { ...TUNING, suspicionMultiplier: 4 }] as const];
  const sums = runs.map(([name, tuning]) => sumsOf(name, tuning, all));
  const several = seeds === 1 ? `seed ${seed}` : `seeds ${seed} to ${seed + seeds - 1}`;
  yield `${NODES} members, α ${TUNING.suspicionMultiplier}, β ${TUNING.suspicionMaxMultiplier}, ${several}; ${CONCURRENT.join(', ')} of them blocked at once, for ${DURATIONS_MS.join(', ')} ms,`;
  yield `and not for ${INTERVALS_MS.join(', ')} ms, by turns, for ${WATCH_MS / 1000} s: each of these with each. Beside it the paper's figures.`;
  yield '';
  yield 'False positives: deaths told of members that are not blocked by turns; FP-: of these, by such members (table IV)';
  yield table(falsePositives(sums));
  yield '';
  yield 'Load: datagrams and streams, their bytes, of SWIM; per node and second (table VI)';
  yield table(load(sums));
  yield '';
  yield 'False positives by members blocked at once (figure 2)';
  yield table(byConcurrent(sums));
  yield '';
  yield 'Detection of as many, blocked once: seconds until one member, and every one that is not blocked, says dead';
  yield table(detections(sums));
  yield '';
  yield `False positives with ${DISTRESSED_NODES} members, of which some read everything ${DISTRESS_MS / 1000} s late; the paper's are out of processor time (figure 1)`;
  yield table(distress(all));
}

function sumsOf(name: string, tuning: Tuning, seeds: readonly number[]): Sums {
  const outcomes = CONCURRENT.map((count) => seeds.flatMap((seed) => blockedByTurns(seed, tuning, count)));
  const found = seeds.flatMap((seed) => CONCURRENT.map((count) => detection(seed, tuning, count)));
  const quiet = outcomes.flat().map((outcome) => outcome.quiet);
  return {
    name,
    about: outcomes.map((some) => sum(some, ({ falsePositives: { about } }) => about)),
    atHealthy: outcomes.map((some) => sum(some, ({ falsePositives: { atHealthy } }) => atHealthy)),
    datagrams: sum(quiet, ({ datagrams, streamMessages }) => datagrams + streamMessages),
    bytes: sum(quiet, ({ datagramBytes, streamBytes }) => datagramBytes + streamBytes),
    ms: sum(quiet, ({ ms }) => ms),
    firstMs: found.flatMap(({ firstMs }) => firstMs),
    allMs: found.flatMap(({ allMs }) => allMs),
  };
}

function blockedByTurns(seed: number, tuning: Tuning, slowNodes: number): Outcome[] {
  return DURATIONS_MS.flatMap((ms) =>
    INTERVALS_MS.map((gapMs) => {
      const slow = { kind: 'blocked', ms, gapMs, readMs: READ_MS } as const;
      return experiment({ seed, nodes: NODES, tuning, link: LINK, slowNodes, slow, watchMs: WATCH_MS, kills: 0 });
    }),
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
    world.block(index, DETECTED_MS, READ_MS);
  }
  world.run(fromMs + DETECTED_MS);
  const times = [...said.values()].filter((all) => all.length > 0);
  return {
    firstMs: times.map(([first = 0]) => first - fromMs),
    allMs: times.filter((all) => all.length >= NODES - count).map((all) => (all[NODES - count - 1] as number) - fromMs),
  };
}

function falsePositives(sums: readonly Sums[]): string[][] {
  const [swim] = sums as [Sums, ...Sums[]];
  const paper = (name: string): string[] => {
    if (name === WITH_ALPHA_4.name) return ['', '', String(WITH_ALPHA_4.falsePositives), ''];
    const { about, atHealthy } = FALSE_POSITIVES[name as Name];
    const { about: ofAbout, atHealthy: ofHealthy } = FALSE_POSITIVES.SWIM;
    return [String(about), String(atHealthy), percent(about, ofAbout), percent(atHealthy, ofHealthy)];
  };
  const rows = sums.map((of) => {
    const [about, atHealthy] = [total(of.about), total(of.atHealthy)];
    const shares = [percent(about, total(swim.about)), percent(atHealthy, total(swim.atHealthy))];
    return [of.name, String(about), String(atHealthy), ...shares, ...paper(of.name)];
  });
  const columns = ['FP', 'FP-', 'FP %', 'FP- %'];
  return [['', ...columns, ...columns.map((column) => `paper: ${column}`)], ...rows];
}

function load(sums: readonly Sums[]): string[][] {
  const [swim] = sums as [Sums, ...Sums[]];
  const rows = sums
    .filter(({ name }) => name in LOAD)
    .map(({ name, datagrams, bytes, ms }) => {
      const theirs = LOAD[name as Name];
      const perSecond = (of: number): number => (of * 1000) / ms / NODES;
      return [
        name,
        ...[percent(datagrams, swim.datagrams), percent(bytes, swim.bytes)],
        ...[percent(theirs.messages, LOAD.SWIM.messages), percent(theirs.bytes, LOAD.SWIM.bytes)],
        ...[perSecond(datagrams).toFixed(1), perSecond(bytes).toFixed(0)],
      ];
    });
  return [['', 'messages %', 'bytes %', 'paper: messages %', 'paper: bytes %', 'messages/s', 'bytes/s'], ...rows];
}

function byConcurrent(sums: readonly Sums[]): string[][] {
  const rows = sums.flatMap(({ name, about }) => {
    const ours = [name, ...about.map(String)];
    return name in BY_CONCURRENT ? [ours, [`${name}, paper`, ...BY_CONCURRENT[name as Name].map(String)]] : [ours];
  });
  return [['', ...CONCURRENT.map(String)], ...rows];
}

function detections(sums: readonly Sums[]): string[][] {
  const shares = ['50 %', '99 %', '99.9 %'];
  const [swim] = sums as [Sums, ...Sums[]];
  const median = (of: Sums): number => quantile(of.allMs, 0.5) ?? Number.NaN;
  const rows = sums.map((of) => [
    of.name,
    ...[...quantiles(of.firstMs), ...quantiles(of.allMs)],
    percent(median(of), median(swim)),
    of.name === WITH_ALPHA_4.name ? String(WITH_ALPHA_4.knownToAll) : '',
  ]);
  const head = [...shares.map((share) => `first ${share}`), ...shares.map((share) => `all ${share}`)];
  return [['', ...head, 'all 50 %, % of SWIM', 'HashiCorp'], ...rows];
}

function distress(seeds: readonly number[]): string[][] {
  const rows = variants(TUNING)
    .filter(([name]) => name in BY_DISTRESSED)
    .flatMap(([name, tuning]) => {
      const outcomes = DISTRESSED.map((slowNodes) =>
        seeds.map((seed) => {
          const slow = { kind: 'late', ms: DISTRESS_MS } as const;
          const setup = {
            seed,
            nodes: DISTRESSED_NODES,
            tuning,
            link: LINK,
            slowNodes,
            slow,
            watchMs: WATCH_MS,
            kills: 0,
          };
          return experiment(setup).falsePositives;
        }),
      );
      const mean = (by: (one: Outcome['falsePositives']) => number): string[] =>
        outcomes.map((some) => (sum(some, by) / seeds.length).toFixed(0));
      const { about, atHealthy } = BY_DISTRESSED[name as keyof typeof BY_DISTRESSED];
      return [
        [`${name}: FP`, ...mean((one) => one.about)],
        [`${name}: FP, paper`, ...about.map(String)],
        [`${name}: FP-`, ...mean((one) => one.atHealthy)],
        [`${name}: FP-, paper`, ...atHealthy.map(String)],
      ];
    });
  return [['', ...DISTRESSED.map(String)], ...rows];
}

function quantiles(ms: readonly number[]): string[] {
  return [0.5, 0.99, 0.999].map((share) => ((quantile(ms, share) ?? Number.NaN) / 1000).toFixed(2));
}

function percent(part: number, of: number): string {
  return of === 0 ? '-' : ((100 * part) / of).toFixed(2);
}

function total(of: readonly number[]): number {
  return sum(of, (one) => one);
}

function sum<T>(of: readonly T[], by: (one: T) => number): number {
  return of.reduce((all, one) => all + by(one), 0);
}
