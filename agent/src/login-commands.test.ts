// SPDX-License-Identifier: Apache-2.0
/** `marcher target`, `login`, `logout`, `whoami`: the built program at an agent over real TLS, with real sessions. */
import { X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { remoteApi } from './adapters/inbound/grpc/testing/remote.js';
import { cheapAccounts, MemoryMesh } from './adapters/outbound/access/testing/memory-mesh.js';
import { NODE_A, testDirectory } from './adapters/outbound/identity/testing/directory.js';
import { testAuthority, testNode } from './adapters/outbound/identity/testing/mesh.js';
import { buildMarcher, type CommandResult, runMarcher } from './testing/marcher-command.js';

const PASSWORD = 'four words, or rather five';

beforeAll(async () => {
  await buildMarcher();
}, 120_000);

test('a session is begun once, shown by later commands, renewed and ended; its token is in no output', async () => {
  const now = Date.now();
  const authority = await testAuthority(now);
  const node = await testNode(authority, NODE_A, now);
  const mesh = new MemoryMesh(Date.now);
  const access = cheapAccounts(() => mesh, Date.now);
  const by = { author: 'root (uid 0)', origin: 'api', via: 'socket', source: '' } as const;
  await access.createUser(
    { name: 'alice', role: 'viewer', scope: { clusters: [], services: [] }, password: PASSWORD },
    by,
  );
  const api = await remoteApi(authority, node, {}, access);
  const directory = testDirectory();
  mkdirSync(join(directory, 'home'));
  const config = join(directory, 'config');
  const book = join(config, 'marcher/targets.json');
  const outputs: string[] = [];
  const run = async (
    args: readonly string[],
    extra: Record<string, string> = {},
    stdin = '',
  ): Promise<CommandResult> => {
    const env = { HOME: join(directory, 'home'), XDG_CONFIG_HOME: config, ...extra };
    const result = await runMarcher(args, { env, stdin });
    outputs.push(result.stdout, result.stderr);
    return result;
  };
  const sha256 = (pem: string): string => new X509Certificate(pem).fingerprint256;
  const url = ['--url', `https://127.0.0.1:${api.port}`];
  const login = ['login', '--user', 'alice', '--password-file', '-'];
  const session = () => JSON.parse(readFileSync(book, 'utf8')).targets.prod.session;

  const added = await run(['target', 'add', 'prod', ...url, '--mesh-root', sha256(authority.pem), '--use']);
  expect(added).toMatchObject({ code: 0, stdout: `Target prod is ${url[1]}, used from now on.\n` });
  expect(statSync(book).mode & 0o777).toBe(0o600);

  const [wrong, right] = [await run(login, {}, 'another five words or so'), await run(login, {}, PASSWORD)];
  expect(wrong.code).toBe(7);
  expect(right).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Logged in at prod as alice, until 20/) });
  const first = session();
  const denied = { stdin: 'apiVersion: marcher/v1\nservices: []\n' };
  const [who, byName, apply, listed] = await Promise.all([
    run(['whoami', '-o', 'json']),
    run(['get', 'services'], { MARCHER_TARGET: 'prod', MARCHER_CA_FILE: '/nonexistent', MARCHER_TOKEN_FILE: '/none' }),
    run(['apply', '--prune', '-f', '-'], {}, denied.stdin),
    run(['target']),
  ]);
  expect(JSON.parse(who.stdout)).toMatchObject({ name: 'user:alice', via: 'session', role: 'ACCESS_ROLE_VIEWER' });
  expect(byName.code).toBe(0);
  expect(apply).toMatchObject({ code: 7, stderr: expect.stringContaining('viewer') });
  expect(listed.stdout).toMatch(/^USED +NAME +URL +CERTIFICATE +SESSION\n\* +prod +https:\S+ +- +alice, idle for 1\dm/);
  expect(session()).toEqual(first);

  // Half of its time is over: two commands at once renew it, and one of their tokens stays.
  const aged = JSON.parse(readFileSync(book, 'utf8'));
  aged.targets.prod.session.grantedMs -= 15 * 60_000;
  writeFileSync(book, JSON.stringify(aged));
  const both = await Promise.all([run(['whoami']), run(['whoami'])]);
  expect(both.map(({ code }) => code)).toEqual([0, 0]);
  const second = session();
  expect(second.token).not.toBe(first.token);
  expect(second.endsMs).toBe(first.endsMs);

  expect(await run(['logout'])).toMatchObject({ code: 0, stdout: 'Logged out at prod.\n' });
  expect(session()).toBeUndefined();
  // At the mesh, too: for whoever has the token, also the one before.
  for (const { token } of [first, second]) expect(await access.bearer(token, '192.0.2.1')).toHaveProperty('reason');
  const after = await run(['get', 'services']);
  expect([after.code, after.stderr]).toEqual([7, expect.stringContaining('or a session (marcher login)')]);
  for (const secret of [first.token, second.token, PASSWORD]) expect(outputs.join('')).not.toContain(secret);
}, 60_000);
