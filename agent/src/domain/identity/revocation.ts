// SPDX-License-Identifier: Apache-2.0
/**
 * What was revoked: a set that only grows until entries are past use, so that lists from several nodes are united in any
 * order, any number of times.
 *
 * A list (RFC 5280, section 5) has room for serials only. That a node was removed, whatever certificates it has or is
 * just being given elsewhere, is written as a serial too: 20 octets, "marcher-node" and the node's id. No certificate
 * ever has it, since serials are 16 octets.
 *
 * A list that is past its next update is still obeyed, and nothing is refused for want of a newer one: a mesh whose
 * nodes with the CA's key are down must go on working. Freshness is shown to operators instead.
 */
import { canonicalSerial } from './certificate.js';
import { LIFETIME, wholeSeconds } from './lifetime.js';
import { nodeNumber } from './names.js';

/** Codes of RFC 5280, 5.3.1: those that make sense here. */
export const REVOCATION_REASON = {
  unspecified: 0,
  keyCompromise: 1,
  superseded: 4,
  cessationOfOperation: 5,
  privilegeWithdrawn: 9,
} as const;
export type RevocationReason = (typeof REVOCATION_REASON)[keyof typeof REVOCATION_REASON];

export interface Revocation {
  readonly serial: string;
  /** Whole seconds, as lists have them. */
  readonly revokedAtMs: number;
  readonly reason: number;
}

/** By serial. */
export type Revocations = ReadonlyMap<string, Revocation>;

export type RevocationTarget = { readonly serial: string } | { readonly nodeId: string };

export type RevokeVerdict =
  | { readonly kind: 'revoked'; readonly revocations: Revocations }
  | { readonly kind: 'refused'; readonly reason: string };

export const NO_REVOCATIONS: Revocations = new Map();
/** What one node adds to at most. Union goes beyond, so that nothing revoked is ever forgotten for want of room. */
export const REVOCATIONS_MAX = 2_000;

const NODE_PREFIX = '6d6172636865722d6e6f6465';
const NODE_SERIAL = new RegExp(`^${NODE_PREFIX}[0-9a-f]{16}$`);
const SERIAL = /^[0-9a-f]{1,40}$/;
const SLACK_MS = 86_400_000;

export function nodeSerial(nodeId: string): string {
  return NODE_PREFIX + nodeId;
}

/** undefined: it is the serial of a certificate. */
export function revokedNode({ serial }: Revocation): string | undefined {
  return NODE_SERIAL.test(serial) ? serial.slice(NODE_PREFIX.length) : undefined;
}

export function revoke(
  revocations: Revocations,
  target: RevocationTarget,
  reason: RevocationReason,
  nowMs: number,
): RevokeVerdict {
  const serial = 'nodeId' in target ? nodeSerial(target.nodeId) : canonicalSerial(target.serial);
  if (!SERIAL.test(serial) || ('nodeId' in target && !NODE_SERIAL.test(serial))) {
    return { kind: 'refused', reason: 'a certificate is revoked by its serial in hex, a node by its 16 hex digits' };
  }
  if (!revocations.has(serial) && revocations.size >= REVOCATIONS_MAX) {
    const fix = 'rotate the CA instead, which leaves all of its certificates behind';
    return { kind: 'refused', reason: `${revocations.size} revocations are in force, which is the most: ${fix}` };
  }
  const entry = { serial, revokedAtMs: wholeSeconds(nowMs), reason };
  return { kind: 'revoked', revocations: unite([revocations, new Map([[serial, entry]])]) };
}

/** Of two entries for one serial the earlier counts, at the same time the lower reason: the order does not matter. */
export function unite(sets: Iterable<Revocations>): Revocations {
  const all = new Map<string, Revocation>();
  for (const set of sets) {
    for (const [serial, entry] of set) {
      const known = all.get(serial);
      if (known === undefined || precedes(entry, known)) all.set(serial, entry);
    }
  }
  return all;
}

/** Drops what can't be presented any more: certificates that must have expired since. */
export function prune(revocations: Revocations, nowMs: number): Revocations {
  const kept = [...revocations].filter(([, entry]) => {
    const lifetimeMs = revokedNode(entry) === undefined ? LIFETIME.leafMaxMs : LIFETIME.nodeMs;
    return nowMs <= entry.revokedAtMs + lifetimeMs + SLACK_MS;
  });
  return new Map(kept);
}

/** A clock that is behind does not make what was revoked valid: when it was revoked is not asked. */
export function isRevoked(
  revocations: Revocations,
  { serial, nodeId }: { readonly serial: string; readonly nodeId: string },
): boolean {
  return revocations.has(serial) || revocations.has(nodeSerial(nodeId));
}

/**
 * The number of a node's next list: above the last, and never that of another node's list, without asking anybody.
 * 48 bits of Unix time in ms, then the 64 bits of the node's id: 14 of the 20 octets that RFC 5280, 5.2.3 allows.
 */
export function nextCrlNumber(last: bigint, nowMs: number, nodeId: string): bigint {
  const after = (last >> 64n) + 1n;
  const now = BigInt(Math.max(0, Math.floor(nowMs)));
  return ((now > after ? now : after) << 64n) | nodeNumber(nodeId);
}

function precedes(one: Revocation, other: Revocation): boolean {
  if (one.revokedAtMs !== other.revokedAtMs) return one.revokedAtMs < other.revokedAtMs;
  return one.reason < other.reason;
}
