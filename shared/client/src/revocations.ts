// SPDX-License-Identifier: Apache-2.0
/**
 * What is known of nodes and certificates that a root's lists (RFC 5280, section 5) have revoked, one list of each node that
 * signs. Pure. Lists only get newer: an agent that has an older one, or hides one, takes nothing back.
 *
 * A node that was removed stands in a list as a serial of 20 octets, "marcher-node" and its id, whatever certificates it has.
 */
export interface SignedList {
  /** SHA-256 of the root that signed it, in hex. */
  readonly root: string;
  /** Who signed it: the last 64 bits of its number, in hex. */
  readonly signer: string;
  /** Hex, of the CRL number: the time at which it was signed, then the signer. */
  readonly number: string;
  readonly signedMs: number;
  readonly pem: string;
  /** In hex, without leading zeros. */
  readonly serials: readonly string[];
}

/** Of one root. */
export interface KnownRevocations {
  readonly root: string;
  /** When an agent was last asked: Unix time. */
  readonly askedMs: number;
  /** Hex, of its answer. */
  readonly digest: string;
  readonly lists: readonly SignedList[];
}

const NODE_PREFIX = '6d6172636865722d6e6f6465';
/** As many as nodes could ever have signed: the newest. */
const LISTS_MAX = 64;
/** What a list from then has revoked has expired: an intermediate, which lasts longest, has at most five years. */
const LIST_KEPT_MS = 1_900 * 86_400_000;

export function noRevocations(root: string): KnownRevocations {
  return { root, askedMs: 0, digest: '', lists: [] };
}

/** heard: verified, of that root. Of each signer the list with the higher number stays. */
export function withLists(known: KnownRevocations, heard: readonly SignedList[], nowMs: number): KnownRevocations {
  const newest = new Map<string, SignedList>();
  for (const list of [...known.lists, ...heard]) {
    if (list.root !== known.root || list.signedMs < nowMs - LIST_KEPT_MS) continue;
    const before = newest.get(list.signer);
    if (before === undefined || BigInt(`0x${list.number}`) > BigInt(`0x${before.number}`))
      newest.set(list.signer, list);
  }
  const lists = [...newest.values()].sort((one, other) => other.signedMs - one.signedMs).slice(0, LISTS_MAX);
  return { ...known, lists };
}

/** Whether a certificate of a node is not to be believed; serials: of it and of what is between it and the root, as X509Certificate has them. */
export function isRevokedNode(known: Iterable<KnownRevocations>, serials: readonly string[], nodeId: string): boolean {
  const names = [...serials.map(plainSerial), NODE_PREFIX + nodeId];
  for (const { lists } of known)
    if (lists.some(({ serials }) => names.some((name) => serials.includes(name)))) return true;
  return false;
}

export function plainSerial(hex: string): string {
  return hex.toLowerCase().replace(/^0+(?=.)/, '');
}

export function formatRevocations(known: KnownRevocations): string {
  return `${JSON.stringify(known)}\n`;
}

/** undefined: it is none, and then nothing is known. */
export function parseRevocations(text: string, root: string): KnownRevocations | undefined {
  try {
    const value = JSON.parse(text) as KnownRevocations;
    if (value.root !== root || typeof value.digest !== 'string' || !Number.isSafeInteger(value.askedMs))
      return undefined;
    return value.lists.every(isList) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isList({ root, signer, number, signedMs, pem, serials }: SignedList): boolean {
  if (![root, signer, number, pem].every((text) => typeof text === 'string')) return false;
  return (
    /^[0-9a-f]+$/.test(number) && Number.isSafeInteger(signedMs) && serials.every((text) => typeof text === 'string')
  );
}
