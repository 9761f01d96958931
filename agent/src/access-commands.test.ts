// SPDX-License-Identifier: Apache-2.0
/** `marcher user` and `marcher key` as an operator has them: the built program, which is no import, over the real API. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ApiServer, createApiServer } from './adapters/inbound/grpc/api-server.js';
import { InMemoryUseCases } from './adapters/inbound/testing/in-memory-use-cases.js';
import { cheapAccounts, MemoryMesh } from './adapters/outbound/access/testing/memory-mesh.js';
import type { AccessUseCases } from './ports/access.js';
import { buildMarcher, type CommandResult, runMarcher } from './testing/marcher-command.js';

const logged: string[] = [];
let directory: string;
let socketPath: string;
let server: ApiServer;
let access: AccessUseCases;

async function run(args: readonly string[], stdin = ''): Promise<CommandResult> {
  return await runMarcher(args, { env: { HOME: directory, MARCHER_TARGET: `unix:${socketPath}` }, stdin });
}

beforeAll(async () => {
  await buildMarcher();
  directory = mkdtempSync(join(tmpdir(), 'marcher-access-commands-'));
  socketPath = join(directory, 'api.sock');
  const mesh = new MemoryMesh(Date.now);
  access = cheapAccounts(() => mesh, Date.now);
  const log = (fields: object, message: string): void => void logged.push(`${message} ${JSON.stringify(fields)}`);
  const { config, node, traffic } = new InMemoryUseCases();
  server = createApiServer({
    useCases: { config, node, traffic, access },
    peerCredentials: () => ({ pid: 1, uid: 0, gid: 0, member: false }),
    logger: { debug: log, info: log, warn: log, error: log },
    socketPath,
    limits: { stopMs: 500 },
  });
  await server.start();
}, 120_000);

afterAll(async () => {
  await server.stop();
  rmSync(directory, { recursive: true, force: true });
});

test('users: a password from a file or standard input, a role with its scope, and nothing secret anywhere', async () => {
  const password = 'four words, or rather five';
  writeFileSync(join(directory, 'password'), `${password}\n`);
  const file = ['--password-file', join(directory, 'password')];
  const [alice, bob] = await Promise.all([
    run(['user', 'add', 'alice', '--role', 'administrator', ...file]),
    run(['user', 'add', 'bob', '--role', 'owner', '--cluster', 'eu', '--service', 'web', '--no-password']),
  ]);
  expect(alice).toEqual({ code: 0, stdout: 'User alice is administrator.\n', stderr: '' });
  expect(bob).toEqual({ code: 0, stdout: 'User bob is owner, of cluster eu; service web.\n', stderr: '' });
  const wrong = await Promise.all([
    run(['user', 'add', 'carol', '--role', 'viewer'], password),
    run(['user', 'add', 'carol', '--role', 'viewer', '--password-file', '-'], 'my short one\n'),
    run(['user', 'role', 'bob', 'owner']),
    run(['user', 'totp', 'alice', ...file]),
  ]);
  expect(wrong.map(({ code }) => code)).toEqual([2, 2, 2, 2]);
  expect(wrong[0]?.stderr).toContain('give --password-file');
  expect(wrong[1]?.stderr).toContain('has 12 characters: expected 15 to 128');
  expect(wrong[2]?.stderr).toContain('an owner needs a scope');
  const [table, names, changed] = await Promise.all([
    run(['user']),
    run(['__complete', 'user', 'remove', '']),
    run(['user', 'password', 'alice', '--password-file', '-'], 'another five words or so\n'),
  ]);
  const header = /^NAME {4}ROLE {12}SCOPE {21}PASSWORD {3}TOTP {3}CREATED .*BY\n/;
  expect(table.stdout).toMatch(header);
  expect(table.stdout).toMatch(/\nbob +owner +cluster eu; service web +no +no +.*root \(uid 0\)\n$/);
  expect(names.stdout).toBe('alice\nbob\n');
  expect([changed.code, changed.stdout]).toEqual([0, 'User alice has another password, and no session any more.\n']);
  expect(
    await access.login({ name: 'alice', password: 'another five words or so', code: '' }, '192.0.2.1'),
  ).toHaveProperty('token');
  expect(await run(['user', 'remove', 'bob', '--yes'])).toMatchObject({ code: 0, stdout: 'User bob is removed.\n' });
  const everything = JSON.stringify([wrong, logged]);
  for (const secret of [password, 'my short one', 'another five']) expect(everything).not.toContain(secret);
});

test('keys: alone on standard output, listed without it, rotated, revoked', async () => {
  const made = await run(['key', 'create', 'ci', '--role', 'owner', '--cluster', 'eu', '--ttl', '90d']);
  expect(made.stdout).toMatch(/^mk_[0-9a-f]{16}_[0-9a-f]{64}\n$/);
  expect(made.stderr).toMatch(/^It is good until .*\nMake it worthless: marcher key revoke [0-9a-f]{16}\n$/);
  const key = made.stdout.trim();
  const id = key.slice(3, 19);
  const [table, rotated, wrong, whole] = await Promise.all([
    run(['key']),
    run(['key', 'rotate', id, '--overlap', '0', '-o', 'json']),
    run(['key', 'create', 'x', '--role', 'viewer', '--ttl', '1096d']),
    run(['key', 'revoke', key, '--yes']),
  ]);
  expect(table.stdout).toContain(`ci     ${id}   owner   cluster eu   89d23h`);
  expect(table.stdout).not.toContain(key);
  expect(JSON.parse(rotated.stdout)).toMatchObject({ key: expect.stringMatching(/^mk_/), details: { id } });
  expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('from 1h to 1095d')]);
  expect([whole.code, whole.stderr]).toEqual([2, expect.not.stringContaining(key)]);
  expect(await access.bearer(key, '192.0.2.1')).toHaveProperty('reason');
  expect((await run(['key', 'revoke', id, '--yes'])).code).toBe(0);
  expect(access.keys()).toEqual([]);
  expect(JSON.stringify(logged)).not.toContain('mk_');
});
