// SPDX-License-Identifier: Apache-2.0
/**
 * ConfigStore in one SQLite file.
 *
 * Two connections. The writer holds the file exclusively against other agents through a lock of its own (lock-file.ts).
 * The reader pins a read transaction from commit() until confirm() or undo(): WAL then shows it, and all who read
 * through it, the version before, however long the data plane takes to answer.
 */
import { createHash, hash as digest } from 'node:crypto';
import type { ObjectKind } from '@marcher/model';
import Database from 'better-sqlite3';
import type { HeldUnder } from '../../../application/mesh/shards.js';
import type { ClusterName, ReplicaStore } from '../../../domain/replication/contract.js';
import type { AuditLog } from '../../../ports/audit.js';
import {
  type Changed,
  type CommitChange,
  type ConfigCommitOptions,
  type ConfigStore,
  type NewRevision,
  type ProgrammedState,
  type StoredObject,
  type StoredRevision,
  type StoredService,
  StoreError,
} from '../../../ports/config-store.js';
import { AUDIT_LIMITS, type AuditLimits, SqliteAuditLog } from './audit-log.js';
import { MIGRATIONS } from './migrations/index.js';
import { type ObjectChange, ObjectTables } from './object-tables.js';
import { SqliteReplicaStore } from './replica-store.js';
import { createTables, dropTables, readHeldUnder, storedClusters, writeHeldUnder } from './replica-tables.js';
import { storeError } from './store-error.js';
import { Writer } from './writer.js';

export interface HistoryLimits {
  readonly versions: number;
  readonly bytes: number;
}

const DEFAULT_HISTORY: HistoryLimits = { versions: 10_000, bytes: 256 * 1024 * 1024 };
const SCAN_BATCH = 256;
const PROGRAMMED_MS = 1_000;

interface ServiceRow {
  name: string;
  body: Uint8Array;
  generation: bigint;
}

function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw storeError(error);
  }
}

function configure(database: Database.Database): void {
  database.defaultSafeIntegers(true);
  database.pragma('busy_timeout = 2000');
  database.pragma('foreign_keys = OFF');
  // KiB. Small: what is read again and again is in the kernel's page cache, which is nobody's resident set.
  database.pragma('cache_size = -2000');
  database.pragma('temp_store = MEMORY');
}

function migrate(database: Database.Database): void {
  const done = Number(database.pragma('user_version', { simple: true }));
  if (done > MIGRATIONS.length) {
    const reason = `the database has schema ${done}, and this agent knows up to ${MIGRATIONS.length}`;
    throw new StoreError('failed', `${reason}; run the agent version that wrote it, or a newer one`);
  }
  for (let i = done; i < MIGRATIONS.length; i++) {
    database.transaction(() => {
      database.exec(MIGRATIONS[i] as string);
      database.pragma(`user_version = ${i + 1}`);
    })();
  }
}

function isObjectChange(change: CommitChange): change is ObjectChange {
  return change.kind !== 'Service';
}

export class SqliteConfigStore implements ConfigStore {
  readonly #database: Database.Database;
  readonly #writer: Writer;
  readonly #reader: Database.Database;
  readonly #history: HistoryLimits;
  readonly #objects: ObjectTables;
  #version: bigint;
  #pending: bigint;
  /** Nothing has to be on disk for the pending version any more. */
  #pendingDurable = true;
  #pinned = false;
  #hash: { version: bigint; text: string } | undefined;
  #programmed: ProgrammedState;
  /** While what is programmed has not been written. */
  #programmedTimer: NodeJS.Timeout | undefined;

  readonly #getService;
  readonly #scanServices;
  readonly #countServices;
  readonly #readSomething;
  readonly #putService;
  readonly #deleteService;
  readonly #putChange;
  readonly #putCreation;
  readonly #putVersion;
  readonly #versionBytes;
  readonly #setMeta;
  readonly #getMeta;

  /** Throws StoreError; 'corrupt' when the file fails its check. */
  constructor(path: string, options: { history?: HistoryLimits } = {}) {
    this.#history = options.history ?? DEFAULT_HISTORY;
    this.#database = guarded(() => new Database(path));
    let reader: Database.Database | undefined;
    try {
      configure(this.#database);
      this.#writer = guarded(() => new Writer(this.#database));
      guarded(() => {
        this.#database.pragma('journal_mode = WAL');
        // Pages: 16 MiB. A commit that has to move them into the file waits for the disk for tens of milliseconds, and in
        // a mesh all nodes come to that with the same change: one in some hundred, no more.
        this.#database.pragma('wal_autocheckpoint = 4000');
        this.#database.pragma('journal_size_limit = 33554432');
        const check = String(this.#database.pragma('quick_check(1)', { simple: true }));
        if (check !== 'ok') throw new StoreError('corrupt', `the database fails its check: ${check}`);
        migrate(this.#database);
      });
      reader = guarded(() => new Database(path, { readonly: true }));
      this.#reader = reader;
      configure(reader);
      const w = this.#database;
      const r = reader;
      this.#objects = guarded(() => new ObjectTables(w, r));
      this.#getService = r.prepare<[string], ServiceRow>('SELECT name, body, generation FROM services WHERE name = ?');
      this.#scanServices = r.prepare<[string], ServiceRow>(
        `SELECT name, body, generation FROM services WHERE name > ? ORDER BY name LIMIT ${SCAN_BATCH}`,
      );
      this.#readSomething = r.prepare('SELECT 1 FROM meta LIMIT 1');
      this.#countServices = r.prepare('SELECT count(*) FROM services').pluck();
      this.#putService = w.prepare(
        'INSERT OR REPLACE INTO services (name, body, generation, hash) VALUES (?, ?, ?, ?)',
      );
      this.#deleteService = w.prepare('DELETE FROM services WHERE name = ?');
      this.#putChange = w.prepare(
        'INSERT INTO changes (version, name, before_body, before_generation, exists_after) VALUES (?, ?, ?, ' +
          '(SELECT generation FROM services WHERE name = ?), ?)',
      );
      this.#putCreation = w.prepare('INSERT INTO changes (version, name, exists_after) VALUES (?, ?, ?)');
      this.#putVersion = w.prepare(
        'INSERT INTO versions (version, time_ms, author, origin, message, created, updated, deleted, bytes) ' +
          'VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
      );
      this.#versionBytes = w.prepare<[bigint], { bytes: bigint }>('SELECT bytes FROM versions WHERE version = ?');
      this.#setMeta = w.prepare('INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)');
      this.#getMeta = w.prepare<[string], { value: bigint }>('SELECT value FROM meta WHERE key = ?');
      this.#version = guarded(
        () => w.prepare<[], { v: bigint }>('SELECT coalesce(max(version), 0) AS v FROM versions').get()?.v ?? 0n,
      );
      this.#pending = this.#meta('pending_version');
      const generation = this.#meta('programmed_generation');
      this.#programmed = { generation, version: this.#meta('programmed_version') };
      // History may have been pruned down to nothing, or a recovered file may start with none.
      const floor = this.#meta('version_floor');
      if (floor > this.#version) this.#version = floor;
      guarded(() => this.#checkBodies());
    } catch (error) {
      reader?.close();
      this.#database.close();
      throw storeError(error);
    }
  }

  /** SQLite checks the structure of its pages, and not that the disk has kept what stands in them. */
  #checkBodies(): void {
    const rows = this.#reader.prepare<[], { name: string; body: Uint8Array; hash: Uint8Array }>(
      'SELECT name, body, hash FROM services',
    );
    for (const { name, body, hash } of rows.iterate()) {
      if (digest('sha256', body, 'buffer').equals(hash)) continue;
      throw new StoreError('corrupt', `service ${JSON.stringify(name)} is not what was written`);
    }
    const damaged = this.#objects.damaged();
    if (damaged !== undefined) {
      throw new StoreError('corrupt', `${damaged.kind} ${JSON.stringify(damaged.name)} is not what was written`);
    }
  }

  /** What is replicated, in the same file: a commit there takes one here into its transaction. */
  openReplica(cluster: ClusterName = ''): ReplicaStore {
    const openReader = (): Database.Database => {
      const reader = new Database(this.#database.name, { readonly: true });
      configure(reader);
      return reader;
    };
    return guarded(() => {
      if (cluster !== '') this.#writer.transaction(() => createTables(this.#database, cluster));
      return new SqliteReplicaStore(this.#writer, openReader, cluster);
    });
  }

  /** Of which something is kept here: what was opened and not dropped. */
  replicatedClusters(): readonly ClusterName[] {
    return guarded(() => storedClusters(this.#database));
  }

  /** Under which assignments of this node what is kept of a cluster, which is open, was had; undefined: not known. */
  clusterHeldUnder(cluster: ClusterName): HeldUnder | undefined {
    return guarded(() => readHeldUnder(this.#database, cluster));
  }

  setClusterHeldUnder(cluster: ClusterName, under: HeldUnder): void {
    guarded(() => this.#writer.transaction(() => writeHeldUnder(this.#database, cluster, under)));
  }

  /** A cluster's, with all that is in it; nothing may use it any more. */
  dropReplica(cluster: ClusterName): void {
    guarded(() => this.#writer.transaction(() => dropTables(this.#database, cluster)));
  }

  /** Of a mesh that this node is not in any more: as if nothing had ever been replicated. The configuration stays. */
  forgetReplica(): void {
    guarded(() =>
      this.#writer.transaction(() => {
        for (const cluster of storedClusters(this.#database)) dropTables(this.#database, cluster);
        for (const table of ['cells', 'frames', 'heads', 'replica_state']) this.#database.exec(`DELETE FROM ${table}`);
      }),
    );
  }

  get version(): bigint {
    return this.#pinned ? this.#version - 1n : this.#version;
  }

  get pendingVersion(): bigint {
    return this.#pending;
  }

  #meta(key: string): bigint {
    return guarded(() => this.#getMeta.get(key)?.value ?? 0n);
  }

  get(name: string): StoredService | undefined {
    return guarded(() => this.#getService.get(name));
  }

  *names(): Iterable<string> {
    const page = this.#reader.prepare<[string], string>(
      'SELECT name FROM services WHERE name > ? ORDER BY name LIMIT 4096',
    );
    page.pluck();
    for (let after = ''; ; ) {
      const rows = guarded(() => page.all(after));
      yield* rows;
      const last = rows.at(-1);
      if (last === undefined) return;
      after = last;
    }
  }

  *scan(afterName = ''): Iterable<StoredService> {
    for (let after = afterName; ; ) {
      const rows = guarded(() => this.#scanServices.all(after));
      yield* rows;
      const last = rows.at(-1);
      if (last === undefined || rows.length < SCAN_BATCH) return;
      after = last.name;
    }
  }

  count(): number {
    return guarded(() => Number(this.#countServices.get()));
  }

  objects(kind?: ObjectKind): StoredObject[] {
    return guarded(() => this.#objects.list(kind));
  }

  object(kind: ObjectKind, name: string): StoredObject | undefined {
    return guarded(() => this.#objects.get(kind, name));
  }

  hash(): string {
    const version = this.version;
    if (this.#hash?.version !== version) {
      const sum = createHash('sha256');
      const rows = this.#reader.prepare<[], { name: string; hash: Uint8Array }>(
        'SELECT name, hash FROM services ORDER BY name',
      );
      guarded(() => {
        for (const row of rows.iterate()) sum.update(`${row.name}\n`).update(row.hash);
        for (const row of this.#objects.hashes()) sum.update(`${row.kind}/${row.name}\n`).update(row.hash);
      });
      this.#hash = { version, text: sum.digest('hex') };
    }
    return this.#hash.text;
  }

  /** In the same file, for the same reason. */
  openAudit(limits: AuditLimits = AUDIT_LIMITS): AuditLog {
    return guarded(() => new SqliteAuditLog(this.#writer, limits));
  }

  commit(
    revision: NewRevision,
    changes: readonly CommitChange[],
    alongside?: () => void,
    { durable }: ConfigCommitOptions = { durable: true },
  ): bigint {
    if (this.#pending !== 0n) {
      throw new StoreError('failed', `version ${this.#pending} has not been confirmed or taken back yet`);
    }
    const version = this.#version + 1n;
    const work = (): void => {
      this.#write(version, revision, changes);
      alongside?.();
    };
    this.#pin();
    try {
      guarded(() => (durable ? this.#writer.transaction(work) : this.#writer.relaxed(work)));
    } catch (error) {
      this.#unpin();
      throw error;
    }
    this.#version = version;
    this.#pending = version;
    this.#pendingDurable = durable;
    return version;
  }

  follow(revision: NewRevision, changes: readonly CommitChange[]): bigint {
    if (this.#pending !== 0n) throw new StoreError('failed', `version ${this.#pending} is pending`);
    const before = this.#version;
    const version = before + 1n;
    try {
      guarded(() =>
        this.#writer.relaxed(() => {
          this.#write(version, revision, changes);
          this.#setMeta.run('pending_version', 0n);
          this.#version = version;
          this.#prune();
        }),
      );
    } catch (error) {
      this.#version = before;
      throw error;
    }
    return version;
  }

  #write(version: bigint, revision: NewRevision, changes: readonly CommitChange[]): void {
    let created = 0;
    let updated = 0;
    let deleted = 0;
    let bytes = 0;
    // In the tables' order, which is that of bytes: each page is filled once. Names are ASCII (domain/validate.ts).
    const ordered = changes.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    for (const change of ordered) {
      const { name, before, after } = change;
      if (isObjectChange(change)) this.#objects.write(version, change);
      else this.#writeService(version, change);
      bytes += name.length * 2 + 64 + (before?.length ?? 0);
      if (after === undefined) deleted++;
      else if (before === undefined) created++;
      else updated++;
    }
    const { timeMs, author, origin, message } = revision;
    this.#putVersion.run(version, timeMs, author, origin, message, created, updated, deleted, bytes);
    this.#setMeta.run('pending_version', version);
    this.#writeProgrammed();
  }

  #writeService(version: bigint, { name, before, after }: CommitChange): void {
    if (before === undefined) this.#putCreation.run(version, name, after === undefined ? 0 : 1);
    else this.#putChange.run(version, name, before, name, after === undefined ? 0 : 1);
    if (after === undefined) this.#deleteService.run(name);
    else this.#putService.run(name, after, version, digest('sha256', after, 'buffer'));
  }

  confirm(within?: (write: () => void) => void): void {
    if (this.#pending === 0n) return;
    const write = (): void => {
      this.#setMeta.run('pending_version', 0n);
      this.#prune();
    };
    if (within !== undefined) within(write);
    else if (!this.#pendingDurable) guarded(() => this.#writer.transaction(write));
    this.#unpin();
    this.#pending = 0n;
    // Need not be durable then: when it is lost, the next start programs a version that already runs.
    if (within === undefined && this.#pendingDurable) this.#relaxed(write);
  }

  undo(alongside?: () => void): void {
    const version = this.#pending;
    if (version === 0n) return;
    guarded(() =>
      this.#writer.transaction(() => {
        const rows = this.#database
          .prepare<[bigint], { name: string; before_body: Uint8Array | null; before_generation: bigint | null }>(
            'SELECT name, before_body, before_generation FROM changes WHERE version = ?',
          )
          .all(version);
        for (const row of rows) {
          if (row.before_body === null) this.#deleteService.run(row.name);
          else {
            const sum = digest('sha256', row.before_body, 'buffer');
            this.#putService.run(row.name, row.before_body, row.before_generation ?? 0n, sum);
          }
        }
        this.#database.prepare('DELETE FROM changes WHERE version = ?').run(version);
        this.#objects.undo(version);
        this.#database.prepare('DELETE FROM versions WHERE version = ?').run(version);
        this.#setMeta.run('pending_version', 0n);
        this.#setMeta.run('version_floor', version - 1n);
        alongside?.();
      }),
    );
    this.#unpin();
    this.#pending = 0n;
    this.#version = version - 1n;
    this.#hash = undefined;
  }

  /** Keeps history within its limits; the newest version always stays. */
  #prune(): void {
    // The window scans all versions, so it is asked only now and then.
    if (this.#version % 64n !== 0n && !this.#mayExceedBytes()) return;
    const { versions, bytes } = this.#history;
    const oldest = this.#database.prepare<[bigint, bigint], { version: bigint }>(
      'SELECT version FROM (SELECT version, row_number() OVER w AS n, sum(bytes) OVER w AS total FROM versions ' +
        'WINDOW w AS (ORDER BY version DESC ROWS UNBOUNDED PRECEDING)) WHERE n > 1 AND (n > ? OR total > ?) ' +
        'ORDER BY version DESC LIMIT 1',
    );
    const cut = oldest.get(BigInt(versions), BigInt(bytes))?.version;
    if (cut === undefined) return;
    this.#writer.transaction(() => {
      this.#database.prepare('DELETE FROM changes WHERE version <= ?').run(cut);
      this.#objects.prune(cut);
      this.#database.prepare('DELETE FROM versions WHERE version <= ?').run(cut);
      this.#setMeta.run('version_floor', cut);
    });
  }

  #mayExceedBytes(): boolean {
    return Number(this.#versionBytes.get(this.#version)?.bytes ?? 0) > this.#history.bytes / 256;
  }

  #pin(): void {
    this.#reader.exec('BEGIN');
    // A read transaction begins with its first read.
    this.#readSomething.get();
    this.#pinned = true;
  }

  #unpin(): void {
    if (!this.#pinned) return;
    this.#pinned = false;
    this.#reader.exec('COMMIT');
  }

  /** For what may be lost in a power failure without harm; failures are left to the next durable commit to report. */
  #relaxed(work: () => void): void {
    try {
      this.#writer.relaxed(work);
    } catch {
      // A full disk: nothing that matters was lost, and the next commit says so to whoever asks for it.
    }
  }

  revisions({ limit, beforeVersion }: { limit: number; beforeVersion: bigint }): StoredRevision[] {
    const rows = this.#reader.prepare<
      [bigint, number],
      {
        version: bigint;
        time_ms: bigint;
        author: string;
        origin: string;
        message: string;
        created: bigint;
        updated: bigint;
        deleted: bigint;
      }
    >('SELECT * FROM versions WHERE version < ? ORDER BY version DESC LIMIT ?');
    const below = beforeVersion === 0n ? 0x7fff_ffff_ffff_ffffn : beforeVersion;
    return guarded(() => rows.all(below, limit)).map((row) => ({
      version: row.version,
      timeMs: Number(row.time_ms),
      author: row.author,
      origin: row.origin,
      message: row.message,
      created: Number(row.created),
      updated: Number(row.updated),
      deleted: Number(row.deleted),
    }));
  }

  changesOf(version: bigint): CommitChange[] {
    const rows = this.#reader.prepare<
      [bigint],
      { name: string; before_body: Uint8Array | null; after_body: Uint8Array | null; exists_after: bigint }
    >(
      'SELECT c.name, c.before_body, c.exists_after, CASE WHEN c.exists_after = 0 THEN NULL ELSE ' +
        'coalesce((SELECT n.before_body FROM changes n WHERE n.name = c.name AND n.version > c.version ' +
        'ORDER BY n.version LIMIT 1), (SELECT s.body FROM services s WHERE s.name = c.name)) END AS after_body ' +
        'FROM changes c WHERE c.version = ? ORDER BY c.name',
    );
    return guarded(() => [
      ...this.#objects.changesOf(version),
      ...rows.all(version).map((row) => ({
        kind: 'Service' as const,
        name: row.name,
        before: row.before_body ?? undefined,
        after: row.after_body ?? undefined,
      })),
    ]);
  }

  #reachesBackTo(version: bigint): boolean {
    if (version === this.version) return true;
    if (version > this.version || version < 0n) return false;
    const oldest = this.#reader.prepare('SELECT min(version) FROM versions').pluck().get() as bigint | null;
    return oldest !== null && oldest <= version + 1n;
  }

  changedSince(version: bigint): Changed | undefined {
    return guarded(() => {
      if (!this.#reachesBackTo(version)) return undefined;
      const rows = this.#reader.prepare<[bigint], string>('SELECT DISTINCT name FROM changes WHERE version > ?');
      const services = rows.pluck().all(version) as unknown as string[];
      return { services, objects: this.#objects.changedSince(version) };
    });
  }

  stateAt(version: bigint): CommitChange[] | undefined {
    return guarded(() => {
      if (!this.#reachesBackTo(version)) return undefined;
      const rows = this.#reader.prepare<
        [bigint],
        { name: string; then_body: Uint8Array | null; now_body: Uint8Array | null }
      >(
        'SELECT c.name, c.before_body AS then_body, s.body AS now_body FROM changes c ' +
          'LEFT JOIN services s ON s.name = c.name WHERE c.version = ' +
          '(SELECT min(version) FROM changes m WHERE m.name = c.name AND m.version > ?) ORDER BY c.name',
      );
      const services = rows.all(version).map((row) => ({
        kind: 'Service' as const,
        name: row.name,
        before: row.now_body ?? undefined,
        after: row.then_body ?? undefined,
      }));
      return [...this.#objects.stateAt(version), ...services];
    });
  }

  programmed(): ProgrammedState {
    return this.#programmed;
  }

  /** With the next change, or by itself soon: lost, it costs the next start a snapshot that the engine has already. */
  setProgrammed(state: ProgrammedState): void {
    this.#programmed = state;
    this.#programmedTimer ??= setTimeout(() => this.#relaxed(() => this.#writeProgrammed()), PROGRAMMED_MS).unref();
  }

  #writeProgrammed(): void {
    if (this.#programmedTimer === undefined) return;
    this.#setMeta.run('programmed_generation', this.#programmed.generation);
    this.#setMeta.run('programmed_version', this.#programmed.version);
    clearTimeout(this.#programmedTimer);
    this.#programmedTimer = undefined;
  }

  nodeDraining(): boolean {
    return guarded(
      () => this.#database.prepare("SELECT 1 FROM drains WHERE service = '' AND backend = ''").get() !== undefined,
    );
  }

  drainedBackends(): { service: string; backend: string }[] {
    const rows = this.#database.prepare<[], { service: string; backend: string }>(
      "SELECT service, backend FROM drains WHERE service <> ''",
    );
    return guarded(() => rows.all());
  }

  setDrained(
    { service, backend }: { service: string; backend: string },
    drained: boolean,
    alongside?: () => void,
  ): void {
    const sql = drained
      ? 'INSERT OR IGNORE INTO drains (service, backend) VALUES (?, ?)'
      : 'DELETE FROM drains WHERE service = ? AND backend = ?';
    guarded(() =>
      this.#writer.transaction(() => {
        // The engine must not be taken for one that was told of it.
        this.#writeProgrammed();
        this.#database.prepare(sql).run(service, backend);
        alongside?.();
      }),
    );
  }

  close(): void {
    this.#unpin();
    this.#relaxed(() => this.#writeProgrammed());
    clearTimeout(this.#programmedTimer);
    this.#reader.close();
    this.#database.close();
  }
}
