// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Timestamp } from '@marcher/hlc';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Batch, Cell, Frame, ReplicaStore } from '../../../domain/replication/contract.js';
import { bucketOf } from '../../../domain/replication/digest.js';
import { MemoryStore } from '../../../domain/replication/memory-store.js';
import { MIGRATIONS } from './migrations/index.js';
import { SqliteReplicaStore } from './replica-store.js';
import { replicaStoreCompliance } from './replica-store-compliance.js';
import { SqliteConfigStore } from './sqlite-config-store.js';
import { Writer } from './writer.js';

const ORIGINS = ['0000000000000001.018bcfe56800', 'ffffffffffffffff.018bcfe56801'];
const KINDS = ['Guard', 'Service'];
const IDS = ['a', 'b', 'web'];
const GROUPS = ['', '3', '3/web-1', '4'];
const EVERYTHING = 1_000_000;

const stamp = fc.record<Timestamp>({
  ms: fc.integer({ min: 0, max: 2 ** 48 - 1 }),
  counter: fc.integer({ min: 0, max: 0xffff }),
  node: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
});
const key = fc.record({
  kind: fc.constantFrom(...KINDS),
  id: fc.constantFrom(...IDS),
  group: fc.constantFrom(...GROUPS),
});
const cell: fc.Arbitrary<Cell> = fc
  .record({
    key,
    stamp,
    value: fc.option(fc.uint8Array({ maxLength: 20 }), { nil: undefined }),
    origin: fc.constantFrom(...ORIGINS),
    sequence: fc.integer({ min: 1, max: 2 ** 48 }),
    mark: fc.integer({ min: 0, max: 2 ** 48 - 1 }),
  })
  .map(({ key, ...rest }) => ({ ...key, ...rest }));
const hash = fc.uint8Array({ minLength: 32, maxLength: 32 });
const small = fc.record(
  {
    self: fc.record({ node: stamp.map(({ node }) => node), incarnation: fc.integer({ min: 0, max: 2 ** 48 - 1 }) }),
    clock: stamp,
    admitted: fc.boolean(),
    horizon: fc.record({ stamp, seen: fc.constantFrom(...ORIGINS).map((origin) => new Map([[origin, 7]])) }),
    floors: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((node) => new Map([[node, 5]])),
    forks: fc.array(fc.record({ origin: fc.constantFrom(...ORIGINS), sequence: fc.nat(), kept: hash, other: hash })),
  },
  { requiredKeys: [] },
);

interface Step {
  readonly remove: Batch['remove'];
  readonly put: readonly Cell[];
  /** How many frames each origin adds, and drops of those it has. */
  readonly frames: readonly (readonly [add: number, drop: number])[];
  readonly state: Batch['state'];
  readonly head: Uint8Array;
  readonly forget: boolean;
  readonly fails: boolean;
}

const step: fc.Arbitrary<Step> = fc.record({
  remove: fc.array(key, { maxLength: 2 }),
  put: fc.array(cell, { maxLength: 4 }),
  frames: fc.array(fc.tuple(fc.nat(3), fc.nat(3)), { minLength: 2, maxLength: 2 }),
  state: small,
  head: hash,
  forget: fc.boolean(),
  fails: fc.boolean(),
});

const frameOf = (origin: string, sequence: number): Frame =>
  ({ origin, sequence, bytes: Buffer.from(`${origin} ${sequence}`) }) as unknown as Frame;

/** next: number of the next frame of each origin; first: of the first that is in the log. */
function batchOf(given: Step, next: number[], first: number[]): Batch {
  const append: Frame[] = [];
  const drop: { origin: string; through: number }[] = [];
  const heads = new Map<string, { sequence: number; hash: Uint8Array }>();
  ORIGINS.forEach((origin, at) => {
    const [add, gone] = given.frames[at] ?? [0, 0];
    const from = next[at] ?? 1;
    if (gone > 0) drop.push({ origin, through: Math.min((first[at] ?? 1) + gone - 1, from - 1) });
    for (let i = 0; i < add; i++) append.push(frameOf(origin, from + i));
    if (add > 0) heads.set(origin, { sequence: from + add - 1, hash: given.head });
  });
  const { remove, put, state, forget } = given;
  return { remove, put, append, drop, state, heads, forget: forget ? [ORIGINS[0] as string] : [] };
}

const plain = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (_, part: unknown) => {
      if (typeof part === 'bigint') return `${part}n`;
      if (part instanceof Map) return [...part].sort();
      if (part instanceof Uint8Array) return Buffer.from(part).toString('hex');
      return typeof part === 'object' && part !== null && (part as { type?: unknown }).type === 'Buffer'
        ? Buffer.from((part as unknown as { data: number[] }).data).toString('hex')
        : part;
    }),
  );

/** All that can be asked of a store. */
function contents(store: ReplicaStore): unknown {
  const snapshot = store.openSnapshot();
  const cells: Cell[] = [];
  for (let page = snapshot.next(300); page.length > 0; page = snapshot.next(300)) cells.push(...page);
  snapshot.close();
  const { heads, ...state } = store.load();
  return plain({
    cells,
    heads: [...heads].sort(([a], [b]) => (a < b ? -1 : 1)),
    state,
    after: store.bucket(bucketOf('Service', 'a'), { kind: 'Service', id: 'a', group: '3' }, 2),
    objects: KINDS.flatMap((kind) =>
      IDS.map((id) => [...store.object(kind, id)].sort((a, b) => (a.group < b.group ? -1 : 1))),
    ),
    buckets: IDS.map((id) => store.bucket(bucketOf('Service', id), undefined, EVERYTHING)),
    frames: ORIGINS.map((origin) => {
      const first = store.firstFrame(origin);
      return [
        first,
        store.frames(origin, first ?? 1, 1_000, 100),
        store.frames(origin, 2, 3, 1),
        store.frames(origin, 9, 9, 1),
      ];
    }),
    log: store.logSize(),
  });
}

for (const cluster of ['', 'eu-1'])
  replicaStoreCompliance(`in SQLite, of ${cluster || 'the mesh'}`, () => {
    const directory = mkdtempSync(join(tmpdir(), 'marcher-replica-'));
    const path = join(directory, 'replica.db');
    const files: SqliteConfigStore[] = [];
    const open = (): ReplicaStore => {
      const file = new SqliteConfigStore(path);
      files.push(file);
      return file.openReplica(cluster);
    };
    return {
      store: open(),
      reopen: open,
      dispose() {
        for (const file of files) file.close();
        rmSync(directory, { recursive: true });
      },
    };
  });

describe('the replica in SQLite', () => {
  let directory: string;
  let opened: SqliteConfigStore[];
  const open = (name = 'replica.db'): SqliteConfigStore => {
    const store = new SqliteConfigStore(join(directory, name));
    opened.push(store);
    return store;
  };
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'marcher-replica-'));
    opened = [];
  });
  afterEach(() => {
    for (const store of opened) store.close();
    rmSync(directory, { recursive: true });
  });

  test('is as the one in memory after any commits, also those that fail, and when it is opened again', () => {
    let runs = 0;
    fc.assert(
      fc.property(fc.array(step, { maxLength: 6 }), (steps) => {
        const name = `${runs++}.db`;
        const file = open(name);
        const stored = file.openReplica();
        const memory = new MemoryStore();
        const next = [1, 1];
        for (const given of steps) {
          const batch = batchOf(
            given,
            next,
            ORIGINS.map((origin) => memory.firstFrame(origin) ?? 1),
          );
          const fail = given.fails
            ? () => {
                throw new RangeError('the other half failed');
              }
            : undefined;
          for (const store of [stored, memory]) {
            if (fail === undefined) store.commit(batch);
            else expect(() => store.commit(batch, fail)).toThrow('the other half failed');
          }
          if (fail === undefined) for (const at of [0, 1]) next[at] = (next[at] ?? 1) + (given.frames[at]?.[0] ?? 0);
          expect(contents(stored)).toEqual(contents(memory));
        }
        file.close();
        opened.pop();
        const again = new SqliteConfigStore(join(directory, name));
        expect(contents(again.openReplica())).toEqual(contents(memory));
        again.close();
      }),
      { numRuns: 25 },
    );
  });

  const put = (id: string): Batch => {
    const written: Cell = {
      ...{ kind: 'Service', id, group: '', stamp: { ms: 1, counter: 0, node: 1n }, value: Uint8Array.of(1) },
      ...{ origin: ORIGINS[0] as string, sequence: 1, mark: 1 },
    };
    return { remove: [], put: [written], append: [], drop: [], state: {}, heads: new Map(), forget: [] };
  };
  const revision = { timeMs: 1, author: 'a', origin: 'mesh', message: '' };
  const created = { kind: 'Service', name: 'web', before: undefined, after: Uint8Array.of(9) } as const;

  test('takes a version of the configuration into its transaction, or neither is there', () => {
    const store = open();
    const replica = store.openReplica();
    replica.commit(put('web'), () => store.commit(revision, [created]));
    store.confirm();
    expect([store.version, store.count(), replica.object('Service', 'web').length]).toEqual([1n, 1, 1]);
    const work = (): void => {
      store.commit(revision, [{ ...created, name: 'other' }]);
      throw new RangeError('after it');
    };
    expect(() => replica.commit(put('other'), work)).toThrow('after it');
    expect(replica.object('Service', 'other')).toEqual([]);
  });

  test('a snapshot is as of one read, whatever is committed meanwhile', () => {
    const replica = open().openReplica();
    replica.commit(put('a'));
    replica.commit(put('b'));
    const snapshot = replica.openSnapshot();
    const seen = snapshot.next(1);
    replica.commit({ ...put('c'), remove: [{ kind: 'Service', id: 'b', group: '' }] });
    for (let page = snapshot.next(1); page.length > 0; page = snapshot.next(1)) seen.push(...page);
    snapshot.close();
    expect(seen.map(({ id }) => id)).toEqual(['a', 'b']);
    expect(['a', 'b', 'c'].filter((id) => replica.object('Service', id).length > 0)).toEqual(['a', 'c']);
  });

  test('a frame that does not follow the last is refused as damage', () => {
    const replica = open().openReplica();
    const origin = ORIGINS[0] as string;
    replica.commit({ ...put('a'), append: [frameOf(origin, 5)] });
    expect(() => replica.commit({ ...put('a'), append: [frameOf(origin, 7)] })).toThrow(/does not follow/);
  });

  /** With the file's own connection, to make it fail. */
  const bare = (): { database: Database.Database; replica: ReplicaStore } => {
    const path = join(directory, 'bare.db');
    const connect = (): Database.Database => new Database(path).defaultSafeIntegers(true);
    const database = connect();
    for (const sql of MIGRATIONS) database.exec(sql);
    return { database, replica: new SqliteReplicaStore(new Writer(database), connect) };
  };

  test('only a commit that need not be durable is not synced to the disk, whatever came before it', () => {
    const { database, replica } = bare();
    const modes: unknown[] = [];
    const look = (): void => {
      modes.push(database.pragma('synchronous', { simple: true }));
    };
    const fail = (): void => {
      look();
      throw new RangeError('the other half failed');
    };
    look();
    replica.commit(put('a'), look, { durable: false });
    expect(() => replica.commit(put('b'), fail, { durable: false })).toThrow('the other half failed');
    replica.commit(put('b'), look);
    expect(() => replica.commit(put('c'), fail)).toThrow('the other half failed');
    replica.commit(put('b'), look, { durable: false });
    replica.commit(put('b'), look, { durable: true });
    // NORMAL is 1, FULL 2.
    expect(modes.map(Number)).toEqual([2, 1, 1, 2, 2, 1, 2]);
    database.close();
  });

  test('a full disk is said so, and leaves nothing of the commit; with room again it goes on', () => {
    const { database, replica } = bare();
    replica.commit(put('a'));
    const pages = Number(database.pragma('page_count', { simple: true }));
    database.pragma(`max_page_count = ${pages + 1}`);
    const [cell] = put('b').put;
    const large = { ...put('b'), put: [{ ...(cell as Cell), value: new Uint8Array(100_000) }] };
    expect(() => replica.commit({ ...large, remove: put('a').put })).toThrow(
      expect.objectContaining({ name: 'ReplicaStoreError', code: 'full' }),
    );
    expect(['a', 'b'].map((id) => replica.object('Service', id).length)).toEqual([1, 0]);
    database.pragma('max_page_count = 1000000');
    replica.commit(large);
    expect(replica.object('Service', 'b').length).toBe(1);
    database.close();
  });

  test('a state that is not what was written is said to be damage', () => {
    const { database, replica } = bare();
    database.prepare("INSERT INTO replica_state (part, value) VALUES ('clock', '\"not a time\"')").run();
    expect(() => replica.load()).toThrow(expect.objectContaining({ name: 'ReplicaStoreError', code: 'corrupt' }));
    database.close();
  });
});
