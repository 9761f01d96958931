// SPDX-License-Identifier: Apache-2.0
/** Commands by OpenSSH's sshd, on loopback. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { SshTarget } from '../target.js';
import { RemoteShell, type RemoteShellOptions } from './remote-shell.js';
import { makeKey, type Sshd, startSshd } from './testing/sshd.js';

let home: string;
let sshd: Sshd;
let open: RemoteShell[] = [];

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'marcher-shell-'));
  mkdirSync(join(home, '.ssh'), { recursive: true });
  const authorizedKeys = [makeKey(join(home, 'one')), makeKey(join(home, 'other'))];
  sshd = await startSshd({ directory: join(home, 'sshd'), authorizedKeys: authorizedKeys.slice(0, 1) });
  writeFileSync(join(home, '.ssh/known_hosts'), `[127.0.0.1]:${sshd.port} ${sshd.hostKey}\n`);
});
afterEach(() => {
  for (const each of open) each.close();
  open = [];
});
afterAll(async () => {
  await sshd.stop();
  rmSync(home, { recursive: true, force: true });
});

function shell(options: Partial<RemoteShellOptions> = {}, target: Partial<SshTarget> = {}): RemoteShell {
  const around = { home, systemDirectory: join(home, 'etc'), localUser: sshd.user, environment: {} };
  const made = new RemoteShell(
    { kind: 'ssh', host: '127.0.0.1', port: sshd.port, user: sshd.user, path: '/', ...target },
    { surroundings: around, identityFile: join(home, 'one'), timeoutMs: 5_000, ...options },
  );
  open.push(made);
  return made;
}

test('a script is one word, whatever is in it; its outputs and its code come back', async () => {
  const ran = await shell().run(`echo "it's $((6 * 7))"; printf 'a\\nb' >&2; exit 3`);
  expect(ran).toMatchObject({ code: 3, stdout: "it's 42\n" });
  expect(ran.stderr.endsWith('a\nb')).toBe(true);
});

test('what is given to it arrives whole, and what it says is heard meanwhile', async () => {
  const bytes = Buffer.alloc(3 << 20, 'x');
  const heard: string[] = [];
  const ran = await shell().run('wc -c', { input: Readable.from([bytes]), heard: (text) => heard.push(text) });
  expect(ran.stdout.trim()).toBe(String(bytes.length));
  expect(heard.join('')).toContain(String(bytes.length));
});

test('of much that it says the end is kept', async () => {
  const { stdout } = await shell().run('seq 1 200000');
  expect(stdout.length).toBeLessThanOrEqual(64 << 10);
  expect(stdout.endsWith('200000\n')).toBe(true);
});

test('one that does not read what it is given says why it ended', async () => {
  const ran = await shell().run('echo "the disk is full" >&2; exit 1', {
    input: Readable.from([Buffer.alloc(4 << 20)]),
  });
  expect(ran.code).toBe(1);
  expect(ran.stderr).toContain('the disk is full');
});

test('the key that is named is shown, and no other', async () => {
  await expect(shell({ identityFile: join(home, 'other') }).run('true')).rejects.toMatchObject({ code: 'denied' });
  expect((await shell().run('true')).code).toBe(0);
});

test('a server whose key is not known gets no login, and one that is confirmed is kept', async () => {
  const before = readFileSync(join(home, '.ssh/known_hosts'), 'utf8');
  writeFileSync(join(home, '.ssh/known_hosts'), '');
  const logins = (): number => sshd.log().split('Accepted').length;
  const count = logins();
  await expect(shell().run('true')).rejects.toMatchObject({ code: 'untrusted' });
  expect(logins()).toBe(count);
  expect((await shell({ ask: { confirmHostKey: async () => true } }).run('true')).code).toBe(0);
  expect(readFileSync(join(home, '.ssh/known_hosts'), 'utf8')).toContain(before.split(' ').at(-1)?.trim());
});

test('a connection that broke fails the command, and the next one has another', async () => {
  const one = shell();
  await one.run('true');
  const running = one.run('echo begun; exec sleep 60', { heard: () => void kill() });
  const kill = (): void => {
    for (const pid of sshd.children()) process.kill(pid, 'SIGKILL');
  };
  await expect(running).rejects.toMatchObject({ code: 'unreachable' });
  expect((await one.run('echo again')).stdout).toBe('again\n');
});

test('one that takes too long, or is stopped, is given up', async () => {
  const one = shell();
  await expect(one.run('exec sleep 60', { timeoutMs: 100 })).rejects.toThrow(/more than 100 ms/);
  const abort = new AbortController();
  const running = one.run('echo begun; exec sleep 60', { signal: abort.signal, heard: () => abort.abort() });
  await expect(running).rejects.toThrow(/stopped/);
  expect((await one.run('echo on')).stdout).toBe('on\n');
});
