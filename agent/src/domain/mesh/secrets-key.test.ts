// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  forgettable,
  lacking,
  recipientWrites,
  type SecretsKey,
  SHARE_BYTES,
  sealingKey,
  secretsKeyWrites,
  unpackRecipient,
  unpackSecretsKey,
} from './secrets-key.js';

const DAY = 86_400_000;
const [A, B, C] = ['00000000000000a1', '00000000000000b2', '00000000000000c3'] as const;

function key(digit: string, createdMs: number, ...nodes: string[]): SecretsKey {
  const share = { publicKey: new Uint8Array(32), sealed: new Uint8Array(SHARE_BYTES) };
  return { id: digit.repeat(16), createdMs, shares: new Map(nodes.map((node) => [node, share])) };
}

test('secrets are sealed by the newest key that no removed node was given', () => {
  const keys = [key('1', 10, A, B), key('2', 20, A, B, C), key('3', 30, A, B)];
  expect(sealingKey(keys, new Set([A, B, C]))?.id).toBe('3'.repeat(16));
  expect(sealingKey(keys.slice(0, 2), new Set([A, B, C]))?.id).toBe('2'.repeat(16));
  expect(sealingKey(keys.slice(0, 2), new Set([A, B]))?.id).toBe('1'.repeat(16));
  expect(sealingKey(keys, new Set([A]))).toBeUndefined();
  // In whatever order they come.
  expect(sealingKey([key('5', 7, A), key('4', 7, A)], new Set([A]))).toEqual(
    sealingKey([key('4', 7, A), key('5', 7, A)], new Set([A])),
  );
});

test('members that came later, or have another key of their own now, are to be given it; others are not', () => {
  const recipient = (fill: number) => ({ publicKey: new Uint8Array(32).fill(fill), signature: new Uint8Array(64) });
  const recipients = new Map([
    [A, recipient(0)],
    [B, recipient(1)],
    [C, recipient(0)],
  ]);
  expect(lacking(key('1', 1, A, B), new Set([A, B, C]), recipients)).toEqual([B, C]);
  expect(lacking(key('1', 1, A, B), new Set([A, B]), recipients)).toEqual([B]);
});

test('a key is forgotten when it seals nothing, will seal nothing, and is old', () => {
  const keys = [key('1', 0, A, B), key('2', 0, A, B), key('3', 1, A)];
  const used = new Set(['2'.repeat(16)]);
  expect(forgettable(keys, used, new Set([A]), 31 * DAY)).toEqual(['1'.repeat(16)]);
  expect(forgettable(keys, used, new Set([A]), 29 * DAY)).toEqual([]);
});

test('they are read as they were written, and what is none is none', () => {
  const written = key('a', 5, A, B);
  const values = (writes: ReturnType<typeof secretsKeyWrites>) =>
    new Map(writes.map(({ group, value }) => [group, value ?? new Uint8Array(0)]));
  expect(unpackSecretsKey(written.id, values(secretsKeyWrites(written)))).toEqual(written);
  const recipient = { publicKey: new Uint8Array(32).fill(3), signature: new Uint8Array(64).fill(4) };
  expect(unpackRecipient(values(recipientWrites(A, recipient, true)))).toEqual(recipient);
  const short = { ...recipient, publicKey: new Uint8Array(31) };
  expect(unpackRecipient(values(recipientWrites(A, short, true)))).toBeUndefined();
  fc.assert(
    fc.property(fc.string({ maxLength: 20 }), fc.uint8Array({ maxLength: 60 }), (id, bytes) => {
      unpackSecretsKey(id, new Map([['1', bytes]]));
      unpackRecipient(new Map([['1', bytes]]));
    }),
  );
});
