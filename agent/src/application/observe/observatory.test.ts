// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { ConditionSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type ObservedBatch, type ObserveQuery, TOPICS } from '../../ports/observe.js';
import { ApplicationError } from '../../ports/use-cases.js';
import { Observatory } from './observatory.js';
import { FakeNode } from './testing/fake-node.js';
import { ManualClock } from './testing/manual-clock.js';

const ALL: ObserveQuery = {
  ...{ intervalMs: 1_000, topics: new Set(TOPICS), summaries: false },
  resume: { version: 0n, run: '' },
};

let node: FakeNode;
let clock: ManualClock;
let observatory: Observatory;
let leaving: AbortController;

beforeEach(() => {
  node = new FakeNode();
  clock = new ManualClock();
  leaving = new AbortController();
  observatory = newObservatory();
});

afterEach(() => leaving.abort());

function newObservatory(partBytes?: number): Observatory {
  let runs = 0;
  return new Observatory({
    ...{ sources: node, clock, newRun: () => `run ${++runs}` },
    hash: (bytes) => createHash('sha256').update(bytes).digest(),
    ...(partBytes === undefined ? {} : { partBytes }),
  });
}

/** Reads as fast as it can. What it has got so far. */
function read(query: Partial<ObserveQuery> = {}, signal = leaving.signal): ObservedBatch[] {
  const got: ObservedBatch[] = [];
  void (async () => {
    for await (const batch of observatory.observe({ ...ALL, ...query }, signal)) got.push(batch);
  })();
  return got;
}

/** What is in a batch, and nothing of what is not. */
function shown(batch: ObservedBatch | undefined): Record<string, unknown> {
  const names: Record<string, readonly string[]> = {
    objects: (batch?.objects ?? []).map(({ kind, name, unmet }) =>
      [kind, name, ...unmet.map(({ type }) => type)].join(' '),
    ),
    goneObjects: (batch?.goneObjects ?? []).map(({ kind, name }) => `${kind} ${name}`),
    backends: (batch?.backends ?? []).map(
      ({ service, backend, connections }) => `${service}/${backend} ${connections}`,
    ),
    goneBackends: (batch?.goneBackends ?? []).map(({ service, backend }) => `${service}/${backend}`),
    tiers: (batch?.tiers ?? []).map(({ service, tier }) => `${service} ${tier}`),
    goneTiers: batch?.goneTiers ?? [],
    traffic: (batch?.traffic ?? []).map(({ service, counters }) => `${service} ${counters?.bytesReceived}`),
    goneTraffic: batch?.goneTraffic ?? [],
    members: (batch?.members ?? []).map(({ nodeId, state }) => `${nodeId} ${state}`),
    goneMembers: batch?.goneMembers ?? [],
  };
  return {
    ...Object.fromEntries(Object.entries(names).filter(([, list]) => list.length > 0)),
    ...(batch?.status === undefined ? {} : { status: true }),
    ...(batch?.forget === true ? { forget: true } : {}),
    ...(batch?.synced === true ? { synced: true } : {}),
  };
}

function furnish(): void {
  node.apply('web', 'dns');
  node.connect('web', 'a', 1n);
  node.carry('web', 'relay');
  node.count('web', 10n);
  node.member('00000000000000a1', 'self');
}

describe('what comes', () => {
  test('first the state and who it is of, then only what has changed', async () => {
    furnish();
    const got = read();
    await clock.pass(0);
    expect(got.map(shown)).toEqual([
      {
        ...{ forget: true, synced: true, status: true, objects: ['Service web', 'Service dns'] },
        ...{ backends: ['web/a 1'], tiers: ['web relay'], traffic: ['web 10'], members: ['00000000000000a1 self'] },
      },
    ]);
    expect(got[0]).toMatchObject({ version: 1n, node: { name: 'north', run: 'run 1' } });
    expect(got[0]?.objects[0]?.declared).toMatchObject({ case: 'service', value: { name: 'web' } });
    node.connect('web', 'a', 2n);
    node.connect('web', 'b', 1n);
    node.carry('web', 'xdp');
    node.member('00000000000000b2', 'alive');
    await clock.pass(1_000);
    expect(got.slice(1).map(shown)).toEqual([
      { backends: ['web/a 2', 'web/b 1'], tiers: ['web xdp'], members: ['00000000000000b2 alive'] },
    ]);
    expect(got[1]?.node).toBeUndefined();
  });

  test('what there is no more is said once', async () => {
    furnish();
    const got = read();
    await clock.pass(0);
    node.remove('web');
    node.backendList.clear();
    node.tierList.clear();
    node.statsList.clear();
    node.memberList.clear();
    await clock.pass(3_000);
    const news = got.slice(1).map(shown);
    expect(news.flatMap(({ goneObjects = [] }) => goneObjects)).toEqual(['Service web']);
    expect(news.flatMap(({ goneBackends = [] }) => goneBackends)).toEqual(['web/a']);
    expect(news.flatMap(({ goneTiers = [] }) => goneTiers)).toEqual(['web']);
    expect(news.flatMap(({ goneTraffic = [] }) => goneTraffic)).toEqual(['web']);
    expect(news.flatMap(({ goneMembers = [] }) => goneMembers)).toEqual(['00000000000000a1']);
  });

  test('nothing while nothing changes, but a heartbeat', async () => {
    furnish();
    const got = read({ intervalMs: 100 });
    await clock.pass(14_900);
    expect(got).toHaveLength(1);
    await clock.pass(30_000);
    expect(got.slice(1).map(shown)).toEqual([{}, {}]);
    expect(got[1]).toMatchObject({ version: 1n, timeMs: clock.nowMs() - 30_000 + 100 });
  });

  test('memory that moves by less than a hundredth is no change, and by more it is one within two seconds', async () => {
    const got = read({ intervalMs: 100 });
    await clock.pass(0);
    node.statusNow.memoryBytes = 100_900n;
    await clock.pass(5_000);
    expect(got).toHaveLength(1);
    node.statusNow.memoryBytes = 101_100n;
    await clock.pass(2_100);
    expect(got.slice(1).map(({ status }) => status?.memoryBytes)).toEqual([101_100n]);
    node.statusNow.draining = true;
    await clock.pass(100);
    expect(got.at(-1)?.status).toMatchObject({ draining: true, memoryBytes: 101_100n });
  });

  test('only the topics that were asked for, and only they are looked at', async () => {
    furnish();
    const got = read({ topics: new Set(['members']) });
    await clock.pass(5_000);
    expect(got.map(shown)).toEqual([{ forget: true, synced: true, members: ['00000000000000a1 self'] }]);
    expect(node.looks).toMatchObject({ members: 6, backends: 0, traffic: 0, tiers: 0, status: 0, declared: 0 });
  });

  test('summaries are without what is declared, and have its digest', async () => {
    furnish();
    const whole = read();
    const summaries = read({ summaries: true });
    await clock.pass(0);
    expect(summaries[0]?.objects.map(({ declared }) => declared.case)).toEqual([undefined, undefined]);
    const digests = (batch: ObservedBatch | undefined) =>
      batch?.objects.map(({ digest }) => Buffer.from(digest).toString('hex'));
    expect(digests(summaries[0])).toEqual(digests(whole[0]));
    expect(digests(summaries[0])?.[0]).toMatch(/^[0-9a-f]{16}$/);
    expect(new Set(digests(summaries[0])).size).toBe(2);
  });

  test('a large state comes in parts, and the last of them says so', async () => {
    observatory = newObservatory(300);
    node.apply(...Array.from({ length: 40 }, (_, i) => `s${i}`));
    const got = read();
    await clock.pass(0);
    expect(got.length).toBeGreaterThan(5);
    expect(got.flatMap(({ objects }) => objects)).toHaveLength(40);
    expect(got.map(({ synced }) => synced)).toEqual(got.map((_, i) => i === got.length - 1));
    expect(got.map(({ forget }) => forget)).toEqual(got.map((_, i) => i === 0));
    // Who breaks off in between has no version to go on from.
    expect(got.map(({ version }) => version)).toEqual(got.map((_, i) => (i === got.length - 1 ? 1n : 0n)));
  });
});

describe('when it comes', () => {
  test('a change of the configuration does not wait for the interval', async () => {
    furnish();
    const got = read({ intervalMs: 10_000 });
    await clock.pass(500);
    node.apply('web');
    await clock.pass(0);
    expect(got.slice(1).map(shown)).toEqual([{ objects: ['Service web'] }]);
    expect(got[1]?.version).toBe(2n);
    // The next ones wait a little, and come together.
    node.apply('web');
    node.apply('dns');
    await clock.pass(99);
    expect(got).toHaveLength(2);
    await clock.pass(1);
    expect(got.slice(2).map(shown)).toEqual([{ objects: ['Service web', 'Service dns'] }]);
    expect(got[2]?.version).toBe(4n);
  });

  test('a change that comes while much work rests is not forgotten', async () => {
    furnish();
    const { declared } = node.configuration;
    node.configuration.declared = (kind, name) => {
      clock.work(80);
      return declared(kind, name);
    };
    const got = read({ intervalMs: 60_000, summaries: true });
    await clock.pass(0);
    node.configuration.declared = declared;
    node.apply('web');
    await clock.pass(60);
    expect(got).toHaveLength(1);
    await clock.pass(200);
    expect(got.slice(1).map(shown)).toEqual([{ objects: ['Service web'] }]);
  });

  test('nor do health and drains, where a reader asked for them', async () => {
    furnish();
    const got = read({ intervalMs: 10_000 });
    const others = read({ intervalMs: 10_000, topics: new Set(['traffic'] as const) });
    await clock.pass(500);
    const { looks } = node;
    const before = { ...looks };
    node.connect('web', 'a', 2n);
    observatory.hurry('backends');
    await clock.pass(0);
    expect(got.slice(1).map(shown)).toEqual([{ backends: ['web/a 2'] }]);
    // Soon after, more often than once, and told while it is being looked at.
    node.connect('web', 'a', 3n);
    observatory.hurry('backends', 'status');
    await clock.pass(50);
    node.connect('web', 'a', 4n);
    node.statusNow = { ...node.statusNow, draining: true };
    observatory.hurry('backends', 'status');
    await clock.pass(49);
    expect(got).toHaveLength(2);
    await clock.pass(1);
    expect(got.slice(2).map(shown)).toEqual([{ backends: ['web/a 4'], status: true }]);
    expect([looks.backends - before.backends, looks.traffic - before.traffic]).toEqual([2, 0]);
    expect(others).toHaveLength(1);
  });

  test('what is said of health while it is being looked at is not lost', async () => {
    furnish();
    const got = read({ intervalMs: 60_000 });
    await clock.pass(500);
    const { promise, resolve } = Promise.withResolvers<void>();
    const { backends } = node;
    node.backends = async () => {
      const seen = await backends.call(node);
      await promise;
      return seen;
    };
    node.connect('web', 'a', 2n);
    observatory.hurry('backends');
    await clock.pass(0);
    node.backends = backends;
    node.connect('web', 'a', 3n);
    observatory.hurry('backends');
    resolve();
    await clock.pass(300);
    expect(got.slice(1).flatMap((batch) => shown(batch)['backends'])).toEqual(['web/a 2', 'web/a 3']);
  });

  test('ten thousand that fail within a second, each told by itself, are ten looks, and are said once', async () => {
    for (let i = 0; i < 10_000; i++) node.connect(`service-${i}`, 'a', 0n);
    const streams = [read({ intervalMs: 10_000 }), read({ intervalMs: 10_000 }), read({ intervalMs: 10_000 })];
    // The state is in many parts, each of which is a turn.
    while (!streams.every((got) => got.at(-1)?.synced)) await clock.pass(10);
    await clock.pass(500);
    const begun = streams.map(({ length }) => length);
    const { looks } = node;
    const looked = looks.backends;
    const armed = vi.spyOn(clock, 'after');
    for (let tenth = 0; tenth < 100; tenth++) {
      for (let i = tenth * 100; i < (tenth + 1) * 100; i++) {
        node.connect(`service-${i}`, 'a', 1n);
        observatory.hurry('backends');
      }
      await clock.pass(10);
    }
    for (let i = 0; i < 20; i++) await clock.pass(10);
    expect(looks.backends - looked).toBeLessThanOrEqual(12);
    // Timers: some for each look, and none for each that fails.
    expect(armed.mock.calls.length).toBeLessThanOrEqual(200);
    for (const [at, got] of streams.entries()) {
      const news = got.slice(begun[at]);
      // Of each look as many as have 64 KiB.
      expect(news.length).toBeLessThanOrEqual(60);
      const said = news.flatMap(({ backends }) => backends.map(({ service }) => service));
      expect(new Set(said).size).toBe(10_000);
      expect(said.length).toBe(10_000);
    }
  });

  test('counters wait for it', async () => {
    furnish();
    const got = read({ intervalMs: 2_000 });
    await clock.pass(500);
    node.count('web', 20n);
    await clock.pass(1_400);
    expect(got).toHaveLength(1);
    await clock.pass(100);
    expect(got.slice(1).map(shown)).toEqual([{ traffic: ['web 20'] }]);
  });

  test('a slow reader gets what is newest, once', async () => {
    furnish();
    const batches = observatory.observe({ ...ALL, intervalMs: 100 }, leaving.signal);
    await batches.next();
    for (let i = 0; i < 50; i++) {
      node.apply('web');
      node.count('web', BigInt(100 + i));
      await clock.pass(1_000);
    }
    // Nothing was made ready for it meanwhile.
    expect(node.looks.traffic).toBe(1);
    const second = batches.next();
    await clock.pass(0);
    expect(shown((await second).value)).toEqual({ status: true, objects: ['Service web'], traffic: ['web 149'] });
    const third = batches.next();
    await clock.pass(15_000);
    expect(shown((await third).value)).toEqual({});
  });
});

describe('what it costs', () => {
  test('ten readers are one look per interval', async () => {
    furnish();
    for (let i = 0; i < 10; i++) {
      read({ intervalMs: 500 });
      await clock.pass(50);
    }
    const before = { ...node.looks };
    await clock.pass(10_000);
    expect(node.looks.backends - before.backends).toBe(20);
    expect(node.looks.traffic - before.traffic).toBe(20);
    expect(node.looks.members - before.members).toBe(10);
    expect(node.looks.declared - before.declared).toBe(0);
  });

  test('while nobody observes nothing is looked at, and in the end nothing kept', async () => {
    furnish();
    read();
    await clock.pass(0);
    leaving.abort();
    await clock.pass(1_000);
    const before = { ...node.looks };
    expect(observatory.readers).toBe(0);
    await clock.pass(100_000);
    expect(node.looks).toEqual(before);
    expect(node.followers).toBeGreaterThan(0);
    await clock.pass(20_000);
    expect(node.followers).toBe(0);
  });
});

describe('resuming', () => {
  async function interrupted(): Promise<{ version: bigint; run: string }> {
    const first = new AbortController();
    const got = read({}, first.signal);
    await clock.pass(0);
    first.abort();
    await clock.pass(1_000);
    return { version: got.at(-1)?.version ?? 0n, run: got[0]?.node?.run ?? '' };
  }

  test('of the configuration only what has changed, and what has gone', async () => {
    node.apply('same', 'web', 'old');
    node.connect('old', 'a', 1n);
    const resume = await interrupted();
    node.apply('web');
    node.remove('old');
    node.backendList.clear();
    const got = read({ resume });
    await clock.pass(0);
    expect(shown(got[0])).toEqual({
      ...{ synced: true, status: true, objects: ['Service web'] },
      ...{ goneObjects: ['Service old'], goneBackends: ['old/a'] },
    });
    expect(got[0]?.version).toBe(3n);
  });

  test('what may stand otherwise without having changed comes, too', async () => {
    node.apply('same', 'web', 'dns');
    node.waver('web', 'Programmed');
    const resume = await interrupted();
    node.waver('web', undefined);
    node.waver('dns', 'Programmed');
    const got = read({ resume });
    await clock.pass(0);
    expect(shown(got[0])).toMatchObject({ synced: true, objects: ['Service web', 'Service dns Programmed'] });
    expect(shown(got[0])).not.toHaveProperty('forget');
  });

  test.each([
    ['another run', { version: 1n, run: 'run 0' }],
    ['no run', { version: 1n, run: '' }],
    ['no version', { version: 0n, run: 'run 1' }],
  ])('with %s everything comes anew', async (_what, resume) => {
    node.apply('web');
    await interrupted();
    const got = read({ resume });
    await clock.pass(0);
    expect(shown(got[0])).toMatchObject({ forget: true, synced: true, objects: ['Service web'] });
  });

  test('after too long everything comes anew', async () => {
    node.apply('web');
    const resume = await interrupted();
    await clock.pass(120_000);
    const got = read({ resume });
    await clock.pass(0);
    expect(shown(got[0])).toMatchObject({ forget: true, objects: ['Service web'] });
    expect(got[0]?.node?.run).toBe('run 2');
  });
});

describe('when something is wrong', () => {
  test('the engine does not answer: what its backends were like stays', async () => {
    furnish();
    const got = read();
    await clock.pass(0);
    node.failure = new ApplicationError('unavailable', 'no engine is running');
    node.count('web', 11n);
    await clock.pass(3_000);
    expect(got.slice(1).map(shown)).toEqual([{ traffic: ['web 11'] }]);
    node.failure = undefined;
    node.connect('web', 'a', 5n);
    await clock.pass(1_000);
    expect(got.slice(2).map(shown)).toEqual([{ backends: ['web/a 5'] }]);
  });

  test('the engine is out of step: how each object stands is looked at again', async () => {
    furnish();
    const got = read();
    await clock.pass(0);
    const unmet = create(ConditionSchema, { type: 'Programmed', status: false, reason: 'NotProgrammed' });
    for (const [name, declared] of node.services) node.services.set(name, { ...declared, conditions: [unmet] });
    node.statusNow.conditions = [unmet];
    await clock.pass(1_000);
    expect(got.slice(1).map(shown)).toEqual([
      { status: true, objects: ['Service web Programmed', 'Service dns Programmed'] },
    ]);
  });

  test('the store fails: the stream ends with that, and the next one has everything', async () => {
    furnish();
    const failing = observatory.observe(ALL, leaving.signal);
    await failing.next();
    const { declared } = node.configuration;
    const broken = new ApplicationError('unavailable', 'the disk is full');
    node.configuration.declared = () => {
      throw broken;
    };
    node.apply('web');
    const next = failing.next();
    next.catch(() => undefined);
    await clock.pass(1_000);
    await expect(next).rejects.toBe(broken);
    node.configuration.declared = declared;
    const got = read({ resume: { version: 1n, run: 'run 1' } });
    await clock.pass(0);
    expect(shown(got[0])).toMatchObject({ objects: ['Service web'] });
    expect(observatory.readers).toBe(1);
  });

  test('the node goes into a mesh: who listens forgets, and has everything anew', async () => {
    furnish();
    const got = read();
    await clock.pass(0);
    node.identity = { nodeId: '00000000000000a1', name: 'north', meshId: 'ab'.repeat(16), meshName: 'prod' };
    await clock.pass(1_000);
    expect(got).toHaveLength(2);
    expect(got[1]).toMatchObject({ forget: true, synced: true, node: { meshName: 'prod', run: 'run 1' } });
    expect(got[1]?.objects).toHaveLength(2);
  });
});
