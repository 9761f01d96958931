// SPDX-License-Identifier: Apache-2.0

import * as x509 from '@marcher/ca/x509';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  NO_REVOCATIONS,
  nextCrlNumber,
  nodeSerial,
  REVOCATION_REASON,
  type Revocations,
  revoke,
} from '../../../domain/identity/revocation.js';
import type { CertificateAuthority } from '../../../ports/identity.js';
import { readRevocations, uniteLists } from './revocation-list.js';
import { NODE_A, NODE_B } from './testing/directory.js';
import { rootOf, testAuthority } from './testing/mesh.js';

const NOW = Date.UTC(2026, 5, 1);
const DAY = 86_400_000;
let authority: CertificateAuthority;
let other: CertificateAuthority;

beforeAll(async () => {
  authority = await testAuthority(NOW);
  other = await testAuthority(NOW);
});

function revoked(...targets: ({ serial: string } | { nodeId: string })[]): Revocations {
  return targets.reduce<Revocations>((set, target) => {
    const verdict = revoke(set, target, REVOCATION_REASON.keyCompromise, NOW);
    return verdict.kind === 'revoked' ? verdict.revocations : set;
  }, NO_REVOCATIONS);
}

describe('a revocation list', () => {
  it('is read as it was signed', async () => {
    const set = revoked({ serial: '0a1' }, { serial: 'ff'.repeat(16) }, { nodeId: NODE_A });
    const number = nextCrlNumber(0n, NOW, NODE_A);
    const signed = await authority.signRevocations(set, number, NOW);
    const read = await readRevocations(signed.pem, [rootOf(other), rootOf(authority)], NOW);
    expect(read).toEqual({ ...signed, number, thisUpdateMs: NOW, nextUpdateMs: NOW + 7 * DAY });
    expect([...read.revocations]).toEqual([...set]);
    expect(read.revocations.get(nodeSerial(NODE_A))?.reason).toBe(1);
  });

  it('may be empty, and is still obeyed after its next update', async () => {
    const { pem } = await authority.signRevocations(NO_REVOCATIONS, 1n, NOW);
    expect((await readRevocations(pem, [rootOf(authority)], NOW + 30 * DAY)).revocations.size).toBe(0);
  });

  it('holds more than the library reads by itself', async () => {
    const targets = Array.from({ length: 1_500 }, (_, at) => {
      const serial = (BigInt(at) + (1n << 120n)).toString(16);
      return [serial, { serial, revokedAtMs: NOW, reason: 1 }] as const;
    });
    const { pem } = await authority.signRevocations(new Map(targets), 1n, NOW);
    expect((await readRevocations(pem, [rootOf(authority)], NOW)).revocations.size).toBe(1_500);
  });

  it('is refused from a root that is not trusted, altered, from the future, and when it is none', async () => {
    const { pem } = await authority.signRevocations(revoked({ serial: 'a1' }), 1n, NOW);
    const roots = [rootOf(authority)];
    const der = Buffer.from(x509.PemConverter.decodeFirst(pem));
    const altered = Buffer.from(der);
    // The serial: one byte of content, 0xa1 behind a zero.
    const at = altered.indexOf(Buffer.from([0x02, 0x02, 0x00, 0xa1]));
    altered[at + 3] = 0xa2;
    await expect(readRevocations(pem, [rootOf(other)], NOW)).rejects.toThrow(/no root that this mesh trusts/);
    await expect(readRevocations(x509.PemConverter.encode(altered, 'CRL'), roots, NOW)).rejects.toThrow(/signature/);
    await expect(readRevocations(pem, roots, NOW - DAY)).rejects.toThrow(/ahead/);
    for (const bad of ['', 'x', authority.pem, 'A'.repeat(1_000_001)]) {
      await expect(readRevocations(bad, roots, NOW)).rejects.toMatchObject({ name: 'IdentityError', code: 'invalid' });
    }
    for (let index = 0; index < der.length; index += 23) {
      const bad = Buffer.from(der);
      bad[index] = (bad[index] ?? 0) ^ 0xff;
      const text = x509.PemConverter.encode(bad, 'CRL');
      await expect(readRevocations(text, roots, NOW)).rejects.toMatchObject({ name: 'IdentityError' });
    }
  });

  it('is united with those of other nodes and other roots, and a bad one stops none of them', async () => {
    const lists = await Promise.all([
      authority.signRevocations(revoked({ nodeId: NODE_A }), 1n, NOW),
      authority.signRevocations(revoked({ serial: 'a1' }), 2n, NOW),
      other.signRevocations(revoked({ nodeId: NODE_B }), 1n, NOW),
    ]);
    const roots = [rootOf(authority), rootOf(other)];
    const { revocations, refused } = await uniteLists([...lists.map(({ pem }) => pem), 'x'], roots, NOW);
    expect([...revocations.keys()].sort()).toEqual([nodeSerial(NODE_A), nodeSerial(NODE_B), 'a1'].sort());
    expect(refused).toHaveLength(1);
  });
});
