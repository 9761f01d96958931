// SPDX-License-Identifier: Apache-2.0
/**
 * The roots that a mesh trusts, and how one takes over from another without anybody being refused:
 *
 *   introduced --signsFromMs: everybody knows it--> signs --a newer one signs--> trusted only --retiredAtMs--> gone
 *
 * A root is trusted from the moment it is introduced, by every node that has heard of it; it signs only later. It may
 * be retired once no certificate that it signed is in use: blockers() says which are.
 */
import type { CertificateFacts } from './certificate.js';
import { jitterOf, LIFETIME, renewalAtMs, validityAt } from './lifetime.js';

export interface TrustedRoot {
  readonly certificate: CertificateFacts;
  /** PEM of the certificate. */
  readonly pem: string;
  /** From when on it may sign. */
  readonly signsFromMs: number;
  /** From when on it is not trusted any more; undefined: that is not decided. */
  readonly retiredAtMs: number | undefined;
}

export type RotationVerdict =
  | { readonly kind: 'roots'; readonly roots: readonly TrustedRoot[] }
  | { readonly kind: 'refused'; readonly reason: string };

export interface Renewal {
  readonly atMs: number;
  /** half-life: of its lifetime; rotation: another root signs now. */
  readonly why: 'half-life' | 'rotation';
}

/** A bundle is sent to everybody and tried at each handshake: two or three are in use in a rotation. */
export const ROOTS_MAX = 8;

export function trustedRoots(roots: readonly TrustedRoot[], nowMs: number): readonly TrustedRoot[] {
  return roots.filter((root) => inForce(root, nowMs));
}

/** The newest that may sign; undefined: none may. */
export function signingRoot(roots: readonly TrustedRoot[], nowMs: number): TrustedRoot | undefined {
  let newest: TrustedRoot | undefined;
  for (const root of roots) {
    if (!inForce(root, nowMs) || nowMs < root.signsFromMs) continue;
    if (newest === undefined || newer(root, newest)) newest = root;
  }
  return newest;
}

/** overlapMs: how long it is only trusted, until every node has heard of it; 0 for a mesh's first. */
export function introduceRoot(
  roots: readonly TrustedRoot[],
  root: { readonly certificate: CertificateFacts; readonly pem: string },
  nowMs: number,
  overlapMs: number,
): RotationVerdict {
  const { fingerprint, keyId } = root.certificate;
  if (roots.some(({ certificate }) => certificate.fingerprint === fingerprint || certificate.keyId === keyId)) {
    return refused(`the root ${short(fingerprint)} is in the bundle already`);
  }
  const kept = roots.filter((known) => inForce(known, nowMs));
  if (kept.length >= ROOTS_MAX) return refused(`${kept.length} roots are trusted, which is the most: retire one first`);
  const added = { ...root, signsFromMs: nowMs + overlapMs, retiredAtMs: undefined };
  return { kind: 'roots', roots: [...kept, added] };
}

/** leaves: those in use, as far as is known. */
export function retireRoot(
  roots: readonly TrustedRoot[],
  fingerprint: string,
  leaves: readonly CertificateFacts[],
  nowMs: number,
): RotationVerdict {
  const root = roots.find(({ certificate }) => certificate.fingerprint === fingerprint);
  if (root === undefined) return refused(`there is no root ${short(fingerprint)} in the bundle`);
  const others = roots.filter((other) => other !== root);
  if (signingRoot(others, nowMs) === undefined) {
    return refused(`no other root would sign than ${short(fingerprint)}: introduce one first, and wait until it signs`);
  }
  const left = blockers(root, leaves, nowMs).length;
  if (left > 0) {
    const fix = 'wait until they have been renewed, or revoke them';
    return refused(`${left} certificates in use are signed by root ${short(fingerprint)}: ${fix}`);
  }
  return { kind: 'roots', roots: roots.map((other) => (other === root ? { ...root, retiredAtMs: nowMs } : other)) };
}

/** Certificates that retiring a root would cut off. */
export function blockers(
  root: TrustedRoot,
  leaves: readonly CertificateFacts[],
  nowMs: number,
): readonly CertificateFacts[] {
  const { keyId } = root.certificate;
  return leaves.filter((leaf) => leaf.issuerKeyId === keyId && validityAt(leaf, nowMs) !== 'expired');
}

/**
 * When a certificate is renewed, and why. A root that begins to sign has all others' certificates renewed, spread over
 * LIFETIME.rotationMs by their serials.
 */
export function renewalOf(leaf: CertificateFacts, roots: readonly TrustedRoot[], nowMs: number): Renewal {
  const jitter = jitterOf(leaf.serial);
  const halfLife: Renewal = { atMs: renewalAtMs(leaf, jitter), why: 'half-life' };
  const root = signingRoot(roots, nowMs);
  if (root === undefined || root.certificate.keyId === leaf.issuerKeyId) return halfLife;
  const atMs = Math.round(root.signsFromMs + LIFETIME.rotationMs * jitter);
  return atMs < halfLife.atMs ? { atMs, why: 'rotation' } : halfLife;
}

export function certificatesToRenew<T extends CertificateFacts>(
  leaves: readonly T[],
  roots: readonly TrustedRoot[],
  nowMs: number,
): readonly T[] {
  return leaves.filter((leaf) => renewalOf(leaf, roots, nowMs).atMs <= nowMs);
}

function inForce({ certificate, retiredAtMs }: TrustedRoot, nowMs: number): boolean {
  // A root that this node's late clock does not call valid yet is kept: what it signed is judged by its own dates.
  return validityAt(certificate, nowMs) !== 'expired' && (retiredAtMs === undefined || nowMs < retiredAtMs);
}

function newer(one: TrustedRoot, other: TrustedRoot): boolean {
  if (one.signsFromMs !== other.signsFromMs) return one.signsFromMs > other.signsFromMs;
  return one.certificate.fingerprint > other.certificate.fingerprint;
}

function short(fingerprint: string): string {
  return fingerprint.slice(0, 16);
}

function refused(reason: string): RotationVerdict {
  return { kind: 'refused', reason };
}
