// SPDX-License-Identifier: Apache-2.0
/**
 * memberlist's encryption (security.go): AES-GCM, its width by that of the key.
 *
 *   version (1 byte)   0: padded by PKCS #7 to 16 bytes (read only)   1: not padded
 *   nonce (12)         random: a key should seal at most 2^32 messages (NIST SP 800-38D section 8.3)
 *   ciphertext         as long as the message
 *   tag (16)           also over the associated data
 */
import { type CipherGCMTypes, createCipheriv, createDecipheriv } from 'node:crypto';
import type { Keyring } from './keyring.js';
import { refuse } from './refusal.js';

const VERSION_PADDED = 0;
const VERSION = 1;
export const SEAL_VERSION_MAX = VERSION;
export const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const BLOCK_BYTES = 16;
/** What sealing adds. */
export const SEAL_BYTES = 1 + NONCE_BYTES + TAG_BYTES;

/** As many bytes as asked for, that nobody can foretell. */
export type RandomBytes = (length: number) => Uint8Array;

function algorithm(key: Uint8Array): CipherGCMTypes {
  return `aes-${key.length * 8}-gcm` as CipherGCMTypes;
}

export function seal(
  keyring: Keyring,
  plain: Uint8Array,
  associated: Uint8Array,
  random: RandomBytes,
): Uint8Array<ArrayBuffer> {
  const nonce = random(NONCE_BYTES);
  if (nonce.length !== NONCE_BYTES) throw new RangeError(`a nonce of ${nonce.length} bytes: expected ${NONCE_BYTES}`);
  const key = keyring.primary;
  const cipher = createCipheriv(algorithm(key), key, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(associated);
  const out = new Uint8Array(plain.length + SEAL_BYTES);
  out[0] = VERSION;
  out.set(nonce, 1);
  out.set(cipher.update(plain), 1 + NONCE_BYTES);
  cipher.final();
  out.set(cipher.getAuthTag(), out.length - TAG_BYTES);
  return out;
}

/** Throws Fault when no key opens it. */
export function open(keyring: Keyring, sealed: Uint8Array, associated: Uint8Array): Uint8Array {
  const version = sealed[0];
  if (version === undefined) return refuse('empty', 'nothing where something sealed was expected');
  if (version > VERSION) {
    return refuse(
      'unknown-sealing',
      `sealed by version ${version} of the encryption: expected 0 or 1; the sender is newer, or of another protocol`,
    );
  }
  const least = SEAL_BYTES + (version === VERSION_PADDED ? BLOCK_BYTES : 0);
  if (sealed.length < least) {
    return refuse('truncated', `${sealed.length} bytes are too few to be sealed: expected at least ${least}`);
  }
  for (const key of keyring.keys) {
    const plain = openWith(key, sealed, associated);
    if (plain !== undefined) return version === VERSION_PADDED ? withoutPadding(plain) : plain;
  }
  return refuse(
    'no-key-opens',
    `none of the ${keyring.keys.length} installed keys opens it: the sender has another key or label, or it was altered`,
  );
}

function openWith(key: Uint8Array, sealed: Uint8Array, associated: Uint8Array): Uint8Array | undefined {
  const nonce = sealed.subarray(1, 1 + NONCE_BYTES);
  const decipher = createDecipheriv(algorithm(key), key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(associated);
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  const plain = decipher.update(sealed.subarray(1 + NONCE_BYTES, sealed.length - TAG_BYTES));
  try {
    decipher.final();
  } catch {
    // The one thing that it fails for: the tag is another.
    return undefined;
  }
  return plain;
}

/** RFC 5652 section 6.3. Whoever holds a key made it, so its answer tells nobody anything. */
function withoutPadding(padded: Uint8Array): Uint8Array {
  const count = padded.at(-1) ?? 0;
  const kept = padded.length - count;
  const sound =
    count >= 1 && count <= BLOCK_BYTES && kept >= 0 && padded.subarray(kept).every((byte) => byte === count);
  if (!sound) return refuse('bad-padding', `the padding of what was sealed by version 0 is wrong: ends with ${count}`);
  return padded.subarray(0, kept);
}
