// SPDX-License-Identifier: Apache-2.0
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openSecretBox } from './secret-box.js';
import { testDirectory } from './testing/directory.js';

test('a key opens for its recipient alone, for what it is about, and unchanged', () => {
  const [ada, bob] = [openSecretBox(testDirectory()), openSecretBox(testDirectory())];
  const key = ada.newKey();
  const wrapped = ada.wrap(key, bob.publicKey, 'about');
  expect(bob.unwrap(wrapped, 'about')).toEqual(Buffer.from(key));
  expect(ada.unwrap(wrapped, 'about')).toBeUndefined();
  expect(bob.unwrap(wrapped, 'other')).toBeUndefined();
  for (const at of [0, 40, wrapped.length - 1]) {
    const changed = Uint8Array.from(wrapped);
    changed[at] = (changed[at] ?? 0) ^ 1;
    expect(bob.unwrap(changed, 'about')).toBeUndefined();
  }
  expect(bob.unwrap(wrapped.subarray(1), 'about')).toBeUndefined();
  // A public key of low order, with which every other one agrees on zero.
  expect(bob.unwrap(Uint8Array.from(wrapped).fill(0, 0, 32), 'about')).toBeUndefined();
  expect(ada.wrap(key, bob.publicKey, 'about')).not.toEqual(wrapped);
});

test('what is sealed opens by the same key for the same thing', () => {
  const box = openSecretBox(testDirectory());
  const key = box.newKey();
  const secret = Buffer.from('a private key');
  const sealed = box.seal(key, secret, 'certificate api');
  expect(box.open(key, sealed, 'certificate api')).toEqual(secret);
  expect(box.open(key, sealed, 'certificate web')).toBeUndefined();
  expect(box.open(box.newKey(), sealed, 'certificate api')).toBeUndefined();
  expect(box.open(key, sealed.subarray(0, 20), 'certificate api')).toBeUndefined();
  expect(Buffer.from(sealed).includes(secret)).toBe(false);
});

test("a node's key stays on its disk, for its owner; damage is said without quoting it", () => {
  const directory = testDirectory();
  const { publicKey } = openSecretBox(directory);
  expect(openSecretBox(directory).publicKey).toEqual(publicKey);
  const path = join(directory, 'secrets-key');
  expect(statSync(path).mode & 0o777).toBe(0o600);
  writeFileSync(path, 'marcher secrets-key 1 sha256=00\nSECRET');
  expect(() => openSecretBox(directory)).toThrow(/secrets-key is damaged(?!.*SECRET)/);
});
