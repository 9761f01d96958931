// SPDX-License-Identifier: Apache-2.0
/**
 * The roots that a mesh trusts, and how one takes over from another without anybody being refused:
 *
 *   introduced --signsFromMs: everybody knows it--> signs --a newer one signs--> trusted only --retiredAtMs--> gone
 *
 * A root is trusted from the moment it is introduced, by every node that has heard of it; it signs only later. It may
 * be retired once no certificate that it signed is in use: blockers() says which are. How nodes hear of roots, and what
 * they believe, is in root-chain.ts; who does what next, in domain/mesh/root-rotation.ts. An intermediate goes the same way
 * (issuer.ts); its offline root is trusted as long as there is one, and never signs.
 */
import type { CertificateFacts } from './certificate.js';
import { anchorOf, isIntermediate, isOffline, parentOf } from './issuer.js';
import { jitterOf, LIFETIME, renewalAtMs, type Validity, validityAt } from './lifetime.js';

export interface TrustedRoot {
  readonly certificate: CertificateFacts;
  /** PEM of the certificate. */
  readonly pem: string;
  /** From when on it signs; undefined: a holder of its key has not said so yet. */
  readonly signsFromMs: number | undefined;
  /** From when on it is not trusted any more; undefined: that is not decided. */
  readonly retiredAtMs: number | undefined;
}

export interface Renewal {
  readonly atMs: number;
  /** half-life: of its lifetime; rotation: another root signs now. */
  readonly why: 'half-life' | 'rotation';
}

/** A bundle is sent to everybody and tried at each handshake: two or three are in use in a rotation. */
export const ROOTS_MAX = 8;
/** With those that were retired: a node remembers why a certificate is refused. */
export const KNOWN_ROOTS_MAX = 64;

/** An intermediate is nothing without its root. */
export function trustedRoots(roots: readonly TrustedRoot[], nowMs: number): readonly TrustedRoot[] {
  return roots.filter((root) => {
    if (!inForce(root, nowMs)) return false;
    if (!isIntermediate(root.certificate)) return true;
    const parent = parentOf(roots, root.certificate);
    return parent !== undefined && inForce(parent, nowMs);
  });
}

/** Those of them that sign certificates of nodes, operators and services: all but offline roots. */
export function issuers(roots: readonly TrustedRoot[], nowMs: number): readonly TrustedRoot[] {
  return trustedRoots(roots, nowMs).filter(({ certificate }) => !isOffline(certificate));
}

/** Those of them that sign themselves: what others know the mesh by. */
export function anchors(roots: readonly TrustedRoot[], nowMs: number): readonly TrustedRoot[] {
  return trustedRoots(roots, nowMs).filter(({ certificate }) => !isIntermediate(certificate));
}

/** The newest that may sign; undefined: none may. */
export function signingRoot(roots: readonly TrustedRoot[], nowMs: number): TrustedRoot | undefined {
  let newest: TrustedRoot | undefined;
  for (const root of issuers(roots, nowMs)) {
    if (!signs(root, nowMs)) continue;
    if (newest === undefined || isNewerRoot(root, newest)) newest = root;
  }
  return newest;
}

export function signs({ signsFromMs }: TrustedRoot, nowMs: number): boolean {
  return signsFromMs !== undefined && nowMs >= signsFromMs;
}

/** A mesh's first, which signs at once if it signs at all. */
export function firstRoot(root: { readonly certificate: CertificateFacts; readonly pem: string }): TrustedRoot {
  const { certificate, pem } = root;
  const signsFromMs = isOffline(certificate) ? undefined : certificate.notBeforeMs;
  return { certificate, pem, signsFromMs, retiredAtMs: undefined };
}

/** The newest that was introduced and is to take over; undefined: there is none. */
export function pendingRoot(roots: readonly TrustedRoot[], nowMs: number): TrustedRoot | undefined {
  const newest = [...issuers(roots, nowMs)].sort((one, other) => (isNewerRoot(one, other) ? -1 : 1))[0];
  return newest === undefined || signs(newest, nowMs) ? undefined : newest;
}

/** Why no other root can be introduced; undefined: one can. */
export function introductionFault(roots: readonly TrustedRoot[], nowMs: number): string | undefined {
  const { length } = trustedRoots(roots, nowMs);
  if (length >= ROOTS_MAX) return `${length} roots are trusted, which is the most: retire one first`;
  return roots.length < KNOWN_ROOTS_MAX
    ? undefined
    : `${roots.length} roots are remembered, which is the most: retired ones are forgotten after ${FORGET_DAYS} days`;
}

/** Why a root can't be retired, whatever certificates are in use; undefined: it can. */
export function retirementFault(roots: readonly TrustedRoot[], root: TrustedRoot, nowMs: number): string | undefined {
  const name = short(root.certificate.fingerprint);
  if (root.retiredAtMs !== undefined || !inForce(root, nowMs)) return `root ${name} is not trusted any more`;
  const left = trustedRoots(roots, nowMs).filter(
    (other) => isIntermediate(other.certificate) && parentOf(roots, other.certificate) === root,
  );
  if (left.length > 0) {
    const names = left.map(({ certificate }) => short(certificate.fingerprint)).join(', ');
    return `root ${name} has intermediates that are trusted: retire these first (${names})`;
  }
  const signing = signingRoot(roots, nowMs);
  if (signing !== undefined && mayRetire(roots, signing, root)) return undefined;
  return `no newer root signs than ${name}: introduce one first (marcher mesh ca rotate), and wait until it signs`;
}

/** Certificates that retiring a root would cut off. */
export function blockers<L extends { readonly certificate: Pick<CertificateFacts, 'issuerKeyId' | keyof Validity> }>(
  root: TrustedRoot,
  leaves: readonly L[],
  nowMs: number,
): readonly L[] {
  const { keyId } = root.certificate;
  return leaves.filter(({ certificate }) => {
    return certificate.issuerKeyId === keyId && validityAt(certificate, nowMs) !== 'expired';
  });
}

/**
 * When a certificate is renewed, and why. A root that begins to sign has all others' certificates renewed, spread by their
 * serials over as long as it was only trusted, at most LIFETIME.rotationMs: one that was hastened is needed.
 */
export function renewalOf(leaf: CertificateFacts, roots: readonly TrustedRoot[], nowMs: number): Renewal {
  const jitter = jitterOf(leaf.serial);
  const halfLife: Renewal = { atMs: renewalAtMs(leaf, jitter), why: 'half-life' };
  const root = signingRoot(roots, nowMs);
  if (root?.signsFromMs === undefined || root.certificate.keyId === leaf.issuerKeyId) return halfLife;
  const spreadMs = Math.min(root.signsFromMs - root.certificate.notBeforeMs, LIFETIME.rotationMs);
  const atMs = Math.round(root.signsFromMs + Math.max(0, spreadMs) * jitter);
  return atMs < halfLife.atMs ? { atMs, why: 'rotation' } : halfLife;
}

export function certificatesToRenew<T extends CertificateFacts>(
  leaves: readonly T[],
  roots: readonly TrustedRoot[],
  nowMs: number,
): readonly T[] {
  return leaves.filter((leaf) => renewalOf(leaf, roots, nowMs).atMs <= nowMs);
}

export function inForce({ certificate, retiredAtMs }: TrustedRoot, nowMs: number): boolean {
  // A root that this node's late clock does not call valid yet is kept: what it signed is judged by its own dates.
  return validityAt(certificate, nowMs) !== 'expired' && (retiredAtMs === undefined || nowMs < retiredAtMs);
}

/**
 * By what their certificates say, which nobody changes: of any two, all nodes call the same one the newer, and only a newer
 * one retires another, so that two never retire each other.
 */
export function isNewerRoot(one: TrustedRoot, other: TrustedRoot): boolean {
  const [a, b] = [one.certificate, other.certificate];
  if (a.notBeforeMs !== b.notBeforeMs) return a.notBeforeMs > b.notBeforeMs;
  return a.fingerprint > b.fingerprint;
}

/**
 * By their certificates. An intermediate retires what is older than itself, and roots that are older than its own: never that one,
 * nor what a newer root stands for.
 */
export function mayRetire(roots: readonly TrustedRoot[], by: TrustedRoot, root: TrustedRoot): boolean {
  const [speaker, target] = [anchorOf(roots, by), anchorOf(roots, root)];
  if (speaker === undefined || target === undefined || isOffline(by.certificate)) return false;
  if (speaker === target) return isIntermediate(root.certificate) && isNewerRoot(by, root);
  return isNewerRoot(speaker, target);
}

/** Longer than anything lives that it has signed. */
export const FORGET_DAYS = 400;

/** Nobody has a certificate of it any more that has not expired. */
export function isForgettableRoot({ retiredAtMs }: TrustedRoot, nowMs: number): boolean {
  return retiredAtMs !== undefined && nowMs - retiredAtMs > FORGET_DAYS * 86_400_000;
}

/** As messages name it. */
export function short(fingerprint: string): string {
  return fingerprint.slice(0, 16);
}
