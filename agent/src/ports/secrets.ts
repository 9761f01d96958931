// SPDX-License-Identifier: Apache-2.0
/**
 * What seals secrets of the mesh: this node's own key, which never leaves its disk, and keys that members share. Nothing of
 * it is in an error. about: what it belongs to; what is sealed opens for nothing else.
 */
export interface SecretBox {
  /** Of this node: X25519, 32 bytes. */
  readonly publicKey: Uint8Array;
  newKey(): Uint8Array;
  newKeyId(): string;
  /** A key, for the node whose public key that is. */
  wrap(key: Uint8Array, recipient: Uint8Array, about: string): Uint8Array;
  /** undefined: it is not for this node, or was changed. */
  unwrap(wrapped: Uint8Array, about: string): Uint8Array | undefined;
  seal(key: Uint8Array, secret: Uint8Array, about: string): Uint8Array;
  /** undefined: by another key, about something else, or changed. */
  open(key: Uint8Array, sealed: Uint8Array, about: string): Uint8Array | undefined;
}
