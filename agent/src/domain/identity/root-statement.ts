// SPDX-License-Identifier: Apache-2.0
/**
 * What holders of a CA's key say of roots, and the text that is signed for it. A certificate or a revocation list begins
 * with the octet 30 (hex), so no signature of one is ever that of a statement.
 */
export interface RootStatement {
  /** introduce: it may sign from then on; sign: it does; retire: it is not trusted any more. */
  readonly kind: 'introduce' | 'sign' | 'retire';
  /** SHA-256 of the certificate in hex: of the root that it is about. */
  readonly root: string;
  /** Unix time. */
  readonly atMs: number;
}

export interface RootSignature {
  /** Fingerprint of the root whose key has signed. */
  readonly root: string;
  readonly signature: Uint8Array;
}

/** What was said of one root, as it is replicated and handed on. */
export interface RootRecord {
  /** DER. */
  readonly certificate: Uint8Array;
  readonly plannedMs: number;
  readonly endorsements: readonly RootSignature[];
  readonly hastened: boolean;
  readonly signing: RootWord | undefined;
  readonly retirement: RootWord | undefined;
}

export interface RootWord {
  readonly atMs: number;
  readonly by: RootSignature;
}

/** ECDSA of P-384 in the form of IEEE P1363. */
export const ROOT_SIGNATURE_BYTES = 96;

export function statementBytes(meshId: string, { kind, root, atMs }: RootStatement): Uint8Array {
  return new TextEncoder().encode(`marcher root statement 1\n${kind}\n${meshId}\n${root}\n${atMs}\n`);
}
