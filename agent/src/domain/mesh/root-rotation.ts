// SPDX-License-Identifier: Apache-2.0
/**
 * How the mesh's CA is changed without anybody being refused, and without a centre. What was said of roots is replicated,
 * signed by roots (domain/identity/root-chain.ts); each node says by itself which it trusts and whose keys it holds; and
 * each that holds keys decides alone:
 *
 *   introduced ──its time has come, or all that are there trust it and it is hastened──▶ signs
 *       certificates are renewed (trust.ts: renewalOf) ──none in use is of the one before──▶ that is retired
 *
 * There is nothing to take up again after a crash: what is to be done next is a function of what is known. Of two roots
 * that were introduced at once both come to sign, the newer takes over, and the other is retired as any older one.
 */
import type { CertificateFacts } from '../identity/certificate.js';
import {
  blockers,
  pendingRoot,
  retirementFault,
  signingRoot,
  type TrustedRoot,
  trustedRoots,
} from '../identity/trust.js';

/** What a node has, by fingerprints of roots. */
export interface HeldRoots {
  readonly trusted: readonly string[];
  /** Of those whose keys it holds. */
  readonly keys: readonly string[];
}

export interface Plan {
  /** From when on it may sign, whoever has not heard of it. */
  readonly plannedMs: number;
  readonly hastened: boolean;
}

/** A certificate in use: of a member as it last said, of an operator or of a service. */
export interface Leaf {
  readonly certificate: Pick<CertificateFacts, 'issuerKeyId' | 'notAfterMs' | 'notBeforeMs' | 'serial'>;
  /** Of the member, the user or the certificate. */
  readonly name: string;
  readonly kind: 'member' | 'client' | 'service';
}

export interface CaView {
  readonly nowMs: number;
  /** All that this node knows, retired ones too. */
  readonly roots: readonly TrustedRoot[];
  /** By fingerprint, of those that were introduced. */
  readonly plans: ReadonlyMap<string, Plan>;
  /** Fingerprints of roots whose keys this node holds. */
  readonly keys: ReadonlySet<string>;
  /** Ids of other members that are to be waited for. */
  readonly there: Iterable<string>;
  /** What others have said of themselves, by id. */
  readonly said: ReadonlyMap<string, HeldRoots>;
  readonly leaves: readonly Leaf[];
  /** How long a root has signed before one before it is retired: what was let in meanwhile is to be known. */
  readonly settleMs: number;
}

export interface CaStep {
  /** fetch: the root's key, from one that holds it; begin: say that it signs; retire: say that it is not trusted. */
  readonly kind: 'fetch' | 'begin' | 'retire';
  /** Fingerprint. */
  readonly root: string;
}

/** What this node does now, of what it may. */
export function dueSteps(view: CaView): readonly CaStep[] {
  const { nowMs, roots, keys } = view;
  const steps: CaStep[] = [];
  // Only who has held a key is given another.
  if (keys.size > 0) {
    for (const root of [pendingRoot(roots, nowMs), signingRoot(roots, nowMs)]) {
      const id = root?.certificate.fingerprint;
      if (id !== undefined && !keys.has(id)) steps.push({ kind: 'fetch', root: id });
    }
  }
  const pending = pendingRoot(roots, nowMs)?.certificate.fingerprint;
  const plan = pending === undefined ? undefined : view.plans.get(pending);
  if (pending !== undefined && plan !== undefined && keys.has(pending)) {
    const ready = nowMs >= plan.plannedMs || (plan.hastened && waitingFor(view).length === 0);
    if (ready) steps.push({ kind: 'begin', root: pending });
  }
  return [...steps, ...retirable(view).map((root): CaStep => ({ kind: 'retire', root }))];
}

/** Members that are there and lack the newest root or, holding a key, its key. */
export function waitingFor({ nowMs, roots, there, said }: CaView): readonly string[] {
  const pending = pendingRoot(roots, nowMs)?.certificate.fingerprint;
  if (pending === undefined) return [];
  return [...there]
    .filter((id) => {
      const held = said.get(id);
      return !held?.trusted.includes(pending) || (held.keys.length > 0 && !held.keys.includes(pending));
    })
    .sort();
}

function retirable(view: CaView): readonly string[] {
  const { nowMs, roots, keys, leaves, settleMs } = view;
  const signing = signingRoot(roots, nowMs);
  if (signing?.signsFromMs === undefined || !keys.has(signing.certificate.fingerprint)) return [];
  if (nowMs < signing.signsFromMs + settleMs) return [];
  // Who has not renewed by this one yet may be renewing by any other just now: with one of this it never goes back.
  const behind = leaves.some(({ kind, certificate: { issuerKeyId, notAfterMs } }) => {
    return kind === 'member' && issuerKeyId !== signing.certificate.keyId && nowMs <= notAfterMs;
  });
  if (behind) return [];
  return trustedRoots(roots, nowMs)
    .filter((root) => retirementFault(roots, root, nowMs) === undefined)
    .filter((root) => blockers(root, leaves, nowMs).length === 0)
    .map(({ certificate }) => certificate.fingerprint);
}
