// SPDX-License-Identifier: Apache-2.0
import { X509Certificate } from 'node:crypto';
import { expect, test } from 'vitest';
import { readCertificate } from './certificate-facts.js';
import { testAuthority } from './testing/mesh.js';

const MADE = Date.UTC(2026, 10, 22);

test('a certificate is read once, however it comes', async () => {
  const { pem, certificate } = await testAuthority(MADE);
  const facts = readCertificate(pem);
  expect(facts).toStrictEqual(certificate);
  expect(readCertificate(new Uint8Array(new X509Certificate(pem).raw))).toBe(facts);
});

test('what is remembered of one certificate is not told of another of the same name and key', async () => {
  const one = await testAuthority(MADE);
  const other = await testAuthority(MADE + 1_000);
  expect(readCertificate(one.pem).notBeforeMs).not.toBe(readCertificate(other.pem).notBeforeMs);
});
