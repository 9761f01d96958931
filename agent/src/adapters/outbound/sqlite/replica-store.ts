// SPDX-License-Identifier: Apache-2.0
/** ReplicaStore in the tables beside the configuration, so that a frame and what it makes of services are one transaction. */
import { pack, unpack } from '@marcher/hlc';
import type Database from 'better-sqlite3';
import type {
  Batch,
  Cell,
  ClusterName,
  CommitOptions,
  Key,
  OriginKey,
  ReplicaState,
  ReplicaStore,
  SnapshotReader,
} from '../../../domain/replication/contract.js';
import { ReplicaStoreError } from '../../../domain/replication/contract.js';
import { bucketOf } from '../../../domain/replication/digest.js';
import { StoreError } from '../../../ports/config-store.js';
import { ObjectCache } from './object-cache.js';
import { readState, writeState } from './replica-state.js';
import { type ReplicaTables, replicaTables } from './replica-tables.js';
import { storeError } from './store-error.js';
import type { Writer } from './writer.js';

interface CellRow {
  kind: string;
  id: string;
  group: string;
  stamp: Uint8Array;
  origin: string;
  sequence: bigint;
  mark: bigint;
  value: Uint8Array | null;
}

const CELL = 'kind, id, "group", stamp, origin, sequence, mark, value';
const AFTER = '(kind, id, "group") > (?, ?, ?)';
const IN_ORDER = 'ORDER BY kind, id, "group" LIMIT ?';
/** Before every key. */
const FIRST: Key = { kind: '', id: '', group: '' };
const SNAPSHOT_ROWS = 512;

function cellOf({ kind, id, group, stamp, origin, sequence, mark, value }: CellRow): Cell {
  return {
    ...{ kind, id, group, origin, stamp: unpack(stamp), value: value ?? undefined },
    ...{ sequence: Number(sequence), mark: Number(mark) },
  };
}

function replicaError(error: unknown): ReplicaStoreError {
  if (error instanceof ReplicaStoreError) return error;
  const { code, message } = storeError(error);
  return new ReplicaStoreError(code === 'full' || code === 'corrupt' ? code : 'io', message);
}

function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw replicaError(error);
  }
}

function stateOf(database: Database.Database, tables: ReplicaTables): ReplicaState {
  const rows = database.prepare<[], { part: string; value: string }>(`SELECT part, value FROM ${tables.state}`).all();
  const heads = database
    .prepare<[], { origin: string; sequence: bigint; hash: Uint8Array }>(
      `SELECT origin, sequence, hash FROM ${tables.heads}`,
    )
    .all();
  let small: ReturnType<typeof readState>;
  try {
    small = readState(rows);
  } catch (error) {
    throw new ReplicaStoreError('corrupt', `the replica's state can't be read: ${String(error)}`);
  }
  return {
    ...small,
    heads: new Map(
      heads.map(({ origin, sequence, hash }) => [origin, { sequence: Number(sequence), hash: Uint8Array.from(hash) }]),
    ),
  };
}

export class SqliteReplicaStore implements ReplicaStore {
  readonly #writer: Writer;
  readonly #openReader: () => Database.Database;
  readonly #cache = new ObjectCache();
  readonly #tables: ReplicaTables;
  /** Of origins, the last frame in the log. */
  readonly #last = new Map<OriginKey, number>();
  readonly #object;
  readonly #bucket;
  readonly #kind;
  readonly #frames;
  readonly #firstFrame;
  readonly #lastFrame;
  readonly #totals;
  readonly #putCell;
  readonly #removeCell;
  readonly #putFrame;
  readonly #dropFrames;
  readonly #putHead;
  readonly #forgetHead;
  readonly #putState;
  readonly #removeState;

  /**
   * writer: of the configuration's store; openReader: another connection to the same file. cluster: whose tables, which
   * are there; '': the mesh's.
   */
  constructor(writer: Writer, openReader: () => Database.Database, cluster: ClusterName = '') {
    const w = writer.database;
    this.#writer = writer;
    this.#openReader = openReader;
    this.#tables = replicaTables(cluster);
    const { cells, frames, heads, state, totals } = this.#tables;
    // Without an order, for which SQLite would plan the statement anew at each other name (SQLITE_ENABLE_STAT4).
    this.#object = w.prepare<[string, string], CellRow>(`SELECT ${CELL} FROM ${cells} WHERE kind = ? AND id = ?`);
    this.#bucket = w.prepare<[number, string, string, string, number], CellRow>(
      `SELECT ${CELL} FROM ${cells} WHERE bucket = ? AND ${AFTER} ${IN_ORDER}`,
    );
    this.#kind = w.prepare<[string, string, string, number], CellRow>(
      `SELECT ${CELL} FROM ${cells} WHERE kind = ? AND (id, "group") > (?, ?) ${IN_ORDER}`,
    );
    this.#frames = w.prepare<[string, number, number], { sequence: bigint; bytes: Uint8Array }>(
      `SELECT sequence, bytes FROM ${frames} WHERE origin = ? AND sequence BETWEEN ? AND ? ORDER BY sequence`,
    );
    this.#firstFrame = w.prepare<[string], { first: bigint | null }>(
      `SELECT min(sequence) AS first FROM ${frames} WHERE origin = ?`,
    );
    this.#lastFrame = w.prepare<[string], { last: bigint | null }>(
      `SELECT max(sequence) AS last FROM ${frames} WHERE origin = ?`,
    );
    this.#totals = w.prepare<[], { frames: bigint; bytes: bigint }>(`SELECT frames, bytes FROM ${totals}`);
    this.#putCell = w.prepare(
      `INSERT OR REPLACE INTO ${cells} (kind, id, "group", bucket, stamp, origin, sequence, mark, value) ` +
        'VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
    );
    this.#removeCell = w.prepare(`DELETE FROM ${cells} WHERE kind = ? AND id = ? AND "group" = ?`);
    this.#putFrame = w.prepare(`INSERT INTO ${frames} (origin, sequence, bytes) VALUES (?, ?, ?)`);
    this.#dropFrames = w.prepare(`DELETE FROM ${frames} WHERE origin = ? AND sequence <= ?`);
    this.#putHead = w.prepare(`INSERT OR REPLACE INTO ${heads} (origin, sequence, hash) VALUES (?, ?, ?)`);
    this.#forgetHead = w.prepare(`DELETE FROM ${heads} WHERE origin = ?`);
    this.#putState = w.prepare(`INSERT OR REPLACE INTO ${state} (part, value) VALUES (?, ?)`);
    this.#removeState = w.prepare(`DELETE FROM ${state} WHERE part = ?`);
  }

  load(): ReplicaState {
    return guarded(() => stateOf(this.#writer.database, this.#tables));
  }

  object(kind: string, id: string): readonly Cell[] {
    return this.#cache.get(kind, id, () => guarded(() => this.#object.all(kind, id).map(cellOf)));
  }

  bucket(bucket: number, after: Key | undefined, limit: number): readonly Cell[] {
    const { kind, id, group } = after ?? FIRST;
    return guarded(() => this.#bucket.all(bucket, kind, id, group, limit).map(cellOf));
  }

  kind(kind: string, after: Key | undefined, limit: number): readonly Cell[] {
    const { id, group } = after ?? FIRST;
    return guarded(() => this.#kind.all(kind, id, group, limit).map(cellOf));
  }

  frames(origin: OriginKey, from: number, through: number, maxBytes: number): readonly Uint8Array[] {
    return guarded(() => {
      const found: Uint8Array[] = [];
      let left = maxBytes;
      for (const { sequence, bytes } of this.#frames.iterate(origin, from, through)) {
        // A gap would be passed on as none.
        if (Number(sequence) !== from + found.length || (found.length > 0 && bytes.length > left)) break;
        found.push(bytes);
        left -= bytes.length;
      }
      return found;
    });
  }

  firstFrame(origin: OriginKey): number | undefined {
    const first = guarded(() => this.#firstFrame.get(origin)?.first);
    return first === undefined || first === null ? undefined : Number(first);
  }

  logSize(): { frames: number; bytes: number } {
    const totals = guarded(() => this.#totals.get());
    return { frames: Number(totals?.frames ?? 0), bytes: Number(totals?.bytes ?? 0) };
  }

  commit(batch: Batch, alongside?: () => void, { durable }: CommitOptions = { durable: true }): void {
    const work = (): void => {
      this.#write(batch);
      alongside?.();
    };
    try {
      if (durable) this.#writer.transaction(work);
      else this.#writer.relaxed(work);
    } catch (error) {
      this.#last.clear();
      // What alongside has thrown of its own is its caller's.
      if (error instanceof StoreError || (error as { code?: unknown }).code !== undefined) throw replicaError(error);
      throw error;
    }
    this.#cache.committed(batch);
  }

  #lastOf(origin: OriginKey): number | undefined {
    const known = this.#last.get(origin);
    if (known !== undefined) return known;
    const last = this.#lastFrame.get(origin)?.last ?? null;
    return last === null ? undefined : Number(last);
  }

  #write({ remove, put, append, drop, state, heads, forget }: Batch): void {
    for (const { kind, id, group } of remove) this.#removeCell.run(kind, id, group);
    for (const { kind, id, group, stamp, origin, sequence, mark, value } of put) {
      const bucket = bucketOf(kind, id);
      this.#putCell.run(kind, id, group, bucket, pack(stamp), origin, sequence, mark, value ?? null);
    }
    for (const { origin, through } of drop) {
      this.#dropFrames.run(origin, through);
      this.#last.delete(origin);
    }
    for (const { origin, sequence, bytes } of append) {
      const last = this.#lastOf(origin);
      if (last !== undefined && last + 1 !== sequence) {
        throw new ReplicaStoreError(
          'corrupt',
          `frame ${sequence} of ${origin} does not follow the log's last, ${last}`,
        );
      }
      this.#putFrame.run(origin, sequence, bytes);
      this.#last.set(origin, sequence);
    }
    for (const origin of forget) this.#forgetHead.run(origin);
    for (const [origin, { sequence, hash }] of heads) this.#putHead.run(origin, sequence, hash);
    for (const [part, json] of writeState(state)) {
      if (json === undefined) this.#removeState.run(part);
      else this.#putState.run(part, json);
    }
  }

  openSnapshot(): SnapshotReader {
    return guarded(() => {
      const reader = this.#openReader();
      try {
        reader.exec('BEGIN');
        const state = stateOf(reader, this.#tables);
        const scan = reader.prepare<[string, string, string, number], CellRow>(
          `SELECT ${CELL} FROM ${this.#tables.cells} WHERE ${AFTER} ${IN_ORDER}`,
        );
        let at = FIRST;
        return {
          state,
          next: (maxBytes) =>
            guarded(() => {
              const cells: Cell[] = [];
              let left = maxBytes;
              for (const row of scan.iterate(at.kind, at.id, at.group, SNAPSHOT_ROWS)) {
                const bytes = row.kind.length + row.id.length + row.group.length + (row.value?.length ?? 0) + 64;
                if (cells.length > 0 && bytes > left) break;
                left -= bytes;
                cells.push(cellOf(row));
              }
              at = cells.at(-1) ?? at;
              return cells;
            }),
          close: () => reader.close(),
        };
      } catch (error) {
        reader.close();
        throw error;
      }
    });
  }
}
