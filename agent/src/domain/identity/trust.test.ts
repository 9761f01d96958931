// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import type { CertificateFacts } from './certificate.js';
import { jitterOf, LIFETIME, renewalAtMs, validityAt, validityFrom } from './lifetime.js';
import {
  blockers,
  certificatesToRenew,
  introduceRoot,
  ROOTS_MAX,
  type RotationVerdict,
  renewalOf,
  retireRoot,
  signingRoot,
  type TrustedRoot,
  trustedRoots,
} from './trust.js';

const DAY = 86_400_000;

function facts(changed: Partial<CertificateFacts>): CertificateFacts {
  return {
    serial: '80000000',
    fingerprint: 'f0',
    keyId: '',
    issuerKeyId: '',
    notBeforeMs: 0,
    notAfterMs: 30 * DAY,
    uris: [],
    isAuthority: false,
    usages: [],
    curve: 'secp384r1',
    ...changed,
  };
}

function root(name: string, notAfterMs = LIFETIME.rootMs): { certificate: CertificateFacts; pem: string } {
  return { certificate: facts({ fingerprint: `f-${name}`, keyId: name, notAfterMs, isAuthority: true }), pem: name };
}

function taken(verdict: RotationVerdict): readonly TrustedRoot[] {
  if (verdict.kind === 'refused') throw new Error(verdict.reason);
  return verdict.roots;
}

const first = taken(introduceRoot([], root('a'), 0, 0));
const both = taken(introduceRoot(first, root('b'), 10 * DAY, DAY));
const names = (roots: readonly TrustedRoot[]): readonly string[] => roots.map(({ pem }) => pem);

describe('rotation of the root', () => {
  it('trusts the new one at once, and lets it sign only when all have heard of it', () => {
    expect(names(trustedRoots(both, 10 * DAY))).toEqual(['a', 'b']);
    expect(signingRoot(both, 11 * DAY - 1)?.pem).toBe('a');
    expect(signingRoot(both, 11 * DAY)?.pem).toBe('b');
  });

  it('chooses the same signer everywhere when two were introduced at one time', () => {
    const c = taken(introduceRoot(both, root('c'), 10 * DAY, DAY));
    expect(signingRoot(c, 12 * DAY)?.pem).toBe('c');
    expect(signingRoot([...c].reverse(), 12 * DAY)?.pem).toBe('c');
  });

  it('keeps a root as long as a certificate that it signed is in use', () => {
    const leaf = facts({ issuerKeyId: 'a', notAfterMs: 20 * DAY });
    expect(retireRoot(both, 'f-a', [leaf], 12 * DAY)).toMatchObject({
      reason: expect.stringMatching(/^1 certificates/),
    });
    const retired = taken(retireRoot(both, 'f-a', [leaf], 20 * DAY + 1));
    expect(names(trustedRoots(retired, 20 * DAY + 1))).toEqual(['b']);
    expect(blockers(both[0] as TrustedRoot, [facts({ issuerKeyId: 'b' })], 0)).toEqual([]);
  });

  it('never leaves a mesh without a root that signs', () => {
    expect(retireRoot(first, 'f-a', [], DAY).kind).toBe('refused');
    expect(retireRoot(both, 'f-a', [], 10 * DAY).kind).toBe('refused');
    expect(retireRoot(both, 'f-none', [], 12 * DAY).kind).toBe('refused');
  });

  it('refuses a root that is there, and more than are sensible', () => {
    expect(introduceRoot(first, root('a'), DAY, 0).kind).toBe('refused');
    let roots: readonly TrustedRoot[] = [];
    for (let at = 0; at < ROOTS_MAX; at++) roots = taken(introduceRoot(roots, root(`r${at}`), 0, 0));
    expect(introduceRoot(roots, root('more'), 0, 0).kind).toBe('refused');
  });

  it('trusts no root that has expired', () => {
    const short = taken(introduceRoot([], root('a', 5 * DAY), 0, 0));
    expect(trustedRoots(short, 5 * DAY + 1)).toEqual([]);
    expect(signingRoot(short, 5 * DAY + 1)).toBeUndefined();
  });
});

describe('renewal', () => {
  it('is due about half of the lifetime, spread by jitter', () => {
    const validity = { notBeforeMs: 0, notAfterMs: 30 * DAY };
    expect(renewalAtMs(validity, 0)).toBe(13.5 * DAY);
    expect(renewalAtMs(validity, 0.5)).toBe(15 * DAY);
    expect(renewalAtMs(validity, 0.999999)).toBeLessThan(16.5 * DAY);
    expect(jitterOf('80000000')).toBe(0.5);
    expect(jitterOf('1234ffffffff')).toBeLessThan(1);
  });

  it('comes within a day of another root beginning to sign, unless half-life comes first', () => {
    const leaf = facts({ issuerKeyId: 'a' });
    expect(renewalOf(leaf, first, 0)).toEqual({ atMs: 15 * DAY, why: 'half-life' });
    expect(renewalOf(leaf, both, 10 * DAY)).toEqual({ atMs: 15 * DAY, why: 'half-life' });
    expect(renewalOf(leaf, both, 11 * DAY)).toEqual({ atMs: 11.5 * DAY, why: 'rotation' });
    expect(renewalOf(facts({ issuerKeyId: 'b' }), both, 11 * DAY).why).toBe('half-life');
    expect(certificatesToRenew([leaf, facts({ issuerKeyId: 'b' })], both, 12 * DAY)).toEqual([leaf]);
  });

  it('has certificates begin five minutes early, and end with their root', () => {
    const validity = validityFrom(1_000_500, 30 * DAY, DAY);
    expect(validity).toEqual({ notBeforeMs: 700_000, notAfterMs: DAY });
    expect(validityAt(validity, 699_999)).toBe('not-yet-valid');
    expect(validityAt(validity, DAY)).toBe('valid');
    expect(validityAt(validity, DAY + 1)).toBe('expired');
  });
});
