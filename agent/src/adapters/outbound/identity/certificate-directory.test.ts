// SPDX-License-Identifier: Apache-2.0
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CertificateDirectory, type DirectoryFile } from './certificate-directory.js';
import { testDirectory } from './testing/directory.js';

const file = (name: string, text: string): DirectoryFile => ({ name, text, secret: name.endsWith('.key') });
const API = [file('api.key', 'key 1'), file('api.pem', 'certificate 1')];
const mode = (path: string): number => statSync(path).mode & 0o777;

test('files are there, keys for their owner alone, and are replaced whole when they differ', () => {
  const path = join(testDirectory(), 'sub', 'certificates');
  const directory = new CertificateDirectory(path);
  expect(directory.sync(API)).toEqual(['api.key', 'api.pem']);
  expect([mode(path), mode(join(path, 'api.key')), mode(join(path, 'api.pem'))]).toEqual([0o755, 0o600, 0o644]);
  const { ino } = statSync(join(path, 'api.pem'));
  expect(directory.sync(API)).toEqual([]);
  expect(statSync(join(path, 'api.pem')).ino).toBe(ino);
  // The key first: who waits for the certificate finds both.
  expect(directory.sync([file('api.key', 'key 2'), file('api.pem', 'certificate 2')])).toEqual(['api.key', 'api.pem']);
  expect(statSync(join(path, 'api.pem')).ino).not.toBe(ino);
  expect(readFileSync(join(path, 'api.key'), 'utf8')).toBe('key 2');
  expect(readdirSync(path).sort()).toEqual(['.marcher', 'api.key', 'api.pem']);
});

test('what somebody has changed or opened is put right, also after a restart', () => {
  const path = testDirectory();
  new CertificateDirectory(path).sync(API);
  chmodSync(join(path, 'api.key'), 0o644);
  writeFileSync(join(path, 'api.pem'), 'something else');
  expect(new CertificateDirectory(path).sync(API)).toEqual(['api.key', 'api.pem']);
  expect(mode(join(path, 'api.key'))).toBe(0o600);
});

test('what is gone is removed; files of others stay, and are not written over', () => {
  const path = testDirectory();
  writeFileSync(join(path, 'web.pem'), 'of somebody else');
  writeFileSync(join(path, 'notes'), 'mine');
  const directory = new CertificateDirectory(path);
  const web = [file('web.key', 'key'), file('web.pem', 'certificate')];
  expect(() => directory.sync([...API, ...web])).toThrow(/web\.pem is there and is not this agent's: move it away/);
  // The rest was done.
  expect(existsSync(join(path, 'api.pem'))).toBe(true);
  expect(readFileSync(join(path, 'web.pem'), 'utf8')).toBe('of somebody else');
  expect(directory.sync([]).toSorted()).toEqual(['api.key', 'api.pem', 'web.key']);
  expect(readdirSync(path).sort()).toEqual(['.marcher', 'notes', 'web.pem']);
});

test('a link in the way is not followed, and a directory in which others write is refused', () => {
  const path = testDirectory();
  const target = join(testDirectory(), 'target');
  writeFileSync(target, 'untouched');
  symlinkSync(target, join(path, '.api.key.new'));
  new CertificateDirectory(path).sync(API);
  expect(readFileSync(target, 'utf8')).toBe('untouched');
  chmodSync(path, 0o777);
  expect(() => new CertificateDirectory(path).sync(API)).toThrow(/others may write in .*chmod go-w/);
});
