// SPDX-License-Identifier: Apache-2.0
/**
 * What a node believes of what it hears about roots, from the mesh or from whoever answers at an address: nothing but what
 * follows, by signatures, from the roots that it has. A new one is endorsed by one that is trusted here, that by one
 * before, so that a node which was away through several changes comes to trust the newest in one step. What a root has
 * introduced after it was retired here counts for nothing. An intermediate is introduced by the signature under its certificate,
 * which is that of its offline root; it introduces none.
 *
 * A root begins to sign by the word of its own key: one whose key was lost never does. It is retired by the word of a
 * newer one that signs, or has signed.
 */
import type { CertificateFacts } from './certificate.js';
import { intermediateFault, isIntermediate, parentOf } from './issuer.js';
import { LIFETIME } from './lifetime.js';
import type { RootRecord, RootStatement, RootWord } from './root-statement.js';
import {
  FORGET_DAYS,
  inForce,
  isForgettableRoot,
  isNewerRoot,
  KNOWN_ROOTS_MAX,
  mayRetire,
  signs,
  type TrustedRoot,
} from './trust.js';

export interface ChainRules {
  /** A certificate of a root or an intermediate of this mesh; undefined: it is none. */
  readonly read: (der: Uint8Array) => { readonly certificate: CertificateFacts; readonly pem: string } | undefined;
  readonly verify: (by: TrustedRoot, statement: RootStatement, signature: Uint8Array) => boolean;
  /** Whether the key of that root has signed the certificate (PEM). */
  readonly signed: (by: TrustedRoot, pem: string) => boolean;
  readonly meshId: string;
  readonly nowMs: number;
}

const DAY_MS = 86_400_000;
export const OVERLAP = { defaultMs: DAY_MS, maxMs: 30 * DAY_MS } as const;
/** Certificates begin some minutes before they are made. */
const SLACK_MS = 3_600_000;

/** The same array: there is nothing new. known: also those that were retired. */
export function learnRoots(
  known: readonly TrustedRoot[],
  records: readonly RootRecord[],
  rules: ChainRules,
): readonly TrustedRoot[] {
  const read = records.flatMap((record) => {
    const root = rules.read(record.certificate);
    return root === undefined ? [] : [{ record, root }];
  });
  let roots = known;
  for (let before: readonly TrustedRoot[] | undefined; before !== roots; ) {
    before = roots;
    for (const { record, root } of read) if (isIntroduced(roots, record, root, rules)) roots = [...roots, added(root)];
  }
  // Of one root there may be several records, of whom one knows more than another: each counts for what it proves.
  const said = (root: TrustedRoot): RootRecord[] =>
    read.flatMap((one) => (one.root.certificate.fingerprint === root.certificate.fingerprint ? [one.record] : []));
  roots = changed(roots, (root) => said(root).reduce((now, { signing }) => begun(now, signing, rules), root));
  // All by what was trusted before any of them: of a chain of roots, each was retired by the next.
  const judges = roots;
  roots = changed(roots, (root) => {
    return said(root).reduce((now, { retirement }) => ended(now, retirement, judges, rules), root);
  });
  const kept = roots.filter((root) => !isForgettableRoot(root, rules.nowMs));
  return kept.length === roots.length ? roots : kept;
}

function isIntroduced(
  roots: readonly TrustedRoot[],
  { plannedMs, endorsements, retirement }: RootRecord,
  root: { readonly certificate: CertificateFacts; readonly pem: string },
  rules: ChainRules,
): boolean {
  const { certificate } = root;
  const { verify, nowMs } = rules;
  const { fingerprint, keyId, notBeforeMs } = certificate;
  if (roots.length >= KNOWN_ROOTS_MAX) return false;
  if (roots.some((other) => other.certificate.fingerprint === fingerprint || other.certificate.keyId === keyId))
    return false;
  if (plannedMs < notBeforeMs || plannedMs > notBeforeMs + OVERLAP.maxMs + SLACK_MS) return false;
  if (retirement !== undefined && nowMs - retirement.atMs > FORGET_DAYS * DAY_MS) return false;
  if (isIntermediate(certificate)) return isIntermediateOf(roots, root, rules);
  const statement: RootStatement = { kind: 'introduce', root: fingerprint, atMs: plannedMs };
  return endorsements.some(({ root, signature }) => {
    const by = find(roots, root);
    if (by === undefined || isIntermediate(by.certificate)) return false;
    return inForce(by, nowMs) && verify(by, statement, signature);
  });
}

/**
 * Its root's signature does not end with its retirement, which is forgotten some day. So where a later one has signed for longer than
 * a node's certificate lives, no older one comes to be trusted.
 */
function isIntermediateOf(
  roots: readonly TrustedRoot[],
  root: { readonly certificate: CertificateFacts; readonly pem: string },
  { signed, meshId, nowMs }: ChainRules,
): boolean {
  const parent = parentOf(roots, root.certificate);
  if (parent === undefined || !inForce(parent, nowMs)) return false;
  const replaced = roots.some((other) => {
    const sibling = isIntermediate(other.certificate) && parentOf(roots, other.certificate) === parent;
    return sibling && signs(other, nowMs - LIFETIME.nodeMs) && isNewerRoot(other, added(root));
  });
  if (replaced || intermediateFault(root.certificate, meshId, parent.certificate, nowMs) !== undefined) return false;
  return signed(parent, root.pem);
}

function added(root: { readonly certificate: CertificateFacts; readonly pem: string }): TrustedRoot {
  return { ...root, signsFromMs: undefined, retiredAtMs: undefined };
}

function begun(root: TrustedRoot, word: RootWord | undefined, { verify }: ChainRules): TrustedRoot {
  const { fingerprint } = root.certificate;
  if (word === undefined || word.by.root !== fingerprint) return root;
  // Of two words the earlier one stands, in whatever order they are heard.
  if (root.signsFromMs !== undefined && root.signsFromMs <= word.atMs) return root;
  const statement: RootStatement = { kind: 'sign', root: fingerprint, atMs: word.atMs };
  return verify(root, statement, word.by.signature) ? { ...root, signsFromMs: word.atMs } : root;
}

function ended(
  root: TrustedRoot,
  word: RootWord | undefined,
  judges: readonly TrustedRoot[],
  { verify }: ChainRules,
): TrustedRoot {
  if (word === undefined || root.retiredAtMs !== undefined) return root;
  const by = find(judges, word.by.root);
  // Also of one that was retired since: its word may come after that of the next. It ends but older ones than itself.
  if (by === undefined || !mayRetire(judges, by, root) || !signs(by, word.atMs)) return root;
  const statement: RootStatement = { kind: 'retire', root: root.certificate.fingerprint, atMs: word.atMs };
  return verify(by, statement, word.by.signature) ? { ...root, retiredAtMs: word.atMs } : root;
}

function find(roots: readonly TrustedRoot[], fingerprint: string): TrustedRoot | undefined {
  return roots.find(({ certificate }) => certificate.fingerprint === fingerprint);
}

function changed(roots: readonly TrustedRoot[], change: (root: TrustedRoot) => TrustedRoot): readonly TrustedRoot[] {
  const next = roots.map(change);
  return next.every((root, at) => root === roots[at]) ? roots : next;
}
