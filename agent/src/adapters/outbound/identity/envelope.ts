// SPDX-License-Identifier: Apache-2.0
/** Sealed secrets, with the errors of a node's identity. */
import {
  type Envelope,
  EnvelopeError,
  type ScryptCost,
  seal as sealed,
  unseal as unsealed,
} from '@marcher/ca/envelope';
import { IdentityError, type Protection } from '../../../ports/identity.js';

export { type Envelope, parseEnvelope, SCRYPT_COST, type ScryptCost } from '@marcher/ca/envelope';

/** about: what the secret belongs to; the envelope opens for nothing else. */
export async function seal(
  secret: Uint8Array,
  protection: Protection,
  about: string,
  cost?: ScryptCost,
): Promise<Envelope> {
  return await translated(() => sealed(secret, protection, about, cost));
}

/** Fails as IdentityError "wrong-passphrase", "wrong-key-file", "damaged". */
export async function unseal(envelope: Envelope, protection: Protection, about: string): Promise<Uint8Array> {
  return await translated(() => unsealed(envelope, protection, about));
}

async function translated<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof EnvelopeError ? new IdentityError(error.code, error.message) : error;
  }
}
