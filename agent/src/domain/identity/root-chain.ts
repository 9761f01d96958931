// SPDX-License-Identifier: Apache-2.0
/**
 * What a node believes of what it hears about roots, from the mesh or from whoever answers at an address: nothing but what
 * follows, by signatures, from the roots that it has. A new one is endorsed by one that is trusted here, that by one
 * before, so that a node which was away through several changes comes to trust the newest in one step. What a root has
 * introduced after it was retired here counts for nothing.
 *
 * A root begins to sign by the word of its own key: one whose key was lost never does. It is retired by the word of a
 * newer one that signs, or has signed.
 */
import type { CertificateFacts } from './certificate.js';
import type { RootRecord, RootStatement, RootWord } from './root-statement.js';
import {
  FORGET_DAYS,
  inForce,
  isForgettableRoot,
  isNewerRoot,
  KNOWN_ROOTS_MAX,
  signs,
  type TrustedRoot,
} from './trust.js';

export interface ChainRules {
  /** A root certificate of this mesh; undefined: it is none. */
  readonly read: (der: Uint8Array) => { readonly certificate: CertificateFacts; readonly pem: string } | undefined;
  readonly verify: (by: TrustedRoot, statement: RootStatement, signature: Uint8Array) => boolean;
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
  { certificate }: { readonly certificate: CertificateFacts },
  { verify, nowMs }: ChainRules,
): boolean {
  const { fingerprint, keyId, notBeforeMs } = certificate;
  if (roots.length >= KNOWN_ROOTS_MAX) return false;
  if (roots.some((other) => other.certificate.fingerprint === fingerprint || other.certificate.keyId === keyId))
    return false;
  if (plannedMs < notBeforeMs || plannedMs > notBeforeMs + OVERLAP.maxMs + SLACK_MS) return false;
  if (retirement !== undefined && nowMs - retirement.atMs > FORGET_DAYS * DAY_MS) return false;
  const statement: RootStatement = { kind: 'introduce', root: fingerprint, atMs: plannedMs };
  return endorsements.some(({ root, signature }) => {
    const by = find(roots, root);
    return by !== undefined && inForce(by, nowMs) && verify(by, statement, signature);
  });
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
  if (by === undefined || !isNewerRoot(by, root) || !signs(by, word.atMs)) return root;
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
