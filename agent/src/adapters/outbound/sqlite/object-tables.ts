// SPDX-License-Identifier: Apache-2.0
/** The tables of the kinds beside services: read through the reader, changed in the writer's transactions. */
import { createHash } from 'node:crypto';
import type { ObjectKind } from '@marcher/model';
import type Database from 'better-sqlite3';
import type { CommitChange, StoredObject } from '../../../ports/config-store.js';

export interface ObjectChange extends CommitChange {
  readonly kind: ObjectKind;
}

interface ObjectRow {
  kind: ObjectKind;
  name: string;
  body: Uint8Array;
  generation: bigint;
}

interface ChangeRow {
  kind: ObjectKind;
  name: string;
  before_body: Uint8Array | null;
  other_body: Uint8Array | null;
}

const COLUMNS = 'SELECT kind, name, body, generation FROM objects';

function sum(body: Uint8Array): Buffer {
  return createHash('sha256').update(body).digest();
}

export class ObjectTables {
  readonly #writer: Database.Database;
  readonly #all;
  readonly #ofKind;
  readonly #one;
  readonly #hashes;
  readonly #changesOf;
  readonly #changedSince;
  readonly #stateAt;

  constructor(writer: Database.Database, reader: Database.Database) {
    this.#writer = writer;
    this.#all = reader.prepare<[], ObjectRow>(`${COLUMNS} ORDER BY kind, name`);
    this.#ofKind = reader.prepare<[string], ObjectRow>(`${COLUMNS} WHERE kind = ? ORDER BY name`);
    this.#one = reader.prepare<[string, string], ObjectRow>(`${COLUMNS} WHERE kind = ? AND name = ?`);
    this.#hashes = reader.prepare<[], { kind: string; name: string; body: Uint8Array; hash: Uint8Array }>(
      'SELECT kind, name, body, hash FROM objects ORDER BY kind, name',
    );
    this.#changesOf = reader.prepare<[bigint], ChangeRow>(
      'SELECT c.kind, c.name, c.before_body, CASE WHEN c.exists_after = 0 THEN NULL ELSE ' +
        'coalesce((SELECT n.before_body FROM object_changes n WHERE n.kind = c.kind AND n.name = c.name ' +
        'AND n.version > c.version ORDER BY n.version LIMIT 1), ' +
        '(SELECT o.body FROM objects o WHERE o.kind = c.kind AND o.name = c.name)) END AS other_body ' +
        'FROM object_changes c WHERE c.version = ? ORDER BY c.kind, c.name',
    );
    this.#changedSince = reader.prepare<[bigint], { kind: ObjectKind; name: string }>(
      'SELECT DISTINCT kind, name FROM object_changes WHERE version > ?',
    );
    this.#stateAt = reader.prepare<[bigint], ChangeRow>(
      'SELECT c.kind, c.name, c.before_body, o.body AS other_body FROM object_changes c ' +
        'LEFT JOIN objects o ON o.kind = c.kind AND o.name = c.name WHERE c.version = (SELECT min(version) ' +
        'FROM object_changes m WHERE m.kind = c.kind AND m.name = c.name AND m.version > ?) ORDER BY c.kind, c.name',
    );
  }

  list(kind?: ObjectKind): StoredObject[] {
    return kind === undefined ? this.#all.all() : this.#ofKind.all(kind);
  }

  get(kind: ObjectKind, name: string): StoredObject | undefined {
    return this.#one.get(kind, name);
  }

  *hashes(): Iterable<{ kind: string; name: string; hash: Uint8Array }> {
    yield* this.#hashes.iterate();
  }

  /** The first that is not what was written. */
  damaged(): { kind: string; name: string } | undefined {
    for (const row of this.#hashes.iterate()) if (!sum(row.body).equals(row.hash)) return row;
    return undefined;
  }

  write(version: bigint, { kind, name, before, after }: ObjectChange): void {
    this.#writer
      .prepare(
        'INSERT INTO object_changes (version, kind, name, before_body, before_generation, exists_after) VALUES ' +
          '(?, ?, ?, ?, (SELECT generation FROM objects WHERE kind = ? AND name = ?), ?)',
      )
      .run(version, kind, name, before ?? null, kind, name, after === undefined ? 0 : 1);
    if (after === undefined) this.#delete(kind, name);
    else this.#put(kind, name, after, version);
  }

  #put(kind: string, name: string, body: Uint8Array, generation: bigint): void {
    this.#writer
      .prepare('INSERT OR REPLACE INTO objects (kind, name, body, generation, hash) VALUES (?, ?, ?, ?, ?)')
      .run(kind, name, body, generation, sum(body));
  }

  #delete(kind: string, name: string): void {
    this.#writer.prepare('DELETE FROM objects WHERE kind = ? AND name = ?').run(kind, name);
  }

  /** As if the version had never been. */
  undo(version: bigint): void {
    const rows = this.#writer
      .prepare<[bigint], Omit<ChangeRow, 'other_body'> & { before_generation: bigint | null }>(
        'SELECT kind, name, before_body, before_generation FROM object_changes WHERE version = ?',
      )
      .all(version);
    for (const { kind, name, before_body: body, before_generation: generation } of rows) {
      if (body === null) this.#delete(kind, name);
      else this.#put(kind, name, body, generation ?? 0n);
    }
    this.#writer.prepare('DELETE FROM object_changes WHERE version = ?').run(version);
  }

  prune(upTo: bigint): void {
    this.#writer.prepare('DELETE FROM object_changes WHERE version <= ?').run(upTo);
  }

  changesOf(version: bigint): ObjectChange[] {
    return this.#changesOf.all(version).map(({ kind, name, before_body: before, other_body: after }) => {
      return { kind, name, before: before ?? undefined, after: after ?? undefined };
    });
  }

  changedSince(version: bigint): { kind: ObjectKind; name: string }[] {
    return this.#changedSince.all(version);
  }

  /** From what is now to what was then. */
  stateAt(version: bigint): ObjectChange[] {
    return this.#stateAt.all(version).map(({ kind, name, before_body: then, other_body: now }) => {
      return { kind, name, before: now ?? undefined, after: then ?? undefined };
    });
  }
}
