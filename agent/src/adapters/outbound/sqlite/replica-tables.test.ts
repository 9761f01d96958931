// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { replicaTables } from './replica-tables.js';
import { SqliteConfigStore } from './sqlite-config-store.js';

let directory: string;
let file: SqliteConfigStore;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-replica-tables-'));
  file = new SqliteConfigStore(join(directory, 'marcher.db'));
});

afterEach(() => {
  file.close();
  rmSync(directory, { recursive: true, force: true });
});

const written = (id: string) => ({
  ...{ remove: [], append: [], drop: [], state: {}, heads: new Map(), forget: [] },
  put: [
    {
      ...{ kind: 'Service', id, group: '', value: new Uint8Array([1]), origin: '0000000000000001.000000000001' },
      ...{ stamp: { ms: 1, counter: 0, node: 1n }, sequence: 1, mark: 0 },
    },
  ],
});

/** What SQLite has of it, without its names. */
function schema(): string[] {
  const database = new Database(join(directory, 'marcher.db'), { readonly: true });
  const rows = database
    .prepare<[], { sql: string | null }>(
      "SELECT sql FROM sqlite_master WHERE sql GLOB '*@eu*' OR tbl_name IN ('cells', 'frames', 'heads', 'replica_state', 'frame_totals')",
    )
    .all();
  database.close();
  return rows.flatMap(({ sql }) =>
    sql === null
      ? []
      : sql
          .replaceAll(/"([a-z_]+)@eu"/g, '$1')
          .replaceAll(/\s+|(?<=\() | (?=\))/g, ' ')
          .replaceAll(/\( | \)/g, (at) => at.trim()),
  );
}

test("a cluster's tables are those of the mesh's replica under other names", () => {
  file.openReplica('eu');
  const all = schema().sort();
  expect(all).toHaveLength(2 * 10);
  for (let i = 0; i < all.length; i += 2) expect(all[i]).toBe(all[i + 1]);
});

test('clusters have nothing in common, and go without a trace of what was in them', () => {
  const [eu, us, mesh] = ['eu', 'us', ''].map((cluster) => file.openReplica(cluster)) as [
    ReturnType<typeof file.openReplica>,
    ReturnType<typeof file.openReplica>,
    ReturnType<typeof file.openReplica>,
  ];
  eu.commit(written('of-eu'));
  us.commit(written('of-us'));
  expect([eu, us, mesh].map((store) => store.object('Service', 'of-eu').length)).toEqual([1, 0, 0]);
  expect(file.replicatedClusters()).toEqual(['eu', 'us']);
  // While a snapshot of it is being given to somebody.
  const snapshot = eu.openSnapshot();
  file.dropReplica('eu');
  expect(snapshot.next(1_000)).toHaveLength(1);
  snapshot.close();
  expect(file.replicatedClusters()).toEqual(['us']);
  expect(file.openReplica('eu').object('Service', 'of-eu')).toEqual([]);
  file.forgetReplica();
  expect(file.replicatedClusters()).toEqual([]);
});

test('under which assignments a cluster is held is kept with it, and goes with it', () => {
  const first = { ms: 1_700_000_000_000, counter: 7, node: 2n ** 63n };
  const last = { ...first, counter: 8 };
  const eu = file.openReplica('eu');
  expect(file.clusterHeldUnder('eu')).toBeUndefined();
  file.setClusterHeldUnder('eu', { first, last: first });
  file.setClusterHeldUnder('eu', { first, last });
  expect(file.clusterHeldUnder('eu')).toEqual({ first, last });
  expect(eu.load().heads.size).toBe(0);
  file.dropReplica('eu');
  file.openReplica('eu');
  expect(file.clusterHeldUnder('eu')).toBeUndefined();
});

test('what is no name of a cluster comes into no statement', () => {
  for (const name of ['a"; DROP TABLE cells; --', 'A', 'a@b', 'x'.repeat(64)]) {
    expect(() => replicaTables(name)).toThrow('is no name of a cluster');
    expect(() => file.openReplica(name)).toThrow();
  }
  expect(() => file.dropReplica('')).toThrow();
});
