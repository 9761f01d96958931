// SPDX-License-Identifier: Apache-2.0
/**
 * Seals to nodes and by shared keys (ports/secrets.ts). To a node: X25519 with a key for that once, HKDF-SHA-256 over both
 * public keys and what it is about, AES-256-GCM; as HPKE does (RFC 9180), of which Node.js has no interface. The node's half is a
 * file of the identity directory.
 */
import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { join } from 'node:path';
import { SECRETS_KEY_ID_BYTES, SHARE_BYTES } from '../../../domain/mesh/secrets-key.js';
import type { SecretBox } from '../../../ports/secrets.js';
import { damaged, prepareDirectory, readRecord, writeRecord } from './record-file.js';

const KIND = 'secrets-key';
const FILE_MAX_BYTES = 4_096;
const CIPHER = 'aes-256-gcm';
const KEY_BYTES = 32;
const PUBLIC_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** The node's key of that directory, which is made when there is none. Fails as IdentityError. */
export function openSecretBox(directory: string): SecretBox {
  return createSecretBox(nodeKey(directory));
}

/** privateKey: X25519. */
export function createSecretBox(privateKey: KeyObject): SecretBox {
  const publicKey = rawPublic(createPublicKey(privateKey));
  return {
    publicKey,
    newKey: () => new Uint8Array(randomBytes(KEY_BYTES)),
    newKeyId: () => randomBytes(SECRETS_KEY_ID_BYTES).toString('hex'),
    wrap(key, recipient, about) {
      const once = generateKeyPairSync('x25519');
      const sent = rawPublic(once.publicKey);
      const shared = agreed(once.privateKey, recipient, sent, recipient, about);
      return Buffer.concat([sent, encrypt(shared, key, about)]);
    },
    unwrap(wrapped, about) {
      if (wrapped.length !== SHARE_BYTES) return undefined;
      const sent = wrapped.subarray(0, PUBLIC_BYTES);
      try {
        return decrypt(agreed(privateKey, sent, sent, publicKey, about), wrapped.subarray(PUBLIC_BYTES), about);
      } catch {
        // A public key of low order, on which nobody can agree.
        return undefined;
      }
    },
    seal: encrypt,
    open: decrypt,
  };
}

function agreed(own: KeyObject, other: Uint8Array, sent: Uint8Array, recipient: Uint8Array, about: string): Uint8Array {
  const secret = diffieHellman({ privateKey: own, publicKey: keyOf(other) });
  const salt = Buffer.concat([sent, recipient]);
  return new Uint8Array(hkdfSync('sha256', secret, salt, `marcher secrets share ${about}`, KEY_BYTES));
}

function encrypt(key: Uint8Array, secret: Uint8Array, about: string): Uint8Array {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES }).setAAD(Buffer.from(about));
  return Buffer.concat([nonce, cipher.update(secret), cipher.final(), cipher.getAuthTag()]);
}

function decrypt(key: Uint8Array, sealed: Uint8Array, about: string): Uint8Array | undefined {
  if (sealed.length < NONCE_BYTES + TAG_BYTES) return undefined;
  try {
    const decipher = createDecipheriv(CIPHER, key, sealed.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
    decipher.setAAD(Buffer.from(about)).setAuthTag(sealed.subarray(-TAG_BYTES));
    return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
  } catch {
    return undefined;
  }
}

function nodeKey(directory: string): KeyObject {
  const path = join(directory, KIND);
  const body = readRecord(path, KIND, FILE_MAX_BYTES);
  if (body === undefined) {
    prepareDirectory(directory);
    const { privateKey } = generateKeyPairSync('x25519');
    writeRecord(path, KIND, privateKey.export({ format: 'pem', type: 'pkcs8' }).toString());
    return privateKey;
  }
  try {
    const key = createPrivateKey(body);
    if (key.asymmetricKeyType === 'x25519') return key;
  } catch {
    // What OpenSSL says of it could quote from it.
  }
  throw damaged(path, 'it has no X25519 key');
}

function rawPublic(key: KeyObject): Uint8Array {
  return new Uint8Array(Buffer.from(key.export({ format: 'jwk' }).x ?? '', 'base64url'));
}

function keyOf(raw: Uint8Array): KeyObject {
  const x = Buffer.from(raw).toString('base64url');
  return createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x }, format: 'jwk' });
}
