// SPDX-License-Identifier: Apache-2.0
/** The command line with an agent behind a real sshd. */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { promisify } from 'node:util';
import { makeKey, type Sshd, startSshd } from '@marcher/client/testing/sshd';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type FakeAgent, startFakeAgent } from '../testing/fake-agent.js';
import { sshQuestions } from './ssh-tunnels.js';

const root = join(import.meta.dirname, '../../..');
const marcher = join(root, 'tui/bin/marcher');
let home: string;
let agent: FakeAgent;
let sshd: Sshd;
let target: string;

async function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const env = { PATH: process.env['PATH'] ?? '', HOME: home, XDG_CACHE_HOME: join(root, '.cache') };
  return await promisify(execFile)(marcher, args, { env, timeout: 15_000 }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
}

beforeAll(async () => {
  await promisify(execFile)(join(root, 'node_modules/.bin/tsc'), ['-b', join(root, 'tui')], { env: process.env });
  home = mkdtempSync(join(tmpdir(), 'marcher-cli-ssh-'));
  mkdirSync(join(home, '.ssh'), { mode: 0o700 });
  const socket = join(home, 'api.sock');
  agent = await startFakeAgent(socket);
  const key = makeKey(join(home, '.ssh/id_ed25519'));
  sshd = await startSshd({ directory: join(home, 'sshd'), authorizedKeys: [key] });
  target = `ssh://${sshd.user}@127.0.0.1:${sshd.port}${socket}`;
}, 120_000);

afterAll(async () => {
  await Promise.all([agent?.close(), sshd?.stop()]);
  rmSync(home, { recursive: true, force: true });
});

test('an agent is reached by SSH, also by a name for it, once the key of its server is known', async () => {
  const unknown = await run('-t', target, 'status');
  expect(unknown).toMatchObject({ code: 5, stdout: '', stderr: expect.stringContaining('is not trusted') });
  expect(unknown.stderr).toContain('ssh-keyscan -t ed25519');
  writeFileSync(join(home, '.ssh/known_hosts'), `[127.0.0.1]:${sshd.port} ${sshd.hostKey}\n`);
  expect(await run('-t', target, 'status')).toMatchObject({
    code: 0,
    stderr: '',
    stdout: expect.stringContaining('north'),
  });
  expect(await run('target', 'add', 'lab', '--url', target, '--use')).toMatchObject({ code: 0 });
  const [named, completed, refused, listed] = await Promise.all([
    run('status', '-o', 'json'),
    run('__complete', 'get', 'nodes', ''),
    run('status', '--token-file', '/dev/null'),
    run('target', 'list', '-o', 'json'),
  ]);
  expect(JSON.parse(named.stdout)).toMatchObject({ nodeName: 'north' });
  expect(completed.stdout).toBe('north\n');
  expect(refused).toMatchObject({ code: 2 });
  expect(JSON.parse(listed.stdout)).toMatchObject([{ name: 'lab', url: target, current: true }]);
});

test('questions are asked on a terminal alone, and a key counts as confirmed by "yes" or by its fingerprint', async () => {
  const typing = (line: string) => {
    const input = Object.assign(new PassThrough(), { isTTY: true });
    const output = Object.assign(new PassThrough().resume(), { isTTY: true });
    input.write(`${line}\r`);
    return sshQuestions({ input, output });
  };
  const server = { name: 'n', host: 'n', port: 22, keyType: 'ssh-ed25519', fingerprint: 'SHA256:abc', path: '/k' };
  const confirmed = ['yes', 'SHA256:abc', 'y', 'SHA256:abd', ''].map((line) => typing(line).confirmHostKey?.(server));
  expect(await Promise.all(confirmed)).toEqual([true, true, false, false, false]);
  expect(await typing('open sesame').passphrase?.({ path: '/k', again: false })).toBe('open sesame');
  expect(await typing('').password?.({ user: 'alice', host: 'n', again: true })).toBeUndefined();
  const questions = [{ text: 'Code: ', echo: true }];
  expect(await typing('123').answers?.({ user: 'a', host: 'n', title: '', instructions: '', questions })).toEqual([
    '123',
  ]);
  expect(sshQuestions({ input: new PassThrough(), output: new PassThrough() })).toEqual({});
});
