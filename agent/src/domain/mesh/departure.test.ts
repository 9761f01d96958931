// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it, test } from 'vitest';
import { departedNodes, type Leaving, mayLeave } from './departure.js';
import type { NodeRecord } from './node-record.js';

const NOW = Date.UTC(2026, 10, 22);
const DAY = 86_400_000;

function record(number: number, other: Partial<NodeRecord> = {}): NodeRecord {
  return {
    nodeId: number.toString(16).padStart(16, '0'),
    name: `n${number}`,
    meshAddress: `192.0.2.${number}:7400`,
    gossipAddress: `192.0.2.${number}:7401`,
    certificates: [],
    frameKey: new Uint8Array(),
    frameKeySignature: new Uint8Array(),
    role: 'member',
    removedMs: 0n,
    ...other,
  };
}

const membersOf = (...records: NodeRecord[]) => new Map(records.map((one) => [one.nodeId, one]));
const self = record(1).nodeId;
const two = membersOf(record(1), record(2));
const twoSigning = membersOf(record(1), record(2, { role: 'authority' }));

describe('a node leaves', () => {
  const usual: Leaving = { self, members: two, signs: false, alive: 1, admitted: true };
  test.each<[string, Partial<Leaving>, string]>([
    ['that is heard by another', {}, 'leaves'],
    ['that nobody hears', { alive: 0 }, 'unheard'],
    ['that has not taken over the state', { admitted: false }, 'unheard'],
    ['that alone holds the CA key', { signs: true }, 'refused'],
    ['that alone holds the CA key, and is unheard', { signs: true, alive: 0 }, 'refused'],
    ['whose CA key another has', { signs: true, members: twoSigning }, 'leaves'],
    ['that is the last', { signs: true, alive: 0, members: membersOf(record(1)) }, 'leaves'],
    ['that is none any more', { signs: true, alive: 0, members: membersOf(record(2)) }, 'leaves'],
  ])('%s', (_which, other, kind) => {
    const verdict = mayLeave({ ...usual, ...other });
    expect(verdict.kind).toBe(kind);
    if (verdict.kind !== 'leaves') expect(verdict.reason).toContain('--force');
  });
});

describe('nodes that have left', () => {
  it('are shown for a week, unless another has their name; those that were removed are not', () => {
    const gone = (number: number, days: number, other: Partial<NodeRecord> = {}): NodeRecord =>
      record(number, { removedMs: BigInt(NOW - days * DAY), left: true, ...other });
    const all = [record(1), gone(2, 1), gone(3, 8), gone(4, 1, { left: undefined }), gone(5, 1, { name: 'n1' })];
    expect(departedNodes(all, NOW).map(({ name }) => name)).toEqual(['n2']);
  });
});
