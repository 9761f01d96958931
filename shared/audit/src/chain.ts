// SPDX-License-Identifier: Apache-2.0
/**
 * Records are chained by hashes, so that none can be changed, left out or put between without changing the hash of all
 * that follow. A chain begins with the random name of its log: another log is another chain.
 */
import type { Hash } from './record.js';

/** A place in a chain, from which it goes on. */
export interface Anchor {
  /** Of the last record before; 0: there is none. */
  readonly sequence: number;
  readonly hash: Uint8Array;
}

const BEGINNING = new TextEncoder().encode('marcher audit log 1');

/** Of a log by its name, 16 bytes. */
export function startOf(log: Uint8Array, hash: Hash): Anchor {
  return { sequence: 0, hash: linkHash(BEGINNING, log, hash) };
}

/** Of a record's bytes, after the one with that hash. */
export function linkHash(previous: Uint8Array, body: Uint8Array, hash: Hash): Uint8Array {
  const bytes = new Uint8Array(previous.length + body.length);
  bytes.set(previous);
  bytes.set(body, previous.length);
  return hash(bytes);
}

/** What a record names as its object that tells of the records up to there having been dropped. */
export function dropObject({ sequence, hash }: Anchor): string {
  return `AuditRecord/${sequence}/${[...hash].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}
