// SPDX-License-Identifier: Apache-2.0
/** What a node has said of its log: how far it went, and by which hash. Whoever keeps it can hold the node to it. */

export interface Head {
  /** 16 hex digits. */
  readonly node: string;
  /** The log's name, 16 bytes. */
  readonly log: Uint8Array;
  readonly sequence: number;
  /** Of the record with that sequence. */
  readonly hash: Uint8Array;
  /** Unix time at which it was signed. */
  readonly timeMs: number;
  /** Over SHA-256 of headBytes(), by the node's frame key (Ed25519). */
  readonly signature: Uint8Array;
}

const LOG_BYTES = 16;
const HASH_BYTES = 32;
const SIGNATURE_BYTES = 64;
const TEXT = 'marcher audit head 1';
const NODE = /^[0-9a-f]{16}$/;

/** What is signed; nothing else that a node signs begins like this. */
export function headBytes({ node, log, sequence, hash, timeMs }: Omit<Head, 'signature'>): Uint8Array {
  const text = new TextEncoder().encode(`${TEXT} ${node}`);
  const bytes = new Uint8Array(text.length + LOG_BYTES + 8 + HASH_BYTES + 8);
  const view = new DataView(bytes.buffer);
  bytes.set(text);
  bytes.set(log, text.length);
  view.setBigUint64(text.length + LOG_BYTES, BigInt(sequence));
  bytes.set(hash, text.length + LOG_BYTES + 8);
  view.setBigUint64(bytes.length - 8, BigInt(timeMs));
  return bytes;
}

/** Whether its fields have the form of a head's; who signed it is for others to see. */
export function isHead({ node, log, sequence, hash, timeMs, signature }: Head): boolean {
  return (
    NODE.test(node) &&
    log.length === LOG_BYTES &&
    hash.length === HASH_BYTES &&
    signature.length === SIGNATURE_BYTES &&
    Number.isSafeInteger(sequence) &&
    sequence > 0 &&
    Number.isSafeInteger(timeMs) &&
    timeMs >= 0
  );
}
