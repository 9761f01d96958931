// SPDX-License-Identifier: Apache-2.0
import { X509Certificate } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import type { RootRecord, RootStatement } from '../../../domain/identity/root-statement.js';
import { firstRoot, signingRoot, trustedRoots } from '../../../domain/identity/trust.js';
import type { CertificateAuthority } from '../../../ports/identity.js';
import { learn, pinnedByChain, readRoot, verifyStatement } from './root-statements.js';
import { NODE_A } from './testing/directory.js';
import { testAuthority, testNode } from './testing/mesh.js';

const NOW = Date.UTC(2026, 10, 22);
const DAY = 86_400_000;
const derOf = (pem: string): Uint8Array => new Uint8Array(new X509Certificate(pem).raw);

let [old, next, last]: CertificateAuthority[] = [];
let meshId: string;
/** old introduced next, which retired it and introduced last. */
let records: readonly RootRecord[];
const known = (authority: CertificateAuthority | undefined) => firstRoot(authority as CertificateAuthority);

async function introduced(root: CertificateAuthority, by: CertificateAuthority, atMs: number): Promise<RootRecord> {
  const { fingerprint } = root.certificate;
  const endorsements = [await by.say({ kind: 'introduce', root: fingerprint, atMs })];
  const signing = { atMs, by: await root.say({ kind: 'sign', root: fingerprint, atMs }) };
  return {
    certificate: derOf(root.pem),
    plannedMs: atMs,
    endorsements,
    hastened: false,
    signing,
    retirement: undefined,
  };
}

beforeAll(async () => {
  const made = [NOW - 20 * DAY, NOW - 10 * DAY, NOW - DAY] as const;
  const [a, b, c] = await Promise.all([testAuthority(made[0]), testAuthority(made[1]), testAuthority(made[2])]);
  [old, next, last] = [a, b, c];
  meshId = a.mesh.id;
  const retired: RootStatement = { kind: 'retire', root: a.certificate.fingerprint, atMs: made[2] };
  records = [
    { ...(await introduced(b, a, made[1])) },
    { ...(await introduced(c, b, made[2])) },
    {
      ...(await introduced(a, a, made[0])),
      retirement: { atMs: made[2], by: await b.say(retired) },
    },
  ];
});

describe('what roots say of roots', () => {
  it('is signed by their own keys, and for one mesh, one root and one time', async () => {
    if (old === undefined || next === undefined) throw new Error('expected roots');
    const statement: RootStatement = { kind: 'introduce', root: next.certificate.fingerprint, atMs: NOW };
    const { root, signature } = await old.say(statement);
    expect([root, signature.length]).toEqual([old.certificate.fingerprint, 96]);
    expect(verifyStatement(old, meshId, statement, signature)).toBe(true);
    expect(verifyStatement(next, meshId, statement, signature)).toBe(false);
    expect(verifyStatement(old, '2'.repeat(32), statement, signature)).toBe(false);
    for (const changed of [{ kind: 'sign' as const }, { root: old.certificate.fingerprint }, { atMs: NOW + 1 }]) {
      expect(verifyStatement(old, meshId, { ...statement, ...changed }, signature)).toBe(false);
    }
    expect(verifyStatement(old, meshId, statement, signature.subarray(1))).toBe(false);
    expect(verifyStatement(old, meshId, statement, new Uint8Array(96))).toBe(false);
  });

  it('leads from the oldest root to the newest, and from a stranger to nothing', async () => {
    const roots = learn(meshId, [known(old)], records, NOW);
    expect(trustedRoots(roots, NOW).map(({ pem }) => pem)).toEqual([next?.pem, last?.pem].map((pem) => pem));
    expect(signingRoot(roots, NOW)?.pem).toBe(last?.pem);
    const stranger = await testAuthority(NOW);
    expect(learn(meshId, [known(stranger)], records, NOW)).toHaveLength(1);
    // A member has a certificate that a root has signed, and a key: it can endorse by neither.
    const forged = await introduced(stranger, stranger, NOW);
    const [signature] = forged.endorsements;
    if (signature === undefined) throw new Error('expected a signature');
    const claimed = { ...forged, endorsements: [{ ...signature, root: old?.certificate.fingerprint ?? '' }] };
    expect(learn(meshId, [known(old)], [forged, claimed], NOW)).toHaveLength(1);
  });

  it('is told of roots of that mesh alone: no leaf, no other mesh, nothing else', async () => {
    if (old === undefined) throw new Error('expected a root');
    expect(readRoot(meshId, derOf(old.pem))).toMatchObject({
      certificate: { fingerprint: old.certificate.fingerprint },
    });
    const { certificatePem } = await testNode(old, NODE_A, NOW);
    const other = await testAuthority(NOW, '2');
    for (const der of [derOf(certificatePem), derOf(other.pem), new Uint8Array(), new Uint8Array(20_000)]) {
      expect(readRoot(meshId, der)).toBeUndefined();
    }
  });

  it('proves roots to who knows one by its fingerprint alone, as a join token does', async () => {
    const pinned = pinnedByChain(records, next?.certificate.fingerprint ?? '', NOW);
    expect(pinned).toMatchObject({ meshId, meshName: 'test-mesh', root: { pem: next?.pem } });
    expect(pinned?.roots.map(({ pem }) => pem)).toEqual([next?.pem, last?.pem]);
    const retired = pinnedByChain(records, old?.certificate.fingerprint ?? '', NOW);
    expect(trustedRoots(retired === undefined ? [] : [retired.root], NOW)).toEqual([]);
    expect(retired?.root.retiredAtMs).toBe(NOW - DAY);
    expect(pinnedByChain(records, 'ab'.repeat(32), NOW)).toBeUndefined();
  });
});
