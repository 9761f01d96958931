// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import type { CertificateFacts } from './certificate.js';
import { jitterOf, LIFETIME, renewalAtMs, validityAt, validityFrom } from './lifetime.js';
import {
  blockers,
  certificatesToRenew,
  firstRoot,
  introductionFault,
  isNewerRoot,
  KNOWN_ROOTS_MAX,
  pendingRoot,
  ROOTS_MAX,
  renewalOf,
  retirementFault,
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
    signsAuthorities: false,
    usages: [],
    curve: 'secp384r1',
    ...changed,
  };
}

function root(name: string, fromMs: number, signsFromMs?: number, notAfterMs: number = LIFETIME.rootMs): TrustedRoot {
  const names = { fingerprint: `f-${name}`, keyId: name, issuerKeyId: '' };
  const certificate = facts({ ...names, notBeforeMs: fromMs, notAfterMs, isAuthority: true });
  return { certificate, pem: name, signsFromMs, retiredAtMs: undefined };
}

const [a, b] = [firstRoot(root('a', 0)), root('b', 10 * DAY, 11 * DAY)] as const;
const first: readonly TrustedRoot[] = [a];
const both: readonly TrustedRoot[] = [a, b];
const names = (roots: readonly TrustedRoot[]): readonly string[] => roots.map(({ pem }) => pem);

describe('roots', () => {
  it('are trusted at once, and sign only when that was said', () => {
    expect(names(trustedRoots(both, 10 * DAY))).toEqual(['a', 'b']);
    expect(signingRoot(both, 11 * DAY - 1)?.pem).toBe('a');
    expect(pendingRoot(both, 11 * DAY - 1)?.pem).toBe('b');
    expect(signingRoot(both, 11 * DAY)?.pem).toBe('b');
    expect(pendingRoot(both, 11 * DAY)).toBeUndefined();
    expect(signingRoot([a, root('c', 20 * DAY)], 900 * DAY)?.pem).toBe('a');
  });

  it('have the same signer everywhere when two were made at one time, and the newer one however late it began', () => {
    const c = root('c', 10 * DAY, 10 * DAY);
    for (const roots of [
      [a, b, c],
      [c, b, a],
    ])
      expect(signingRoot(roots, 12 * DAY)?.pem).toBe('c');
    expect([isNewerRoot(b, a), isNewerRoot(a, b), isNewerRoot(c, b), isNewerRoot(b, c)]).toEqual([
      true,
      false,
      true,
      false,
    ]);
    const older = root('o', 9 * DAY, 11.5 * DAY);
    expect(signingRoot([older, b], 12 * DAY)?.pem).toBe('b');
    // One that is overtaken by a newer one is not waited for.
    expect(pendingRoot([a, root('o', 9 * DAY), b], 12 * DAY)).toBeUndefined();
  });

  it('are needed as long as a certificate that they signed is in use', () => {
    const leaf = { certificate: facts({ issuerKeyId: 'a', notAfterMs: 20 * DAY }) };
    expect(blockers(a, [leaf], 12 * DAY)).toEqual([leaf]);
    expect(blockers(a, [leaf], 20 * DAY + 1)).toEqual([]);
    expect(blockers(a, [{ certificate: facts({ issuerKeyId: 'b' }) }], 0)).toEqual([]);
  });

  it('are retired only when a newer one signs, so that a mesh always has one', () => {
    expect(retirementFault(first, a, DAY)).toMatch(/no newer root signs/);
    expect(retirementFault(both, a, 10 * DAY)).toMatch(/no newer root signs/);
    expect(retirementFault(both, b, 12 * DAY)).toMatch(/no newer root signs/);
    expect(retirementFault(both, a, 12 * DAY)).toBeUndefined();
    const retired = { ...a, retiredAtMs: 12 * DAY };
    expect(retirementFault([retired, b], retired, 12 * DAY)).toMatch(/not trusted any more/);
    expect(names(trustedRoots([retired, b], 12 * DAY))).toEqual(['b']);
  });

  it('are no more than is sensible', () => {
    const many = Array.from({ length: ROOTS_MAX }, (_, at) => root(`r${at}`, at));
    expect(introductionFault(many.slice(1), DAY)).toBeUndefined();
    expect(introductionFault(many, DAY)).toMatch(/^8 roots are trusted/);
    const gone = Array.from({ length: KNOWN_ROOTS_MAX }, (_, at) => ({ ...root(`r${at}`, at), retiredAtMs: 1 }));
    expect(introductionFault(gone, DAY)).toMatch(/^64 roots are remembered/);
  });

  it('are not trusted once they have expired', () => {
    const short = [firstRoot(root('a', 0, 0, 5 * DAY))];
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

  it('is spread over as long as the new root was only trusted: one that was hastened is needed soon', () => {
    const leaf = facts({ issuerKeyId: 'a' });
    const hastened = [a, root('b', 10 * DAY, 10 * DAY + 300_000)];
    expect(renewalOf(leaf, hastened, 10 * DAY + 300_000)).toEqual({ atMs: 10 * DAY + 450_000, why: 'rotation' });
  });

  it('has certificates begin five minutes early, and end with their root', () => {
    const validity = validityFrom(1_000_500, 30 * DAY, DAY);
    expect(validity).toEqual({ notBeforeMs: 700_000, notAfterMs: DAY });
    expect(validityAt(validity, 699_999)).toBe('not-yet-valid');
    expect(validityAt(validity, DAY)).toBe('valid');
    expect(validityAt(validity, DAY + 1)).toBe('expired');
  });
});
