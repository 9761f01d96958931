// SPDX-License-Identifier: Apache-2.0
import { generateKeyPairSync, webcrypto, X509Certificate } from 'node:crypto';
import { decodeInteger, encodeInteger } from '@marcher/ca/der';
import * as x509 from '@marcher/ca/x509';
import { beforeAll, describe, expect, it } from 'vitest';
import { NO_REVOCATIONS, revoke } from '../../../domain/identity/revocation.js';
import type { CertificateAuthority } from '../../../ports/identity.js';
import { createAuthority, openAuthority } from './authority.js';
import { readCertificate } from './certificate-facts.js';
import { meshOf } from './certificate-mesh.js';
import { checkNodeRequest, createNodeRequest } from './node-request.js';
import { NODE_A } from './testing/directory.js';
import { testAuthority, testNode } from './testing/mesh.js';

const NOW = Date.UTC(2026, 5, 1, 12, 0, 0, 500);
const DAY = 86_400_000;
const MESH = { id: '1'.repeat(32), name: 'test-mesh' };
let authority: CertificateAuthority;

beforeAll(async () => {
  authority = await testAuthority(NOW);
});

/** A request with a key, a signature and wishes of the caller's. */
async function requestOf(
  wishes: Partial<x509.Pkcs10CertificateRequestCreateParams> = {},
  curve = 'P-384',
): Promise<x509.Pkcs10CertificateRequest> {
  const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: curve }, true, ['sign', 'verify']);
  return x509.Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm: x509.SIGNATURE_ALGORITHM, ...wishes });
}

describe("a mesh's root", () => {
  it('is of P-384, for ten years, and for signing alone', () => {
    const root = new X509Certificate(authority.pem);
    expect(root.publicKey.asymmetricKeyDetails?.namedCurve).toBe('secp384r1');
    expect(new x509.X509Certificate(authority.pem).signatureAlgorithm.hash.name).toBe('SHA-384');
    expect(root.ca).toBe(true);
    expect(root.verify(root.publicKey)).toBe(true);
    expect(root.validFromDate).toEqual(new Date(Date.UTC(2026, 5, 1, 11, 55)));
    expect(root.validToDate).toEqual(new Date(Date.UTC(2036, 4, 31, 12)));
    const parsed = new x509.X509Certificate(authority.pem);
    const constraints = parsed.getExtension(x509.BasicConstraintsExtension);
    expect(constraints).toMatchObject({ critical: true, ca: true, pathLength: 0 });
    expect(parsed.getExtension(x509.KeyUsagesExtension)).toMatchObject({ critical: true, usages: 32 | 64 });
    expect(parsed.getExtension('2.5.29.30')?.critical).toBe(true);
  });

  it('says which mesh it is of', () => {
    expect(meshOf(authority.pem)).toEqual(MESH);
    expect(authority.mesh).toEqual(MESH);
  });

  it('is refused for a name that is none', async () => {
    await expect(createAuthority({ ...MESH, name: 'a, CN=b' }, NOW)).rejects.toMatchObject({ code: 'invalid' });
    await expect(createAuthority({ ...MESH, id: 'x' }, NOW)).rejects.toMatchObject({ code: 'invalid' });
  });

  it("is not opened with another root's key, a key of another kind, or a node's certificate", async () => {
    const other = await createAuthority(MESH, NOW);
    const p256 = generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey;
    const foreign = p256.export({ format: 'der', type: 'pkcs8' });
    const { certificatePem } = await testNode(authority, NODE_A, NOW);
    for (const files of [
      { pem: authority.pem, privateKey: other.privateKey },
      { pem: authority.pem, privateKey: foreign },
      { pem: authority.pem, privateKey: new Uint8Array(3) },
      { pem: certificatePem, privateKey: other.privateKey },
      { pem: 'no certificate', privateKey: other.privateKey },
    ]) {
      await expect(openAuthority(files)).rejects.toMatchObject({ name: 'IdentityError', code: 'invalid' });
    }
  });
});

describe("a node's certificate", () => {
  it('names the node, for thirty days from five minutes ago', async () => {
    const { request } = await createNodeRequest();
    const { certificate, pem } = await authority.issueNode(request, NODE_A, NO_REVOCATIONS, NOW);
    expect(certificate).toMatchObject({
      uris: [`spiffe://${MESH.id}/node/${NODE_A}`],
      issuerKeyId: authority.certificate.keyId,
      isAuthority: false,
      usages: ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'],
      curve: 'secp384r1',
      notBeforeMs: Date.UTC(2026, 5, 1, 11, 55),
      notAfterMs: Date.UTC(2026, 6, 1, 12),
    });
    expect(pem.endsWith(authority.pem)).toBe(true);
    const leaf = new X509Certificate(pem);
    expect(leaf.checkIssued(new X509Certificate(authority.pem))).toBe(true);
    expect(leaf.verify(new X509Certificate(authority.pem).publicKey)).toBe(true);
    expect(leaf.subject).toBe(`O=${MESH.name}\nCN=${NODE_A}`);
  });

  it('takes nothing from the request but its key', async () => {
    const wishes = await requestOf({
      name: 'CN=00000000000000ff,O=other',
      extensions: [
        new x509.SubjectAlternativeNameExtension([
          { type: x509.URL, value: `spiffe://${MESH.id}/node/00000000000000ff` },
          { type: x509.DNS, value: 'example.org' },
        ]),
        new x509.BasicConstraintsExtension(true, 3, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      ],
    });
    const { pem, certificate } = await authority.issueNode(wishes.toString('pem'), NODE_A, NO_REVOCATIONS, NOW);
    expect(certificate).toMatchObject({ uris: [`spiffe://${MESH.id}/node/${NODE_A}`], isAuthority: false });
    const leaf = new X509Certificate(pem);
    expect(leaf.subjectAltName).toBe(`URI:spiffe://${MESH.id}/node/${NODE_A}`);
    expect(`${leaf.subject}`).not.toContain('ff');
    expect(
      Buffer.from(await webcrypto.subtle.exportKey('spki', await checkNodeRequest(wishes.toString('pem')))),
    ).toEqual(leaf.publicKey.export({ format: 'der', type: 'spki' }));
  });

  it('has a serial of its own', async () => {
    const { request } = await createNodeRequest();
    const issued = await Promise.all([1, 2, 3].map(() => authority.issueNode(request, NODE_A, NO_REVOCATIONS, NOW)));
    const serials = issued.map(({ certificate }) => certificate.serial);
    expect(new Set(serials).size).toBe(3);
    for (const serial of serials) expect(serial.length).toBeGreaterThan(24);
  });

  it('ends with its root, and is refused outside of its time', async () => {
    const { request } = await createNodeRequest();
    const { notAfterMs } = authority.certificate;
    const late = await authority.issueNode(request, NODE_A, NO_REVOCATIONS, notAfterMs - DAY);
    expect(late.certificate.notAfterMs).toBe(notAfterMs);
    for (const at of [notAfterMs + 1, authority.certificate.notBeforeMs - 1]) {
      await expect(authority.issueNode(request, NODE_A, NO_REVOCATIONS, at)).rejects.toMatchObject({ code: 'refused' });
    }
  });

  it('is refused to a node that was removed, and to no node', async () => {
    const { request } = await createNodeRequest();
    const verdict = revoke(NO_REVOCATIONS, { nodeId: NODE_A }, 0, NOW);
    const revocations = verdict.kind === 'revoked' ? verdict.revocations : NO_REVOCATIONS;
    await expect(authority.issueNode(request, NODE_A, revocations, NOW)).rejects.toMatchObject({ code: 'refused' });
    await expect(authority.issueNode(request, '../x', NO_REVOCATIONS, NOW)).rejects.toMatchObject({ code: 'refused' });
  });
});

describe('a certificate request', () => {
  it.each([
    ['nothing', async () => '', /PKCS #10/],
    ['not a request', async () => authority.pem, /PKCS #10/],
    ['too large', async () => 'A'.repeat(8_193), /larger than 8192/],
    ['of P-256', async () => (await requestOf({}, 'P-256')).toString('pem'), /not of curve P-384/],
    [
      'signed with SHA-256',
      async () => (await requestOf({ signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' } })).toString('pem'),
      /SHA-384/,
    ],
    ['signed by another key', async () => forged(), /not that of its key/],
    ['cut short', async () => new Uint8Array((await requestOf()).rawData).subarray(0, -10), /PKCS #10|read/],
  ])('is refused: %s', async (_, make, reason) => {
    const request = await make();
    await expect(checkNodeRequest(request)).rejects.toMatchObject({
      name: 'IdentityError',
      code: 'invalid',
      message: expect.stringMatching(reason),
    });
  });

  it('never ends in another error, whichever byte of it is changed', async () => {
    const good = new Uint8Array((await requestOf()).rawData);
    for (let at = 0; at < good.length; at += 7) {
      const bad = good.slice();
      bad[at] = (bad[at] ?? 0) ^ 0xff;
      await expect(checkNodeRequest(bad)).rejects.toMatchObject({ name: 'IdentityError' });
    }
  });
});

/** Whose key is another than signed: what somebody would make who wants a certificate for a key that is not theirs. */
async function forged(): Promise<Uint8Array> {
  const [mine, theirs] = await Promise.all([requestOf(), requestOf()]);
  const bytes = Buffer.from(mine.rawData);
  const at = bytes.indexOf(Buffer.from(mine.publicKey.rawData));
  Buffer.from(theirs.publicKey.rawData).copy(bytes, at);
  return bytes;
}

describe('reading certificates', () => {
  it('fails in one way', () => {
    for (const bad of ['', 'x', 'A'.repeat(16_385), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n']) {
      expect(() => readCertificate(bad)).toThrow(expect.objectContaining({ name: 'IdentityError', code: 'invalid' }));
    }
  });
});

describe('integers in DER', () => {
  it.each([0n, 1n, 127n, 128n, 255n, 256n, (1n << 112n) - 1n])('%s is read as it was written', (value) => {
    expect(decodeInteger(encodeInteger(value), 20)).toBe(value);
  });

  it('are refused when negative, too long, cut short or another type', () => {
    for (const bad of [[], [2], [2, 0], [2, 1, 0x80], [2, 2, 1], [4, 1, 1], [2, 1, 1, 1]]) {
      expect(decodeInteger(Uint8Array.from(bad), 20)).toBeUndefined();
    }
    expect(decodeInteger(encodeInteger(1n << 170n), 20)).toBeUndefined();
  });
});
