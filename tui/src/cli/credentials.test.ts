// SPDX-License-Identifier: Apache-2.0
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readCredentials, refuseCredentials } from './credentials.js';

let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-credentials-'));
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

function file(name: string, text: string, mode = 0o600): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

const read = (options: Parameters<typeof readCredentials>[0], environment = {}) =>
  readCredentials(options, environment, Date.now());

describe('credentials for another machine', () => {
  test('a token is one line of a file that nobody else can read', () => {
    const tokenFile = file('token', 'abc.def-_~+/=\n');
    expect(read({ tokenFile })).toEqual({ token: 'abc.def-_~+/=' });
    expect(read({}, { MARCHER_TOKEN_FILE: tokenFile })).toEqual({ token: 'abc.def-_~+/=' });
    const open = file('open', 'secret-of-bob', 0o640);
    expect(() => read({ tokenFile: open })).toThrow(`others can read ${open}, which has a secret: chmod 600`);
    for (const text of ['', 'two words', 'a\nb', 'x'.repeat(5_000)]) {
      expect(() => read({ tokenFile: file('odd', text) })).toThrow('has no token: expected one line with it');
    }
    expect(() => read({ tokenFile: file('large', 'x'.repeat(70_000)) })).toThrow('is larger than 65536 bytes');
    expect(() => read({ tokenFile: directory })).toThrow('is not a file');
  });

  test('an option wins over its variable', () => {
    const tokenFile = file('mine', 'mine');
    const environment = { MARCHER_TOKEN_FILE: file('theirs', 'theirs') };
    expect(read({ tokenFile }, environment)).toEqual({ token: 'mine' });
  });

  test('a certificate and its key go together, and neither is repeated when it can not be read', () => {
    expect(() => read({ certFile: 'x' })).toThrow('give both --cert-file and --key-file');
    const both = { certFile: file('c', 'nothing'), keyFile: file('k', 'nothing either') };
    expect(() => read(both)).toThrow(/c has no certificate in PEM$/);
    expect(() => read({ caFile: file('ca', 'nothing') })).toThrow(/ca has no certificate in PEM$/);
  });

  test('a node is named by its id', () => {
    expect(read({ nodeId: '00000000000000a1' })).toEqual({ nodeId: '00000000000000a1' });
    expect(() => read({ nodeId: 'node1' })).toThrow('--node-id is "node1": expected 16 hex digits');
  });

  test('given for an agent of this machine they are a mistake', () => {
    refuseCredentials({});
    expect(() => refuseCredentials({ tokenFile: 'x' })).toThrow('--token-file is for an agent on another machine');
  });
});
