// SPDX-License-Identifier: Apache-2.0
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ConsoleError } from './ipc-server.js';
import { type SafeStorage, Vault } from './vault.js';

const cost = { N: 16, r: 8, p: 1 };
let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-vault-'));
  path = join(directory, 'console', 'vault.json');
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** A keyring as Electron shows it: what it seals, it alone opens. */
function keyring(backend = 'gnome_libsecret', mask = 0x5a): SafeStorage {
  const flip = (bytes: Buffer): Buffer => Buffer.from(bytes.map((byte) => byte ^ mask));
  return {
    isEncryptionAvailable: () => true,
    getSelectedStorageBackend: () => backend,
    encryptString: (text) => flip(Buffer.from(`v11${text}`)),
    decryptString(sealed) {
      const text = flip(sealed).toString('latin1');
      if (!text.startsWith('v11')) throw new Error('Error while decrypting the ciphertext');
      return text.slice(3);
    },
  };
}

const vaultOf = (safeStorage: SafeStorage): Vault => new Vault({ path, safeStorage, cost });
const basic = keyring('basic_text');

describe('where the system keeps secrets', () => {
  test('it is open, and what is set is there for the next one and not in the file', async () => {
    const vault = vaultOf(keyring());
    expect(await vault.state()).toBe('open');
    expect(existsSync(path)).toBe(false);
    await vault.set('session:prod', 'eyJ-SECRET');
    expect(await vaultOf(keyring()).get('session:prod')).toBe('eyJ-SECRET');
    expect(readFileSync(path, 'utf8')).not.toMatch(/SECRET|session:prod/);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await vault.set('session:prod', undefined);
    expect(await vaultOf(keyring()).get('session:prod')).toBeUndefined();
  });

  test.each([
    ['the keyring has gone', basic, /keyring has its key, and there is none now/],
    ['it is the keyring of somebody else', keyring('kwallet6', 0x33), /does not give its key/],
  ])('%s: it is said, and the file stays', async (_what, later, reason) => {
    await vaultOf(keyring()).set('a', 'b');
    const before = readFileSync(path);
    await expect(vaultOf(later).state()).rejects.toThrow(reason);
    await expect(vaultOf(later).open('correct horse')).rejects.toThrow(ConsoleError);
    expect(readFileSync(path)).toEqual(before);
  });

  test('what is asked at the same time is done in turn, and nothing is lost', async () => {
    const vault = vaultOf(keyring());
    const names = ['a', 'b', 'c'];
    await Promise.all([...names.map((name) => vault.set(name, name)), vault.close(), vault.set('d', 'd')]);
    const next = vaultOf(keyring());
    for (const name of [...names, 'd']) expect(await next.get(name)).toBe(name);
  });

  test('on systems without a choice of backends, too', async () => {
    const { getSelectedStorageBackend: _linuxOnly, ...mac } = keyring();
    await vaultOf(mac).set('a', 'b');
    expect(await vaultOf(mac).get('a')).toBe('b');
  });
});

describe.each([
  ['basic_text', basic],
  ['an unknown backend', keyring('unknown')],
  ['no encryption', { ...keyring(), isEncryptionAvailable: () => false }],
])('where it keeps none (%s)', (_what, storage) => {
  test('secrets are refused until there is a passphrase', async () => {
    const vault = vaultOf(storage);
    expect(await vault.state()).toBe('new');
    await expect(vault.set('a', 'b')).rejects.toThrow(/keeps no secrets .* choose a passphrase/);
    await expect(vault.get('a')).rejects.toThrow(ConsoleError);
    expect(existsSync(path)).toBe(false);
  });

  test('they are sealed by the passphrase, and the file opens by that one alone', async () => {
    const vault = vaultOf(storage);
    expect(await vault.open('correct horse')).toBe('open');
    await vault.set('a', 'SECRET');
    expect(readFileSync(path, 'utf8')).not.toMatch(/SECRET|correct horse/);
    const next = vaultOf(storage);
    expect(await next.state()).toBe('locked');
    await expect(next.get('a')).rejects.toThrow(/locked: give their passphrase/);
    await expect(next.open('correct hors')).rejects.toThrow(/^the passphrase is wrong$/);
    expect(await next.open('correct horse')).toBe('open');
    expect(await next.get('a')).toBe('SECRET');
    await next.close();
    expect(await next.state()).toBe('locked');
  });
});

test('a vault that was made with a passphrase stays with it when a keyring comes', async () => {
  await vaultOf(basic).open('correct horse');
  expect(await vaultOf(keyring()).state()).toBe('locked');
});

describe('a file that is not as it was written', () => {
  let secretsOfAnother: unknown;

  beforeEach(async () => {
    for (const each of [join(directory, 'another.json'), path]) {
      const vault = new Vault({ path: each, safeStorage: basic, cost });
      await vault.open('correct horse');
      await vault.set('a', 'b');
    }
    secretsOfAnother = JSON.parse(readFileSync(join(directory, 'another.json'), 'utf8')).secrets;
  });

  test.each<[string, (text: string) => string]>([
    ['cut off', (text) => text.slice(0, 100)],
    ['of another program', () => '{"kind":"other"}'],
    ['a list', () => '[]'],
    ['with secrets of another vault', (text) => JSON.stringify({ ...JSON.parse(text), secrets: secretsOfAnother })],
  ])('%s: it is told, and nothing is overwritten', async (_what, change) => {
    writeFileSync(path, change(readFileSync(path, 'utf8')));
    const before = readFileSync(path);
    await expect(vaultOf(basic).open('correct horse')).rejects.toThrow(/is not used: /);
    expect(readFileSync(path)).toEqual(before);
  });

  test('that others can read is not used', async () => {
    chmodSync(path, 0o644);
    await expect(vaultOf(basic).state()).rejects.toThrow(/others can read it: chmod 600/);
  });

  test('a passphrase can not be made to cost all of the memory', async () => {
    writeFileSync(path, readFileSync(path, 'utf8').replace(/"N":\d+/, `"N":${2 ** 28}`));
    await expect(vaultOf(basic).open('correct horse')).rejects.toThrow(/sealed in no way that this program knows/);
  });
});
