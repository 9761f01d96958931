// SPDX-License-Identifier: Apache-2.0
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withCurrent, withoutTarget, withSession, withTarget } from '@marcher/client/address-book';
import { AddressBookFile } from '@marcher/client/address-book-file';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ChosenMesh } from './chosen-mesh.js';
import { pageHandlers } from './handlers.js';
import { ConsoleError } from './ipc-server.js';
import { OpenQuestions } from './open-questions.js';
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
  return pageHandlers({
    book,
    vault,
    chosen: new ChosenMesh(join(directory, 'console/mesh.json')),
    questions: new OpenQuestions(),
    shows: (name) => chosen.push(name),
  });
}

test('meshes are those of the address book and this machine, with who is logged in and without tokens', async () => {
  expect(await handlers().meshes()).toEqual([
    { name: 'local', url: 'unix:/run/marcher/marcher.sock', isChosen: true },
    { name: 'prod', url: 'https://192.0.2.1:7443', isChosen: false, user: 'alice' },
    { name: 'lab', url: 'unix:/tmp/lab.sock', isChosen: false },
  ]);
});

test('the mesh that is chosen is shown again the next time, and commands in a terminal are what they were', async () => {
  await book.update((before) => withCurrent(before, 'prod'));
  const { chooseMesh } = handlers();
  const shown = async () => (await handlers().meshes()).find(({ isChosen }) => isChosen)?.name;
  expect(await shown()).toBe('prod');
  await chooseMesh('lab');
  expect(await shown()).toBe('lab');
  expect(book.read().current).toBe('prod');
  await chooseMesh('local');
  expect(await shown()).toBe('local');
  expect(chosen).toEqual(['lab', 'local']);
});

test('where the mesh of the last time is gone, it is that of marcher', async () => {
  await handlers().chooseMesh('lab');
  await book.update((before) => withoutTarget(before, 'lab'));
  expect((await handlers().meshes()).find(({ isChosen }) => isChosen)?.name).toBe('local');
});

test('one that is not there is told, and nothing is chosen', async () => {
  const choosing = () => handlers().chooseMesh('gone');
  expect(choosing).toThrow(ConsoleError);
  expect(choosing).toThrow(/there is no target "gone"; there are: prod, lab/);
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

test('a passphrase that nobody knows any more costs the secrets, and no more', async () => {
  const { openVault, closeVault, forgetSecrets } = handlers();
  await openVault('correct horse');
  await closeVault();
  await expect(openVault('incorrect horse')).rejects.toThrow(/wrong/);
  expect(await forgetSecrets()).toBe('new');
  expect(await openVault('another horse')).toBe('open');
});
