// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { MemberSchema } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { Health } from '@marcher/proto/marcher/v1/node_service_pb';
import { type ObserveResponse, ObserveResponseSchema } from '@marcher/proto/marcher/v1/observe_service_pb';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Assembly } from './assembly.js';
import type { BackendView, FleetState, ServiceView } from './contract.js';
import { NodeMap } from './node-map.js';

const NODES = 3;
const INTERVAL_MS = 500;

/** What a node is really like. Values are small numbers, so that nodes often agree. */
interface Truth {
  readonly objects: Map<string, number>;
  readonly backends: Map<string, number>;
  readonly tiers: Map<string, number>;
  readonly traffic: Map<string, number>;
}

type Topic = keyof Truth;
const TOPICS: readonly Topic[] = ['objects', 'backends', 'tiers', 'traffic'];
const emptyTruth = (): Truth => ({ objects: new Map(), backends: new Map(), tiers: new Map(), traffic: new Map() });

/** A whole node says what its objects declare: the entry, as here. */
function batchOf(
  { objects, backends, tiers, traffic }: Truth,
  gone: Record<Topic, readonly string[]>,
  isWhole: boolean,
  timeMs: number,
): ObserveResponse {
  return create(ObserveResponseSchema, {
    time: timestampFromMs(timeMs),
    objects: [...objects].map(([name, value]) => ({
      kind: 'Service',
      name,
      generation: BigInt(value),
      digest: new Uint8Array([value & 1]),
      unmet: value > 2 ? [{ type: 'Programmed', reason: 'No' }] : [],
      ...(isWhole
        ? { declared: { case: 'service' as const, value: { name, cluster: name === 's0' ? 'eu' : '' } } }
        : {}),
    })),
    goneObjects: gone.objects.map((name) => ({ kind: 'Service', name })),
    backends: [...backends].map(([key, value]) => ({
      service: key.split('/')[0] ?? '',
      backend: key.split('/')[1] ?? '',
      connections: BigInt(value),
      draining: value === 1,
      endpoints: [{ address: 'x', health: value > 1 ? Health.HEALTHY : Health.UNHEALTHY }],
    })),
    goneBackends: gone.backends.map((key) => ({ service: key.split('/')[0] ?? '', backend: key.split('/')[1] ?? '' })),
    tiers: [...tiers].map(([service, value]) => ({
      service,
      tier: value > 1 ? 'xdp' : 'relay',
      reasons: [`${value}`],
    })),
    goneTiers: [...gone.tiers],
    traffic: [...traffic].map(([service, value]) => ({ service, counters: { connectionsOpened: BigInt(value) } })),
    goneTraffic: [...gone.traffic],
  });
}

const nothingGone = { objects: [], backends: [], tiers: [], traffic: [] };

/** One agent and its reader: what is so, and what was sent of it. */
class Sender {
  readonly truth = emptyTruth();
  #sent = emptyTruth();
  readonly #isWhole: boolean;
  readonly #key: string;
  #isFirst = true;

  constructor(key: string, isWhole: boolean) {
    this.#key = key;
    this.#isWhole = isWhole;
  }

  /** The stream breaks. What comes next is the state; resume: of objects only what the reader does not have. */
  break(resume: boolean): void {
    const kept = resume ? this.#sent.objects : new Map<string, number>();
    if (!resume) this.#forgets = true;
    this.#isFirst = true;
    this.#sent = { ...emptyTruth(), objects: kept };
  }
  #forgets = true;

  send(assembly: Assembly, nowMs: number): void {
    const record = assembly.node(this.#key);
    if (record === undefined) throw new Error('no such node');
    const news = emptyTruth();
    const gone: Record<Topic, string[]> = { objects: [], backends: [], tiers: [], traffic: [] };
    for (const topic of TOPICS) {
      for (const [key, value] of this.truth[topic])
        if (this.#sent[topic].get(key) !== value) news[topic].set(key, value);
      for (const key of this.#sent[topic].keys()) if (!this.truth[topic].has(key)) gone[topic].push(key);
    }
    const batch = batchOf(news, gone, this.#isWhole, nowMs);
    if (this.#isFirst) {
      record.begin(INTERVAL_MS);
      batch.forget = this.#forgets;
      batch.synced = true;
      this.#isFirst = false;
      this.#forgets = false;
    }
    assembly.take(record, batch, nowMs);
    this.#sent = {
      objects: new Map(this.truth.objects),
      backends: new Map(this.truth.backends),
      tiers: new Map(this.truth.tiers),
      traffic: new Map(this.truth.traffic),
    };
  }
}

function assemblyOf(fresh: readonly boolean[]): Assembly {
  const assembly = new Assembly(INTERVAL_MS, 0);
  fresh.forEach((isFresh, at) => {
    const record = assembly.add(`n${at}`, `n${at}`, at === 0, { kind: 'connecting', sinceMs: 0 });
    record.set({ member: create(MemberSchema, { nodeId: `n${at}`, clusters: at === 1 ? [] : ['eu'] }) });
    setFresh(assembly, at, isFresh);
  });
  return assembly;
}

function setFresh(assembly: Assembly, at: number, isFresh: boolean): void {
  const link = isFresh
    ? ({ kind: 'live', sinceMs: 0 } as const)
    : ({ kind: 'stale', sinceMs: 0, reason: '', retryAtMs: 0 } as const);
  assembly.node(`n${at}`)?.set({ link });
}

const sorted = <V>(map: ReadonlyMap<string, V>): [string, V][] => [...map].sort(([a], [b]) => (a < b ? -1 : 1));

function plainService({ nodes, tiers, flows, ...view }: ServiceView): unknown {
  return { ...view, nodes: sorted(nodes), tiers: sorted(tiers), flows: sorted(flows) };
}

function plainBackend({ nodes, ...view }: BackendView): unknown {
  return { ...view, nodes: sorted(nodes) };
}

/** What the entry has said of it before is kept as long as another has the same: that is not known from scratch. */
function undeclared(view: ServiceView): ServiceView {
  return { ...view, declared: undefined, agreement: 'same' };
}

/** Without what depends on the way to it: rates have come to rest. */
function plain({ services, backends, flow, coverage }: FleetState): unknown {
  return {
    services: sorted(services).map(([, view]) => plainService(view.nodes.has('n0') ? view : undeclared(view))),
    backends: sorted(backends).map(([, view]) => plainBackend(view)),
    flow,
    live: coverage.live,
  };
}

const isSameMap = (a: ReadonlyMap<string, unknown>, b: ReadonlyMap<string, unknown>): boolean =>
  a.size === b.size && [...a].every(([key, value]) => b.get(key) === value);

const isMap = (value: unknown): value is ReadonlyMap<string, unknown> =>
  value instanceof Map || value instanceof NodeMap;

/** Of the same parts: maps of the same objects, equal values. */
function isMadeOfTheSame(a: object, b: object): boolean {
  return Object.entries(a).every(([field, value]) => {
    const other = (b as Record<string, unknown>)[field];
    return isMap(value) && isMap(other) ? isSameMap(value, other) : value === other;
  });
}

/** What is made of the same parts as before has to be the same object. */
function expectShared(before: FleetState, after: FleetState): void {
  for (const views of ['services', 'backends'] as const) {
    for (const [key, view] of after[views]) {
      const old = before[views].get(key);
      if (old !== undefined && isMadeOfTheSame(old, view)) expect(view).toBe(old);
    }
    if (isSameMap(before[views], after[views])) expect(after[views]).toBe(before[views]);
  }
}

const steps = fc.array(
  fc.record({
    at: fc.nat(NODES - 1),
    what: fc.constantFrom('set', 'set', 'set', 'drop', 'send', 'send', 'break', 'resume', 'fresh', 'publish'),
    topic: fc.constantFrom(...TOPICS),
    key: fc.constantFrom('s0', 's1', 's2'),
    value: fc.nat(3),
  }),
  // Without a size lists have ten steps at most, which reach little.
  { maxLength: 80, size: 'max' },
);

/** A service of which nothing is known any more, and of which another node has something before that is published. */
const NAMED_ANEW: typeof steps extends fc.Arbitrary<infer Steps> ? Steps : never = [
  { at: 0, what: 'set', topic: 'tiers', key: 's2', value: 0 },
  { at: 1, what: 'set', topic: 'objects', key: 's2', value: 0 },
  { at: 0, what: 'send', topic: 'objects', key: 's0', value: 0 },
  { at: 0, what: 'drop', topic: 'tiers', key: 's2', value: 0 },
  { at: 0, what: 'send', topic: 'objects', key: 's0', value: 0 },
  { at: 1, what: 'send', topic: 'objects', key: 's0', value: 0 },
  { at: 0, what: 'set', topic: 'objects', key: 's2', value: 0 },
  { at: 0, what: 'publish', topic: 'objects', key: 's0', value: 0 },
];

const keyOf = (topic: Topic, key: string, value: number): string =>
  topic === 'backends' ? `${key}/b${value & 1}` : key;

describe('merging', () => {
  test('whatever comes when, is lost or comes again, the state is what it would be from scratch', () => {
    fc.assert(
      fc.property(steps, (list) => {
        const fresh = Array.from({ length: NODES }, () => true);
        const assembly = assemblyOf(fresh);
        const senders = fresh.map((_, at) => new Sender(`n${at}`, at === 0));
        let nowMs = 0;
        let before = assembly.state;
        for (const { at, what, topic, key, value } of list) {
          nowMs += 100;
          const sender = senders[at] as Sender;
          if (what === 'set') sender.truth[topic].set(keyOf(topic, key, value), value);
          else if (what === 'drop') sender.truth[topic].delete(keyOf(topic, key, value));
          else if (what === 'send') sender.send(assembly, nowMs);
          else if (what === 'publish') {
            const after = assembly.publish(nowMs);
            expectShared(before, after);
            before = after;
          } else if (what === 'fresh') {
            fresh[at] = value > 0;
            setFresh(assembly, at, value > 0);
          } else sender.break(what === 'resume');
        }
        for (const sender of senders) sender.send(assembly, nowMs);
        const scratch = assemblyOf(fresh);
        senders.forEach((sender, at) => {
          const record = scratch.node(`n${at}`);
          if (record === undefined) return;
          record.begin(INTERVAL_MS);
          const batch = batchOf(sender.truth, nothingGone, at === 0, nowMs);
          batch.forget = true;
          batch.synced = true;
          scratch.take(record, batch, nowMs);
        });
        nowMs += 10_000;
        const merged = assembly.publish(nowMs);
        expect(plain(merged)).toEqual(plain(scratch.publish(nowMs)));
        expectTrue(merged, senders, fresh);
        expect(assembly.publish(nowMs + 1_000)).toBe(merged);
      }),
      { numRuns: 150, examples: [[NAMED_ANEW]] },
    );
  });

  test('a backend that came and went between two states is not counted', () => {
    const assembly = assemblyOf([true, true, true]);
    const sender = new Sender('n0', true);
    sender.truth.objects.set('s1', 1);
    sender.truth.backends.set('s1/b0', 2);
    sender.send(assembly, 100);
    sender.truth.backends.clear();
    sender.send(assembly, 200);
    expect(assembly.publish(300).services.get('s1')?.backends).toBe(0);
  });

  test('something that goes, and was not there, takes nothing else with it', () => {
    const assembly = assemblyOf([true, false, false]);
    const sender = new Sender('n0', true);
    sender.truth.objects.set('s1', 1);
    sender.send(assembly, 100);
    const record = assembly.node('n0');
    if (record === undefined) throw new Error('there is no node');
    const gone = ['Guard/xys1', 'Service/s2', 'Cluster/s1', 'TrafficPolicy/s1'].map((key) => {
      const [kind = '', name = ''] = key.split('/');
      return { kind, name };
    });
    assembly.take(record, create(ObserveResponseSchema, { goneObjects: gone, version: 9n }), 200);
    expect([...assembly.publish(300).services.keys()]).toEqual(['s1']);
  });

  test('a node that goes takes all that it has said with it', () => {
    fc.assert(
      fc.property(steps, (list) => {
        const assembly = assemblyOf([true, true, true]);
        const senders = [0, 1, 2].map((at) => new Sender(`n${at}`, at === 0));
        for (const { at, topic, key, value } of list) senders[at]?.truth[topic].set(keyOf(topic, key, value), value);
        for (const sender of senders) sender.send(assembly, 0);
        assembly.publish(0);
        for (const at of [2, 0, 1]) assembly.remove(`n${at}`);
        const { services, backends, nodes, flow } = assembly.publish(1_000);
        expect([services.size, backends.size, nodes.size, flow.open]).toEqual([0, 0, 0, 0]);
      }),
      { numRuns: 30 },
    );
  });
});

/** The same by the simplest means: what the definitions say. */
function expectTrue(state: FleetState, senders: readonly Sender[], fresh: readonly boolean[]): void {
  for (const name of ['s0', 's1', 's2']) {
    const having = senders.flatMap(({ truth }, at) => (truth.objects.has(name) ? [at] : []));
    const view = state.services.get(name);
    expect(view === undefined).toBe(having.length === 0);
    if (view === undefined) continue;
    const heard = having.filter((at) => fresh[at]);
    const digests = new Set(heard.map((at) => (senders[at]?.truth.objects.get(name) ?? 0) & 1));
    // Node 1 is not in the cluster of s0; who declares it is known while somebody has what the entry has declared.
    const holders = [0, 1, 2].filter((at) => fresh[at] && (name !== 's0' || at !== 1));
    const isLacked = view.declared !== undefined && heard.length > 0 && holders.some((at) => !having.includes(at));
    expect(view.agreement).toBe(digests.size > 1 || isLacked ? 'differs' : 'same');
    const open = senders.reduce((sum, { truth }, at) => sum + (fresh[at] ? (truth.traffic.get(name) ?? 0) : 0), 0);
    expect(view.flow.open).toBe(open);
    const keys = new Set(
      senders.flatMap(({ truth }) => [...truth.backends.keys()].filter((key) => key.startsWith(name))),
    );
    const found = [...keys].map((key) =>
      senders.flatMap(({ truth }, at) => (fresh[at] ? (truth.backends.get(key) ?? []) : [])).map((value) => value > 1),
    );
    const healthy = found.filter((each) => each.includes(true));
    const mixed = healthy.filter((each) => each.includes(false));
    expect([view.backends, view.healthyBackends, view.mixedBackends]).toEqual([
      keys.size,
      healthy.length,
      mixed.length,
    ]);
  }
}
