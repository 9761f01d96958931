// SPDX-License-Identifier: Apache-2.0
/**
 * Seals a secret for the disk: by AES-256-GCM under a random key, which in turn is sealed under a key that a passphrase
 * (scrypt, RFC 7914) or a key file (HKDF-SHA-384, RFC 5869) gives. So a wrong passphrase is told from damage.
 *
 * What a file says of its own cost is bounded: opening it takes at most SCRYPT_MEMORY_MAX.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes, scrypt } from 'node:crypto';
import { promisify } from 'node:util';

/** What a secret is sealed by. */
export type Protection =
  | { readonly kind: 'passphrase'; readonly passphrase: string }
  /** What a key file has in it: 32 random bytes or more. */
  | { readonly kind: 'key-file'; readonly key: Uint8Array };

export type EnvelopeErrorCode = 'invalid' | 'wrong-passphrase' | 'wrong-key-file' | 'damaged';

export class EnvelopeError extends Error {
  readonly code: EnvelopeErrorCode;

  constructor(code: EnvelopeErrorCode, message: string) {
    super(message);
    this.name = 'EnvelopeError';
    this.code = code;
  }
}

/** Memory is 128 * N * r bytes. */
export interface ScryptCost {
  readonly N: number;
  readonly r: number;
  readonly p: number;
}

interface Sealed {
  readonly nonce: string;
  readonly text: string;
  readonly tag: string;
}

/** As JSON; bytes are base64. */
export interface Envelope {
  readonly derivation:
    | ({ readonly kind: 'scrypt'; readonly salt: string } & ScryptCost)
    | { readonly kind: 'key-file'; readonly salt: string };
  /** The random key, under the derived one. */
  readonly key: Sealed;
  readonly secret: Sealed;
}

/** 128 MiB: the first choice for scrypt of OWASP's password storage cheat sheet. */
export const SCRYPT_COST: ScryptCost = { N: 2 ** 17, r: 8, p: 1 };
const SCRYPT_MEMORY_MAX = 512 * 1024 * 1024;
const KEY_FILE_MIN_BYTES = 32;
const KEY_BYTES = 32;
const SALT_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const CIPHER = 'aes-256-gcm';

const derive = promisify<string, Uint8Array, number, ScryptCost & { maxmem: number }, Buffer>(scrypt);

/** about: what the secret belongs to; the envelope opens for nothing else. */
export async function seal(
  secret: Uint8Array,
  protection: Protection,
  about: string,
  cost: ScryptCost = SCRYPT_COST,
): Promise<Envelope> {
  if (protection.kind === 'passphrase' && protection.passphrase === '') {
    throw new EnvelopeError('invalid', 'the passphrase is empty: give one, or use a key file');
  }
  const salt = randomBytes(SALT_BYTES).toString('base64');
  const derivation =
    protection.kind === 'passphrase'
      ? ({ kind: 'scrypt', salt, ...cost } as const)
      : ({ kind: 'key-file', salt } as const);
  const outer = await outerKey(derivation, protection);
  const inner = randomBytes(KEY_BYTES);
  const sealed = { derivation, key: encrypt(outer, inner, `key ${about}`), secret: encrypt(inner, secret, about) };
  outer.fill(0);
  inner.fill(0);
  return sealed;
}

/** Fails as EnvelopeError "wrong-passphrase", "wrong-key-file", "damaged". */
export async function unseal(envelope: Envelope, protection: Protection, about: string): Promise<Uint8Array> {
  const outer = await outerKey(envelope.derivation, protection);
  const inner = decrypt(outer, envelope.key, `key ${about}`);
  outer.fill(0);
  if (inner === undefined) {
    if (protection.kind === 'passphrase') throw new EnvelopeError('wrong-passphrase', 'the passphrase is wrong');
    throw new EnvelopeError('wrong-key-file', 'the key file is not the one that this was sealed with');
  }
  const secret = decrypt(inner, envelope.secret, about);
  inner.fill(0);
  if (secret === undefined) throw new EnvelopeError('damaged', 'what is sealed was changed since');
  return secret;
}

/** undefined: it is no envelope. */
export function parseEnvelope(value: unknown): Envelope | undefined {
  const { derivation, key, secret } = (value ?? {}) as Partial<Record<keyof Envelope, unknown>>;
  if (!isDerivation(derivation) || !isSealed(key) || !isSealed(secret)) return undefined;
  return { derivation, key, secret };
}

async function outerKey(derivation: Envelope['derivation'], protection: Protection): Promise<Buffer> {
  const salt = Buffer.from(derivation.salt, 'base64');
  if (derivation.kind === 'scrypt') {
    if (protection.kind !== 'passphrase') {
      throw new EnvelopeError('wrong-key-file', 'it is sealed with a passphrase, and not with a key file');
    }
    const { N, r, p } = derivation;
    return await derive(protection.passphrase.normalize('NFC'), salt, KEY_BYTES, { N, r, p, maxmem: 2 * 128 * N * r });
  }
  if (protection.kind !== 'key-file') {
    throw new EnvelopeError('wrong-passphrase', 'it is sealed with a key file, and not with a passphrase');
  }
  if (protection.key.length < KEY_FILE_MIN_BYTES) {
    throw new EnvelopeError('invalid', `the key file is shorter than ${KEY_FILE_MIN_BYTES} bytes of randomness`);
  }
  return Buffer.from(hkdfSync('sha384', protection.key, salt, 'marcher key file', KEY_BYTES));
}

function encrypt(key: Uint8Array, text: Uint8Array, about: string): Sealed {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES }).setAAD(Buffer.from(about));
  const sealed = Buffer.concat([cipher.update(text), cipher.final()]);
  const [a, b, c] = [nonce, sealed, cipher.getAuthTag()].map((bytes) => bytes.toString('base64'));
  return { nonce: a ?? '', text: b ?? '', tag: c ?? '' };
}

/** undefined: the key is not the one, or something was changed. */
function decrypt(key: Uint8Array, sealed: Sealed, about: string): Buffer | undefined {
  try {
    const [nonce, text, tag] = [sealed.nonce, sealed.text, sealed.tag].map((part) => Buffer.from(part, 'base64'));
    if (nonce === undefined || text === undefined || tag?.length !== TAG_BYTES) return undefined;
    const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(Buffer.from(about)).setAuthTag(tag);
    return Buffer.concat([decipher.update(text), decipher.final()]);
  } catch {
    return undefined;
  }
}

function isSealed(value: unknown): value is Sealed {
  const { nonce, text, tag } = (value ?? {}) as Partial<Record<keyof Sealed, unknown>>;
  return typeof nonce === 'string' && typeof text === 'string' && typeof tag === 'string';
}

function isDerivation(value: unknown): value is Envelope['derivation'] {
  const { kind, salt, N, r, p } = (value ?? {}) as Record<string, unknown>;
  if (typeof salt !== 'string') return false;
  if (kind === 'key-file') return true;
  if (kind !== 'scrypt' || !isCount(N) || !isCount(r) || !isCount(p)) return false;
  return N >= 2 && (N & (N - 1)) === 0 && p <= 16 && 128 * N * r <= SCRYPT_MEMORY_MAX;
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) < 2 ** 30;
}
