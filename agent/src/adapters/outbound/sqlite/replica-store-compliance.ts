// SPDX-License-Identifier: Apache-2.0
/** What every adapter of the replica store must do. Each test gets an empty one. */
import { describe, expect, it } from 'vitest';
import type { Batch, Cell, Frame, Key, ReplicaStore } from '../../../domain/replication/contract.js';
import { BUCKETS, bucketOf } from '../../../domain/replication/digest.js';
import { objectsOfKind } from '../../../domain/replication/kind.js';
import { compareKeys, compareText } from '../../../domain/replication/object.js';
import { originKey } from '../../../domain/replication/origin.js';

export interface StoreHarness {
  readonly store: ReplicaStore;
  /** The same storage, opened again as after the end of the process. */
  reopen(): ReplicaStore;
  dispose(): void;
}

const ORIGIN = originKey({ node: 1n, incarnation: 7 });
const OTHER = originKey({ node: 2n, incarnation: 7 });

function cell(id: string, group: string, ms: number, value: string | undefined): Cell {
  const bytes = value === undefined ? undefined : new TextEncoder().encode(value);
  const stamp = { ms, counter: 3, node: 2n ** 63n };
  return { kind: 'service', id, group, stamp, value: bytes, origin: ORIGIN, sequence: ms, mark: 2 ** 48 - ms };
}

function frame(origin: string, sequence: number, bytes = 10): Frame {
  const none = new Uint8Array(0);
  const stamp = { ms: 1, counter: 0, node: 1n };
  const rest = {
    node: 1n,
    stamp,
    cluster: '',
    previous: none,
    author: '',
    message: '',
    writes: [],
    hash: none,
    signature: none,
  };
  return { ...rest, origin, sequence, bytes: new Uint8Array(bytes).fill(sequence) };
}

function batch(parts: Partial<Batch>): Batch {
  return { remove: [], put: [], append: [], drop: [], state: {}, heads: new Map(), forget: [], ...parts };
}

function names(cells: readonly Key[]): string[] {
  return cells.map(({ id, group }) => `${id}/${group}`);
}

/** By the order of keys. */
function everything(store: ReplicaStore): Key[] {
  return Array.from({ length: BUCKETS }, (_, bucket) => store.bucket(bucket, undefined, 100))
    .flat()
    .sort(compareKeys);
}

function plain(bytes: readonly Uint8Array[]): number[] {
  return bytes.map((each) => each[0] ?? -1);
}

export function replicaStoreCompliance(name: string, open: () => StoreHarness): void {
  const on = (what: string, test: (harness: StoreHarness) => void): void => {
    it(what, () => {
      const harness = open();
      try {
        test(harness);
      } finally {
        harness.dispose();
      }
    });
  };

  describe(`replica store: ${name}`, () => {
    on(
      'cells come back as they were put, tombstones and empty values apart, also after a restart',
      ({ store, reopen }) => {
        const cells = [cell('a', '', 1, ''), cell('a', 'spec', 2, 'é\0'), cell('a', 'tls', 3, undefined)];
        store.commit(batch({ put: cells }));
        for (const at of [store, reopen()]) {
          const found = [...at.object('service', 'a')].sort((x, y) => x.sequence - y.sequence);
          expect(found.map((each) => ({ ...each, value: each.value && [...each.value] }))).toEqual(
            cells.map((each) => ({ ...each, value: each.value && [...each.value] })),
          );
        }
        store.commit(batch({ remove: [cell('a', 'spec', 0, '')], put: [cell('a', 'tls', 4, 'x')] }));
        expect(
          store
            .object('service', 'a')
            .map(({ group, sequence }) => `${group}${sequence}`)
            .sort(),
        ).toEqual(['1', 'tls4']);
        expect(store.object('service', 'b')).toEqual([]);
      },
    );

    on('cells of a bucket are read in the order of keys, page by page', ({ store }) => {
      const ids = [
        'b',
        'a',
        'ä',
        'B',
        'a-1',
        'aa',
        '\u{1f600}',
        '\uff5e',
        ...Array.from({ length: 400 }, (_, i) => `${i}`),
      ];
      store.commit(batch({ put: ids.flatMap((id) => [cell(id, '', 1, ''), cell(id, 'x', 1, '')]) }));
      // Not by UTF-16 code units, as JavaScript compares, nor by any language.
      const expected = [...ids].sort(compareText).flatMap((id) => [`${id}/`, `${id}/x`]);
      for (let bucket = 0; bucket < BUCKETS; bucket++) {
        const within = expected.filter((each) => bucketOf('service', each.split('/')[0] ?? '') === bucket);
        expect(names(store.bucket(bucket, undefined, 100))).toEqual(within);
        const found: string[] = [];
        let after: Key | undefined;
        for (;;) {
          const page = store.bucket(bucket, after, 3);
          found.push(...names(page));
          after = page[page.length - 1];
          if (page.length < 3) break;
        }
        expect(found).toEqual(within);
      }
    });

    on('a kind gives its cells in key order, in pages, and none of another kind', ({ store }) => {
      const of = (kind: string, id: string): Cell[] => ['', 'x'].map((group) => ({ ...cell(id, group, 1, ''), kind }));
      const ids = Array.from({ length: 20 }, (_, i) => `${i}`);
      store.commit(
        batch({ put: ['policy', 'service', 'serviced', 'user'].flatMap((k) => ids.flatMap((id) => of(k, id))) }),
      );
      const found: Cell[] = [];
      for (
        let page = store.kind('service', undefined, 7);
        page.length > 0;
        page = store.kind('service', found.at(-1), 7)
      ) {
        found.push(...page);
      }
      expect(names(found)).toEqual([...ids].sort(compareText).flatMap((id) => [`${id}/`, `${id}/x`]));
      expect(new Set(found.map(({ kind }) => kind))).toEqual(new Set(['service']));
      expect(Array.from(objectsOfKind(store, 'service'), ({ id, groups }) => [id, groups.size])).toEqual(
        [...ids].sort(compareText).map((id) => [id, 2]),
      );
      expect(store.kind('none', undefined, 7)).toEqual([]);
    });

    on(
      'the log gives ranges of frames within bytes, one at least, and nothing where it does not reach',
      ({ store }) => {
        store.commit(batch({ append: [1, 2, 3, 4, 5].map((sequence) => frame(ORIGIN, sequence)) }));
        store.commit(batch({ append: [frame(OTHER, 9)] }));
        expect(plain(store.frames(ORIGIN, 2, 4, 1000))).toEqual([2, 3, 4]);
        expect(plain(store.frames(ORIGIN, 2, 99, 25))).toEqual([2, 3]);
        expect(plain(store.frames(ORIGIN, 2, 99, 1))).toEqual([2]);
        expect(store.frames(ORIGIN, 6, 9, 1000)).toEqual([]);
        expect([store.firstFrame(ORIGIN), store.firstFrame(OTHER), store.firstFrame('none')]).toEqual([
          1,
          9,
          undefined,
        ]);
        expect(store.logSize()).toEqual({ frames: 6, bytes: 60 });
        store.commit(batch({ drop: [{ origin: ORIGIN, through: 3 }] }));
        expect([store.firstFrame(ORIGIN), store.frames(ORIGIN, 3, 5, 1000)]).toEqual([4, []]);
        expect(plain(store.frames(ORIGIN, 4, 5, 1000))).toEqual([4, 5]);
        // Dropped to its end, the log may go on behind a gap: what lies in it came with a snapshot.
        store.commit(batch({ drop: [{ origin: ORIGIN, through: 100 }] }));
        expect(store.firstFrame(ORIGIN)).toBeUndefined();
        store.commit(batch({ append: [frame(ORIGIN, 50)] }));
        expect(plain(store.frames(ORIGIN, 50, 50, 1000))).toEqual([50]);
      },
    );

    on('a frame that leaves a gap in the log is refused, and its whole commit with it', ({ store }) => {
      store.commit(batch({ append: [frame(ORIGIN, 1)] }));
      expect(() => store.commit(batch({ put: [cell('a', '', 1, '')], append: [frame(ORIGIN, 3)] }))).toThrow(
        'does not follow',
      );
      expect([store.object('service', 'a'), store.logSize().frames]).toEqual([[], 1]);
    });

    on('the state is kept, in parts and over a restart', ({ store, reopen }) => {
      expect(store.load()).toMatchObject({ self: undefined, admitted: false, forks: [] });
      const head = { sequence: 3, hash: new Uint8Array([1, 2]) };
      const clock = { ms: 2 ** 48 - 1, counter: 9, node: 2n ** 64n - 1n };
      const state = {
        ...{
          self: { node: 2n ** 64n - 1n, incarnation: 2 ** 48 - 1 },
          clock,
          admitted: true,
          floors: new Map([[5n, 6]]),
        },
        horizon: { stamp: clock, seen: new Map([[ORIGIN, 2]]) },
        forks: [{ origin: OTHER, sequence: 4, kept: new Uint8Array([3]), other: new Uint8Array(0) }],
      };
      store.commit(batch({ state, heads: new Map([[ORIGIN, head]]) }));
      store.commit(batch({ heads: new Map([[OTHER, head]]) }));
      const all = {
        ...state,
        heads: new Map([
          [ORIGIN, head],
          [OTHER, head],
        ]),
      };
      expect(reopen().load()).toEqual(all);
      const again = reopen();
      again.commit(batch({ state: { admitted: false }, forget: [ORIGIN] }));
      expect(reopen().load()).toEqual({ ...all, admitted: false, heads: new Map([[OTHER, head]]) });
    });

    on('a commit that need not be durable is there at once, and outlives the process', ({ store, reopen }) => {
      store.commit(batch({ put: [cell('a', '', 1, '')], append: [frame(ORIGIN, 1)] }), undefined, { durable: false });
      for (const at of [store, reopen()]) expect([names(everything(at)), at.firstFrame(ORIGIN)]).toEqual([['a/'], 1]);
    });

    on('what is done alongside belongs to the commit: if it throws, nothing has changed', ({ store, reopen }) => {
      store.commit(batch({ put: [cell('a', '', 1, ''), cell('b', '', 1, '')], append: [frame(ORIGIN, 1)] }));
      const before = store.load();
      const change = batch({
        put: [cell('a', '', 2, 'new'), cell('c', '', 2, '')],
        remove: [cell('b', '', 0, '')],
        append: [frame(ORIGIN, 2)],
        drop: [{ origin: ORIGIN, through: 1 }],
        state: { admitted: true },
        heads: new Map([[ORIGIN, { sequence: 2, hash: new Uint8Array(1) }]]),
      });
      expect(() =>
        store.commit(change, () => {
          throw new Error('audit is full');
        }),
      ).toThrow('audit is full');
      for (const at of [store, reopen()]) {
        expect(names(everything(at))).toEqual(['a/', 'b/']);
        expect(at.object('service', 'a')[0]?.sequence).toBe(1);
        expect([at.firstFrame(ORIGIN), at.logSize().frames]).toEqual([1, 1]);
        expect(at.load()).toEqual(before);
      }
      let ran = 0;
      store.commit(change, () => ran++);
      expect([ran, names(everything(store))]).toEqual([1, ['a/', 'c/']]);
    });

    on('a snapshot is as of one read, whatever is committed meanwhile', ({ store }) => {
      const cells = ['a', 'b', 'c', 'd'].map((id) => cell(id, '', 1, 'x'.repeat(100)));
      store.commit(batch({ put: cells, heads: new Map([[ORIGIN, { sequence: 1, hash: new Uint8Array(1) }]]) }));
      const reader = store.openSnapshot();
      const first = reader.next(300);
      store.commit(
        batch({
          remove: [cell('c', '', 0, '')],
          put: [cell('d', '', 2, 'new')],
          heads: new Map([[OTHER, { sequence: 1, hash: new Uint8Array(1) }]]),
        }),
      );
      const rest: Cell[] = [];
      for (let part = reader.next(1); part.length > 0; part = reader.next(1)) {
        expect(part).toHaveLength(1);
        rest.push(...part);
      }
      expect(first.length).toBeLessThan(4);
      expect(names([...first, ...rest])).toEqual(['a/', 'b/', 'c/', 'd/']);
      expect([...first, ...rest].map(({ sequence }) => sequence)).toEqual([1, 1, 1, 1]);
      expect([...reader.state.heads.keys()]).toEqual([ORIGIN]);
      reader.close();
    });
  });
}
