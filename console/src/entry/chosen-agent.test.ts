// SPDX-License-Identifier: Apache-2.0
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { chooseAgent } from './chosen-agent.js';

let directory: string;
let environment: Record<string, string>;

beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'marcher-chosen-'));
  environment = { XDG_CONFIG_HOME: directory };
  mkdirSync(path.join(directory, 'marcher'), { mode: 0o700 });
});
afterEach(() => rmSync(directory, { recursive: true }));

describe('chooseAgent', () => {
  test("is this machine's agent where nothing else is said, and what is said goes before what was chosen", () => {
    const local = { kind: 'unix', path: '/run/marcher/marcher.sock' };
    expect(chooseAgent(undefined, {}, environment).target).toEqual(local);
    const targets = { prod: { url: 'https://192.0.2.1:7443' } };
    const book = JSON.stringify({ version: 1, current: 'prod', targets });
    writeFileSync(path.join(directory, 'marcher/targets.json'), book, { mode: 0o600 });
    expect(chooseAgent(undefined, {}, environment).target).toMatchObject({ kind: 'tls', host: '192.0.2.1' });
    expect(chooseAgent('local', {}, environment).target).toEqual(local);
    const other = { ...environment, MARCHER_TARGET: '127.0.0.1:7000' };
    expect(chooseAgent(undefined, {}, other).target).toMatchObject({ kind: 'tcp', port: 7000 });
    expect(() => chooseAgent('nobody', {}, environment)).toThrow('there are: prod');
  });

  test('waits for a login where nobody is logged in, and goes on with it', async () => {
    const file = path.join(directory, 'marcher/targets.json');
    const write = (prod: object): void =>
      writeFileSync(file, JSON.stringify({ version: 1, current: 'prod', targets: { prod } }), { mode: 0o600 });
    const prod = { url: 'https://192.0.2.1:7443' };
    write(prod);
    const { session } = chooseAgent(undefined, {}, environment);
    if (session === undefined) throw new Error('nobody waits');
    await expect(session()).rejects.toThrow('marcher login');
    const nowMs = Date.now();
    const stored = {
      user: 'alice',
      token: 'ms_1',
      grantedMs: nowMs,
      expiresMs: nowMs + 60_000,
      endsMs: nowMs + 90_000,
    };
    write({ ...prod, session: stored });
    vi.spyOn(Date, 'now').mockReturnValue(nowMs + 5_000);
    expect(await session()).toBe('ms_1');
    vi.restoreAllMocks();
  });

  test('shows credentials to agents on other machines alone, and takes no secret that others can read', () => {
    const tokenFile = path.join(directory, 'token');
    writeFileSync(tokenFile, 'mk_secret\n', { mode: 0o600 });
    expect(() => chooseAgent('127.0.0.1:7000', { tokenFile }, environment)).toThrow('on another machine');
    const { credentials } = chooseAgent('https://192.0.2.1:7443', { tokenFile }, environment);
    expect(credentials.token).toBe('mk_secret');
    chmodSync(tokenFile, 0o644);
    expect(() => chooseAgent('https://192.0.2.1:7443', { tokenFile }, environment)).toThrow('others can read it');
    expect(() => chooseAgent('https://192.0.2.1:7443', { certFile: 'a.crt' }, environment)).toThrow('go together');
  });
});
