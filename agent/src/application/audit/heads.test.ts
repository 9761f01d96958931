// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SqliteConfigStore } from '../../adapters/outbound/sqlite/sqlite-config-store.js';
import type { Cell, CellWrite } from '../../domain/replication/contract.js';
import type { AuditEntry, AuditLog } from '../../ports/audit.js';
import { AUDIT_HEAD_KIND, AuditHeads } from './heads.js';

const [A, B] = ['00000000000000a1', '00000000000000b2'] as const;
const hash = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();
/** What a node "signs" nobody else can: its id is in it. */
const signBy = (node: string) => (hashed: Uint8Array) => new Uint8Array([...hash(Buffer.from(node)), ...hashed]);
const ENTRY: AuditEntry = {
  ...{ timeMs: 0, action: 'marcher.v1.ConfigService/Apply', actor: 'ada', via: 'session', source: '', outcome: 'done' },
  ...{ objects: [], moreObjects: 0, version: 0n, message: '', repeated: 0 },
};

/** Cells that both nodes have: the last write is what is there. */
let cells: Map<string, Cell>;
let nowMs: number;
let directory: string;
let stores: SqliteConfigStore[];
/** Nodes whose records are there. */
let recorded: Set<string>;

interface Peer {
  readonly log: AuditLog;
  readonly heads: AuditHeads;
  readonly lines: string[];
  writable: boolean;
}

function write(writes: readonly CellWrite[]): void {
  for (const { kind, id, group, value } of writes) {
    const stamp = { ms: ++nowMs, counter: 0, node: 1n };
    cells.set(`${id} ${group}`, { kind, id, group, value, stamp, origin: '', sequence: 1, mark: 0 });
  }
}

function peer(node: string, file = `${node}.db`): Peer {
  const store = new SqliteConfigStore(join(directory, file));
  stores.push(store);
  const log = store.openAudit();
  const lines: string[] = [];
  const say = (level: string) => (fields: object, message: string) =>
    void lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
  const object = (_kind: string, id: string) => [...cells.values()].filter((cell) => cell.id === id);
  const self = {
    log,
    lines,
    writable: true,
    heads: new AuditHeads({
      ...{ nodeId: node, log, hash, nowMs: () => nowMs, cells: { object }, sign: signBy(node) },
      verify: (of, hashed, signature) => Buffer.compare(signBy(of)(hashed), signature) === 0,
      keyOf: (of) => (recorded.has(of) ? new Uint8Array(32) : undefined),
      members: () => [A, B],
      write: (writes) => {
        if (!self.writable) throw new Error('not admitted');
        write(writes);
      },
      logger: { debug: say('debug'), warn: say('warn'), error: say('error') },
    }),
  };
  return self;
}

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-heads-'));
  cells = new Map();
  stores = [];
  recorded = new Set([A, B]);
  nowMs = 1_000;
});

afterEach(() => {
  for (const store of stores) store.close();
  rmSync(directory, { recursive: true, force: true });
});

const brief = ({ heads }: Peer): string[] =>
  heads.findings().map(({ kind, node, sequence }) => `${kind} ${node} ${sequence}`);

describe('heads of audit logs', () => {
  test('are signed when the log has gone on, and only then, and kept by whoever hears of them', () => {
    const [a, b] = [peer(A), peer(B)];
    a.heads.publish();
    expect(cells.size).toBe(0);
    a.log.append([ENTRY, ENTRY]);
    a.heads.publish();
    const written = new Map(cells);
    a.heads.publish();
    expect(cells).toEqual(written);
    recorded = new Set();
    b.heads.changed([A]);
    expect(b.log.heads()).toEqual([]);
    recorded = new Set([A, B]);
    b.heads.changed([A]);
    a.log.append([ENTRY]);
    a.heads.publish();
    b.heads.changed([A]);
    b.heads.changed([A]);
    expect([a, b].map(({ log }) => log.heads(A).map(({ sequence }) => sequence))).toEqual([
      [2, 3],
      [2, 3],
    ]);
    expect([a, b].flatMap(brief)).toEqual([]);
    expect([...a.lines, ...b.lines]).toEqual([]);
  });

  test('a node whose log was put back from a backup is named by all, itself too, and remains so', () => {
    const [a, b] = [peer(A), peer(B)];
    a.log.append(Array(9).fill(ENTRY));
    a.heads.publish();
    b.heads.changed([A]);
    const restored = peer(A, 'backup.db');
    restored.log.append([ENTRY]);
    // Of the same log, with a record of its own.
    Object.defineProperty(restored.log, 'name', { value: a.log.name });
    restored.heads.changed([A]);
    restored.heads.publish();
    b.heads.changed([A]);
    expect([restored, b].map(brief)).toEqual([[`shortened ${A} 2`], [`shortened ${A} 2`]]);
    expect(b.lines).toEqual([expect.stringMatching(/^error a node's audit log is not what it was .*"sequence":2/)]);
    restored.log.append(Array(20).fill(ENTRY));
    restored.heads.publish();
    b.heads.changed([A]);
    expect([brief(b), b.lines.length, brief(peer(B))]).toEqual([[`shortened ${A} 2`], 1, [`shortened ${A} 2`]]);
  });

  test('one that began another log, or signed two records of one number, is named', () => {
    const [a, b] = [peer(A), peer(B)];
    a.log.append([ENTRY, ENTRY]);
    a.heads.publish();
    b.heads.changed([A]);
    const anew = peer(A, 'anew.db');
    anew.log.append([ENTRY]);
    anew.heads.publish();
    b.heads.changed([A]);
    expect(brief(b)).toEqual([`replaced ${A} 2`]);
    const forked = peer(A, 'forked.db');
    Object.defineProperty(forked.log, 'name', { value: anew.log.name });
    forked.log.append([{ ...ENTRY, message: 'another story' }]);
    forked.heads.publish();
    b.heads.changed([A]);
    expect(brief(b)).toEqual([`replaced ${A} 2`, `fork ${A} 1`]);
  });

  test('that another node has made up, or that are none, are not believed, and are overwritten', () => {
    const [a, b] = [peer(A), peer(B)];
    a.log.append([ENTRY]);
    a.heads.publish();
    const genuine = cells.get(`${A} 1`)?.value as Uint8Array;
    const forged = Uint8Array.from(genuine);
    forged[forged.length - 1] = (forged.at(-1) as number) ^ 1;
    for (const value of [forged, Uint8Array.of(1, 2, 3), new Uint8Array(100_000)]) {
      write([{ kind: AUDIT_HEAD_KIND, id: A, group: '1', value }]);
      b.heads.changed([A]);
    }
    write([{ kind: AUDIT_HEAD_KIND, id: 'not a node', group: '1', value: genuine }]);
    b.heads.changed(['not a node']);
    expect([b.log.heads(), brief(b), b.lines.length]).toEqual([[], [], 1]);
    write([{ kind: AUDIT_HEAD_KIND, id: A, group: '1', value: forged }]);
    a.heads.publish();
    b.heads.changed([A]);
    expect(b.log.heads(A)).toHaveLength(1);
  });

  test('wait while the node can not write, and are signed ever later whatever its clock says', () => {
    const a = peer(A);
    a.writable = false;
    a.log.append([ENTRY]);
    a.heads.publish();
    expect([a.log.heads(A), a.lines.length]).toEqual([[], 1]);
    a.writable = true;
    nowMs = 5_000;
    a.heads.publish();
    nowMs = 10;
    a.log.append([ENTRY]);
    a.heads.publish();
    expect(a.log.heads(A).map(({ sequence, timeMs }) => [sequence, timeMs])).toEqual([
      [1, 5_000],
      [2, 5_001],
    ]);
  });
});
