// SPDX-License-Identifier: Apache-2.0
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { createOfflineRoot, type OfflineRoot, signIntermediate } from '@marcher/ca/offline-root';
import { beforeAll, describe, expect, it } from 'vitest';
import { openAuthority } from './authority.js';
import {
  adoptAuthority,
  exportAuthority,
  keepIntermediate,
  listAuthorityFiles,
  openAuthorityFile,
} from './authority-file.js';
import { readCertificate } from './certificate-facts.js';
import { createIntermediateRequest, type IntermediateRequest, readOffered } from './intermediate.js';
import { testDirectory } from './testing/directory.js';
import { testAuthority } from './testing/mesh.js';

const DAY = 86_400_000;
const NOW = Date.UTC(2026, 10, 22);
const MESH = { id: '1'.repeat(32), name: 'prod' };
let root: OfflineRoot;
let asked: IntermediateRequest;
let certificate: Uint8Array;

const pem = (der: Uint8Array): string => new X509Certificate(der).toString();

beforeAll(async () => {
  root = await createOfflineRoot(MESH, NOW);
  asked = await createIntermediateRequest(MESH);
  certificate = await signIntermediate(root, asked.request, 365, NOW);
});

describe('an intermediate that an operator brings', () => {
  it('signs certificates that OpenSSL follows to its root, and says so', async () => {
    const { intermediate } = readOffered(MESH, { certificate, root: root.certificate }, NOW);
    const issuers = pem(root.certificate);
    const authority = await openAuthority({ ...intermediate, privateKey: asked.privateKey, issuers });
    expect([authority.mesh, authority.issuers]).toEqual([MESH, issuers]);
    const { pem: chain } = await authority.issueNode(asked.request, '00000000000000a1', new Map(), NOW);
    const [leaf, by, top] = (chain.match(/-----BEGIN[\s\S]+?-----END CERTIFICATE-----/g) ?? []).map(
      (each) => new X509Certificate(each),
    );
    expect([by?.toString(), top?.toString()]).toEqual([pem(certificate), issuers]);
    expect(by && leaf?.checkIssued(by) && leaf.verify(by.publicKey)).toBe(true);
    expect(readCertificate(chain).issuerKeyId).toBe(intermediate.certificate.keyId);
  });

  it('is refused where its root has not signed it, is of another mesh or name, signs leaves, or time is wrong', async () => {
    const twin = await createOfflineRoot(MESH, NOW);
    const other = await createOfflineRoot({ ...MESH, id: '2'.repeat(32) }, NOW);
    const renamed = await createOfflineRoot({ ...MESH, name: 'test' }, NOW);
    const plain = await testAuthority(NOW, '1', 'prod');
    const fault = (given: Uint8Array, by: Uint8Array, nowMs = NOW): string => {
      try {
        readOffered(MESH, { certificate: given, root: by }, nowMs);
        return '';
      } catch (error) {
        return (error as Error).message;
      }
    };
    const tampered = Uint8Array.from(certificate);
    tampered[tampered.length - 1] = (tampered.at(-1) ?? 0) ^ 1;
    expect(fault(certificate, root.certificate)).toBe('');
    expect(fault(tampered, root.certificate)).toContain('the root has not signed it');
    expect(fault(certificate, twin.certificate)).toContain('not one of that root');
    expect(fault(certificate, other.certificate)).toContain('the root is not one of mesh');
    expect(fault(certificate, renamed.certificate)).toContain('not of a mesh named "prod"');
    expect(fault(certificate, new X509Certificate(plain.pem).raw)).toContain('the root is not one of mesh');
    expect(fault(root.certificate, root.certificate)).toContain('not one of that root');
    expect(fault(Uint8Array.of(1), root.certificate)).toContain('not a certificate of mesh');
    expect(fault(certificate, root.certificate, NOW + 366 * DAY)).toContain('it has expired');
    expect(fault(certificate, root.certificate, NOW - DAY)).toContain('not valid now');
  });

  it('is kept sealed with its root, which is public, and taken to another node as it is', async () => {
    const [here, there] = [testDirectory(), testDirectory()];
    const protection = { kind: 'key-file', key: Uint8Array.from({ length: 32 }, (_, at) => at) } as const;
    const given = { pem: pem(certificate), issuers: pem(root.certificate) };
    const privateKey = Uint8Array.from(asked.privateKey);
    const { fingerprint } = (await keepIntermediate(here, { ...given, privateKey }, protection)).certificate;
    expect(privateKey.every((byte) => byte === 0)).toBe(true);
    const text = exportAuthority(here, fingerprint);
    await adoptAuthority(there, text, protection);
    for (const directory of [here, there]) {
      const opened = await openAuthorityFile(directory, fingerprint, protection);
      expect({ pem: opened.pem, issuers: opened.issuers }).toEqual(given);
      expect(listAuthorityFiles(directory)).toEqual([fingerprint]);
    }
  });

  it('is of the key that was asked for, and of no other', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    const key = new Uint8Array(privateKey.export({ format: 'der', type: 'pkcs8' }));
    const made = { pem: pem(certificate), issuers: pem(root.certificate), privateKey: key };
    await expect(openAuthority(made)).rejects.toThrow("the CA's key is not that of its certificate");
    const twin = await createOfflineRoot(MESH, NOW);
    const wrong = { ...made, privateKey: asked.privateKey, issuers: pem(twin.certificate) };
    await expect(openAuthority(wrong)).rejects.toThrow('not an intermediate of the root that is with it');
  });
});
