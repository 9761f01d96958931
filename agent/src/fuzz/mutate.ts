// SPDX-License-Identifier: Apache-2.0
/** Inputs made from inputs, as fuzzers make them: a few small changes each, the same from the same seed. */
import type { Random } from '../domain/replication/sim/random.js';

/** Where lengths, counts and signs go wrong. */
const ODD_BYTES = [0, 1, 0x7f, 0x80, 0xff, 0x0a, 0x12, 0x40];
const ODD_NUMBERS = [
  [0x80, 0x01],
  [0xff, 0xff, 0x03],
  [0xff, 0xff, 0xff, 0xff, 0x0f],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
  [0x00, 0x00, 0xff, 0xff],
  [0x7f, 0xff, 0xff, 0xff],
];
const CHANGES_MAX = 6;
const RUN_MAX = 64;

export function mutate(input: Uint8Array, others: readonly Uint8Array[], random: Random, bytesMax: number): Uint8Array {
  let bytes = Buffer.from(input);
  const at = (): number => random.below(bytes.length + 1);
  const run = (): number => 1 + random.below(RUN_MAX);
  const splice = (from: number, remove: number, put: Uint8Array): void => {
    bytes = Buffer.concat([bytes.subarray(0, from), put, bytes.subarray(Math.min(bytes.length, from + remove))]);
  };
  const changes: readonly (() => void)[] = [
    () => {
      if (bytes.length > 0) bytes[random.below(bytes.length)] = random.below(256);
    },
    () => {
      if (bytes.length === 0) return;
      const where = random.below(bytes.length);
      bytes[where] = (bytes[where] ?? 0) ^ (1 << random.below(8));
    },
    () => {
      if (bytes.length > 0) bytes[random.below(bytes.length)] = random.pick(ODD_BYTES);
    },
    () => {
      if (bytes.length === 0) return;
      const where = random.below(bytes.length);
      bytes[where] = (bytes[where] ?? 0) + random.pick([1, 255]);
    },
    () => splice(at(), random.below(3), Uint8Array.from(random.pick(ODD_NUMBERS))),
    () =>
      splice(
        at(),
        0,
        Uint8Array.from({ length: run() }, () => random.below(256)),
      ),
    () => splice(at(), run(), new Uint8Array()),
    () => {
      const from = at();
      splice(at(), 0, Buffer.from(bytes.subarray(from, from + run())));
    },
    () => splice(at(), bytes.length, new Uint8Array()),
    () => {
      const other = random.pick(others);
      const from = random.below(other.length + 1);
      splice(at(), random.chance(0.5) ? bytes.length : run(), other.subarray(from, from + run() * run()));
    },
  ];
  for (let left = 1 + random.below(CHANGES_MAX); left > 0; left--) random.pick(changes)();
  return new Uint8Array(bytes.subarray(0, bytesMax));
}
