// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { coverageSentence, meshTitle } from './coverage.js';

const NONE = { nodes: 0, live: 0, stale: 0, refused: 0, connecting: 0, oldestMs: undefined };
const CONNECTING = { ...NONE, nodes: 1, connecting: 1 };
const LIVE = { ...NONE, nodes: 1, live: 1 };

test('that a node is in no mesh is said once it has said so', () => {
  expect([NONE, CONNECTING, LIVE].map((coverage) => meshTitle(undefined, coverage))).toEqual([
    ...['Connecting', 'Connecting', 'One node, in no mesh'],
  ]);
  expect(meshTitle({ id: 'm', name: 'north' }, CONNECTING)).toBe('north');
});

test('what is whole is said to be, and nothing else', () => {
  expect([NONE, CONNECTING, LIVE].map((coverage) => coverageSentence(coverage, 0))).toEqual([
    ...['no node has answered yet', '0 of 1 node; 1 connecting', 'all of 1 node'],
  ]);
});
