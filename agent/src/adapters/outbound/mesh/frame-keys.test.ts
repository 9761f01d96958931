// SPDX-License-Identifier: Apache-2.0
import { createPublicKey, sign, verify as verifySignature, X509Certificate } from 'node:crypto';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LIFETIME } from '../../../domain/identity/lifetime.js';
import { nodeNumber } from '../../../domain/identity/names.js';
import { frameKeyClaim, type NodeRecord, packNodeRecord, unpackNodeRecord } from '../../../domain/mesh/node-record.js';
import type { CertificateAuthority, NodeCredentials } from '../../../ports/identity.js';
import { writeRecord } from '../identity/record-file.js';
import { NODE_A, NODE_B, testDirectory } from '../identity/testing/directory.js';
import { rootOf, testAuthority, testNode } from '../identity/testing/mesh.js';
import { type FrameSigner, FrameVerifier, frameHash, openFrameSigner } from './frame-keys.js';

const NOW = Date.UTC(2026, 0, 1);
const A = nodeNumber(NODE_A);
const B = nodeNumber(NODE_B);
const hashed = frameHash(new TextEncoder().encode('a frame'));

let authority: CertificateAuthority;
let a: NodeCredentials;
let b: NodeCredentials;
let signer: FrameSigner;
let refused: [string, string][];
let verifier: FrameVerifier;

beforeAll(async () => {
  authority = await testAuthority(NOW - 4 * LIFETIME.nodeMs);
  [a, b] = await Promise.all([testNode(authority, NODE_A, NOW), testNode(authority, NODE_B, NOW)]);
});

beforeEach(() => {
  signer = openFrameSigner(testDirectory());
  refused = [];
  verifier = new FrameVerifier('1'.repeat(32), (nodeId, reason) => refused.push([nodeId, reason]));
});

const der = ({ certificatePem }: NodeCredentials): Uint8Array =>
  new Uint8Array(new X509Certificate(certificatePem).raw);

function record(credentials: NodeCredentials, changes: Partial<NodeRecord> = {}): NodeRecord {
  const nodeId = changes.nodeId ?? NODE_A;
  const frameKey = changes.frameKey ?? signer.publicKey;
  return {
    nodeId,
    name: 'node',
    meshAddress: '192.0.2.1:7400',
    gossipAddress: '192.0.2.1:7401',
    certificates: [der(credentials)],
    frameKey,
    frameKeySignature: signer.claim(credentials.privateKeyPem),
    role: 'member',
    removedMs: 0n,
    ...changes,
  };
}

const roots = () => [rootOf(authority)];
const believes = (node = A): boolean => verifier.verify(node, hashed, signer.sign(hashed));

describe('a node’s frame key', () => {
  it('is made once, for its owner alone, and is the same after a restart', () => {
    const directory = testDirectory();
    const { publicKey } = openFrameSigner(directory);
    expect(publicKey.length).toBe(32);
    expect(statSync(join(directory, 'frame-key')).mode & 0o777).toBe(0o600);
    expect(openFrameSigner(directory).publicKey).toEqual(publicKey);
  });

  it('that is damaged is not replaced', () => {
    const directory = testDirectory();
    openFrameSigner(directory);
    const path = join(directory, 'frame-key');
    writeFileSync(path, readFileSync(path, 'utf8').replace('PRIVATE', 'PUBLIC'));
    expect(() => openFrameSigner(directory)).toThrow(/frame-key is damaged: it is not what was written/);
    writeRecord(path, 'frame-key', a.privateKeyPem);
    expect(() => openFrameSigner(directory)).toThrow(/frame-key is damaged: it has no Ed25519 key/);
  });

  it('signs by Ed25519, raw, and is vouched for by ECDSA with SHA-384 as IEEE P1363 has it', () => {
    const x = Buffer.from(signer.publicKey).toString('base64url');
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
    const signature = signer.sign(hashed);
    expect([signature.length, verifySignature(null, hashed, key, signature)]).toEqual([64, true]);
    const claim = signer.claim(a.privateKeyPem);
    const voucher = { key: new X509Certificate(a.certificatePem).publicKey, dsaEncoding: 'ieee-p1363' } as const;
    expect(claim.length).toBe(96);
    expect(verifySignature('sha384', frameKeyClaim(signer.publicKey), voucher, claim)).toBe(true);
    expect(() => signer.claim('x')).toThrow(/not one of curve P-384/);
  });

  it('hashes by SHA-256', () => {
    const abc = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
    expect(Buffer.from(frameHash(new TextEncoder().encode('abc'))).toString('hex')).toBe(abc);
  });
});

describe('signatures of frames', () => {
  it('are believed of the node whose record vouches for the key, packed and unpacked, and of no other', () => {
    const packed = unpackNodeRecord(NODE_A, packNodeRecord(record(a)));
    if (packed === undefined) throw new Error('not unpacked');
    verifier.update([packed], roots());
    expect([believes(), believes(B), refused]).toEqual([true, false, []]);
  });

  it('are not believed once the node is removed, or before anything is known', () => {
    expect(believes()).toBe(false);
    verifier.update([record(a)], roots());
    verifier.update([], roots());
    expect(believes()).toBe(false);
  });

  it('are still believed when the certificate has expired: frames are older', async () => {
    const old = await testNode(authority, NODE_A, NOW - 3 * LIFETIME.nodeMs);
    verifier.update([record(old)], roots());
    expect([believes(), refused]).toEqual([true, []]);
  });

  it('are believed by a renewed certificate, by the old one still beside it, and after the new claim', async () => {
    const renewed = await testNode(authority, NODE_A, NOW + LIFETIME.nodeMs / 2);
    const certificates = [der(renewed), der(a)];
    verifier.update([record(a, { certificates })], roots());
    expect(believes()).toBe(true);
    verifier.update([record(renewed, { certificates })], roots());
    expect(believes()).toBe(true);
    // The old certificate alone does not vouch for what the new one's key has signed.
    verifier.update([record(renewed, { certificates: [der(a)] })], roots());
    expect([believes(), refused.length]).toEqual([false, 1]);
  });

  it('are believed though another certificate of the record can not be read', () => {
    verifier.update([record(a, { certificates: [Uint8Array.of(1, 2, 3), der(a)] })], roots());
    expect([believes(), refused]).toEqual([true, []]);
  });

  it.each<[string, RegExp, () => Promise<NodeRecord> | NodeRecord]>([
    ['another root', /not signed by a root that this mesh trusts/, async () => record(await other(NODE_A, '1'))],
    ['another mesh', /is of mesh 2{32}/, async () => record(await other(NODE_A, '2'))],
    ['another node’s certificate', /certificate is that of node 00000000000000b2/, () => record(b)],
    ['another node’s claim', /not vouched for/, () => record(a, { frameKeySignature: claimOf(b) })],
    ['another frame key', /not vouched for/, () => record(a, { frameKey: openFrameSigner(testDirectory()).publicKey })],
    ['an altered claim', /not vouched for/, () => record(a, { frameKeySignature: flipped(claimOf(a), 40) })],
    ['a claim of no form', /not vouched for/, () => record(a, { frameKeySignature: new Uint8Array(96) })],
    [
      'the root for a certificate',
      /names no node|not one for|not signed/,
      () => record(a, { certificates: [rootDer()] }),
    ],
    ['an altered certificate', /has not signed it/, () => record(a, { certificates: [flipped(der(a), -5)] })],
    ['no X.509', /not an X.509 certificate/, () => record(a, { certificates: [Uint8Array.of(1, 2, 3)] })],
    ['no certificate', /no certificate/, () => record(a, { certificates: [] })],
  ])('are refused where the record has %s, which is said once', async (_, reason, make) => {
    const forged = await make();
    verifier.update([forged, record(b, { nodeId: NODE_B })], roots());
    expect([believes(), believes(B)]).toEqual([false, true]);
    expect(refused).toEqual([[NODE_A, expect.stringMatching(reason)]]);
    verifier.update([{ ...forged, name: 'renamed' }], roots());
    expect(refused.length).toBe(1);
  });

  it('are judged anew when other roots are trusted', async () => {
    const second = await testAuthority(NOW);
    const record2 = record(await testNode(second, NODE_A, NOW));
    verifier.update([record2], roots());
    expect(believes()).toBe(false);
    verifier.update([record2], [...roots(), rootOf(second)]);
    expect(believes()).toBe(true);
    verifier.update([record2], roots());
    expect([believes(), refused.length]).toEqual([false, 2]);
  });

  it('are judged by their first frame where many come at once, and stand while their root is trusted', () => {
    const ids = Array.from({ length: 20 }, (_, index) => (index + 1).toString(16).padStart(16, '0'));
    // Of another node each: refusals count who was judged.
    const many = ids.map((nodeId) => ({ ...record(b), nodeId }));
    verifier.update([record(a), ...many], roots());
    expect(refused.length).toBe(7);
    expect([believes(nodeNumber(ids[19] ?? '')), believes(), refused.length]).toEqual([false, true, 8]);
    expect(refused[7]?.[0]).toBe(ids[19]);
    for (const nodeId of ids) believes(nodeNumber(nodeId));
    expect(new Set(refused.map(([nodeId]) => nodeId))).toEqual(new Set(ids));
    verifier.update([record(a), ...many], []);
    expect(believes()).toBe(false);
  });

  it('fail for any flipped bit of signature or hash', () => {
    verifier.update([record(a)], roots());
    const signature = signer.sign(hashed);
    fc.assert(
      fc.property(fc.boolean(), fc.nat(63), fc.nat(7), (ofHash, at, bit) => {
        const bytes = ofHash ? hashed : signature;
        const bad = Uint8Array.from(bytes);
        const index = at % bad.length;
        bad[index] = (bad[index] as number) ^ (1 << bit);
        return !verifier.verify(A, ofHash ? bad : hashed, ofHash ? signature : bad);
      }),
      { numRuns: 300 },
    );
    expect(believes()).toBe(true);
  });

  it('never throw, whatever they are', () => {
    const frameKey = new Uint8Array(32).fill(255);
    // A key that is no point of the curve, vouched for in good form.
    const frameKeySignature = sign('sha384', frameKeyClaim(frameKey), {
      key: a.privateKeyPem,
      dsaEncoding: 'ieee-p1363',
    });
    verifier.update([record(a, { frameKey, frameKeySignature }), record(b, { nodeId: NODE_B })], roots());
    const bytes = (length: number) =>
      fc.oneof(fc.uint8Array({ minLength: length, maxLength: length }), fc.uint8Array());
    fc.assert(
      fc.property(fc.constantFrom(A, B, 0n), bytes(32), bytes(64), (node, hash, signature) => {
        return !verifier.verify(node, hash, signature);
      }),
      { numRuns: 400 },
    );
  });
});

async function other(nodeId: string, digit: string): Promise<NodeCredentials> {
  return testNode(await testAuthority(NOW, digit), nodeId, NOW);
}

function claimOf({ privateKeyPem }: NodeCredentials): Uint8Array {
  return signer.claim(privateKeyPem);
}

function rootDer(): Uint8Array {
  return new Uint8Array(new X509Certificate(authority.pem).raw);
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const changed = Uint8Array.from(bytes);
  const index = at < 0 ? bytes.length + at : at;
  changed[index] = (changed[index] as number) ^ 1;
  return changed;
}
