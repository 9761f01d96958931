// SPDX-License-Identifier: Apache-2.0
/**
 * What the signed heads of one node's log say of it. A node signs ever later heads of one log; two that can't both be
 * true are the proof, by its own signature, that it told two stories. Both are kept: whoever has them can show them.
 */
import type { Finding, Head } from '@marcher/audit';

/** Heads of one node that are kept: the newest ones all, of those before ever fewer, back to the first. */
export const HEADS_MAX = 64;

export type HeadJudgement =
  /** It goes on from what is known, or contradicts it: either way it is to be kept. */
  | { readonly kind: 'keep' }
  /** It is known, or older than what is. */
  | { readonly kind: 'old' };

/** kept: of the same node, all signed by it. */
export function judgeHead(kept: readonly Head[], head: Head): HeadJudgement {
  if (kept.some((other) => sameLog(other, head) && isSame(other, head))) return { kind: 'old' };
  const [newest] = newestFirst(kept);
  // Anybody in the mesh can put an old one back: that says nothing of its node, unless it is another of that number.
  const stale = newest !== undefined && head.timeMs <= newest.timeMs;
  const contradicts = kept.some((other) => sameLog(other, head) && other.sequence === head.sequence);
  return stale && !contradicts ? { kind: 'old' } : { kind: 'keep' };
}

/** What these heads of one node contradict each other in; empty: in nothing. */
export function contradictions(heads: readonly Head[]): Finding[] {
  return pairs(heads).map(({ finding }) => finding);
}

interface Contradiction {
  /** The two heads that can't both be true. */
  readonly proof: readonly [Head, Head];
  readonly finding: Finding;
}

function pairs(heads: readonly Head[]): Contradiction[] {
  const found: Contradiction[] = [];
  const byTime = newestFirst(heads).reverse();
  const known = new Map<string, Head>();
  let highest: Head | undefined;
  for (const head of byTime) {
    const { node, sequence } = head;
    const same = known.get(`${hex(head.log)} ${sequence}`);
    const at = new Date(head.timeMs).toISOString();
    if (same !== undefined && !isSame(same, head)) {
      const message = `it has signed two different records ${sequence}, the other at ${at}`;
      found.push({ proof: [same, head], finding: { kind: 'fork', node, sequence, message } });
    } else if (highest !== undefined && !sameLog(highest, head)) {
      const message = `it has signed record ${highest.sequence} of its log, and another log at ${at}`;
      found.push({ proof: [highest, head], finding: { kind: 'replaced', node, sequence: highest.sequence, message } });
      highest = undefined;
    } else if (highest !== undefined && sequence < highest.sequence) {
      const message = `it has signed record ${highest.sequence}, and that its log ends at ${sequence} at ${at}`;
      found.push({ proof: [highest, head], finding: { kind: 'shortened', node, sequence: sequence + 1, message } });
      highest = undefined;
    }
    known.set(`${hex(head.log)} ${sequence}`, same ?? head);
    if (highest === undefined || sequence > highest.sequence) highest = head;
  }
  return found;
}

/** Which of them need not be kept: proofs stay, and so do the first one and the newest. */
export function superfluous(heads: readonly Head[]): Head[] {
  if (heads.length <= HEADS_MAX) return [];
  const proofs = new Set(pairs(heads).flatMap(({ proof }) => proof));
  const older = newestFirst(heads).slice(HEADS_MAX / 2, -1);
  return older.filter((head, i) => i % 2 === 0 && !proofs.has(head));
}

function newestFirst(heads: readonly Head[]): Head[] {
  return heads.toSorted((a, b) => b.timeMs - a.timeMs || b.sequence - a.sequence);
}

function sameLog(one: Head, other: Head): boolean {
  return hex(one.log) === hex(other.log);
}

function isSame(one: Head, other: Head): boolean {
  return one.sequence === other.sequence && hex(one.hash) === hex(other.hash);
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
