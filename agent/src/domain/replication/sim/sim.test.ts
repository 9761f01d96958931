// SPDX-License-Identifier: Apache-2.0
import { hash as sha } from 'node:crypto';
import { expect, test } from 'vitest';
import type { Message } from '../contract.js';
import { runHistory } from './history.js';

const hash = (bytes: Uint8Array): Uint8Array => sha('sha256', bytes, 'buffer');

/** To replay one that failed: SIM_SEED=its seed. */
const ONLY = process.env['SIM_SEED'];

test.each([
  ['3 nodes', 3, 1, 60],
  ['3 nodes, one of which deletes while it is away what another creates', 3, 10_003, 1],
  ['10 nodes', 10, 50_000, 4],
])(
  'after whatever histories, once everything heals, all is the same everywhere and nothing is lost: %s',
  (_, nodes, first, count) => {
    const seeds = ONLY === undefined ? Array.from({ length: count }, (__, i) => first + i) : [Number(ONLY)];
    for (const seed of seeds) {
      const { faults } = runHistory({ seed, nodes, hash });
      expect(faults, `seed ${seed}, ${nodes} nodes`).toEqual([]);
    }
  },
);

test('with a hundred nodes every fault comes within two histories', () => {
  const events = (['all-kept', 'all-given-up'] as const).flatMap((faults) => {
    const result = runHistory({ seed: 1, nodes: 100, hash, durationMs: 3000, writes: 20, faults });
    expect(result.faults, faults).toEqual([]);
    return Object.keys(result.events);
  });
  const network = ['message lost', 'message doubled', 'message late', 'partition both ways', 'partition one way'];
  const time = ['pause', 'clock skewed and drifting', 'clock set', 'quarantined'];
  const ends = ['crash', 'crash within a commit', 'mass restart', 'power failure', 'commits lost by power failure'];
  const disks = ['full disk', 'disk restored', 'away until forgotten'];
  expect(events).toEqual(expect.arrayContaining([...network, ...time, ...ends, ...disks]));
});

test('what is thrown, and what a node refuses of another, is said as a fault, and not more than can be read', () => {
  const carry = (): never => {
    throw new Error('on the way');
  };
  expect(runHistory({ seed: 3, nodes: 3, hash, carry }).faults[0]).toMatch(/^thrown: Error: on the way/);
  const damaged = (message: Message): Message =>
    message.type === 'push' ? { ...message, frame: message.frame.slice(1) } : message;
  const { faults } = runHistory({ seed: 3, nodes: 10, hash, carry: damaged });
  expect(faults[0]).toMatch(/^node \d+: {"type":"refused","from":"\d+"/);
  expect([faults.length, faults[20]]).toEqual([21, expect.stringMatching(/^and \d+ more$/)]);
});

test('a history replays exactly from its seed', () => {
  expect(runHistory({ seed: 23, nodes: 3, hash })).toEqual(runHistory({ seed: 23, nodes: 3, hash }));
});
