// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AuditEntry, ChainVerifier, decodeRecord, type Head } from '@marcher/audit';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { AuditLog } from '../../../ports/audit.js';
import { SqliteAuditLog } from './audit-log.js';
import { MIGRATIONS } from './migrations/index.js';
import { SqliteConfigStore } from './sqlite-config-store.js';
import { Writer } from './writer.js';

const ENTRY: AuditEntry = {
  timeMs: 1_800_000_000_000,
  action: 'marcher.v1.ConfigService/Apply',
  actor: 'root (uid 0)',
  via: 'socket',
  source: '',
  outcome: 'done',
  objects: ['Service/web'],
  moreObjects: 0,
  version: 1n,
  message: '',
  repeated: 0,
};
const REVISION = { timeMs: 0, author: 'tester', origin: 'api', message: '' };
const WEB = { kind: 'Service', name: 'web', before: undefined, after: Uint8Array.of(9) } as const;
const hash = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-audit-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** With the file's own connection, to do what a program could. */
function bare(): Database.Database {
  const database = new Database(join(directory, 'bare.db')).defaultSafeIntegers(true);
  if (database.pragma('user_version', { simple: true }) === 0n) {
    for (const sql of MIGRATIONS) database.exec(sql);
    database.pragma(`user_version = ${MIGRATIONS.length}`);
  }
  return database;
}

function findings(log: AuditLog): string[] {
  const rules = { node: 'n', log: log.name, anchor: log.floor(), heads: [], hash, verify: () => false };
  const verifier = new ChainVerifier(rules);
  for (const link of log.read(log.floor().sequence, 1_000_000)) verifier.take(link);
  return verifier.end().findings.map(({ kind, sequence }) => `${kind} ${sequence}`);
}

function messages(log: AuditLog): string[] {
  return log.read(0, 1_000).map(({ body }) => {
    const record = decodeRecord(body);
    return typeof record === 'string' ? record : record.message;
  });
}

describe('the audit log in SQLite', () => {
  test('is a chain from its first record, read from both ends, and goes on when it is opened again', () => {
    const path = join(directory, 'marcher.db');
    let store = new SqliteConfigStore(path);
    let log = store.openAudit();
    const { name } = log;
    expect([name.length, log.end().sequence, log.size().records]).toEqual([16, 0, 0]);
    log.append([ENTRY, { ...ENTRY, message: 'second' }]);
    store.close();
    store = new SqliteConfigStore(path);
    log = store.openAudit();
    log.append([{ ...ENTRY, message: 'third' }]);
    expect(log.name).toEqual(name);
    expect(messages(log)).toEqual(['', 'second', 'third']);
    expect(log.read(1, 1).map(({ sequence }) => sequence)).toEqual([2]);
    expect(log.readBack(0, 2).map(({ sequence }) => sequence)).toEqual([3, 2]);
    expect(log.readBack(2, 9).map(({ sequence }) => sequence)).toEqual([1]);
    expect(findings(log)).toEqual([]);
    store.close();
  });

  test.each([
    ['UPDATE audit SET body = body', /no record is changed/],
    ['UPDATE audit SET sequence = 9 WHERE sequence = 2', /no record is changed/],
    ['DELETE FROM audit', /no record above its floor is deleted/],
    ['DELETE FROM audit WHERE sequence = 2', /no record above its floor is deleted/],
    ["INSERT INTO audit VALUES (5, X'', X'')", /comes after the last one/],
    ["INSERT OR REPLACE INTO audit VALUES (2, X'', X'')", /comes after the last one/],
    ["INSERT INTO audit VALUES (0, X'', X'')", /comes after the last one/],
    ["INSERT INTO audit_log VALUES (X'00', 0, X'')", /there is one audit log/],
    ['DELETE FROM audit_log', /there is one audit log/],
    ["UPDATE audit_log SET name = X'00'", /raised only as its last record says/],
    ['UPDATE audit_log SET floor = 1', /raised only as its last record says/],
    [
      'UPDATE audit_log SET floor = 1, floor_hash = (SELECT hash FROM audit WHERE sequence = 1)',
      /as its last record says/,
    ],
  ])('refuses %s', (sql, reason) => {
    const database = bare();
    const log = new SqliteAuditLog(new Writer(database));
    log.append([ENTRY, ENTRY, ENTRY]);
    expect(() => database.exec(sql)).toThrow(reason);
    expect([log.size().records, findings(log)]).toEqual([3, []]);
    database.close();
  });

  test('that somebody changed past its triggers is found', () => {
    const database = bare();
    const log = new SqliteAuditLog(new Writer(database));
    for (let i = 0; i < 5; i++) log.append([{ ...ENTRY, message: `change ${i}` }]);
    database.exec('DROP TRIGGER audit_not_updated; DROP TRIGGER audit_not_deleted');
    database.exec("UPDATE audit SET body = CAST(replace(body, 'change 1', 'change 9') AS BLOB) WHERE sequence = 2");
    database.exec('DELETE FROM audit WHERE sequence = 4');
    expect(findings(log)).toEqual(['altered 2', 'gap 4']);
    database.close();
  });

  test('over its size loses its oldest records, a segment at a time, and says so in the chain', () => {
    const database = bare();
    const log = new SqliteAuditLog(new Writer(database), { bytes: 20_000, segment: 30 });
    // In one transaction, so that the disk is waited for once.
    database.transaction(() => {
      for (let i = 0; i < 500; i++) log.append([{ ...ENTRY, message: `change ${i}` }]);
    })();
    const { bytes, records } = log.size();
    expect([bytes < 20_500, records > 50, log.floor().sequence > 300]).toEqual([true, true, true]);
    expect(log.read(0, 1)[0]?.sequence).toBe(log.floor().sequence + 1);
    expect(findings(log)).toEqual([]);
    expect(messages(log).filter((text) => text.includes('were dropped')).length).toBeGreaterThan(0);
    expect(() => database.exec(`DELETE FROM audit WHERE sequence = ${log.end().sequence}`)).toThrow(/append-only/);
    const floor = log.floor();
    database.close();
    const again = bare();
    expect(new SqliteAuditLog(new Writer(again)).floor()).toEqual(floor);
    again.close();
  });

  test('and what it tells of are there together, or neither is', () => {
    const path = join(directory, 'marcher.db');
    let store = new SqliteConfigStore(path);
    let log = store.openAudit();
    const tell = (message: string) => () => log.append([{ ...ENTRY, message }]);
    store.commit(REVISION, [WEB], tell('made'));
    store.undo(tell('taken back'));
    store.setDrained({ service: '', backend: '' }, true, tell('drained'));
    const after = (): void => {
      tell('not to be')();
      throw new RangeError('after it');
    };
    expect(() => store.commit(REVISION, [WEB], after)).toThrow('after it');
    expect(() => store.setDrained({ service: '', backend: '' }, false, after)).toThrow('after it');
    expect([store.version, store.pendingVersion, store.nodeDraining()]).toEqual([0n, 0n, true]);
    store.commit(REVISION, [WEB], tell('made again'));
    expect(() => store.undo(after)).toThrow('after it');
    // As a process that is killed before the data plane has answered leaves it.
    store.close();
    store = new SqliteConfigStore(path);
    log = store.openAudit();
    expect([store.version, store.pendingVersion, store.count()]).toEqual([1n, 1n, 1]);
    expect(messages(log)).toEqual(['made', 'taken back', 'drained', 'made again']);
    expect(findings(log)).toEqual([]);
    store.close();
  });

  test('on a full disk refuses, and the change with it; with room again it goes on', () => {
    const database = bare();
    const log = new SqliteAuditLog(new Writer(database));
    log.append([ENTRY]);
    const pages = Number(database.pragma('page_count', { simple: true }));
    database.pragma(`max_page_count = ${pages}`);
    const large = { ...ENTRY, objects: Array.from({ length: 50 }, () => 'x'.repeat(300)) };
    expect(() => log.append([large, large])).toThrow(expect.objectContaining({ name: 'StoreError', code: 'full' }));
    expect([log.end().sequence, log.size().records]).toEqual([1, 1]);
    database.pragma('max_page_count = 1000000');
    log.append([large]);
    expect([log.end().sequence, findings(log)]).toEqual([2, []]);
    database.close();
  });

  test('keeps heads, and two of one number as well', () => {
    const database = bare();
    const log = new SqliteAuditLog(new Writer(database));
    const head = (sequence: number, story: number): Head => ({
      ...{ node: '00000000000000a1', log: Buffer.alloc(16, 1), sequence, hash: Buffer.alloc(32, story) },
      ...{ timeMs: sequence * 10 + story, signature: Buffer.alloc(64, 3) },
    });
    const [one, other, third] = [head(1, 1), head(1, 2), head(2, 1)];
    log.keepHeads([one, other], []);
    log.keepHeads([one, third, { ...third, node: '00000000000000b2' }], [one]);
    expect(log.heads('00000000000000a1')).toEqual([other, third]);
    expect(log.heads()).toHaveLength(3);
    database.close();
  });
});
