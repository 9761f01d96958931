// SPDX-License-Identifier: Apache-2.0
/** Why bytes from outside were not taken. Inside the codec a refusal is thrown; attempt is the edge that it never passes. */

export type RefusalReason =
  /** Nothing at all, or nothing inside what was sealed or compressed. */
  | 'empty'
  /** Ends before what it announced. */
  | 'truncated'
  /** Larger than allowed, or announces to be. */
  | 'too-large'
  /** A message type that nobody has defined. */
  | 'unknown-type'
  /** A known type where it does not belong: a push-pull in a datagram, a suspicion on a stream. */
  | 'unexpected-type'
  /** Not the msgpack that the type asks for. */
  | 'malformed'
  /** Messages or values nested deeper than allowed. */
  | 'too-deep'
  | 'unknown-compression'
  /** Not LZW as Go's compress/lzw writes it. */
  | 'bad-compression'
  /** Would decompress to more than allowed. */
  | 'decompression-bomb'
  | 'bad-checksum'
  | 'malformed-label'
  /** Of another mesh, or labelled where no label is wanted, or the reverse. */
  | 'wrong-label'
  /** In plain, although there are keys and what comes in is verified. */
  | 'not-sealed'
  /** Sealed, and this node has no keys. */
  | 'no-keys'
  | 'unknown-sealing'
  /** Sealed with a key that is not installed, or altered on its way, or with another label. */
  | 'no-key-opens'
  | 'bad-padding'
  | 'bad-name'
  | 'bad-address'
  | 'bad-state'
  | 'bad-versions'
  | 'meta-too-long'
  /** A push-pull that announces more nodes than allowed. */
  | 'too-many-nodes';

/** detail: what was found, what was expected and, where somebody can do something, what. */
export interface Refusal {
  readonly reason: RefusalReason;
  readonly detail: string;
}

/**
 * Thrown inside the codec. Not an Error: nobody reads its stack, and taking one is most of what a flood of bad datagrams
 * would cost.
 */
export class Fault implements Refusal {
  readonly reason: RefusalReason;
  readonly detail: string;

  constructor(reason: RefusalReason, detail: string) {
    this.reason = reason;
    this.detail = detail;
  }
}

export function refuse(reason: RefusalReason, detail: string): never {
  throw new Fault(reason, detail);
}

/** What work answers, or what refused hands back of the refusal that it met. Mistakes of this program pass. */
export function attempt<T, R>(work: () => T, refused: (refusal: Refusal) => R): T | R {
  try {
    return work();
  } catch (thrown) {
    if (thrown instanceof Fault) return refused({ reason: thrown.reason, detail: thrown.detail });
    throw thrown;
  }
}
