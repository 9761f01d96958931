// SPDX-License-Identifier: Apache-2.0
import { create, toBinary } from '@bufbuild/protobuf';
import { ZERO } from '@marcher/hlc';
import { GossipKeyTargetSchema, HeldGossipKeysSchema } from '@marcher/proto/marcher/mesh/v1/gossip_keys_pb';
import { expect, test } from 'vitest';
import type { CellWrite, ReplicaStore } from '../../domain/replication/contract.js';
import { originKey } from '../../domain/replication/origin.js';
import { HELD_KIND, heldWrites, readHeld, readTarget, TARGET_KIND, targetOf, targetWrites } from './gossip-keys.js';

const node = '00000000000000a1';
const target = { keyId: '9b1f3c0a77d2e845', createdMs: 1_795_000_000_000, createdBy: node, withheldFrom: [node] };

function cellsOf(writes: readonly CellWrite[], by = 0xa1n): Pick<ReplicaStore, 'object'> {
  const cells = writes.map((write) => ({
    ...write,
    stamp: ZERO,
    origin: originKey({ node: by, incarnation: 1 }),
    sequence: 1,
    mark: 0,
  }));
  return { object: (kind, id) => cells.filter((cell) => cell.kind === kind && cell.id === id) };
}

test('what was written is read again; nothing is nothing', () => {
  const held = { keyIds: [target.keyId, '41c7a2d0f5e83b96'], primary: target.keyId };
  const cells = cellsOf([...targetWrites(target), ...heldWrites(node, held)]);
  expect(readTarget(cells)).toEqual(target);
  expect(readHeld(cells, node)).toMatchObject(held);
  expect(readHeld(cells, '00000000000000a2')).toBeUndefined();
  expect(readTarget(cellsOf([]))).toBeUndefined();
  // In its place nobody else says what it has.
  expect(readHeld(cellsOf(heldWrites(node, held), 0xa2n), node)).toBeUndefined();
});

test('what another member has written that is none is left aside, and bounded', () => {
  const wrong = [
    { keyId: 'short' },
    { createdBy: 'me' },
    { createdMs: 1n << 60n },
    { withheldFrom: ['x'] },
    { withheldFrom: Array.from({ length: 1_025 }, () => node) },
  ];
  const message = { ...target, createdMs: BigInt(target.createdMs) };
  for (const other of wrong) expect(targetOf(create(GossipKeyTargetSchema, { ...message, ...other }))).toBeUndefined();
  const junk = new Uint8Array([0xff, 0xff]);
  const many = Array.from({ length: 17 }, () => target.keyId);
  for (const value of [junk, toBinary(HeldGossipKeysSchema, create(HeldGossipKeysSchema, { keyIds: many }))]) {
    const written = heldWrites(node, { keyIds: [], primary: '' }).map((write) =>
      write.group === '' ? write : { ...write, value },
    );
    expect(readHeld(cellsOf(written), node)).toBeUndefined();
  }
  const bad = targetWrites(target).map((write) => (write.group === '' ? write : { ...write, value: junk }));
  expect(readTarget(cellsOf(bad))).toBeUndefined();
  expect([TARGET_KIND, HELD_KIND]).toEqual(['GossipKey', 'GossipKeys']);
});
