// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openRootKey, withNewRoot } from './root-key-file.js';

const MESH = { id: '1'.repeat(32), name: 'prod' };
let directory: string;
const at = (name: string): string => join(directory, name);

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-root-key-'));
  writeFileSync(at('good'), 'correct horse battery\n');
  writeFileSync(at('short'), 'horse\n');
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

test('the file is there before the root is used, and goes again only where that certainly was not', async () => {
  const out = { rootKeyOut: at('root.key'), passphraseFile: at('good') };
  const conflict = Object.assign(new Error('this node is in mesh "prod" already'), { code: 'conflict' });
  const refused = withNewRoot(MESH, out, async () => {
    expect(statSync(out.rootKeyOut).mode & 0o777).toBe(0o600);
    throw conflict;
  });
  await expect(refused).rejects.toBe(conflict);
  expect(existsSync(out.rootKeyOut)).toBe(false);
  const lost = Object.assign(new Error('no answer in 10 s'), { code: 'timeout' });
  const unknown = withNewRoot(MESH, out, () => Promise.reject(lost));
  await expect(unknown).rejects.toThrow('whether the root is in use is not known');
  expect(existsSync(out.rootKeyOut)).toBe(true);
  const kept = readFileSync(out.rootKeyOut, 'utf8');
  await expect(withNewRoot(MESH, out, () => Promise.resolve())).rejects.toThrow('is there already');
  expect(readFileSync(out.rootKeyOut, 'utf8')).toBe(kept);
});

test('a passphrase that can be guessed, and a file that others can read, are refused', async () => {
  const out = { rootKeyOut: at('other.key'), passphraseFile: at('short') };
  await expect(withNewRoot(MESH, out, () => Promise.resolve())).rejects.toThrow('less than 12 characters');
  expect(existsSync(out.rootKeyOut)).toBe(false);
  writeFileSync(at('open.key'), '{}', { mode: 0o644 });
  const open = (rootKey: string) => openRootKey({ rootKey, passphraseFile: at('good') });
  await expect(open(at('open.key'))).rejects.toThrow('others can read it');
  await expect(open(at('none.key'))).rejects.toThrow('there is no such file');
  writeFileSync(at('odd.key'), '{}', { mode: 0o600 });
  await expect(open(at('odd.key'))).rejects.toThrow("not the file of a mesh's root key");
});
