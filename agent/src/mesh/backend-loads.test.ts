// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { BackendLoads } from '../application/mesh/backend-loads.js';
import { loadWrites, type OpenConnections, readLoad } from '../domain/mesh/backend-load.js';
import { NODE_STATE_KIND } from '../domain/mesh/node-state.js';
import type { Cell, CellWrite } from '../domain/replication/contract.js';
import { originKey } from '../domain/replication/origin.js';
import { SharedLoads } from './backend-loads.js';
import type { Part } from './part.js';
import { Timers } from './timers.js';

const [SELF, OTHER, THIRD] = ['00000000000000a1', '00000000000000b2', '00000000000000c3'];

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A node of three, whose data plane and replica are the test's. */
function node() {
  const stored = new Map<string, Cell[]>();
  const states = new Map([
    [OTHER, 'alive'],
    [THIRD, 'alive'],
  ]);
  const written: number[] = [];
  const told: OpenConnections[] = [];
  const here = { open: new Map<bigint, number>() as OpenConnections | undefined, isIdle: false, fails: false };
  const store = (nodeId: string, writes: readonly CellWrite[]): void => {
    const stamp = { ms: Date.now(), counter: 0, node: BigInt(`0x${nodeId}`) };
    const origin = originKey({ node: stamp.node, incarnation: 1 });
    const groups = new Set(writes.map(({ group }) => group));
    const kept = (stored.get(nodeId) ?? []).filter(({ group }) => !groups.has(group));
    stored.set(nodeId, [...kept, ...writes.map((write) => ({ ...write, stamp, origin, sequence: 1, mark: 0 }))]);
  };
  const part = {
    timers: new Timers(),
    identity: { nodeId: SELF },
    nodes: { members: new Map([SELF, OTHER, THIRD].map((id) => [id, {}])) },
    gossip: { members: () => [...states].map(([nodeId, state]) => ({ nodeId, state })) },
    cells: { object: (_: string, id: string) => stored.get(id) ?? [] },
    replication: {
      admitted: true,
      write: (_author: string, _message: string, writes: readonly CellWrite[]) => {
        written.push(Date.now());
        store(SELF, writes);
      },
    },
    options: { log: { warn: vi.fn() } },
  };
  const loads = {
    get isIdle() {
      return here.isIdle;
    },
    open: async () => {
      if (here.fails) throw new Error('no answer');
      return here.open;
    },
    tell: async (elsewhere: OpenConnections) => void told.push(elsewhere),
  };
  const shared = new SharedLoads(part as unknown as Part, loads as unknown as BackendLoads);
  shared.start();
  return {
    here,
    states,
    written,
    part,
    /** Of this node's last word. */
    said: () => readLoad(SELF, stored.get(SELF) ?? [])?.open,
    heard: () => told.at(-1),
    told,
    hear: (nodeId: string, open: OpenConnections): void => {
      store(nodeId, loadWrites(nodeId, stored.get(nodeId) ?? [], open, { members: 3, nowMs: Date.now() }));
      shared.changed(NODE_STATE_KIND, [nodeId]);
    },
  };
}

const open = (connections: number): OpenConnections => new Map([[7n, connections]]);

it('says what is open once that is known, and what is new of it every two seconds at most', async () => {
  const { here, written, said } = node();
  here.open = undefined;
  await vi.advanceTimersByTimeAsync(2_000);
  expect(written).toEqual([]);
  for (let i = 1; i <= 100; i++) {
    here.open = open(i * 100);
    await vi.advanceTimersByTimeAsync(100);
  }
  expect(written.length).toBeGreaterThanOrEqual(4);
  expect(written.length).toBeLessThanOrEqual(5);
  here.open = open(20_000);
  await vi.advanceTimersByTimeAsync(3_000);
  expect(said()).toEqual(open(20_000));
});

it('tells the data plane what others have open, until they are not there or their words are old', async () => {
  const { hear, states, heard } = node();
  hear(OTHER, open(5));
  hear(THIRD, open(40));
  await vi.advanceTimersByTimeAsync(1_500);
  expect(heard()).toEqual(open(45));
  states.set(THIRD, 'dead');
  await vi.advanceTimersByTimeAsync(1_500);
  expect(heard()).toEqual(open(5));
  hear(OTHER, open(9));
  await vi.advanceTimersByTimeAsync(1_500);
  expect(heard()).toEqual(open(9));
  await vi.advanceTimersByTimeAsync(200_000);
  expect(heard()?.size).toBe(0);
});

it('takes back what it said, and does nothing any more, when no service asks for it', async () => {
  const { here, written, said, told } = node();
  here.open = open(50);
  await vi.advanceTimersByTimeAsync(3_000);
  here.isIdle = true;
  here.open = new Map();
  await vi.advanceTimersByTimeAsync(3_000);
  expect(said()?.size).toBe(0);
  const before = [written.length, told.length];
  await vi.advanceTimersByTimeAsync(600_000);
  expect([written.length, told.length]).toEqual(before);
});

it('goes on when the engine answers again, having said why it did not', async () => {
  const { here, said, part } = node();
  here.open = open(50);
  here.fails = true;
  await vi.advanceTimersByTimeAsync(5_000);
  expect(part.options.log.warn).toHaveBeenCalledTimes(1);
  here.fails = false;
  await vi.advanceTimersByTimeAsync(1_000);
  expect(said()).toEqual(open(50));
});
