// SPDX-License-Identifier: Apache-2.0
/**
 * The figures of a failure detector: how soon a death is seen, and by all; how many of the living are declared dead;
 * what it costs. One cluster is joined without loss, then watched for a time while packets are lost or members are
 * slow, and then members are killed one after another.
 */
import { below, type Random, seededRandom, shuffle } from '../core/random.js';
import type { Tuning } from '../core/tuning.js';
import type { Link } from './network.js';
import { type Traffic, World } from './world.js';

export interface Setup {
  readonly seed: number;
  readonly nodes: number;
  readonly tuning: Tuning;
  readonly link: Link;
  readonly slowNodes: number;
  readonly slow: Slowness;
  /** How long false positives are counted. */
  readonly watchMs: number;
  readonly kills: number;
}

/**
 * What is wrong with a slow member. still: it stands still for ms, runs for gapMs, and so on, from a time of its own on.
 * blocked: from the beginning it neither sends nor reads for ms (World.block), does for gapMs, and so on, so that all that
 * are blocked are so at once. late: it reads everything ms late, while its timers run in time.
 */
export type Slowness =
  | { readonly kind: 'still'; readonly ms: number; readonly gapMs: number }
  | { readonly kind: 'blocked'; readonly ms: number; readonly gapMs: number; readonly readMs: number }
  | { readonly kind: 'late'; readonly ms: number };

/** Deaths told by some member of another that runs: each pair counts, each time. */
export interface FalsePositives {
  /** About members that are not slow. */
  about: number;
  /** Of these, told by members that are not slow either. */
  atHealthy: number;
  /** About the slow ones. */
  aboutSlow: number;
  /** Members that are not slow and that somebody has declared dead. */
  readonly victims: Set<number>;
}

export interface Outcome {
  /** From the kill until the first member says dead, for each kill that any did. */
  readonly firstMs: readonly number[];
  /** Until the last of those that are neither killed nor slow. */
  readonly allMs: readonly number[];
  readonly kills: number;
  readonly falsePositives: FalsePositives;
  /** While nobody dies. */
  readonly quiet: Traffic & { readonly ms: number };
  /** From the first kill to the last's dissemination. */
  readonly dying: Traffic & { readonly ms: number };
}

const JOIN_EVERY_MS = 10;
const JOIN_PATIENCE_MS = 120_000;
const DEATH_PATIENCE_MS = 180_000;
/** Within that, refutations and suspicions of one phase have left the queues. */
const BETWEEN_KILLS_MS = 5000;

export function experiment(setup: Setup): Outcome {
  const random = seededRandom(setup.seed ^ 0x5eed);
  const slow = new Set<number>();
  const watch = { counting: false, victim: -1, killedMs: 0, sayDead: new Map<number, number>() };
  const falsePositives: FalsePositives = { about: 0, atHealthy: 0, aboutSlow: 0, victims: new Set() };
  const world = new World({
    seed: setup.seed,
    link: { ...setup.link, loss: 0 },
    tuning: setup.tuning,
    onEvent: (observer, event, nowMs) => {
      if (event.type !== 'dead') return;
      const subject = Number(event.node.name.slice('node-'.length));
      if (subject === watch.victim) {
        if (!watch.sayDead.has(observer)) watch.sayDead.set(observer, nowMs);
      } else if (watch.counting && world.isRunning(subject)) {
        if (slow.has(subject)) falsePositives.aboutSlow++;
        else {
          falsePositives.about++;
          falsePositives.victims.add(subject);
          if (!slow.has(observer)) falsePositives.atHealthy++;
        }
      }
    },
  });
  stand(world, setup.nodes);

  world.network.link = setup.link;
  const candidates = Array.from({ length: setup.nodes }, (_, index) => index);
  shuffle(candidates, random);
  for (const index of candidates.slice(0, setup.slowNodes)) {
    slow.add(index);
    beSlow(world, index, setup.slow, random);
  }
  watch.counting = true;
  const quietFrom = { ...world.traffic };
  world.run(world.nowMs + setup.watchMs);
  const quiet = since(world.traffic, quietFrom, setup.watchMs);

  const dyingFrom = { ...world.traffic };
  const dyingFromMs = world.nowMs;
  const firstMs: number[] = [];
  const allMs: number[] = [];
  for (const victim of candidates.slice(setup.slowNodes, setup.slowNodes + setup.kills)) {
    watch.victim = victim;
    watch.killedMs = world.nowMs;
    watch.sayDead = new Map();
    world.kill(victim);
    const mustSay = candidates.filter((index) => world.isRunning(index) && !slow.has(index));
    let said = 0;
    const all = world.run(world.nowMs + DEATH_PATIENCE_MS, () => {
      while (said < mustSay.length && watch.sayDead.has(mustSay[said] as number)) said++;
      return said === mustSay.length;
    });
    const times = [...watch.sayDead.values()].map((ms) => ms - watch.killedMs);
    if (times.length > 0) firstMs.push(Math.min(...times));
    if (all) allMs.push(Math.max(...mustSay.map((index) => (watch.sayDead.get(index) as number) - watch.killedMs)));
    world.run(world.nowMs + BETWEEN_KILLS_MS);
  }
  const dying = since(world.traffic, dyingFrom, world.nowMs - dyingFromMs);
  return { firstMs, allMs, kills: setup.kills, falsePositives, quiet, dying };
}

/**
 * A cluster that was assembled long ago: each knows all, and none has anything left to say. Joining one after another
 * comes to the same, and takes most of the time with 1,000 members.
 */
export function stand(world: World, nodes: number): void {
  for (let index = 0; index < nodes; index++) world.add();
  const states = Array.from({ length: nodes }, (_, index) => {
    const state = world.swim(index).member(world.name(index));
    if (!state) throw new Error(`node ${index} does not know itself: expected so after its start`);
    return state;
  });
  for (let index = 0; index < nodes; index++) world.drive(index, (swim, nowMs) => swim.assume(states, nowMs));
  settle(world, nodes);
}

/** Joins nodes one after another, and waits until each knows all and none has anything left to say. */
export function assemble(world: World, nodes: number): void {
  for (let index = 0; index < nodes; index++) {
    world.add();
    const seed = world.address(index >> 1);
    if (index > 0) world.drive(index, (swim, nowMs) => swim.join(1, [seed], nowMs));
    world.run(world.nowMs + JOIN_EVERY_MS);
  }
  settle(world, nodes);
}

function settle(world: World, nodes: number): void {
  let settled = 0;
  const whole = world.run(world.nowMs + JOIN_PATIENCE_MS, () => {
    while (settled < nodes) {
      const { members, broadcasts } = world.swim(settled).stats();
      if (members < nodes || broadcasts > 0) return false;
      settled++;
    }
    return true;
  });
  if (!whole)
    throw new Error(
      `${settled} of ${nodes} nodes knew all after ${JOIN_PATIENCE_MS / 1000} s of joining: expected every one`,
    );
}

function beSlow(world: World, index: number, slow: Slowness, random: Random): void {
  if (slow.kind === 'late') {
    world.lag(index, slow.ms);
    return;
  }
  const pause = (): void => {
    if (slow.kind === 'still') world.pause(index, slow.ms);
    else world.block(index, slow.ms, slow.readMs);
    world.at(world.nowMs + slow.ms + slow.gapMs, pause);
  };
  const startMs = slow.kind === 'blocked' ? 0 : below(random, slow.ms + slow.gapMs);
  world.at(world.nowMs + startMs, pause);
}

function since(now: Traffic, then: Traffic, ms: number): Traffic & { ms: number } {
  return {
    ms,
    datagrams: now.datagrams - then.datagrams,
    datagramBytes: now.datagramBytes - then.datagramBytes,
    streamMessages: now.streamMessages - then.streamMessages,
    streamBytes: now.streamBytes - then.streamBytes,
  };
}
