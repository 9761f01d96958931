// SPDX-License-Identifier: Apache-2.0
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import type { NodeCredentials } from '../../../ports/identity.js';
import { CertificateFiles, readCertificateFiles } from './certificate-files.js';
import { testDirectory } from './testing/directory.js';
import { ownCertificate, writeCertificate } from './testing/own-certificate.js';

let one: NodeCredentials;
let two: NodeCredentials;

beforeAll(async () => {
  [one, two] = await Promise.all([ownCertificate('one.test'), ownCertificate('two.test')]);
});

function watched(directory: string) {
  const changes: NodeCredentials[] = [];
  const faults: (string | undefined)[] = [];
  const handlers = {
    changed: (credentials: NodeCredentials) => void changes.push(credentials),
    fault: (reason: string | undefined) => void faults.push(reason),
  };
  const paths = writeCertificate(directory, one);
  return { files: new CertificateFiles(paths, handlers, Date.now), paths, changes, faults };
}

test('both files replaced are taken, and nothing is read while they stay as they are', () => {
  const directory = testDirectory();
  const { files, changes, faults } = watched(directory);
  files.look();
  expect(changes).toEqual([]);
  writeCertificate(directory, two);
  files.look();
  files.look();
  expect(changes).toEqual([two]);
  expect(files.current).toEqual(two);
  expect(faults).toEqual([]);
});

test('a certificate whose key is still the old one is waited for without a word, and then said', () => {
  const directory = testDirectory();
  const { files, paths, changes, faults } = watched(directory);
  writeFileSync(paths.certificate, two.certificatePem);
  files.look();
  expect(faults).toEqual([]);
  files.look();
  expect(faults).toEqual([expect.stringContaining(`${paths.key} is not the key of the certificate in`)]);
  expect(files.current).toEqual(one);
  writeFileSync(paths.key, two.privateKeyPem);
  files.look();
  expect(changes).toEqual([two]);
  expect(faults.at(-1)).toBeUndefined();
});

test('what can not be used is refused, with the file, and without a word of the key', async () => {
  const directory = testDirectory();
  const paths = writeCertificate(directory, one);
  const refusal = (): string => {
    try {
      readCertificateFiles(paths, Date.now());
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  };
  expect(refusal()).toBe('');
  chmodSync(paths.key, 0o644);
  expect(refusal()).toContain('has a private key that every user can read: chmod o=');
  chmodSync(paths.key, 0o640);
  expect(refusal()).toBe('');
  writeFileSync(paths.key, one.privateKeyPem.replace('MIG', 'XXX'));
  expect(refusal()).toBe(`${paths.key} has no private key in PEM without a passphrase`);
  writeFileSync(paths.key, 'x'.repeat(65_537));
  expect(refusal()).toContain('is larger than 65536 bytes');
  writeCertificate(directory, await ownCertificate('one.test', Date.now() - 1_000));
  expect(refusal()).toContain('expired on');
  expect(() => readCertificateFiles({ ...paths, certificate: join(directory, 'no') }, 0)).toThrow(/no can't be read/);
  expect(() => readCertificateFiles({ ...paths, certificate: directory }, 0)).toThrow(/is not a file/);
});
