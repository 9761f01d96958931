// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Kind } from '@marcher/model';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { CommitChange } from '../../../ports/config-store.js';
import { MIGRATIONS } from './migrations/index.js';
import { SqliteConfigStore } from './sqlite-config-store.js';
import { Writer } from './writer.js';

const REVISION = { timeMs: 0, author: 'tester', origin: 'api', message: '' };
let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'marcher-store-'));
});

afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

const body = (text: string) => new Uint8Array(Buffer.from(text));
const text = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString();

/** What there is, by kind and name: body and generation. */
function contents(store: SqliteConfigStore): Record<string, string> {
  const all = [...[...store.scan()].map((one) => ({ ...one, kind: 'Service' })), ...store.objects()];
  return Object.fromEntries(all.map((one) => [`${one.kind}/${one.name}`, `${text(one.body)}@${one.generation}`]));
}

/** What a store does with changes that name bodies only. */
function change(store: SqliteConfigStore, kind: Kind, name: string, after: string | undefined): CommitChange {
  const before = kind === 'Service' ? store.get(name)?.body : store.object(kind, name)?.body;
  return { kind, name, before, after: after === undefined ? undefined : body(after) };
}

test('a database of the first schema keeps its services, versions and drains, and takes objects', () => {
  const path = join(dir, 'marcher.db');
  const old = new Database(path);
  old.exec(MIGRATIONS[0] as string);
  old.pragma('user_version = 1');
  const hash = createHash('sha256').update('now').digest();
  old.prepare('INSERT INTO services VALUES (?, ?, ?, ?)').run('web', Buffer.from('now'), 2, hash);
  const versions = old.prepare('INSERT INTO versions VALUES (?, 0, ?, ?, ?, ?, ?, 0, 100)');
  versions.run(1, 'tester', 'api', 'first', 1, 0);
  versions.run(2, 'tester', 'api', 'second', 0, 1);
  const changes = old.prepare('INSERT INTO changes VALUES (?, ?, ?, ?, 1)');
  changes.run(1, 'web', null, null);
  changes.run(2, 'web', Buffer.from('then'), 1);
  old.prepare('INSERT INTO drains VALUES (?, ?)').run('web', 'a');
  old.close();

  let store = new SqliteConfigStore(path);
  expect(store.version).toBe(2n);
  expect(contents(store)).toEqual({ 'Service/web': 'now@2' });
  const before = store.hash();
  expect(store.revisions({ limit: 9, beforeVersion: 0n }).map(({ message }) => message)).toEqual(['second', 'first']);
  expect(store.changesOf(2n)).toMatchObject([{ kind: 'Service', name: 'web' }]);
  expect(text(store.stateAt(1n)?.[0]?.after)).toBe('then');
  expect(store.drainedBackends()).toEqual([{ service: 'web', backend: 'a' }]);

  store.commit(REVISION, [change(store, 'Guard', 'web', 'g'), change(store, 'TrafficPolicy', 'web', 'p')]);
  store.confirm();
  expect(store.hash()).not.toBe(before);
  store.close();
  store = new SqliteConfigStore(path);
  expect(contents(store)).toEqual({ 'Service/web': 'now@2', 'Guard/web': 'g@3', 'TrafficPolicy/web': 'p@3' });
  expect(store.changedSince(2n)).toEqual({
    services: [],
    objects: [
      { kind: 'Guard', name: 'web' },
      { kind: 'TrafficPolicy', name: 'web' },
    ],
  });
  store.close();
});

test('an object that is not what was written is found when the database is opened', () => {
  const path = join(dir, 'marcher.db');
  const store = new SqliteConfigStore(path);
  store.commit(REVISION, [change(store, 'Guard', 'edge', 'deny')]);
  store.confirm();
  store.close();
  const file = new Database(path);
  file.prepare("UPDATE objects SET body = ? WHERE name = 'edge'").run(Buffer.from('allow'));
  file.close();
  expect(() => new SqliteConfigStore(path)).toThrow('Guard "edge" is not what was written');
});

test('history gives back every state of every kind, through versions that were taken back', () => {
  const one = fc.tuple(
    fc.constantFrom<Kind>('Service', 'Guard', 'TrafficPolicy'),
    fc.constantFrom('a', 'b'),
    fc.constantFrom('x', 'y', undefined),
  );
  const step = fc.record({
    changes: fc.uniqueArray(one, { minLength: 2, maxLength: 4, selector: ([k, n]) => k + n }),
    undone: fc.boolean(),
  });
  const shown = (list: readonly CommitChange[]) =>
    list.map(({ kind, name, before, after }) => `${kind}/${name} ${text(before)} ${text(after)}`).sort();
  let runs = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 6, maxLength: 9 }), (steps) => {
      const store = new SqliteConfigStore(join(dir, `${runs++}.db`));
      const states = [{}];
      const hashes = [store.hash()];
      const made: string[][] = [];
      for (const { changes, undone } of steps) {
        const all = changes
          .map(([kind, name, after]) => change(store, kind, name, after))
          .filter(({ before, after }) => text(before) !== text(after));
        if (all.length === 0) continue;
        store.commit(REVISION, all);
        // Readers see what was before until it is confirmed.
        expect(contents(store)).toEqual(states.at(-1));
        if (undone) {
          store.undo();
          expect(contents(store)).toEqual(states.at(-1));
          expect(store.hash()).toBe(hashes.at(-1));
          continue;
        }
        store.confirm();
        states.push(contents(store));
        hashes.push(store.hash());
        made.push(shown(all));
      }
      for (const [i, all] of made.entries()) expect(shown(store.changesOf(BigInt(i + 1)))).toEqual(all);
      const now = contents(store);
      const bodies = (state: Record<string, string>) =>
        Object.fromEntries(Object.entries(state).map(([key, value]) => [key, value.split('@')[0]]));
      for (const [version, state] of states.entries()) {
        const then = bodies(now);
        for (const { kind, name, after } of store.stateAt(BigInt(version)) ?? []) {
          if (after === undefined) delete then[`${kind}/${name}`];
          else then[`${kind}/${name}`] = text(after);
        }
        expect(then).toEqual(bodies(state));
      }
      store.close();
    }),
    { numRuns: 25 },
  );
});

test('history within its limits forgets objects as it forgets services', () => {
  const store = new SqliteConfigStore(join(dir, 'marcher.db'), { history: { versions: 4, bytes: 1 << 20 } });
  for (let i = 0; i < 64; i++) {
    store.commit(REVISION, [change(store, 'Guard', 'a', `${i}`), change(store, 'Service', 'a', `${i}`)]);
    store.confirm();
  }
  expect(store.changesOf(60n)).toEqual([]);
  expect(store.changesOf(61n)).toHaveLength(2);
  expect(store.stateAt(59n)).toBeUndefined();
  expect(store.changedSince(59n)).toBeUndefined();
  store.close();
});

test('what the data plane runs is on the disk with the next change, with a drain, after a second, and at the end', () => {
  vi.useFakeTimers();
  try {
    const path = join(dir, 'marcher.db');
    const store = new SqliteConfigStore(path);
    const look = new Database(path, { readonly: true });
    const onDisk = () => look.prepare("SELECT value FROM meta WHERE key = 'programmed_generation'").pluck().get() ?? 0;
    const run = (generation: bigint) => store.setProgrammed({ generation, version: store.version });
    run(7n);
    expect([store.programmed().generation, onDisk()]).toEqual([7n, 0]);
    store.follow(REVISION, [change(store, 'Service', 'web', 'a')]);
    expect(onDisk()).toBe(7);
    run(8n);
    store.setDrained({ service: 'web', backend: 'b1' }, true);
    expect(onDisk()).toBe(8);
    run(9n);
    run(10n);
    vi.advanceTimersByTime(999);
    expect(onDisk()).toBe(8);
    vi.advanceTimersByTime(1);
    expect(onDisk()).toBe(10);
    run(11n);
    store.close();
    expect(onDisk()).toBe(11);
    look.close();
  } finally {
    vi.useRealTimers();
  }
});

test('each version waits for the disk once: when it is committed, or when it is confirmed', () => {
  const waits: string[] = [];
  const transaction = vi.spyOn(Writer.prototype, 'transaction').mockImplementation(function (this: Writer, work) {
    waits.push('disk');
    this.relaxed(work);
  });
  try {
    const store = new SqliteConfigStore(join(dir, 'marcher.db'));
    const steps = (work: () => void): number => {
      waits.length = 0;
      work();
      return waits.length;
    };
    const put = (after: string) => [change(store, 'Service', 'web', after)];
    expect(steps(() => store.commit(REVISION, put('a')))).toBe(1);
    expect(steps(() => store.confirm())).toBe(0);
    expect(steps(() => store.commit(REVISION, put('b'), undefined, { durable: false }))).toBe(0);
    expect(steps(() => store.confirm())).toBe(1);
    expect(steps(() => store.commit(REVISION, put('c'), undefined, { durable: false }))).toBe(0);
    expect(steps(() => store.confirm((write) => write()))).toBe(0);
    expect([store.version, store.pendingVersion, contents(store)]).toEqual([3n, 0n, { 'Service/web': 'c@3' }]);
    store.close();
  } finally {
    transaction.mockRestore();
  }
});
