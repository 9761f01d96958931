// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { headBytes } from '@marcher/audit';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { SqliteConfigStore } from '../../adapters/outbound/sqlite/sqlite-config-store.js';
import type { AuditExportItem, AuditQuery, Told } from '../../ports/audit.js';
import { StoreError } from '../../ports/config-store.js';
import { Audit, type AuditOptions, type KnownHeads } from './audit.js';

const NODE = '00000000000000a1';
const hash = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();
const NEVER = new AbortController().signal;
let directory: string;
let store: SqliteConfigStore;
let warned: string[];
let nowMs: number;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  directory = mkdtempSync(join(tmpdir(), 'marcher-audit-'));
  store = new SqliteConfigStore(join(directory, 'marcher.db'));
  warned = [];
  nowMs = 1_800_000_000_000;
});

afterEach(() => {
  vi.useRealTimers();
  store.close();
  rmSync(directory, { recursive: true, force: true });
});

function open(options: Partial<AuditOptions> = {}): Audit {
  const logger = { warn: (_fields: object, message: string) => void warned.push(message) };
  return new Audit({ log: store.openAudit(), nodeName: 'n', hash, nowMs: () => nowMs, logger, ...options });
}

const told = (object: string, fields: Partial<Told> = {}): Told => {
  return {
    action: 'marcher.v1.ConfigService/Apply',
    by: { author: 'ada', via: 'session' },
    objects: [object],
    ...fields,
  };
};
const NEWEST: AuditQuery = { before: 0, limit: 100 };
const numbers = (audit: Audit, query: Partial<AuditQuery>): number[] =>
  audit.list({ ...NEWEST, ...query }).records.map(({ sequence }) => sequence);

test('lists what was recorded, the newest first, by who, what, whether, when and on which object', () => {
  const audit = open();
  audit.record('done', told('Service/web'));
  nowMs += 1_000;
  audit.record('failed', told('Service/app', { version: 2n }));
  nowMs += 1_000;
  audit.record(
    'done',
    told('Node/n', { action: 'marcher.v1.NodeService/Drain', by: { author: 'bob', source: '192.0.2.1' } }),
  );
  expect(numbers(audit, {})).toEqual([3, 2, 1]);
  expect(audit.list(NEWEST).records[0]).toEqual({
    ...{
      sequence: 3,
      timeMs: nowMs,
      action: 'marcher.v1.NodeService/Drain',
      actor: 'bob',
      via: 'agent',
      outcome: 'done',
    },
    ...{ source: '192.0.2.1', objects: ['Node/n'], moreObjects: 0, version: 0n, message: '', repeated: 0 },
  });
  expect(numbers(audit, { actor: 'ada' })).toEqual([2, 1]);
  expect(numbers(audit, { actor: 'ad' })).toEqual([]);
  expect(numbers(audit, { outcome: 'failed' })).toEqual([2]);
  expect(numbers(audit, { object: 'web' })).toEqual([1]);
  expect(numbers(audit, { object: 'Service/app' })).toEqual([2]);
  expect(numbers(audit, { sinceMs: nowMs - 1_000, untilMs: nowMs })).toEqual([2]);
  expect(
    ['marcher.v1.Config', 'ConfigService', 'Apply'].map((actionPrefix) => numbers(audit, { actionPrefix })),
  ).toEqual(Array(3).fill([2, 1]));
  expect(numbers(audit, { actionPrefix: 'pply' })).toEqual([]);
});

test('lists page by page, and looks through no more than a part of a long log at once', () => {
  const audit = open();
  const log = store.openAudit();
  const [entry] = [{ ...told('Service/web'), timeMs: 0, actor: 'ada', via: '', source: '', outcome: 'done' as const }];
  const whole = { ...entry, objects: [], moreObjects: 0, version: 0n, message: '', repeated: 0 };
  log.append(Array.from({ length: 6_000 }, (_, i) => ({ ...whole, actor: i === 5 ? 'eve' : 'ada' })));
  const first = audit.list({ before: 0, limit: 2 });
  expect([first.records.map(({ sequence }) => sequence), first.next]).toEqual([[6_000, 5_999], 5_999]);
  const page = audit.list({ before: 0, limit: 5, actor: 'eve' });
  expect([page.records, page.next > 0]).toEqual([[], true]);
  const found = audit.list({ before: page.next, limit: 5, actor: 'eve' });
  expect([found.records.map(({ sequence }) => sequence), found.next]).toEqual([[6], 0]);
  expect(audit.list({ before: 2, limit: 1 })).toMatchObject({ records: [{ sequence: 1 }], next: 0 });
});

test('denied attempts are written a second later, alike ones as one, and at the end at once', () => {
  const audit = open();
  for (let i = 0; i < 10_000; i++) audit.denied(told('Service/web', { message: 'no' }));
  expect(store.openAudit().size().records).toBe(0);
  nowMs += 1_000;
  vi.advanceTimersByTime(1_000);
  expect(audit.list(NEWEST).records).toMatchObject([{ outcome: 'denied', repeated: 9_999, message: 'no' }]);
  audit.denied(told('Service/app'));
  audit.stop();
  audit.denied(told('Service/late'));
  expect(numbers(audit, { outcome: 'denied' })).toEqual([3, 2, 1]);
});

test('denied attempts that can not be written yet are said once, wait, and are then written', () => {
  const log = store.openAudit();
  const append = vi.spyOn(log, 'append').mockImplementation(() => {
    throw new StoreError('full', 'the disk is full');
  });
  const audit = open({ log });
  audit.denied(told('Service/web'));
  vi.advanceTimersByTime(5_000);
  audit.denied(told('Service/web'));
  vi.advanceTimersByTime(5_000);
  expect(warned).toHaveLength(1);
  append.mockRestore();
  vi.advanceTimersByTime(1_000);
  expect(audit.list(NEWEST).records).toMatchObject([{ repeated: 1 }]);
});

test('verifies its chain against the heads that its node has signed, and exports it with them', async () => {
  const log = store.openAudit();
  const sign = (hashed: Uint8Array): Uint8Array => new Uint8Array([...hashed, ...hashed]);
  const other = { kind: 'fork', node: '00000000000000b2', sequence: 7, message: 'two stories' } as const;
  const known: KnownHeads = {
    nodeId: NODE,
    verify: (_node, hashed, signature) => Buffer.compare(sign(hashed), signature) === 0,
    keyOf: (node) => (node === NODE ? new Uint8Array(32) : undefined),
    findings: () => [other],
  };
  const audit = open({ log, known: () => known });
  for (let i = 0; i < 1_500; i++) audit.record('done', told(`Service/s${i}`));
  const unsigned = {
    node: NODE,
    log: log.name,
    sequence: 700,
    hash: log.read(699, 1)[0]?.hash as Uint8Array,
    timeMs: 1,
  };
  log.keepHeads([{ ...unsigned, signature: sign(hash(headBytes(unsigned))) }], []);
  const verdict = await audit.verify(NEVER);
  expect(verdict).toMatchObject({ node: NODE, records: 1_500, headsChecked: 1, findings: [other], floor: 0 });
  const items: AuditExportItem[] = [];
  for await (const item of audit.export(NEVER)) items.push(item);
  expect([items.length, items[0]?.kind, items[1]?.kind, items.at(-1)?.kind]).toEqual([
    1_502,
    'origin',
    'record',
    'head',
  ]);
  const ended = AbortSignal.abort(new Error('gone'));
  await expect(audit.verify(ended)).rejects.toThrow('gone');
});
