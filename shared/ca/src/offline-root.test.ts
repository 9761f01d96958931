// SPDX-License-Identifier: Apache-2.0
import { createPublicKey, verify, webcrypto, X509Certificate } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  createOfflineRoot,
  fingerprintOf,
  introduceRoot,
  type OfflineRoot,
  revokeIntermediate,
  signIntermediate,
} from './offline-root.js';
import { openOfflineRoot, sealOfflineRoot } from './offline-root-file.js';
import * as x509 from './x509.js';

const DAY = 86_400_000;
const NOW = Date.UTC(2026, 10, 22);
const MESH = { id: '1'.repeat(32), name: 'prod' };
const LOW_COST = { N: 16, r: 1, p: 1 } as const;
let root: OfflineRoot;

beforeAll(async () => {
  root = await createOfflineRoot(MESH, NOW);
});

async function request(namedCurve = 'P-384', hash = 'SHA-384'): Promise<Uint8Array> {
  const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve }, true, ['sign', 'verify']);
  const made = await x509.Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm: { name: 'ECDSA', hash } });
  return new Uint8Array(made.rawData);
}

describe('an offline root', () => {
  it('signs an intermediate of its mesh that signs leaves and no CA', async () => {
    const made = new x509.X509Certificate(await signIntermediate(root, await request(), 1_095, NOW));
    const parent = new X509Certificate(root.certificate);
    const openssl = new X509Certificate(Buffer.from(made.rawData));
    expect([openssl.checkIssued(parent), openssl.verify(parent.publicKey)]).toEqual([true, true]);
    expect(openssl.subjectAltName).toBe(`URI:spiffe://${MESH.id}`);
    expect(made.getExtension(x509.BasicConstraintsExtension)).toMatchObject({
      ca: true,
      pathLength: 0,
      critical: true,
    });
    const usages = x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign;
    expect(made.getExtension(x509.KeyUsagesExtension)).toMatchObject({ usages, critical: true });
    expect(made.getExtension('2.5.29.30')?.critical).toBe(true);
    expect(made.signatureAlgorithm).toMatchObject({ hash: { name: 'SHA-384' } });
    expect(made.notAfter.getTime()).toBe(NOW + 1_095 * DAY);
    const own = new x509.X509Certificate(root.certificate);
    expect(own.getExtension(x509.BasicConstraintsExtension)).toMatchObject({ ca: true, pathLength: 1, critical: true });
  });

  it('signs none that outlives it, none when it is over, and none for another kind of key', async () => {
    const late = NOW + 3_600 * DAY;
    const made = new x509.X509Certificate(await signIntermediate(root, await request(), 1_095, late));
    expect(made.notAfter.getTime()).toBe(NOW + 3_652 * DAY);
    await expect(signIntermediate(root, await request(), 1, NOW + 3_653 * DAY)).rejects.toThrow('has expired');
    for (const odd of [
      await request('P-256'),
      await request('P-384', 'SHA-256'),
      new Uint8Array(9_000),
      new Uint8Array(9),
    ]) {
      await expect(signIntermediate(root, odd, 1, NOW)).rejects.toThrow('no request for a certificate of P-384');
    }
    const forged = await request();
    forged[forged.length - 1] = (forged.at(-1) ?? 0) ^ 1;
    await expect(signIntermediate(root, forged, 1, NOW)).rejects.toThrow('no request');
  });

  it('introduces another, and revokes an intermediate in a list of its own', async () => {
    const { root: by, signature } = await introduceRoot(root, root.certificate, NOW);
    const text = `marcher root statement 1\nintroduce\n${MESH.id}\n${by}\n${NOW}\n`;
    const key = { key: new X509Certificate(root.certificate).publicKey, dsaEncoding: 'ieee-p1363' } as const;
    expect(verify('sha384', Buffer.from(text), key, signature)).toBe(true);
    const [one, other] = await Promise.all(['5a', '5b'].map((serial) => revokeIntermediate(root, serial, NOW)));
    const list = new x509.X509Crl(one ?? '');
    expect(list.entries.map(({ serialNumber, reason }) => [serialNumber, reason])).toEqual([['5a', 2]]);
    const publicKey = new x509.X509Certificate(root.certificate).publicKey;
    expect(await list.verify({ publicKey })).toBe(true);
    const number = (pem = ''): string =>
      Buffer.from(new x509.X509Crl(pem).getExtension('2.5.29.20')?.value ?? new ArrayBuffer(0)).toString('hex');
    expect(number(one).slice(-16)).not.toBe(number(other).slice(-16));
  });
});

describe('the file of an offline root', () => {
  it('opens with its passphrase alone, and shows what it is of without', async () => {
    const text = await sealOfflineRoot(root, 'correct horse', LOW_COST);
    expect(await openOfflineRoot(text, 'correct horse')).toEqual(root);
    await expect(openOfflineRoot(text, 'another horse')).rejects.toThrow('the passphrase is wrong');
    const { certificate } = JSON.parse(text) as { readonly certificate: string };
    expect(fingerprintOf(new X509Certificate(certificate).raw)).toBe(fingerprintOf(root.certificate));
    expect(text).not.toContain(Buffer.from(root.privateKey).toString('base64').slice(0, 40));
    expect(createPublicKey(certificate).asymmetricKeyDetails?.namedCurve).toBe('secp384r1');
  });

  it('is refused when it is another file, or has the certificate of another root', async () => {
    const text = await sealOfflineRoot(root, 'correct horse', LOW_COST);
    const other = new X509Certificate((await createOfflineRoot(MESH, NOW)).certificate).toString();
    const swapped = JSON.stringify({ ...JSON.parse(text), certificate: other });
    for (const odd of [
      '',
      '{}',
      '[]',
      text.slice(0, -5),
      'x'.repeat(70_000),
      text.replace('offline root 1', 'root 2'),
    ]) {
      await expect(openOfflineRoot(odd, 'correct horse')).rejects.toThrow("not the file of a mesh's root key");
    }
    await expect(openOfflineRoot(swapped, 'correct horse')).rejects.toThrow('the passphrase is wrong');
  });
});
