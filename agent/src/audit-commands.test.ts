// SPDX-License-Identifier: Apache-2.0
/** `marcher audit` as an operator has it: the built program over the real API and the real log. */
import { createHash, generateKeyPairSync, sign, verify } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Client, Code, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { headBytes } from '@marcher/audit';
import { AuditService } from '@marcher/proto/marcher/v1/audit_service_pb';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type ApiServer, createApiServer } from './adapters/inbound/grpc/api-server.js';
import { InMemoryUseCases } from './adapters/inbound/testing/in-memory-use-cases.js';
import { SqliteConfigStore } from './adapters/outbound/sqlite/sqlite-config-store.js';
import { Audit } from './application/audit/audit.js';
import type { AuditLog, Finding } from './ports/audit.js';
import { buildMarcher, type CommandResult, runMarcher } from './testing/marcher-command.js';

const NODE = '00000000000000a1';
const hash = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();
const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const frameKey = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url');
const silent = (): void => undefined;
let directory: string;
let socketPath: string;
let server: ApiServer;
let store: SqliteConfigStore;
let log: AuditLog;
let audit: Audit;
let others: Finding[];
let uid: number;
let nowMs: number;

async function run(...args: string[]): Promise<CommandResult> {
  return await runMarcher(args, { env: { HOME: directory, MARCHER_TARGET: `unix:${socketPath}` } });
}

beforeAll(async () => {
  await buildMarcher();
}, 120_000);

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-audit-commands-'));
  socketPath = join(directory, 'api.sock');
  store = new SqliteConfigStore(join(directory, 'marcher.db'));
  log = store.openAudit();
  others = [];
  uid = 0;
  nowMs = Date.UTC(2026, 10, 22, 8);
  audit = new Audit({
    ...{ log, nodeName: 'n', hash, nowMs: () => nowMs, logger: { warn: silent } },
    known: () => ({
      nodeId: NODE,
      verify: (_node, hashed, signature) => verify(null, hashed, publicKey, signature),
      keyOf: () => frameKey,
      findings: () => others,
    }),
  });
  const { config, node, traffic } = new InMemoryUseCases();
  server = createApiServer({
    useCases: { config, node, traffic, audit },
    peerCredentials: () => ({ pid: 1, uid, gid: 0, member: false }),
    logger: { debug: silent, info: silent, warn: silent, error: silent },
    socketPath,
    limits: { stopMs: 500 },
  });
  await server.start();
});

afterEach(async () => {
  await server.stop();
  audit.stop();
  store.close();
  rmSync(directory, { recursive: true, force: true });
});

function record(object: string, fields: object = {}): void {
  const by = { author: 'ada', via: 'session', source: '192.0.2.7' };
  audit.record('done', { action: 'marcher.v1.ConfigService/Apply', by, objects: [object], version: 1n, ...fields });
  nowMs += 60_000;
}

function signHead(sequence: number): void {
  const hashed = log.read(sequence - 1, 1)[0]?.hash as Uint8Array;
  const unsigned = { node: NODE, log: log.name, sequence, hash: hashed, timeMs: nowMs };
  log.keepHeads([{ ...unsigned, signature: sign(null, hash(headBytes(unsigned)), privateKey) }], []);
}

describe('marcher audit', () => {
  test('list shows who did what, the newest first, and what was denied', async () => {
    record('Service/web');
    record('Service/app', { message: 'rollout', objects: ['Service/a', 'Service/b', 'Service/c', 'Service/d'] });
    for (let i = 0; i < 3; i++) {
      audit.denied({
        action: 'marcher.v1.NodeService/Drain',
        by: { author: 'eve (uid 7)', via: 'socket' },
        message: 'no',
      });
    }
    audit.stop();
    const [table, json, none, mistake] = await Promise.all([
      run('audit', 'list'),
      run('audit', 'list', '--action', 'Apply', '--object', 'web', '--since', '2026-11-22T07:59:00Z', '-o', 'json'),
      run('audit', 'list', '--outcome', 'failed'),
      run('audit', 'list', '--since', 'yesterday'),
    ]);
    expect(table.stdout.split('\n').map((line) => line.trim().split(/ {3,}/).join(' | '))).toEqual([
      'RECORD | TIME | ACTOR | VIA | ACTION | OUTCOME | VERSION | OBJECTS | MESSAGE',
      '3 | 2026-11-22 08:02:00 | eve (uid 7) | socket | NodeService/Drain | denied | - | - | no (and 2 more)',
      '2 | 2026-11-22 08:01:00 | ada from 192.0.2.7 | session | ConfigService/Apply | done | 1 | ' +
        'Service/a, Service/b, Service/c and 1 more | rollout',
      '1 | 2026-11-22 08:00:00 | ada from 192.0.2.7 | session | ConfigService/Apply | done | 1 | Service/web | -',
      '',
    ]);
    expect(JSON.parse(json.stdout)).toMatchObject([{ sequence: '1', actor: 'ada', outcome: 'AUDIT_OUTCOME_DONE' }]);
    expect(none).toMatchObject({ code: 0, stdout: '', stderr: 'There are no audit records.\n' });
    expect([mistake.code, mistake.stderr]).toEqual([2, expect.stringContaining('--since is "yesterday"')]);
  });

  test('verify ends with 0 where all is well, and with 11 where not, naming node and record', async () => {
    for (let i = 0; i < 5; i++) record(`Service/s${i}`);
    signHead(3);
    const well = await run('audit', 'verify');
    expect(well).toMatchObject({ code: 0, stderr: '' });
    expect(well.stdout).toContain(`Log of   ${NODE}: 5 records\nNewest   5, `);
    expect(well.stdout).toContain('Compared with 1 head that the node has signed\nIt is what was written.\n');
    others = [
      { kind: 'fork', node: '00000000000000b2', sequence: 9, message: 'it has signed two different records 9' },
    ];
    const badly = await run('audit', 'verify', '-o', 'json');
    expect(badly.code).toBe(11);
    expect(JSON.parse(badly.stdout)[0]).toMatchObject({
      records: 5,
      findings: [{ kind: 'fork', node: '00000000000000b2', record: 9 }],
    });
  });

  test('export is a file that nobody else reads, is verified without an agent, and tells when it was changed', async () => {
    for (let i = 0; i < 5; i++) record(`Service/s${i}`, { message: `change ${i}` });
    signHead(5);
    const path = join(directory, 'n.jsonl');
    const written = await run('audit', 'export', '--file', path);
    expect(written).toMatchObject({ code: 0, stdout: '', stderr: `5 records in ${path}\n` });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const text = readFileSync(path, 'utf8');
    const lines = text.trimEnd().split('\n');
    expect(JSON.parse(lines[1] ?? '')).toMatchObject({
      ...{ sequence: 1, time: '2026-11-22T08:00:00.000Z', actor: 'ada', outcome: 'done', objects: ['Service/s0'] },
    });
    const changed = (name: string, content: string): string => {
      writeFileSync(join(directory, name), content);
      return join(directory, name);
    };
    const [again, well, said, cut, gap, garbage] = await Promise.all([
      run('audit', 'export', '--file', path),
      run('audit', 'verify', '--file', path, '-t', 'unix:/nonexistent'),
      run('audit', 'verify', '--file', changed('said', text.replace('change 2', 'change 7')), '-o', 'json'),
      run('audit', 'verify', '--file', changed('cut', [...lines.slice(0, 4), lines[6]].join('\n')), '-o', 'json'),
      run('audit', 'verify', '--file', changed('gap', lines.toSpliced(3, 1).join('\n')), path, '-o', 'json'),
      run('audit', 'verify', '--file', changed('garbage', 'garbage\n')),
    ]);
    expect([again.code, again.stderr]).toEqual([2, expect.stringContaining('is there already')]);
    expect([well.code, well.stdout]).toEqual([0, expect.stringContaining('Compared with 1 head')]);
    const found = ({ code, stdout }: CommandResult) => {
      const [first] = JSON.parse(stdout) as { findings: { kind: string; record: number }[] }[];
      return [code, ...(first?.findings ?? []).map(({ kind, record: number }) => `${kind} ${number}`)];
    };
    expect(found(said)).toEqual([11, 'altered 3']);
    expect(found(cut)).toEqual([11, 'shortened 4']);
    expect(found(gap)).toEqual([11, 'gap 3']);
    expect([garbage.code, garbage.stderr]).toEqual([1, expect.stringContaining('not an export of an audit log')]);
  });
});

describe('AuditService', () => {
  let client: Client<typeof AuditService>;
  beforeEach(() => {
    const nodeOptions = { createConnection: () => connect({ path: socketPath }) };
    client = createClient(AuditService, createGrpcTransport({ baseUrl: 'http://localhost', nodeOptions }));
  });
  const failure = async (work: Promise<unknown>): Promise<ConnectError> => {
    return ConnectError.from(
      await work.then(
        () => new Error('did not fail'),
        (error: unknown) => error,
      ),
    );
  };

  test('whoever may not use the node is told no, and that is a record', async () => {
    uid = 1234;
    for (let i = 0; i < 5; i++) expect((await failure(client.verifyAudit({}))).code).toBe(Code.PermissionDenied);
    audit.stop();
    const { records } = audit.list({ before: 0, limit: 10 });
    expect(records).toMatchObject([
      {
        actor: 'uid 1234',
        via: 'socket',
        action: 'marcher.v1.AuditService/VerifyAudit',
        outcome: 'denied',
        repeated: 4,
      },
    ]);
    expect(records[0]?.message).toContain("may not use this node's socket");
  });

  test.each([
    [{ actor: 'x'.repeat(401) }, 'actor has 401 characters'],
    [{ outcome: 99 }, 'outcome is 99'],
    [{ before: 2n ** 60n }, 'before is 1152921504606846976'],
  ])('a query that can not be is refused (%#)', async (query, reason) => {
    const error = await failure(client.listAuditRecords(query));
    expect([error.code, error.rawMessage]).toEqual([Code.InvalidArgument, expect.stringContaining(reason)]);
  });

  test('pages follow each other to the end', async () => {
    for (let i = 0; i < 5; i++) record('Service/web');
    const seen: bigint[] = [];
    let before = 0n;
    do {
      const page = await client.listAuditRecords({ before, limit: 2 });
      seen.push(...page.records.map(({ sequence }) => sequence));
      before = page.next;
    } while (before !== 0n);
    expect(seen).toEqual([5n, 4n, 3n, 2n, 1n]);
  });
});
