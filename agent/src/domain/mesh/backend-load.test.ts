// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { create, toBinary } from '@bufbuild/protobuf';
import { NodeBackendLoadSchema } from '@marcher/proto/marcher/mesh/v1/node_state_pb';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../defaults.js';
import type { Cell, CellWrite } from '../replication/contract.js';
import { originKey } from '../replication/origin.js';
import {
  backendKey,
  lastingShare,
  loadElsewhere,
  loadPauseMs,
  loadRepeatMs,
  loadWrites,
  type OpenConnections,
  readLoad,
} from './backend-load.js';
import { stateRemoval } from './node-state.js';

const NODE = '00000000000000a1';
const AT = { members: 3, nowMs: 1_000 };
const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();

/** As they are stored once that node has written them at that time. */
function cells(writes: readonly CellWrite[], ms = 1_000, node = 0xa1n): Cell[] {
  return writes.map((write) => {
    const stamp = { ms, counter: 0, node };
    return { ...write, stamp, origin: originKey({ node, incarnation: 1 }), sequence: 1, mark: 0 };
  });
}

const open = (...connections: readonly number[]): OpenConnections =>
  new Map(connections.map((count, i) => [BigInt(i), count] as const).filter(([, count]) => count > 0));
const stored = (now: OpenConnections, ms = 1_000): Cell[] => cells(loadWrites(NODE, [], now, AT), ms);

describe('a word about what is open to backends', () => {
  it('is read as it was said, by the node itself and nobody else', () => {
    const many = new Map(Array.from({ length: 300 }, (_, i) => [BigInt(i) << 50n, i + 1] as const));
    const writes = loadWrites(NODE, [], many, AT);
    expect(readLoad(NODE, cells(writes, 7_000))).toMatchObject({ open: many, saidMs: 7_000 });
    expect(readLoad(NODE, cells(writes, 7_000, 0xb2n))).toBeUndefined();
    expect(readLoad(NODE, [...cells(writes).slice(1), ...cells([stateRemoval(NODE)], 2_000, 0xb2n)])).toBeUndefined();
  });

  it.each<[string, Uint8Array]>([
    ['is no message', Uint8Array.of(0xff, 0xff)],
    ['has more keys than numbers', word({ backends: [1n, 2n], connections: [1] })],
    ['has more backends than a node may', word(backends(LIMITS.meshLoadBackendsPerNode + 1))],
    ['is too long', new Uint8Array(LIMITS.meshLoadBackendsPerNode * 13 + 17)],
  ])('that %s is none', (_, value) => {
    const said = stored(open(5)).map((cell) => (cell.group === '5' ? { ...cell, value } : cell));
    expect(readLoad(NODE, said)).toBeUndefined();
  });

  it('has room for as many backends as a node may have', () => {
    const most = new Map(backends(LIMITS.meshLoadBackendsPerNode).backends.map((key) => [key, 0xffff_ffff] as const));
    expect(readLoad(NODE, stored(most))?.open.size).toBe(LIMITS.meshLoadBackendsPerNode);
  });

  it.each<[string, OpenConnections, OpenConnections, boolean]>([
    ['the same', open(40, 2), open(40, 2), false],
    ['one more', open(3), open(4), false],
    ['two more', open(3), open(5), true],
    ['less than an eighth more', open(800), open(899), false],
    ['an eighth more', open(800), open(900), true],
    ['one that is not busy any more', open(40, 40), open(40), true],
    ['another one', open(0, 40), open(40, 40), true],
    ['nothing at all any more', open(40), open(), true],
  ])('is said again for %s: %#', (_, before, now, isSaid) => {
    expect(loadWrites(NODE, stored(before), now, { ...AT, nowMs: 2_000 }).length).toBe(isSaid ? 1 : 0);
  });

  it('is said again after a while though nothing has changed, unless there is nothing to say', () => {
    const late = { members: 3, nowMs: 1_000 + loadRepeatMs(3, 20) };
    expect(loadWrites(NODE, stored(open(40)), open(40), { ...late, nowMs: late.nowMs - 1 })).toEqual([]);
    expect(loadWrites(NODE, stored(open(40)), open(40), late)).toHaveLength(1);
    expect(loadWrites(NODE, [], open(), late)).toEqual([]);
    const empty = cells(loadWrites(NODE, stored(open(40)), open(), AT)).concat(stored(open(40)).slice(0, 1));
    expect(readLoad(NODE, empty)?.open.size).toBe(0);
    expect(loadWrites(NODE, empty, open(), late)).toEqual([]);
  });

  it('makes the object that it is in, if that is not there', () => {
    expect(loadWrites(NODE, [], open(40), AT).map(({ group }) => group)).toEqual(['', '5']);
    expect(loadWrites(NODE, stored(open(40)), open(80), AT).map(({ group }) => group)).toEqual(['5']);
  });
});

describe('how often it is said', () => {
  it.each([
    [2, 100, 2_000],
    [50, 100, 2_000],
    [1_000, 100, 40_000],
    [3, 45_000, 2_060],
    [1_000, 1_000, 40_000],
    [1_000, 10_000, 152_588],
  ])('%i members, %i bytes: every %i ms', (members, bytes, pauseMs) => {
    expect(Math.round(loadPauseMs(members, bytes))).toBe(pauseMs);
    expect(loadRepeatMs(members, bytes)).toBeGreaterThanOrEqual(4 * pauseMs - 4);
  });

  it('says connections in full that last ten pauses, and others the less', () => {
    expect(lastingShare(100, 0, 2_000)).toBe(1);
    expect(lastingShare(100, 5, 2_000)).toBe(1);
    expect(lastingShare(100, 50, 2_000)).toBeCloseTo(0.1);
    expect(lastingShare(100, 50, 40_000)).toBeCloseTo(0.005);
    expect(lastingShare(0, 50, 2_000)).toBe(0);
  });
});

describe('what others have open', () => {
  const said = (saidMs: number, ...connections: readonly number[]) => ({
    open: open(...connections),
    saidMs,
    bytes: 30,
  });

  it('is the sum of their words, without those that are too old', () => {
    const words = [said(500_000, 5, 0, 7), said(499_000, 1, 2)];
    expect(loadElsewhere(words, 3, 500_000)).toEqual(open(6, 2, 7));
    const old = said(500_000 - 3 * loadRepeatMs(3, 30) - 1, 9);
    expect(loadElsewhere([...words, old], 3, 500_000)).toEqual(open(6, 2, 7));
    expect(loadElsewhere([old], 300, 500_000 - 1)).toEqual(open(9));
  });

  it('is a number that the data plane can hold', () => {
    expect(loadElsewhere([said(1, 0xffff_ffff), said(1, 7)], 3, 1)).toEqual(open(0xffff_ffff));
  });
});

describe('the key of a backend', () => {
  it('is the same everywhere, and another for another cluster, service, name or address', () => {
    const parts = ['eu', 'web', 'b1', '192.0.2.1:80'];
    const keys = new Set([
      backendKey(parts, sha),
      backendKey([...parts], sha),
      ...parts.map((part, i) => backendKey(parts.with(i, `${part}x`), sha)),
      backendKey(['euweb', '', 'b1', '192.0.2.1:80'], sha),
    ]);
    expect(keys.size).toBe(6);
    // Agents of other versions have to come to the same.
    expect(backendKey(parts, sha)).toBe(0xd80112944a207d8en);
  });
});

function backends(count: number) {
  return {
    backends: Array.from({ length: count }, (_, i) => BigInt(i)),
    connections: Array.from({ length: count }, () => 1),
  };
}

function word(fields: { readonly backends: bigint[]; readonly connections: number[] }): Uint8Array {
  return toBinary(NodeBackendLoadSchema, create(NodeBackendLoadSchema, fields));
}
