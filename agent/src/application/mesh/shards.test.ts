// SPDX-License-Identifier: Apache-2.0
/** Nodes with replicas of clusters, whose messages go to and fro in memory; time is what the test says. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Timestamp } from '@marcher/hlc';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SqliteConfigStore } from '../../adapters/outbound/sqlite/sqlite-config-store.js';
import {
  type Addressed,
  type CellWrite,
  type ClusterName,
  type Environment,
  type NodeId,
  type ReplicaStore,
  ReplicaStoreError,
} from '../../domain/replication/contract.js';
import { MemoryStore } from '../../domain/replication/memory-store.js';
import { decodeMessage, encodeMessage } from '../../domain/replication/message-codec.js';
import { EXISTENCE } from '../../domain/replication/object.js';
import { Replica } from '../../domain/replication/replica.js';
import type { Tenure } from './clusters.js';
import { CLUSTER_PACE, type ClusterReplicas, type HeldUnder, Shards } from './shards.js';

const hash = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();
const AUTHOR = { author: 'ada', message: '' };

let now = 1_000_000;
let nodes: Map<NodeId, Node>;
/** Which nodes are in a cluster, and whether they begin it with nothing. */
let assigned: Map<ClusterName, Map<NodeId, boolean>>;
/** By "eu/1"; absent: nothing is said of when. */
let tenures: Map<string, Tenure>;
let alive: Set<NodeId>;

function environment(): Environment {
  return {
    wallMs: () => now,
    monotonicMs: () => now,
    random: () => 0.5,
    hash,
    sign: (bytes) => hash(bytes),
    verify: (_node, bytes, signature) => Buffer.from(hash(bytes)).equals(signature),
  };
}

class Node {
  readonly id: NodeId;
  readonly shards: Shards;
  readonly refused: string[] = [];
  readonly stores = new Map<ClusterName, ReplicaStore>();
  readonly #heldUnder = new Map<ClusterName, HeldUnder>();

  /** open: whatever is kept of that cluster, as after a start. */
  constructor(id: NodeId, open?: (cluster: ClusterName) => ReplicaStore) {
    this.id = id;
    const opened = open ?? ((cluster) => this.stores.get(cluster) ?? new MemoryStore());
    const make = (cluster: ClusterName, founds: boolean): Replica => {
      const store = opened(cluster);
      this.stores.set(cluster, store);
      const settings = cluster === '' ? {} : CLUSTER_PACE;
      return new Replica({ node: id, store, environment: environment(), settings, cluster, founds });
    };
    const clusters: ClusterReplicas = {
      directory: {
        of: (node) => [...assigned].filter(([, members]) => members.has(node)).map(([name]) => name),
        assignmentOf: (cluster, node) => {
          const begins = assigned.get(cluster)?.get(node);
          return begins === undefined ? undefined : { begins };
        },
        tenureOf: (cluster, node) => tenures.get(`${cluster}/${node}`),
        has: (cluster) => assigned.has(cluster),
      },
      heldUnder: (cluster) => this.#heldUnder.get(cluster),
      setHeldUnder: (cluster, under) => void this.#heldUnder.set(cluster, under),
      stored: () => [...this.stores.keys()].filter((cluster) => cluster !== ''),
      open: (cluster) => make(cluster, false),
      drop: (cluster) => {
        this.stores.delete(cluster);
        this.#heldUnder.delete(cluster);
      },
    };
    const refused = (_from: NodeId, reason: string): void => void this.refused.push(reason);
    this.shards = new Shards({ replica: make('', true), clusters, refused, monotonicMs: () => now });
  }

  write(parts: Readonly<Record<ClusterName, string>>, alongside?: () => void) {
    const writes = Object.entries(parts).map(([cluster, id]): [ClusterName, CellWrite[]] => {
      return [cluster, [{ kind: 'Service', id, group: EXISTENCE, value: new Uint8Array([1]) }]];
    });
    return this.shards.write(AUTHOR, new Map(writes), alongside);
  }

  has(cluster: ClusterName, id: string): boolean {
    return (this.stores.get(cluster)?.object('Service', id).length ?? 0) > 0;
  }
}

function open(count: number): Node[] {
  nodes = new Map(Array.from({ length: count }, (_, i) => [BigInt(i + 1), new Node(BigInt(i + 1))]));
  alive = new Set(nodes.keys());
  return [...nodes.values()];
}

/** Everybody has heard who is in what. */
function arrange(): void {
  for (const { id, shards } of nodes.values()) {
    shards.arrange(false);
    const others = [...nodes.keys()].filter((node) => node !== id);
    shards.setMembers(others.map((node) => ({ node, alive: alive.has(node) })));
  }
}

/** What went from node to node; each decoded from its bytes. */
function run(ms: number): { from: NodeId; to: NodeId; message: Addressed }[] {
  const sent: { from: NodeId; to: NodeId; message: Addressed }[] = [];
  for (const end = now + ms; now < end; now += 50) {
    for (const id of alive) nodes.get(id)?.shards.tick();
    for (let quiet = false; !quiet; ) {
      quiet = true;
      for (const from of alive) {
        const shards = nodes.get(from)?.shards as Shards;
        for (const to of [...shards.waiting()]) {
          for (let message = shards.take(to); message !== undefined; message = shards.take(to)) {
            quiet = false;
            const read = decodeMessage(encodeMessage(message));
            if ('fault' in read) throw new Error(read.fault);
            sent.push({ from, to, message: read });
            if (alive.has(to)) nodes.get(to)?.shards.receive(from, read);
          }
        }
      }
    }
  }
  return sent;
}

beforeEach(() => {
  now = 1_000_000;
  assigned = new Map();
  tenures = new Map();
});

const clusterOf = ({ message }: { message: Addressed }): ClusterName => message.cluster ?? '';

test('what is written in a cluster reaches its nodes, and nothing of it goes to any other', () => {
  const [a, b, c] = open(3) as [Node, Node, Node];
  assigned.set('eu', new Map([[1n, true]]));
  arrange();
  assigned.get('eu')?.set(2n, false);
  arrange();
  run(500);
  a.write({ eu: 'inside' });
  b.write({ '': 'everywhere' });
  const sent = run(20_000);
  expect([a, b, c].map((node) => [node.has('eu', 'inside'), node.has('', 'everywhere')])).toEqual([
    [true, true],
    [true, true],
    [false, true],
  ]);
  expect(sent.filter(({ from, to, ...rest }) => (from === 3n || to === 3n) && clusterOf(rest) !== '')).toEqual([]);
  expect(sent.some((one) => clusterOf(one) === 'eu')).toBe(true);
  expect([a.shards.othersIn(''), a.shards.othersIn('eu')]).toEqual([2, 1]);
  expect(a.shards.held()).toEqual(b.shards.held());
  expect([a, b, c].map(({ refused }) => refused)).toEqual([[], [], []]);
});

test('whoever is not in a cluster is refused whatever it sends, and nothing comes of it', () => {
  const [a, b] = open(2) as [Node, Node];
  assigned.set('eu', new Map([[1n, true]]));
  arrange();
  a.write({ eu: 'inside' });
  run(100);
  const { origin } = a.write({ eu: 'again' })[0] ?? { origin: '' };
  const stolen: Addressed[] = [
    { type: 'snapshot-request', id: 1, part: 0 },
    { type: 'request', id: 2, ranges: [{ origin, from: 1, through: 2 }] },
    { type: 'digests', buckets: Array(256).fill(1) },
  ];
  for (const message of stolen) a.shards.receive(2n, { ...message, cluster: 'eu' });
  expect(a.refused).toHaveLength(3);
  expect(a.refused[0]).toBe('a message of cluster eu, which that node is not in: snapshot-request');
  b.shards.receive(1n, { type: 'busy', id: 1, cluster: 'eu' });
  expect(b.refused).toEqual(['a message of cluster eu, which this node is not in']);
  expect(run(10_000).filter((one) => clusterOf(one) !== '')).toEqual([]);
});

test('a frame of one replica is taken in no other, though its signature is good', () => {
  const [a, b] = open(2) as [Node, Node];
  for (const name of ['eu', 'us'])
    assigned.set(
      name,
      new Map([
        [1n, true],
        [2n, true],
      ]),
    );
  arrange();
  run(100);
  const frames = (written: ReturnType<Node['write']>): Uint8Array[] =>
    written.flatMap(
      ({ cluster, origin, sequence }) => a.stores.get(cluster)?.frames(origin, sequence, sequence, 1e6) ?? [],
    );
  const [ofEu] = frames(a.write({ eu: 'x' })) as [Uint8Array];
  const [ofMesh] = frames(a.write({ '': 'y' })) as [Uint8Array];
  const told = (): string[] =>
    [...b.shards.events()].flatMap(([, events]) =>
      events.flatMap((event) => (event.type === 'refused' ? event.reason : [])),
    );
  told();
  b.shards.receive(1n, { type: 'push', frame: ofEu });
  b.shards.receive(1n, { type: 'push', frame: ofEu, cluster: 'us' });
  b.shards.receive(1n, { type: 'frames', id: 1, frames: [ofMesh], compacted: [], cluster: 'eu' });
  expect(
    told()
      .map((reason) => reason.replace(/^.*\): /, ''))
      .sort(),
  ).toEqual([
    'it is for cluster eu, and was sent as one for cluster us',
    'it is for cluster eu, and was sent as one for the mesh',
    'it is for the mesh, and was sent as one for cluster eu',
  ]);
  expect([b.has('', 'x'), b.has('us', 'x'), b.has('eu', 'y')]).toEqual([false, false, false]);
});

describe('a node that was out of a cluster, and does not know', () => {
  const tenure = (ms: number, created = 1): Tenure => ({
    created: { ms: created, counter: 0, node: 1n },
    assigned: { ms, counter: 0, node: 1n },
  });

  function both(): [Node, Node] {
    const [a, b] = open(2) as [Node, Node];
    for (const node of [1n, 2n]) tenures.set(`eu/${node}`, tenure(2));
    assigned.set('eu', new Map(Array.from([1n, 2n], (node) => [node, true])));
    arrange();
    run(1_000);
    return [a, b];
  }

  test('gives nothing until it has heard, then takes over what is there and writes anew what only it has', () => {
    const [a, b] = both();
    a.write({ eu: 'of-both' });
    run(1_000);
    assigned.get('eu')?.set(2n, false);
    tenures.set('eu/2', tenure(5));
    a.shards.arrange(false);
    const [before] = b.write({ eu: 'of-one' });
    run(10_000);
    expect(a.has('eu', 'of-one')).toBe(false);
    expect(a.refused[0]).toBe('a message of cluster eu, by another assignment than is known here');
    b.shards.arrange(false);
    expect(b.shards.refusal('eu', [])?.code).toBe('not-admitted');
    run(20_000);
    for (const node of [a, b]) expect([node.has('eu', 'of-both'), node.has('eu', 'of-one')]).toEqual([true, true]);
    expect(a.stores.get('eu')?.object('Service', 'of-one')[0]?.origin).not.toBe(before?.origin);
  });

  test('begins with what it has where an operator says so then, and not by what was said before', () => {
    const [a] = both();
    alive.delete(2n);
    a.write({ eu: 'kept' });
    assigned.get('eu')?.set(1n, false);
    tenures.set('eu/1', tenure(5));
    arrange();
    run(10_000);
    expect(a.shards.held()).toMatchObject([{ admitted: false }]);
    assigned.get('eu')?.set(1n, true);
    arrange();
    expect(a.shards.held()).toMatchObject([{ admitted: false }]);
    tenures.set('eu/1', tenure(6));
    arrange();
    expect(a.shards.held()).toMatchObject([{ admitted: true }]);
    expect(a.has('eu', 'kept')).toBe(true);
  });

  test('brings back nothing of a cluster that was deleted and made anew', () => {
    const [a, b] = both();
    b.write({ eu: 'of-before' });
    run(1_000);
    for (const node of [1n, 2n]) tenures.set(`eu/${node}`, tenure(6, 5));
    a.shards.arrange(false);
    expect(a.has('eu', 'of-before')).toBe(false);
    a.write({ eu: 'of-now' });
    run(20_000);
    expect([a.has('eu', 'of-before'), b.has('eu', 'of-before')]).toEqual([false, true]);
    arrange();
    run(20_000);
    for (const node of [a, b]) expect([node.has('eu', 'of-before'), node.has('eu', 'of-now')]).toEqual([false, true]);
  });
});

describe('who comes into a cluster', () => {
  test('waits for those that have what is in it, also when they are down, and begins when an operator says so', () => {
    const [a, b] = open(2) as [Node, Node];
    assigned.set('eu', new Map([[1n, true]]));
    arrange();
    a.write({ eu: 'kept' });
    alive.delete(1n);
    assigned.get('eu')?.set(2n, false);
    arrange();
    run(10_000);
    expect(b.shards.held()).toMatchObject([{ admitted: false }]);
    expect(b.shards.refusal('eu', [])?.code).toBe('not-admitted');
    assigned.get('eu')?.set(2n, true);
    arrange();
    expect(b.shards.held()).toMatchObject([{ admitted: true }]);
    // It was said in error: both sides merge all the same.
    b.write({ eu: 'new' });
    alive.add(1n);
    arrange();
    run(20_000);
    for (const node of [a, b]) expect([node.has('eu', 'kept'), node.has('eu', 'new')]).toEqual([true, true]);
  });

  test('as one of two that are the first, has what both have written', () => {
    const [a, b] = open(2) as [Node, Node];
    assigned.set(
      'eu',
      new Map([
        [1n, true],
        [2n, true],
      ]),
    );
    arrange();
    a.write({ eu: 'of-a' });
    b.write({ eu: 'of-b' });
    run(10_000);
    for (const node of [a, b]) expect([node.has('eu', 'of-a'), node.has('eu', 'of-b')]).toEqual([true, true]);
  });

  test('does not write under the numbers of a disk that was restored, before it is told who else is in it', () => {
    const [a, b] = open(2) as [Node, Node];
    for (const node of [1n, 2n]) assigned.set('eu', new Map([...(assigned.get('eu') ?? []), [node, node === 1n]]));
    arrange();
    run(1_000);
    a.write({ eu: 'kept' });
    const backup = new MemoryStore();
    (a.stores.get('eu') as MemoryStore).copyTo(backup);
    const [told] = a.write({ eu: 'told' });
    run(1_000);
    expect(b.has('eu', 'told')).toBe(true);
    const again = new Node(1n, (cluster) => (cluster === 'eu' ? backup : new MemoryStore()));
    nodes.set(1n, again);
    again.shards.arrange(false);
    const [written] = again.write({ eu: 'after' });
    expect(written?.sequence === told?.sequence && written?.origin === told?.origin).toBe(false);
    arrange();
    run(10_000);
    for (const node of [again, b]) expect([node.has('eu', 'told'), node.has('eu', 'after')]).toEqual([true, true]);
  });

  test('keeps nothing of one that was deleted, and made anew, before it heard of either', () => {
    const [a, b] = open(2) as [Node, Node];
    const at = (ms: number): Timestamp => ({ ms, counter: 0, node: 1n });
    assigned.set('eu', new Map([[1n, true]]));
    tenures.set('eu/1', { created: at(1), assigned: at(2) });
    arrange();
    a.write({ eu: 'of-before' });
    // It was in all the time, whoever has written that again.
    tenures.set('eu/1', { created: at(1), assigned: at(3) });
    arrange();
    expect(a.has('eu', 'of-before')).toBe(true);
    assigned.set('eu', new Map(Array.from([2n, 1n], (node) => [node, node === 2n])));
    tenures.set('eu/1', { created: at(4), assigned: at(6) });
    tenures.set('eu/2', { created: at(4), assigned: at(5) });
    expect(a.shards.arrange(false)).toEqual({ entered: ['eu'], left: ['eu'] });
    arrange();
    run(10_000);
    b.write({ eu: 'of-now' });
    run(10_000);
    for (const node of [a, b]) expect([node.has('eu', 'of-before'), node.has('eu', 'of-now')]).toEqual([false, true]);
  });

  test('takes over what is in it within a moment, and keeps nothing when it is out', () => {
    const [a, b] = open(2) as [Node, Node];
    assigned.set('eu', new Map([[1n, true]]));
    arrange();
    a.write({ eu: 'x' });
    run(1_000);
    assigned.get('eu')?.set(2n, false);
    arrange();
    run(100);
    expect(b.has('eu', 'x')).toBe(true);
    assigned.get('eu')?.delete(2n);
    arrange();
    expect([[...b.stores.keys()], b.shards.held()]).toEqual([[''], []]);
    a.write({ eu: 'after' });
    expect(run(10_000).filter((one) => clusterOf(one) !== '')).toEqual([]);
  });
});

test('an idle cluster costs a quarter of the messages that the mesh itself does', () => {
  open(4);
  assigned.set(
    'eu',
    new Map([
      [1n, true],
      [2n, true],
      [3n, true],
      [4n, true],
    ]),
  );
  arrange();
  run(5_000);
  const sent = run(60_000);
  const [mesh, eu] = ['', 'eu'].map((name) => sent.filter((one) => clusterOf(one) === name).length) as [number, number];
  expect(mesh).toBeGreaterThan(100);
  expect(eu).toBeGreaterThan(10);
  expect(eu).toBeLessThan(mesh / 3);
});

describe('a change of more than one replica, in one file', () => {
  let directory: string;
  let file: SqliteConfigStore;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'marcher-shards-'));
    file = new SqliteConfigStore(join(directory, 'marcher.db'));
    assigned.set('eu', new Map([[1n, true]]));
    assigned.set('us', new Map([[1n, true]]));
  });

  afterEach(() => {
    file.close();
    rmSync(directory, { recursive: true, force: true });
  });

  test('is a frame in each of them, or none in any', () => {
    let failing = false;
    // As a disk that is full when the transaction ends, with everything else within it done.
    const store = (cluster: ClusterName): ReplicaStore => {
      const real = file.openReplica(cluster);
      if (cluster !== '') return real;
      const commit: ReplicaStore['commit'] = (batch, alongside, options) =>
        real.commit(
          batch,
          () => {
            alongside?.();
            if (failing) throw new ReplicaStoreError('full', 'no space is left');
          },
          options,
        );
      return new Proxy(real, {
        get: (target, name) => {
          const value: unknown = name === 'commit' ? commit : Reflect.get(target, name, target);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
    };
    const node = new Node(1n, store);
    nodes = new Map([[1n, node]]);
    alive = new Set([1n]);
    arrange();
    const written = node.write({ '': 'a', eu: 'b', us: 'c' });
    expect(written.map(({ cluster, sequence }) => [cluster, sequence]).sort()).toEqual([
      ['', 1],
      ['eu', 1],
      ['us', 1],
    ]);
    const digests = node.shards.held();
    failing = true;
    expect(() => node.write({ '': 'd', eu: 'e', us: 'f' })).toThrow('no space is left');
    failing = false;
    const refuse = (): void => {
      throw new RangeError('alongside');
    };
    expect(() => node.write({ eu: 'e', us: 'f' }, refuse)).toThrow('alongside');
    expect([node.has('', 'd'), node.has('eu', 'e'), node.has('us', 'f')]).toEqual([false, false, false]);
    expect(node.shards.held()).toEqual(digests);
    // Their numbers were told nobody, and are free.
    const again = node.write({ '': 'd', eu: 'e', us: 'f' });
    expect(new Set(again.map(({ sequence }) => sequence))).toEqual(new Set([2]));
    expect([node.has('', 'd'), node.has('eu', 'e'), node.has('us', 'f')]).toEqual([true, true, true]);
  });
});
