// SPDX-License-Identifier: Apache-2.0
import { afterEach, expect, test } from 'vitest';
import type { Batch, Cell } from '../domain/replication/contract.js';
import { Crash } from '../domain/replication/sim/disk.js';
import { Random } from '../domain/replication/sim/random.js';
import { SqliteDisk } from './sqlite-disk.js';

let disks: SqliteDisk[] = [];

afterEach(() => {
  for (const disk of disks) disk.dispose();
  disks = [];
});

function open(): SqliteDisk {
  const disk = new SqliteDisk(() => {});
  disks.push(disk);
  return disk;
}

function put(id: string): Batch {
  const stamp = { ms: 1, counter: 0, node: 1n };
  const cell: Cell = { kind: 'k', id, group: '', stamp, value: undefined, origin: 'o', sequence: 1, mark: 0 };
  return { remove: [], put: [cell], append: [], drop: [], state: {}, heads: new Map(), forget: [] };
}

function held(disk: SqliteDisk): string {
  return disk
    .cells()
    .map(({ id }) => id)
    .join('');
}

/** Where the log is cut, as a share of what may be lost. */
class Cut extends Random {
  readonly #share: number;

  constructor(share: number) {
    super(1);
    this.#share = share;
  }

  override below(bound: number): number {
    return Math.min(bound - 1, Math.floor(bound * this.#share));
  }
}

test('wherever the log ends after what was synced, a machine that failed has whole commits, and every durable one', () => {
  const relaxed = { durable: false };
  const seen = new Set<string>();
  for (let step = 0; step <= 12; step++) {
    const disk = open();
    disk.commit(put('a'), undefined, relaxed);
    disk.commit(put('b'));
    for (const id of ['c', 'd', 'e']) disk.commit(put(id), undefined, relaxed);
    const lost = disk.ends(new Cut(step / 12));
    expect('abcde'.startsWith(held(disk))).toBe(true);
    expect(held(disk).length).toBe(5 - lost);
    seen.add(held(disk));
  }
  expect([...seen].sort()).toEqual(['ab', 'abc', 'abcd', 'abcde']);
});

test('a process that is killed leaves every commit that has returned, and nothing of the one that had not', () => {
  const disk = open();
  disk.commit(put('a'), undefined, { durable: false });
  for (const id of ['x', 'y']) {
    // First in the middle of the transaction, then of its log.
    disk.crashAfter = 0;
    expect(() => disk.commit(put(id))).toThrow(Crash);
    disk.ends(undefined);
    expect(held(disk)).toBe('a');
  }
  expect(disk.crashedWithin).toBe(2);
  disk.commit(put('b'));
  expect(held(disk)).toBe('ab');
});
