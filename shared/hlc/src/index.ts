// SPDX-License-Identifier: Apache-2.0
/** A hybrid logical clock's time (Kulkarni et al. 2014): ordered by ms, then counter, then node. */
export interface Timestamp {
  /** Unix time, 48 bits. */
  readonly ms: number;
  /** 16 bits. */
  readonly counter: number;
  /** 64 bits. */
  readonly node: bigint;
}
