// SPDX-License-Identifier: Apache-2.0
/**
 * AuditLog in the tables beside the configuration, so that a record and what it tells of are one transaction. When there
 * is too much of it, the oldest records go, a segment at a time, and the chain goes on to say where it was cut.
 */
import { hash as digest } from 'node:crypto';
import { type AuditEntry, clipped, dropObject, encodeRecord, linkHash, startOf } from '@marcher/audit';
import { ACTION } from '../../../domain/audit/actions.js';
import type { Anchor, AuditLog, Head, Link } from '../../../ports/audit.js';
import { storeError } from './store-error.js';
import type { Writer } from './writer.js';

export interface AuditLimits {
  /** Of records and hashes. */
  readonly bytes: number;
  /** Records that go at once. */
  readonly segment: number;
}

export const AUDIT_LIMITS: AuditLimits = { bytes: 256 * 1024 * 1024, segment: 4_096 };

interface Row {
  sequence: bigint;
  body: Uint8Array;
  hash: Uint8Array;
}

interface HeadRow {
  node: string;
  log: Uint8Array;
  sequence: bigint;
  hash: Uint8Array;
  time_ms: bigint;
  signature: Uint8Array;
}

const sha256 = (bytes: Uint8Array): Uint8Array => digest('sha256', bytes, 'buffer');
const LAST = 0x7fff_ffff_ffff_ffffn;

function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw storeError(error);
  }
}

function linkOf({ sequence, body, hash }: Row): Link {
  return { sequence: Number(sequence), body, hash };
}

export class SqliteAuditLog implements AuditLog {
  readonly name: Uint8Array;
  readonly #writer: Writer;
  readonly #limits: AuditLimits;
  readonly #insert;
  readonly #last;
  readonly #floor;
  readonly #raise;
  readonly #drop;
  readonly #totals;
  readonly #at;
  readonly #after;
  readonly #before;
  readonly #heads;
  readonly #headsOf;
  readonly #putHead;
  readonly #dropHead;

  /** writer: of the configuration's store. */
  constructor(writer: Writer, limits: AuditLimits = AUDIT_LIMITS) {
    const w = writer.database;
    this.#writer = writer;
    this.#limits = limits;
    this.#insert = w.prepare('INSERT INTO audit (sequence, body, hash) VALUES (?, ?, ?)');
    this.#last = w.prepare<[], Pick<Row, 'sequence' | 'hash'>>(
      'SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1',
    );
    this.#floor = w.prepare<[], { name: Uint8Array; floor: bigint; floor_hash: Uint8Array }>(
      'SELECT name, floor, floor_hash FROM audit_log',
    );
    this.#raise = w.prepare('UPDATE audit_log SET floor = ?, floor_hash = ?');
    this.#drop = w.prepare('DELETE FROM audit WHERE sequence <= ?');
    this.#totals = w.prepare<[], { records: bigint; bytes: bigint }>('SELECT records, bytes FROM audit_totals');
    this.#at = w.prepare<[number], { hash: Uint8Array }>('SELECT hash FROM audit WHERE sequence = ?');
    this.#after = w.prepare<[number, number], Row>(
      'SELECT sequence, body, hash FROM audit WHERE sequence > ? ORDER BY sequence LIMIT ?',
    );
    this.#before = w.prepare<[bigint, number], Row>(
      'SELECT sequence, body, hash FROM audit WHERE sequence < ? ORDER BY sequence DESC LIMIT ?',
    );
    const head = 'SELECT node, log, sequence, hash, time_ms, signature FROM audit_heads';
    this.#heads = w.prepare<[], HeadRow>(`${head} ORDER BY node, time_ms, sequence`);
    this.#headsOf = w.prepare<[string], HeadRow>(`${head} WHERE node = ? ORDER BY time_ms, sequence`);
    this.#putHead = w.prepare(
      'INSERT OR IGNORE INTO audit_heads (node, log, sequence, hash, time_ms, signature) VALUES (?, ?, ?, ?, ?, ?)',
    );
    this.#dropHead = w.prepare('DELETE FROM audit_heads WHERE node = ? AND log = ? AND sequence = ? AND hash = ?');
    this.name = guarded(() => this.#state().name);
  }

  #state() {
    const state = this.#floor.get();
    if (state === undefined) throw new Error('the audit log has no name: its table was emptied');
    return state;
  }

  append(entries: readonly AuditEntry[]): void {
    guarded(() =>
      this.#writer.transaction(() => {
        for (const entry of entries) this.#append(entry);
        if (this.size().bytes > this.#limits.bytes) this.#dropOldest(entries.at(-1)?.timeMs ?? 0);
      }),
    );
  }

  #append(entry: AuditEntry): void {
    const { sequence, hash } = this.end();
    const body = encodeRecord({ ...clipped(entry), sequence: sequence + 1 });
    this.#insert.run(sequence + 1, body, linkHash(hash, body, sha256));
  }

  #dropOldest(timeMs: number): void {
    const floor = this.floor();
    const end = this.end();
    const sequence = Math.min(floor.sequence + this.#limits.segment, end.sequence);
    const cut = this.#at.get(sequence);
    if (cut === undefined) return;
    const anchor = { sequence, hash: cut.hash };
    const size = `${Math.floor(this.#limits.bytes / (1024 * 1024))} MiB`;
    this.#append({
      ...{ timeMs, action: ACTION.dropAudit, actor: 'marcherd', via: 'agent', source: '', outcome: 'done' },
      objects: [dropObject(anchor)],
      ...{ moreObjects: 0, version: 0n, repeated: 0 },
      message: `the log was over ${size}: records ${floor.sequence + 1} to ${sequence} were dropped`,
    });
    this.#raise.run(sequence, cut.hash);
    this.#drop.run(sequence);
  }

  floor(): Anchor {
    return guarded(() => {
      const { name, floor, floor_hash } = this.#state();
      return floor === 0n ? startOf(name, sha256) : { sequence: Number(floor), hash: floor_hash };
    });
  }

  end(): Anchor {
    return guarded(() => {
      const last = this.#last.get();
      return last === undefined ? this.floor() : { sequence: Number(last.sequence), hash: last.hash };
    });
  }

  read(after: number, limit: number): Link[] {
    return guarded(() => this.#after.all(after, limit).map(linkOf));
  }

  readBack(before: number, limit: number): Link[] {
    return guarded(() => this.#before.all(before === 0 ? LAST : BigInt(before), limit).map(linkOf));
  }

  size(): { records: number; bytes: number } {
    const totals = guarded(() => this.#totals.get());
    return { records: Number(totals?.records ?? 0), bytes: Number(totals?.bytes ?? 0) };
  }

  heads(node?: string): Head[] {
    const rows = guarded(() => (node === undefined ? this.#heads.all() : this.#headsOf.all(node)));
    return rows.map(({ sequence, time_ms, ...row }) => {
      return { ...row, sequence: Number(sequence), timeMs: Number(time_ms) };
    });
  }

  keepHeads(put: readonly Head[], drop: readonly Head[]): void {
    // What a power failure takes is in the cells, which are durable, and is taken from there again.
    guarded(() =>
      this.#writer.relaxed(() => {
        for (const { node, log, sequence, hash, timeMs, signature } of put) {
          this.#putHead.run(node, log, sequence, hash, timeMs, signature);
        }
        for (const { node, log, sequence, hash } of drop) this.#dropHead.run(node, log, sequence, hash);
      }),
    );
  }
}
