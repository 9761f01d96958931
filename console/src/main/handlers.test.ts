// SPDX-License-Identifier: Apache-2.0
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withSession, withTarget } from '@marcher/client/address-book';
import { AddressBookFile } from '@marcher/client/address-book-file';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { pageHandlers } from './handlers.js';
import { ConsoleError } from './ipc-server.js';
import { Vault } from './vault.js';

let directory: string;
let book: AddressBookFile;
let chosen: string[];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-handlers-'));
  book = new AddressBookFile(directory);
  chosen = [];
  const session = { user: 'alice', token: 'SECRET', grantedMs: 1, expiresMs: 2, endsMs: 3 };
  await book.update((before) => withTarget(before, 'prod', { url: 'https://192.0.2.1:7443' }));
  await book.update((before) => withSession(withTarget(before, 'lab', { url: 'unix:/tmp/lab.sock' }), 'prod', session));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function handlers() {
  const safeStorage = {
    isEncryptionAvailable: () => false,
    encryptString: () => Buffer.alloc(0),
    decryptString: () => '',
  };
  const vault = new Vault({ path: join(directory, 'vault.json'), safeStorage, cost: { N: 16, r: 8, p: 1 } });
  return pageHandlers(book, vault, (name) => chosen.push(name));
}

test('meshes are those of the address book and this machine, with who is logged in and without tokens', async () => {
  expect(await handlers().meshes()).toEqual([
    { name: 'local', url: 'unix:/run/marcher/marcher.sock', isChosen: true },
    { name: 'prod', url: 'https://192.0.2.1:7443', isChosen: false, user: 'alice' },
    { name: 'lab', url: 'unix:/tmp/lab.sock', isChosen: false },
  ]);
});

test('the mesh that is chosen is the one of marcher, too', async () => {
  const { chooseMesh, meshes } = handlers();
  await chooseMesh('lab');
  expect(book.read().current).toBe('lab');
  expect((await meshes()).find(({ isChosen }) => isChosen)?.name).toBe('lab');
  await chooseMesh('local');
  expect(book.read().current).toBeUndefined();
  expect(chosen).toEqual(['lab', 'local']);
});

test('one that is not there is told, and nothing is chosen', async () => {
  const failed = handlers().chooseMesh('gone');
  await expect(failed).rejects.toThrow(ConsoleError);
  await expect(failed).rejects.toThrow(/there is no target "gone"; there are: prod, lab/);
  expect(chosen).toEqual([]);
});

test('a book that others can read is told of', () => {
  chmodSync(book.path, 0o644);
  expect(() => handlers().meshes()).toThrow(/is not used: others can read it/);
});

test('the vault is opened and closed', async () => {
  const { vaultState, openVault, closeVault } = handlers();
  expect(await vaultState()).toBe('new');
  expect(await openVault('correct horse')).toBe('open');
  expect(await closeVault()).toBe('locked');
});
