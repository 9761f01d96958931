// SPDX-License-Identifier: Apache-2.0
/** Who is given the keys of gossip. The rest of it is tested with all adapters (mesh.test.ts) and as rules (domain/mesh). */
import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { gossipKey } from '../adapters/outbound/identity/new-ids.js';
import { targetWrites } from '../application/mesh/gossip-keys.js';
import { Nodes, recordWrites } from '../application/mesh/nodes.js';
import { nodeNumber } from '../domain/identity/names.js';
import type { NodeRecord } from '../domain/mesh/node-record.js';
import type { CellWrite } from '../domain/replication/contract.js';
import { MemoryStore } from '../domain/replication/memory-store.js';
import { Replica } from '../domain/replication/replica.js';
import { GossipKeys } from './keys.js';
import type { Part } from './part.js';
import { Timers } from './timers.js';

const id = (number: number): string => number.toString(16).padStart(16, '0');
const key = gossipKey(randomBytes(32));

function record(number: number, removed = false): NodeRecord {
  return {
    nodeId: id(number),
    name: `n${number}`,
    meshAddress: `192.0.2.${number}:7400`,
    gossipAddress: `192.0.2.${number}:7401`,
    certificates: [new Uint8Array(1)],
    frameKey: new Uint8Array(32),
    frameKeySignature: new Uint8Array(96),
    role: 'member',
    removedMs: removed ? 1n : 0n,
  };
}

/** As node 1 has it. */
function keysWith(records: readonly NodeRecord[], withheldFrom: readonly string[]): GossipKeys {
  const cells = new MemoryStore();
  const environment = {
    wallMs: () => 1_795_000_000_000,
    monotonicMs: () => 0,
    random: () => 0.5,
    hash: (bytes: Uint8Array) => bytes.slice(0, 32),
    sign: () => new Uint8Array(64),
    verify: () => true,
  };
  const replica = new Replica({ node: nodeNumber(id(1)), store: cells, environment, founds: true });
  const write = (writes: readonly CellWrite[]): unknown => replica.write({ author: '', message: '', writes });
  for (const one of records) expect(write(recordWrites(one, true))).toMatchObject({ ok: true });
  write(targetWrites({ keyId: key.id, createdMs: 1, createdBy: id(1), withheldFrom }));
  const nodes = new Nodes(cells);
  nodes.load();
  const keyring = { primary: key.id, keys: [key] };
  return new GossipKeys({
    cells,
    nodes,
    keyring,
    identity: { nodeId: id(1) },
    timers: new Timers(),
  } as unknown as Part);
}

test('members are given them; who was removed, who is to be kept from the newest, and strangers are not', () => {
  const keys = keysWith([record(1), record(2), record(3, true), record(4)], [id(4)]);
  expect(keys.give(id(2))).toMatchObject({ keys: [key], primary: key.id, target: { keyId: key.id } });
  expect(() => keys.give(id(3))).toThrow('is not in the mesh (any more)');
  // In another part of the mesh it was removed.
  expect(() => keys.give(id(4))).toThrow('was taken out of the mesh');
  expect(() => keys.give(id(5))).toThrow('is not in the mesh (any more)');
});

test('a node that was removed gives them to nobody', () => {
  expect(() => keysWith([record(1, true), record(2)], []).give(id(2))).toThrow('this node is not in the mesh any more');
});
