// SPDX-License-Identifier: Apache-2.0
import { create, toBinary } from '@bufbuild/protobuf';
import {
  NodeHealthSchema,
  NodeLoadSchema,
  NodeTiersSchema,
  NodeVersionSchema,
} from '@marcher/proto/marcher/mesh/v1/node_state_pb';
import { describe, expect, it } from 'vitest';
import type { Cell, CellWrite } from '../replication/contract.js';
import { originKey } from '../replication/origin.js';
import { boundedState, type NodeState, readState, statePauseMs, stateRemoval, stateWrites } from './node-state.js';

const NODE = '00000000000000a1';

interface Changes {
  readonly agent?: string;
  readonly ready?: boolean;
  readonly connections?: number;
  readonly services?: Readonly<Record<string, number>>;
  readonly unhealthy?: readonly string[];
  readonly unmet?: readonly string[];
}

function state({
  agent = '1.0.0',
  ready = true,
  connections = 0,
  services = {},
  unhealthy = [],
  unmet = [],
}: Changes = {}): NodeState {
  return boundedState({
    version: create(NodeVersionSchema, { agent, engine: '2.0.0' }),
    health: create(NodeHealthSchema, {
      ready,
      unmet: [...unmet],
      unhealthy: unhealthy.map((backend) => ({ service: 'web', backend })),
      unhealthyCount: unhealthy.length,
    }),
    tiers: create(NodeTiersSchema, { tiers: [{ tier: 'relay', services: 3 }] }),
    load: create(NodeLoadSchema, {
      connections: BigInt(connections),
      services: Object.entries(services).map(([service, open]) => ({ service, connections: BigInt(open) })),
    }),
  });
}

/** As they are stored once that node has written them at that time. */
function cells(writes: readonly CellWrite[], ms = 1_000, node = 0xa1n): Cell[] {
  return writes.map((write) => {
    const stamp = { ms, counter: 0, node };
    return { ...write, stamp, origin: originKey({ node, incarnation: 1 }), sequence: 1, mark: 0 };
  });
}

const groups = (writes: readonly CellWrite[]): string[] => writes.map(({ group }) => group);
const said = (now: NodeState) => readState(NODE, cells(stateWrites(NODE, undefined, now)));

describe('what a node says of itself', () => {
  it('is read as it was said, with the time of its newest word', () => {
    const now = state({ connections: 500, services: { web: 400, api: 100 }, unhealthy: ['b1'] });
    expect(readState(NODE, cells(stateWrites(NODE, undefined, now), 7_000))).toEqual({ ...now, saidMs: 7_000 });
  });

  it('counts only if the node itself has written it', () => {
    const writes = stateWrites(NODE, undefined, state());
    const own = cells(writes);
    const forged = cells(writes, 9_000, 0xb2n);
    expect(readState(NODE, forged)).toBeUndefined();
    const mixed = own.map((cell, i) => (cell.group === '2' ? (forged[i] as Cell) : cell));
    expect(readState(NODE, mixed)).toMatchObject({ version: { agent: '1.0.0' }, saidMs: 1_000 });
    expect(readState(NODE, mixed)?.health).toBeUndefined();
  });

  it('is gone with the node', () => {
    const own = cells(stateWrites(NODE, undefined, state()));
    const removal = cells([stateRemoval(NODE)], 2_000, 0xb2n);
    expect(readState(NODE, [...own.slice(1), ...removal])).toBeUndefined();
  });

  it('that can’t be read, or is too large to be read, is as if it had not been said', () => {
    const own = cells(stateWrites(NODE, undefined, state()));
    const with2 = (value: Uint8Array): Cell[] => own.map((cell) => (cell.group === '2' ? { ...cell, value } : cell));
    const large = toBinary(NodeHealthSchema, create(NodeHealthSchema, { unmet: ['x'.repeat(200_000)] }));
    for (const value of [Uint8Array.of(0xff, 0xff), large]) {
      const read = readState(NODE, with2(value));
      expect([read?.version?.agent, read?.health]).toEqual(['1.0.0', undefined]);
    }
  });
});

describe('what is worth saying', () => {
  it('is everything at first, and then only the part that has changed', () => {
    const first = state();
    expect(groups(stateWrites(NODE, undefined, first))).toEqual(['', '1', '2', '3', '4']);
    expect(stateWrites(NODE, said(first), state())).toEqual([]);
    expect(groups(stateWrites(NODE, said(first), state({ agent: '1.0.1' })))).toEqual(['1']);
    expect(groups(stateWrites(NODE, said(first), state({ ready: false })))).toEqual(['2']);
    expect(groups(stateWrites(NODE, said(first), state({ unhealthy: ['b1'] })))).toEqual(['2']);
  });

  it('does not depend on the order in which things were found', () => {
    const one = state({ unhealthy: ['b1', 'b2'], unmet: ['X', 'Y'], services: { a: 50, b: 60 } });
    const other = state({ unhealthy: ['b2', 'b1'], unmet: ['Y', 'X', 'Y'], services: { b: 60, a: 50 } });
    expect(stateWrites(NODE, said(one), other)).toEqual([]);
  });

  const loads: readonly [string, Changes, Changes, boolean][] = [
    ['a few connections more are not', { connections: 0 }, { connections: 15 }, false],
    ['16 more are', { connections: 0 }, { connections: 16 }, true],
    ['of a thousand, 249 more are not', { connections: 1_000 }, { connections: 1_249 }, false],
    ['and 250 less are', { connections: 1_000 }, { connections: 750 }, true],
    ['none of what were many is', { connections: 100 }, { connections: 0 }, true],
    ['a service that has got busy is', { services: { a: 1 } }, { services: { a: 1, b: 20 } }, true],
    ['one that is idle again is', { services: { a: 100 } }, { services: {} }, true],
    ['one that was hardly busy is not', { services: { a: 3 } }, { services: {} }, false],
  ];
  it.each(loads)('of the load: %s', (_, before, now, worth) => {
    expect(groups(stateWrites(NODE, said(state(before)), state(now)))).toEqual(worth ? ['4'] : []);
  });

  it('is bounded: of what is too much the busiest, and the number of all', () => {
    const services = Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`s${i}`, i + 1]));
    const unhealthy = Array.from({ length: 1_000 }, (_, i) => `b${i}`);
    const now = state({ services, unhealthy });
    expect([now.load.services.length, now.load.services[0]?.service]).toEqual([256, 's999']);
    expect([now.health.unhealthy.length, now.health.unhealthyCount]).toEqual([256, 1_000]);
  });
});

it('nodes of a larger mesh say less often: all of them together ten words a second', () => {
  expect([1, 50, 100, 1_000, 10_000].map(statePauseMs)).toEqual([5_000, 5_000, 10_000, 100_000, 100_000]);
});
