// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { type GossipMember, joinAddresses, type KnownNodes, meshMembers, replicaMembers } from './membership.js';
import type { NodeRecord } from './node-record.js';

const id = (number: number): string => number.toString(16).padStart(16, '0');

function record(number: number, name: string): NodeRecord {
  return {
    nodeId: id(number),
    name,
    meshAddress: `192.0.2.${number}:7400`,
    gossipAddress: `192.0.2.${number}:7401`,
    certificates: [],
    frameKey: new Uint8Array(),
    frameKeySignature: new Uint8Array(),
    role: 'member',
    removedMs: 0n,
  };
}

function known(
  self: number,
  records: readonly NodeRecord[],
  gossip: readonly [number, GossipMember['state']][],
): KnownNodes {
  return {
    self: id(self),
    records: new Map(records.map((one) => [one.nodeId, one])),
    gossip: gossip.map(([number, state]) => ({ nodeId: id(number), state })),
  };
}

const six = known(
  1,
  [record(1, 'e'), record(2, 'd'), record(3, 'c'), record(4, 'b'), record(5, 'a'), record(6, 'a')],
  [
    [2, 'alive'],
    [3, 'suspect'],
    [4, 'dead'],
    [5, 'left'],
    [9, 'alive'],
  ],
);

describe('members for replication', () => {
  it('are all with a record but this node; alive are those that gossip calls so, or only suspects', () => {
    expect(replicaMembers(six)).toEqual([
      { node: 2n, alive: true },
      { node: 3n, alive: true },
      { node: 4n, alive: false },
      { node: 5n, alive: false },
      { node: 6n, alive: false },
    ]);
  });
});

describe('members for operators', () => {
  it('are all with a record, by name and id, this node as itself, and those that gossip does not know as unknown', () => {
    const figures = {
      certificateExpiresMs: ({ name }: NodeRecord) => name.length,
      behind: (nodeId: string) => Number(nodeId),
      state: () => undefined,
      clusters: () => [],
    };
    const members = meshMembers(six, figures);
    expect(members.map(({ nodeId, state }) => [Number(nodeId), state])).toEqual([
      [5, 'left'],
      [6, 'unknown'],
      [4, 'dead'],
      [3, 'suspect'],
      [2, 'alive'],
      [1, 'self'],
    ]);
    expect(members[1]).toEqual({
      nodeId: id(6),
      name: 'a',
      state: 'unknown',
      address: '192.0.2.6:7400',
      certificateExpiresMs: 1,
      behind: 6,
      clusters: [],
    });
  });
});

describe('addresses to join by', () => {
  it('are those of nodes that gossip does not reach, and that did not leave', () => {
    expect(joinAddresses(six, 10)).toEqual(['192.0.2.4:7401', '192.0.2.6:7401']);
  });

  it('begin after this node’s id, go round, and reach all in turn', () => {
    const records = [1, 2, 3, 4, 5].map((number) => record(number, 'n'));
    const ask = (self: number, turn: number): string[] =>
      joinAddresses(known(self, records, []), 2, turn).map((address) => address.slice(8, 9));
    expect([ask(1, 0), ask(3, 0), ask(5, 0)]).toEqual([
      ['2', '3'],
      ['4', '5'],
      ['1', '2'],
    ]);
    expect([ask(3, 1), ask(3, 2), ask(3, 7)]).toEqual([
      ['1', '2'],
      ['4', '5'],
      ['1', '2'],
    ]);
    const odd = known(4, [record(1, 'n'), record(2, 'n'), record(3, 'n'), record(4, 'n')], []);
    const reached = new Set([0, 1, 2].flatMap((turn) => joinAddresses(odd, 2, turn)));
    expect(reached.size).toBe(3);
  });

  it('are no node’s twice, not this node’s, and none where nobody else is known', () => {
    const twin = { ...record(3, 'n'), gossipAddress: '192.0.2.2:7401' };
    const mine = { ...record(4, 'n'), gossipAddress: '192.0.2.1:7401' };
    const none = { ...record(5, 'n'), gossipAddress: '' };
    expect(joinAddresses(known(1, [record(1, 'n'), record(2, 'n'), twin, mine, none], []), 9)).toEqual([
      '192.0.2.2:7401',
    ]);
    expect(joinAddresses(known(1, [record(1, 'n')], []), 9)).toEqual([]);
    expect(joinAddresses(known(1, [], []), 9)).toEqual([]);
  });
});
