// SPDX-License-Identifier: Apache-2.0
/** Something that reads bytes from outside, and what must be true of it whatever these are. */
export interface Target {
  readonly name: string;
  /** Sound inputs, to be changed. */
  readonly seeds: readonly Uint8Array[];
  readonly bytesMax: number;
  /** Throws, or rejects, when something is wrong: with what reads the bytes, never with these. */
  readonly run: (input: Uint8Array) => void | Promise<void>;
}

export function must(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(what);
}
