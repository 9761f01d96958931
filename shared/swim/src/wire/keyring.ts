// SPDX-License-Identifier: Apache-2.0
/**
 * Keys of a mesh's gossip: what is sent is sealed with the primary key, what comes in may be sealed with any. A key is
 * rotated by installing the new one everywhere, then using it everywhere, then removing the old one.
 */

/** AES-128, AES-192, AES-256. */
export const KEY_BYTES = [16, 24, 32] as const;
/** Each costs an attempt on every datagram that none of them opens. */
export const KEYS_MAX = 32;

export class KeyringError extends Error {
  override readonly name = 'KeyringError';
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

export class Keyring {
  /** The primary one first, which most of what comes in is sealed with. */
  #keys: readonly Uint8Array[];

  /** Throws KeyringError for a key of a length that AES does not have, and for more keys than a ring holds. */
  constructor(primary: Uint8Array, others: readonly Uint8Array[] = []) {
    this.#keys = [];
    this.install(primary);
    for (const key of others) this.install(key);
  }

  get primary(): Uint8Array {
    const [primary] = this.#keys;
    if (primary === undefined) throw new KeyringError('the keyring has no key');
    return primary;
  }

  get keys(): readonly Uint8Array[] {
    return this.#keys;
  }

  /** Of a key that is there already, nothing. */
  install(key: Uint8Array): void {
    if (!KEY_BYTES.some((length) => length === key.length)) {
      throw new KeyringError(`a gossip key has ${key.length} bytes: expected ${KEY_BYTES.join(', ')}`);
    }
    if (this.#keys.some((installed) => same(installed, key))) return;
    if (this.#keys.length >= KEYS_MAX) {
      throw new KeyringError(`the keyring holds its ${KEYS_MAX} keys: remove one that is no longer used first`);
    }
    this.#keys = [...this.#keys, Uint8Array.from(key)];
  }

  /** From now on what is sent is sealed with it. Throws KeyringError when it is not installed. */
  use(key: Uint8Array): void {
    const installed = this.#keys.find((candidate) => same(candidate, key));
    if (installed === undefined) {
      throw new KeyringError('the key to use is not in the keyring: install it, here and at every member, first');
    }
    this.#keys = [installed, ...this.#keys.filter((candidate) => candidate !== installed)];
  }

  /** Of a key that is not there, nothing. Throws KeyringError for the primary one. */
  remove(key: Uint8Array): void {
    if (same(this.primary, key)) {
      throw new KeyringError('the primary key cannot be removed: use another one first');
    }
    this.#keys = this.#keys.filter((candidate) => !same(candidate, key));
  }
}
