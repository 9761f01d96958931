// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import {
  formatRevocations,
  isRevokedNode,
  noRevocations,
  parseRevocations,
  type SignedList,
  withLists,
} from './revocations.js';

const DAY = 86_400_000;
const NOW = 1_000 * DAY;
const [ROOT, OTHER] = ['a'.repeat(64), 'b'.repeat(64)];
const [NODE_A, NODE_B] = ['00000000000000a1', '00000000000000b2'];
const asSerial = (node: string): string => Buffer.from('marcher-node').toString('hex') + node;

function list(signer: string, signedMs: number, serials: string[], root = ROOT): SignedList {
  return { root, signer, number: signedMs.toString(16) + signer, signedMs, pem: 'PEM', serials };
}

const known = withLists(noRevocations(ROOT), [list(NODE_A, NOW - DAY, [asSerial(NODE_B), 'c0ffee'])], NOW);

test('a node is known by its id, a certificate by its serial, however that is written', () => {
  expect(isRevokedNode([known], ['01'], NODE_B)).toBe(true);
  expect(isRevokedNode([known], ['00C0FFEE'], NODE_A)).toBe(true);
  expect(isRevokedNode([known], ['01'], NODE_A)).toBe(false);
  expect(isRevokedNode([], ['01'], NODE_B)).toBe(false);
});

test('an older list, an empty answer and one of another root take nothing back', () => {
  const older = list(NODE_A, NOW - 2 * DAY, []);
  for (const heard of [[], [older], [list(NODE_A, NOW, [], OTHER)]]) {
    expect(isRevokedNode([withLists(known, heard, NOW)], ['01'], NODE_B)).toBe(true);
  }
  // Its signer has left out what has expired.
  expect(isRevokedNode([withLists(known, [list(NODE_A, NOW, [])], NOW)], ['01'], NODE_B)).toBe(false);
});

test('lists of several signers are united, and forgotten when all they say has expired', () => {
  const both = withLists(known, [list(NODE_B, NOW, ['1'])], NOW);
  expect(both.lists.map(({ signer }) => signer)).toEqual([NODE_B, NODE_A]);
  expect(isRevokedNode([both], ['01'], NODE_B)).toBe(true);
  expect(withLists(both, [], NOW + 1_901 * DAY).lists).toEqual([]);
  const many = Array.from({ length: 100 }, (_, at) => list(at.toString(16).padStart(16, '0'), NOW, []));
  expect(withLists(known, many, NOW).lists).toHaveLength(64);
});

test('what was written is read; what is damaged or of another root is nothing', () => {
  const text = formatRevocations(known);
  expect(parseRevocations(text, ROOT)).toEqual(known);
  expect(parseRevocations(text, OTHER)).toBeUndefined();
  for (const damaged of ['', '{}', text.slice(0, -9), text.replace('"number":"', '"number":"x')]) {
    expect(parseRevocations(damaged, ROOT)).toBeUndefined();
  }
});
