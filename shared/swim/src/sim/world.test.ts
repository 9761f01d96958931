// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { below, seededRandom } from '../core/random.js';
import { lan, local, type Tuning } from '../core/tuning.js';
import { assemble, experiment, type Setup, stand } from './experiment.js';
import type { Link } from './network.js';
import { swimOnly } from './variants.js';
import { World } from './world.js';

const clean: Link = { latencyMs: [0.2, 2], loss: 0 };
const quick: Tuning = { ...local, indirectChecks: 3, reconnectIntervalMs: 5000 };

function cluster(nodes: number, seed = 1, tuning = quick): World {
  const world = new World({ seed, link: clean, tuning });
  assemble(world, nodes);
  return world;
}

const indexes = (world: World): number[] => Array.from({ length: world.size }, (_, index) => index);

/** What each running node thinks wrongly of another: that it is gone though it runs, or there though it does not. */
function errors(world: World): string[] {
  const wrong: string[] = [];
  for (const observer of indexes(world)) {
    if (!world.isRunning(observer)) continue;
    for (const subject of indexes(world)) {
      const state = world.swim(observer).member(world.name(subject))?.state;
      const there = state === 'alive';
      const gone = state === undefined || state === 'dead' || state === 'left';
      if (world.isRunning(subject) ? !there : !gone) wrong.push(`${observer} thinks ${subject} is ${state}`);
    }
  }
  return wrong;
}

function agree(world: World, withinMs: number): string[] {
  world.run(world.nowMs + withinMs, () => errors(world).length === 0);
  return errors(world);
}

const restartKeeping = (world: World, index: number): void => {
  const members = world
    .swim(index)
    .members()
    .map(({ name, address }) => ({ name, address }));
  world.restart(index, { members });
};

describe('a cluster', () => {
  it('of 30 that join through each other knows all', () => {
    expect(errors(cluster(30))).toEqual([]);
  });

  it('knows of a death soon, and nobody doubts the living', () => {
    const world = cluster(20);
    world.kill(7);
    const from = world.nowMs;
    expect(agree(world, 15_000)).toEqual([]);
    expect(world.nowMs - from).toBeLessThan(10_000);
  });

  it('of 20 declares nobody dead while a tenth of all packets is lost', () => {
    let deaths = 0;
    const link = { ...clean, loss: 0.1 };
    const world = new World({
      seed: 3,
      link: clean,
      tuning: lan,
      onEvent: (_, { type }) => (deaths += type === 'dead' ? 1 : 0),
    });
    assemble(world, 20);
    world.network.link = link;
    world.run(world.nowMs + 120_000);
    expect(deaths).toBe(0);
  });

  it('takes back a member that stood still for longer than any suspicion lasts, which refutes its death', () => {
    const world = cluster(10);
    world.pause(4, 20_000);
    world.run(world.nowMs + 15_000);
    expect(world.swim(0).member('node-4')?.state).not.toBe('alive');
    world.run(world.nowMs + 6000);
    expect(agree(world, 60_000)).toEqual([]);
    expect(world.swim(0).member('node-4')?.incarnation).toBeGreaterThan(1);
  });

  describe('with a member that is blocked', () => {
    /** Node 4 of ten, and what it and the others tell of suspects and the dead: "node-1 dead". */
    function withBlocked(tuning: Tuning = lan): { world: World; own: string[]; others: string[] } {
      const own: string[] = [];
      const others: string[] = [];
      const world = new World({
        seed: 9,
        link: clean,
        tuning,
        onEvent: (index, event) => {
          if (event.type !== 'dead' && event.type !== 'suspect') return;
          (index === 4 ? own : others).push(`${event.node.name} ${event.type}`);
        },
      });
      stand(world, 10);
      return { world, own, others };
    }
    const deathOfHealthy = expect.stringMatching(/^node-[^4] dead$/);
    /** Streams would bring news, too. */
    const datagramsOnly: Tuning = { ...lan, streamPing: false, pushPullIntervalMs: 0, reconnectIntervalMs: 0 };

    it('the others declare it dead; it stands in its probe, and suspects that one member when it is free', () => {
      const { world, own, others } = withBlocked();
      const fromMs = world.nowMs;
      world.block(4, 30_000, 0.1);
      world.run(fromMs + 29_999);
      expect(others.filter((one) => one === 'node-4 dead')).toHaveLength(9);
      expect(own).toEqual([]);
      world.run(fromMs + 30_000);
      expect(own).toEqual([expect.stringMatching(/suspect$/)]);
      expect(agree(world, 60_000)).toEqual([]);
      expect([...own, ...others]).not.toContainEqual(deathOfHealthy);
    });

    it('a suspicion of its own times out meanwhile; the others have heard the refutation, which it reads then', () => {
      const { world, own, others } = withBlocked(swimOnly(lan));
      const fromMs = world.nowMs;
      world.block(4, 5000, 0.1);
      // It suspects, is heard, and is blocked again before the answer comes.
      world.run(fromMs + 5000);
      world.block(4, 20_000, 0.1);
      world.run(fromMs + 24_999);
      const [suspect = ''] = own;
      expect(own).toEqual([suspect, suspect.replace('suspect', 'dead')]);
      expect(agree(world, 60_000)).toEqual([]);
      expect(others).toContain(suspect);
      expect(others).not.toContainEqual(deathOfHealthy);
    });

    it('nothing of it goes out until then, and nothing is lost of what was about to', () => {
      const { world, own } = withBlocked({ ...lan, indirectChecks: 0, streamPing: false });
      const heard = (): number => indexes(world).filter((index) => world.swim(index).member('node-4')?.meta[0]).length;
      world.drive(4, (swim, nowMs) => swim.updateMeta(1, Uint8Array.of(1), nowMs));
      for (let times = 0; times < 10; times++) {
        world.block(4, 900, 0.1);
        world.run(world.nowMs + 899);
        if (times === 0) expect(heard()).toBe(1);
        world.run(world.nowMs + 1101);
      }
      expect(heard()).toBe(10);
      // Each probe was late, and answered before its deadline.
      expect(own).toEqual([]);
    });

    it('it reads what has waited a datagram at a time, each in the time that it is given, and answers behind those', () => {
      const slowly = (readMs: number): { refutedMs: number; suspicions: number } => {
        const { world, own } = withBlocked(swimOnly(datagramsOnly));
        const freeMs = world.nowMs + 30_000;
        world.block(4, 30_000, readMs);
        world.run(freeMs + 60_000, () => world.swim(4).stats().incarnation > 1);
        const refutedMs = world.nowMs - freeMs;
        world.run(freeMs + 3000);
        return { refutedMs, suspicions: own.length };
      };
      const fast = slowly(0.1);
      expect(fast.refutedMs).toBeLessThan(100);
      expect(fast.suspicions).toBe(1);
      const slow = slowly(100);
      expect(slow.refutedMs).toBeGreaterThan(300);
      expect(slow.suspicions).toBeGreaterThan(1);
    });

    it('a stream that has waited for longer than one is kept is read by nobody', () => {
      const { world } = withBlocked(datagramsOnly);
      const stranger = world.add();
      world.block(4, 15_000, 0.1);
      world.drive(stranger, (swim, nowMs) => swim.join(1, [world.address(4)], nowMs));
      world.run(world.nowMs + 12_000);
      world.kill(stranger);
      world.run(world.nowMs + 4000);
      expect(world.swim(4).member(world.name(stranger))).toBeUndefined();
    });
  });

  it('that stands was not assembled, and is as one that was: nothing is left to say, and it goes on', () => {
    const events = new Set<string>();
    const world = new World({ seed: 4, link: clean, tuning: lan, onEvent: (_, { type }) => events.add(type) });
    stand(world, 30);
    expect(agree(world, 60_000)).toEqual([]);
    world.run(world.nowMs + 30_000);
    expect([...events].sort()).toEqual(['incarnation', 'round-trip']);
  });

  it('does not even suspect a member that is cut off from some in one direction: others vouch for it', () => {
    let suspicions = 0;
    const world = new World({
      seed: 5,
      link: clean,
      tuning: quick,
      onEvent: (_, { type }) => (suspicions += type === 'suspect' ? 1 : 0),
    });
    assemble(world, 12);
    world.network.cut([0], [1, 2]);
    world.run(world.nowMs + 60_000);
    expect(suspicions).toBe(0);
  });

  it('that was split for longer than the dead are remembered by gossip finds together again', () => {
    const world = cluster(12);
    const [one, other] = [
      [0, 1, 2, 3, 4],
      [5, 6, 7, 8, 9, 10, 11],
    ];
    world.network.cut(one, other);
    world.network.cut(other, one);
    world.run(world.nowMs + 90_000);
    expect(world.swim(0).member('node-9')).toBeUndefined();
    world.network.heal();
    expect(agree(world, 60_000)).toEqual([]);
  });

  it('that is killed as a whole heals from what its nodes remember, also without any seed', () => {
    const world = cluster(12);
    const lists = indexes(world).map((index) =>
      world
        .swim(index)
        .members()
        .map(({ name, address }) => ({ name, address })),
    );
    for (const index of indexes(world)) world.kill(index);
    world.run(world.nowMs + 5000);
    for (const index of indexes(world)) world.restart(index, { members: lists[index] ?? [] });
    expect(agree(world, 60_000)).toEqual([]);
  });

  it('of 40 that is killed as a whole is whole again within a minute, with the figures of a local network', () => {
    const world = cluster(40, 2, lan);
    const members = world
      .swim(0)
      .members()
      .map(({ name, address }) => ({ name, address }));
    for (const index of indexes(world)) world.kill(index);
    for (const index of indexes(world)) world.restart(index, { members });
    expect(agree(world, 60_000)).toEqual([]);
  });

  it('takes in again a member that has forgotten its incarnation', () => {
    const world = cluster(6);
    world.drive(2, (swim, nowMs) => swim.updateMeta(1, Uint8Array.of(1), nowMs));
    world.run(world.nowMs + 2000);
    world.restart(2);
    world.drive(2, (swim, nowMs) => swim.join(1, [world.address(0)], nowMs));
    world.run(world.nowMs + 20_000);
    expect(errors(world)).toEqual([]);
    for (const observer of indexes(world)) {
      const member = world.swim(observer).member('node-2');
      expect([member?.incarnation, member?.meta.length]).toEqual([3, 0]);
    }
  });

  it('is rid at once of a member that leaves, and of nobody else', () => {
    const world = cluster(10);
    world.drive(3, (swim, nowMs) => swim.leave(5000, nowMs));
    world.run(world.nowMs + 3000);
    world.kill(3);
    expect(errors(world)).toEqual([]);
    expect(world.swim(0).member('node-3')?.state).toBe('left');
  });
});

describe('from any history', () => {
  /** Kills, restarts, stands still, cuts, heals and loses at random; then all is well and stays so. */
  function history(seed: number): World {
    const world = cluster(8, seed);
    const random = seededRandom(seed + 1000);
    const some = (): number[] => indexes(world).filter(() => random() < 0.4);
    for (let step = 0; step < 10; step++) {
      const index = below(random, world.size);
      const what = below(random, 6);
      if (what === 0 && world.isRunning(index)) world.kill(index);
      else if (what === 1) restartKeeping(world, index);
      else if (what === 2) world.pause(index, below(random, 12_000));
      else if (what === 3) world.network.cut(some(), some());
      else if (what === 4) world.network.heal();
      else world.network.link = { ...clean, loss: random() * 0.3 };
      world.run(world.nowMs + below(random, 10_000));
    }
    world.network.heal();
    world.network.link = clean;
    for (const index of indexes(world)) if (!world.isRunning(index)) restartKeeping(world, index);
    return world;
  }

  it('the same members are known to all again, within a minute and a half of peace', () => {
    for (let seed = 1; seed <= 80; seed++) {
      const world = history(seed);
      world.run(world.nowMs + 90_000);
      expect({ seed, wrong: errors(world) }).toEqual({ seed, wrong: [] });
    }
  });
});

describe('experiment', () => {
  const setup: Setup = {
    seed: 11,
    nodes: 30,
    tuning: lan,
    link: { ...clean, loss: 0.05 },
    slowNodes: 3,
    slow: { kind: 'late', ms: 10_000 },
    watchMs: 60_000,
    kills: 2,
  };

  it('the same seed gives the same figures, another seed others', () => {
    const figures = (seed: number): string => JSON.stringify(experiment({ ...setup, seed }));
    expect(figures(11)).toBe(figures(11));
    expect(figures(12)).not.toBe(figures(11));
  });

  it('slow members have many healthy ones declared dead without Lifeguard, and hardly any with it', () => {
    const fixed = { ...lan, awarenessLimit: 1, suspicionMaxMultiplier: 1, buddy: false };
    const swim = experiment({ ...setup, tuning: fixed, kills: 0 }).falsePositives.about;
    const lifeguard = experiment({ ...setup, kills: 0 }).falsePositives.about;
    expect(swim).toBeGreaterThan(20);
    expect(lifeguard * 10).toBeLessThan(swim);
  });

  it('members blocked by turns take healthy ones for dead, hardly with Lifeguard, and hardly anybody believes them', () => {
    const slow = { kind: 'blocked', ms: 8192, gapMs: 16, readMs: 0.1 } as const;
    const blocked = { ...setup, slowNodes: 6, link: clean, slow, kills: 0 };
    const swim = experiment({ ...blocked, tuning: swimOnly(lan) }).falsePositives;
    const lifeguard = experiment(blocked).falsePositives;
    expect(swim.about).toBeGreaterThan(40);
    expect(swim.atHealthy * 20).toBeLessThan(swim.about);
    expect(lifeguard.about * 10).toBeLessThan(swim.about);
  });

  it('a death is seen after probe and least suspicion, and soon known to all', () => {
    const { firstMs, allMs } = experiment({ ...setup, slowNodes: 0 });
    expect([firstMs.length, allMs.length]).toEqual([2, 2]);
    // log10 30 × 4 s of suspicion is the least.
    for (const ms of firstMs) expect(ms).toBeGreaterThan(5900);
    for (const ms of allMs) expect(ms).toBeLessThan(20_000);
  });
});
