// SPDX-License-Identifier: Apache-2.0
/** Randomness, hashes and sealing by Node's crypto. */
import { createCipheriv, createDecipheriv, hash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { AccessSecrets } from '../../../ports/access.js';

const CIPHER = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export const nodeSecrets: AccessSecrets = {
  random: (bytes) => new Uint8Array(randomBytes(bytes)),
  hash: (bytes) => new Uint8Array(hash('sha256', bytes, 'buffer')),
  equal: (one, other) => one.length === other.length && timingSafeEqual(one, other),
  seal(key, plain, context) {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, key, nonce).setAAD(Buffer.from(context));
    return new Uint8Array(Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]));
  },
  open(key, sealed, context) {
    if (sealed.length < NONCE_BYTES + TAG_BYTES) return undefined;
    const nonce = sealed.subarray(0, NONCE_BYTES);
    try {
      const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
      decipher.setAAD(Buffer.from(context)).setAuthTag(sealed.subarray(-TAG_BYTES));
      const opened = [decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()];
      return new Uint8Array(Buffer.concat(opened));
    } catch {
      return undefined;
    }
  },
};
