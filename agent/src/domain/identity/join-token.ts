// SPDX-License-Identifier: Apache-2.0
/**
 * What lets a machine into the mesh, once. In text: "marcher1", then in Bech32m
 *
 *   1 byte     version, 1
 *   8 bytes    home: the node that made it and alone redeems it
 *   8 bytes    id, by which the record is found
 *   20 bytes   secret; only its SHA-256 is stored
 *   32 bytes   SHA-256 of a root certificate: the joiner knows the mesh by it before it sends anything
 *
 * Why a home: that a token is used once could otherwise not be promised while nodes can't reach each other, and there is
 * nobody in the middle to ask. When its home is gone, another node makes another token.
 *
 * No message here shows a token or a part of it.
 */
import { decodeBech32m, encodeBech32m } from './bech32m.js';
import { isNodeId } from './names.js';

/** What the node that joins may be: authority nodes hold the CA's key and sign. */
export const NODE_ROLES = ['member', 'authority'] as const;
export type NodeRole = (typeof NODE_ROLES)[number];

export interface JoinToken {
  readonly home: string;
  /** 16 hex digits. */
  readonly id: string;
  readonly secret: Uint8Array;
  /** SHA-256 of the root's DER, 64 hex digits: of the root that signed its home's certificate. */
  readonly rootFingerprint: string;
}

/** A token as its home keeps it. */
export interface TokenRecord {
  readonly id: string;
  /** SHA-256 of the secret, 64 hex digits. The secret is random: nothing slower is needed. */
  readonly secretHash: string;
  /** That the node is to be in; absent, as in those of earlier versions: none. */
  readonly clusters?: readonly string[];
  readonly role: NodeRole;
  readonly createdMs: number;
  readonly expiresMs: number;
  /** Who made it, for the audit log. */
  readonly createdBy: string;
  readonly used: TokenUse | undefined;
}

export interface TokenUse {
  readonly atMs: number;
  /** The id that the joiner was given. */
  readonly nodeId: string;
}

export const TOKEN = {
  idBytes: 8,
  secretBytes: 20,
  lifetimeMs: 3_600_000,
  lifetimeMinMs: 60_000,
  lifetimeMaxMs: 7 * 86_400_000,
  /** Records at one home, used ones included. */
  countMax: 1_000,
  /** Used and expired records are kept that long, so that a replay is called one. */
  rememberMs: 7 * 86_400_000,
} as const;

export type TokenRefusal =
  | 'unknown' // no such token, or another secret: nobody learns which
  | 'used'
  | 'expired'
  | 'elsewhere'; // another node is its home

export interface TokenRefused {
  readonly kind: 'refused';
  readonly refusal: TokenRefusal;
  readonly reason: string;
}

export type TokenVerdict = { readonly kind: 'good'; readonly record: TokenRecord } | TokenRefused;

const PREFIX = 'marcher';
const VERSION = 1;
const FINGERPRINT_BYTES = 32;
const HEAD_BYTES = 1;
const HOME_BYTES = 8;
const LENGTH = HEAD_BYTES + HOME_BYTES + TOKEN.idBytes + TOKEN.secretBytes + FINGERPRINT_BYTES;
/** A paste may bring blanks and line ends with it. */
const TEXT_MAX = 1_000;

export function formatToken(token: JoinToken): string {
  const bytes = new Uint8Array(LENGTH);
  bytes[0] = VERSION;
  let at = HEAD_BYTES;
  for (const part of [fromHex(token.home), fromHex(token.id), token.secret, fromHex(token.rootFingerprint)]) {
    bytes.set(part, at);
    at += part.length;
  }
  if (at !== LENGTH) throw new RangeError(`a token is made of ${LENGTH} bytes, not of ${at}`);
  return encodeBech32m(PREFIX, bytes);
}

export type ParsedToken =
  | { readonly kind: 'token'; readonly token: JoinToken }
  | { readonly kind: 'fault'; readonly reason: string };

export function parseToken(text: string): ParsedToken {
  if (text.length > TEXT_MAX) return fault('it is too long for a join token');
  const bytes = decodeBech32m(PREFIX, text.replaceAll(/\s/g, ''));
  if (bytes === 'prefix') return fault(`it is not a join token: these begin with "${PREFIX}1"`);
  if (typeof bytes === 'string') return fault('the join token is damaged: copy it again, all of it');
  if (bytes[0] !== VERSION) return fault('the join token is of a newer version of marcher: update this node first');
  if (bytes.length !== LENGTH) return fault('the join token is damaged: copy it again, all of it');
  let at = HEAD_BYTES;
  const take = (length: number): Uint8Array => {
    at += length;
    return bytes.slice(at - length, at);
  };
  const home = toHex(take(HOME_BYTES));
  const id = toHex(take(TOKEN.idBytes));
  const secret = take(TOKEN.secretBytes);
  const rootFingerprint = toHex(take(FINGERPRINT_BYTES));
  if (!isNodeId(home)) return fault('the join token names no node that made it: make another one');
  return { kind: 'token', token: { home, id, secret, rootFingerprint } };
}

/** undefined: nothing is wrong with that lifetime. */
export function lifetimeFault(lifetimeMs: number): string | undefined {
  const { lifetimeMinMs, lifetimeMaxMs } = TOKEN;
  if (lifetimeMs >= lifetimeMinMs && lifetimeMs <= lifetimeMaxMs) return undefined;
  return 'a join token lasts from 1 minute to 7 days';
}

/** secretMatches: that of the token, hashed, is that of the record; compared in constant time, and before anything. */
export function judgeToken(record: TokenRecord | undefined, secretMatches: boolean, nowMs: number): TokenVerdict {
  if (record === undefined || !secretMatches) {
    return refused('unknown', 'this node knows no such join token: make one with "marcher mesh token"');
  }
  if (record.used !== undefined) {
    const when = new Date(record.used.atMs).toISOString();
    return refused('used', `the join token was used at ${when} by node ${record.used.nodeId}: make another one`);
  }
  if (nowMs > record.expiresMs) {
    const when = new Date(record.expiresMs).toISOString();
    return refused('expired', `the join token expired at ${when}: make another one with "marcher mesh token"`);
  }
  return { kind: 'good', record };
}

export function tokenElsewhere(home: string): TokenRefused {
  return refused('elsewhere', `the join token was made by node ${home}, which alone can redeem it: join there`);
}

/** Of two who used it at one time, to the second. */
export function tokenJustUsed(): TokenRefused {
  return refused('used', 'the join token was used or removed this moment: make another one');
}

/**
 * Ids of records that make room for another one: those that need not be remembered any more and, when it is full
 * nevertheless, the one that has been of no use for longest. A token that can be used is never among them.
 */
export function forgettable(records: readonly TokenRecord[], nowMs: number): readonly string[] {
  const spent = records
    .map((record) => ({ id: record.id, endMs: record.used?.atMs ?? record.expiresMs }))
    .filter(({ endMs }, at) => records[at]?.used !== undefined || nowMs > endMs)
    .sort((one, other) => one.endMs - other.endMs);
  const old = spent.filter(({ endMs }) => nowMs > endMs + TOKEN.rememberMs);
  const full = old.length === 0 && records.length >= TOKEN.countMax;
  return (full ? spent.slice(0, 1) : old).map(({ id }) => id);
}

function refused(refusal: TokenRefusal, reason: string): TokenRefused {
  return { kind: 'refused', refusal, reason };
}

function fault(reason: string): ParsedToken {
  return { kind: 'fault', reason };
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function fromHex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
