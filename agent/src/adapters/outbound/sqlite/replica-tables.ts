// SPDX-License-Identifier: Apache-2.0
/**
 * The tables of a replica: the mesh's, which migrations have made (migrations/0003-replica.ts), and those of a cluster,
 * made when the node enters it and dropped when it leaves. A migration that changes the first has to change the others,
 * which storedClusters() names.
 */
import { pack, type Timestamp, unpack } from '@marcher/hlc';
import type Database from 'better-sqlite3';
import type { HeldUnder } from '../../../application/mesh/shards.js';
import type { ClusterName } from '../../../domain/replication/contract.js';

export interface ReplicaTables {
  readonly cells: string;
  readonly frames: string;
  readonly heads: string;
  readonly state: string;
  readonly totals: string;
}

/** What no name of a migration has. */
const MARK = '@';
/** It goes into SQL. */
const CLUSTER = /^[a-z0-9-]{1,63}$/;

/** As they stand in SQL. cluster '': the mesh's. */
export function replicaTables(cluster: ClusterName): ReplicaTables {
  const named = (table: string): string => nameIn(cluster, table);
  return {
    cells: named('cells'),
    frames: named('frames'),
    heads: named('heads'),
    state: named('replica_state'),
    totals: named('frame_totals'),
  };
}

function nameIn(cluster: ClusterName, name: string): string {
  if (cluster === '') return name;
  if (!CLUSTER.test(cluster)) throw new Error(`${JSON.stringify(cluster)} is no name of a cluster`);
  return `"${name}${MARK}${cluster}"`;
}

/** Of which there are tables. */
export function storedClusters(database: Database.Database): ClusterName[] {
  const prefix = `cells${MARK}`;
  const names = database
    .prepare<[string], string>("SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB ? ORDER BY name")
    .pluck()
    .all(`${prefix}*`) as unknown as string[];
  return names.map((name) => name.slice(prefix.length));
}

/** All of them or none; those that are there stay as they are. */
export function createTables(database: Database.Database, cluster: ClusterName): void {
  if (storedClusters(database).includes(cluster)) return;
  const { cells, frames, heads, state, totals } = replicaTables(cluster);
  const own = (name: string): string => nameIn(cluster, name);
  const sql = `
CREATE TABLE ${cells} (
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  "group" TEXT NOT NULL,
  bucket INTEGER NOT NULL,
  stamp BLOB NOT NULL,
  origin TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  mark INTEGER NOT NULL,
  value BLOB,
  PRIMARY KEY (kind, id, "group")
) STRICT, WITHOUT ROWID;
CREATE INDEX ${own('cells_by_bucket')} ON ${cells} (bucket, kind, id, "group");
CREATE INDEX ${own('tombstones')} ON ${cells} (kind, id, "group") WHERE value IS NULL;
CREATE TABLE ${frames} (origin TEXT NOT NULL, sequence INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX ${own('frames_by_sequence')} ON ${frames} (origin, sequence);
CREATE TABLE ${heads} (origin TEXT PRIMARY KEY, sequence INTEGER NOT NULL, hash BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE ${state} (part TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE ${totals} (frames INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
INSERT INTO ${totals} VALUES (0, 0);
CREATE TRIGGER ${own('frame_added')} AFTER INSERT ON ${frames} BEGIN
  UPDATE ${totals} SET frames = frames + 1, bytes = bytes + length(new.bytes);
END;
CREATE TRIGGER ${own('frame_dropped')} AFTER DELETE ON ${frames} BEGIN
  UPDATE ${totals} SET frames = frames - 1, bytes = bytes - length(old.bytes);
END;`;
  database.transaction(() => database.exec(sql))();
}

/** A part of a cluster's state that is none of its replica's: under which assignments this node has it. */
const HELD_UNDER = 'held-under';

export function readHeldUnder(database: Database.Database, cluster: ClusterName): HeldUnder | undefined {
  const json = database
    .prepare<[string], string>(`SELECT value FROM ${replicaTables(cluster).state} WHERE part = ?`)
    .pluck()
    .get(HELD_UNDER) as unknown as string | undefined;
  if (json === undefined) return undefined;
  const { first, last } = JSON.parse(json) as Readonly<Record<keyof HeldUnder, unknown>>;
  return { first: stampOf(first), last: stampOf(last) };
}

export function writeHeldUnder(database: Database.Database, cluster: ClusterName, { first, last }: HeldUnder): void {
  const json = JSON.stringify({ first: hexOf(first), last: hexOf(last) });
  database.prepare(`INSERT OR REPLACE INTO ${replicaTables(cluster).state} VALUES (?, ?)`).run(HELD_UNDER, json);
}

const stampOf = (hex: unknown): Timestamp => unpack(Uint8Array.from(Buffer.from(String(hex), 'hex')));
const hexOf = (stamp: Timestamp): string => Buffer.from(pack(stamp)).toString('hex');

/** With what is in them. */
export function dropTables(database: Database.Database, cluster: ClusterName): void {
  if (cluster === '') throw new Error("the mesh's replica is emptied, and not dropped");
  const tables = Object.values(replicaTables(cluster));
  database.transaction(() => {
    for (const table of tables) database.exec(`DROP TABLE IF EXISTS ${table}`);
  })();
}
