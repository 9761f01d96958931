// SPDX-License-Identifier: Apache-2.0
import { hash as sha } from 'node:crypto';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { FrameBodySchema, FrameSchema, ReplicaMessageSchema } from '@marcher/proto/marcher/mesh/v1/replication_pb';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Cell, Message } from './contract.js';
import { encodeFrame } from './frame.js';
import { decodeMessage, encodeMessage } from './message-codec.js';
import { runHistory } from './sim/history.js';

const hash = (bytes: Uint8Array): Uint8Array => sha('sha256', bytes, 'buffer');

test('histories run the same over encoded messages, and damaged ones do not throw', () => {
  const kinds = new Set<string>();
  const samples = new Map<string, Uint8Array>();
  const carry = (message: Message): Message => {
    kinds.add(message.type);
    const bytes = encodeMessage(message);
    samples.set(message.type, bytes);
    const back = decodeMessage(bytes);
    if ('fault' in back) throw new Error(back.fault);
    return back;
  };
  for (const seed of [4, 9, 13, 31, 46]) {
    const { faults, frames, events } = runHistory({ seed, nodes: 3, hash, carry, durationMs: 4000 });
    expect(faults, `seed ${seed}`).toEqual([]);
    expect({ frames, events }).toEqual(
      (({ frames: f, events: e }) => ({ frames: f, events: e }))(
        runHistory({ seed, nodes: 3, hash, durationMs: 4000 }),
      ),
    );
  }
  const usual = ['frames', 'graft', 'have', 'prune', 'push', 'request', 'snapshot', 'snapshot-request', 'summary'];
  expect([...kinds].sort()).toEqual(expect.arrayContaining(usual));
  // Whatever becomes of such bytes on their way, decoding them does not throw.
  const all = [...samples.values()];
  fc.assert(
    fc.property(fc.nat(all.length - 1), fc.nat(), fc.integer({ min: 1, max: 255 }), (which, at, flip) => {
      const bytes = Uint8Array.from(all[which] as Uint8Array);
      if (bytes.length > 0) bytes[at % bytes.length] = (bytes[at % bytes.length] as number) ^ flip;
      decodeMessage(bytes);
      decodeMessage(bytes.subarray(0, at % (bytes.length + 1)));
    }),
    { numRuns: 500 },
  );
});

const origin = '0000000000000001.000000000007';
const stamp = { ms: 5, counter: 6, node: 1n };
const cell = {
  kind: 'k',
  id: 'i',
  group: '',
  stamp,
  value: new Uint8Array([1]),
  origin,
  sequence: 3,
  mark: 2 ** 48 - 1,
};
const vector = {
  heads: new Map([[origin, { sequence: 3, hash: new Uint8Array(8) }]]),
  floors: new Map([[2n ** 64n - 1n, 9]]),
};
const horizon = { stamp, seen: new Map([[origin, 2]]) };
const forks = [{ origin, sequence: 4 }];

const MESSAGES: readonly Message[] = [
  {
    ...{
      type: 'summary',
      answer: true,
      admitted: true,
      ...vector,
      seen: horizon.seen,
      forks,
      digest: 2 ** 48 - 1,
      cells: 7,
    },
    ...{ wallMs: 1_700_000_000_000.5, life: 2 ** 32 - 1, echo: { life: 1, wallMs: 2 } },
  },
  { type: 'push', frame: new Uint8Array([1, 2]) },
  { type: 'have', heads: forks },
  { type: 'graft', ranges: [{ origin, from: 1, through: Number.MAX_SAFE_INTEGER }] },
  { type: 'prune', origin },
  { type: 'request', id: 2 ** 31, ranges: [{ origin, from: 2, through: 3 }] },
  { type: 'frames', id: 1, frames: [new Uint8Array([1]), new Uint8Array(0)], compacted: [origin] },
  { type: 'snapshot-request', id: 1, part: 2 },
  { type: 'snapshot', id: 1, part: 2, cells: [cell, { ...cell, value: undefined }], end: undefined },
  {
    ...{ type: 'snapshot', id: 1, part: 3, cells: [] },
    end: {
      ...vector,
      clock: stamp,
      horizon,
      forks: [{ origin, sequence: 4, kept: new Uint8Array(32), other: new Uint8Array(0) }],
    },
  },
  { type: 'busy', id: 4 },
  { type: 'digests', buckets: Array.from({ length: 256 }, (_, i) => i * 2 ** 39) },
  {
    type: 'repair',
    answer: true,
    bucket: 255,
    after: undefined,
    through: undefined,
    cells: [cell],
    vector,
    horizon,
    forks,
  },
  {
    type: 'repair',
    answer: false,
    bucket: 0,
    after: { kind: 'a', id: 'b', group: '' },
    through: cell,
    cells: [],
    vector,
    horizon,
    forks,
  },
  { type: 'stale', reason: 'removed', seen: new Map() },
  { type: 'stale', reason: 'behind-horizon', seen: horizon.seen },
];

test.each(MESSAGES.map((message) => [message.type, message] as const))('%s', (_, message) => {
  const plain =
    message.type === 'repair' && message.through !== undefined
      ? { ...message, through: { kind: 'k', id: 'i', group: '' } }
      : message;
  expect(decodeMessage(encodeMessage(message))).toEqual(plain);
});

test('what cannot be meant is refused and named', () => {
  expect(decodeMessage(new Uint8Array(0))).toEqual({ fault: 'not a message: of a later version, or empty' });
  const bad = (message: Message): unknown => decodeMessage(encodeMessage(message));
  expect(bad({ type: 'digests', buckets: [1] })).toEqual({ fault: 'not a message: 1 digests, not 256' });
  expect(bad({ type: 'have', heads: [{ origin, sequence: 0 }] })).toHaveProperty('fault');
  expect(
    bad({
      type: 'repair',
      answer: true,
      bucket: 256,
      after: undefined,
      through: undefined,
      cells: [],
      vector,
      horizon,
      forks,
    }),
  ).toHaveProperty('fault');
  const snapshot = (given: Partial<Cell>): Message => {
    return { type: 'snapshot', id: 1, part: 0, cells: [{ ...cell, ...given }], end: undefined };
  };
  expect(bad(snapshot({ id: 'i'.repeat(513) }))).toEqual({
    fault: 'not a message: an id of 513 characters, not 1 to 512',
  });
  expect(bad(snapshot({ kind: '' }))).toHaveProperty('fault');
  // Nobody stamps for another.
  expect(bad(snapshot({ stamp: { ...stamp, node: 2n } }))).toEqual({
    fault: 'not a message: a cell whose stamp is not of its origin',
  });
  const forked = Array.from({ length: 1_025 }, () => ({ origin, sequence: 1 }));
  expect(bad({ ...(MESSAGES[0] as Extract<Message, { type: 'summary' }>), forks: forked })).toHaveProperty('fault');
  expect(bad({ ...(MESSAGES[0] as Extract<Message, { type: 'summary' }>), wallMs: Number.NaN })).toHaveProperty(
    'fault',
  );
});

test('a frame is what its protobuf says it is', () => {
  const writes = [
    { kind: 'service', id: 'é', group: 'spec', value: new Uint8Array([1, 2]) },
    { kind: 'service', id: 'b', group: '', value: undefined },
  ];
  const frame = encodeFrame(
    {
      origin: { node: 1n, incarnation: 7 },
      sequence: 300,
      stamp,
      previous: new Uint8Array(32).fill(9),
      author: 'a',
      message: 'm',
      writes,
    },
    hash,
    () => new Uint8Array([5]),
  );
  if ('fault' in frame) throw new Error(frame.fault);
  const { body, signature } = fromBinary(FrameSchema, frame.bytes);
  expect([...signature]).toEqual([5]);
  const read = fromBinary(FrameBodySchema, body);
  expect(read).toMatchObject({ sequence: 300n, author: 'a', message: 'm', previous: new Uint8Array(32).fill(9) });
  expect(read.writes).toMatchObject([
    { kind: 'service', id: 'é', group: 'spec', deleted: false, value: new Uint8Array([1, 2]) },
    { kind: 'service', id: 'b', group: '', deleted: true },
  ]);
});

test('a message of a cluster says so, and is none to a version that knows no clusters', () => {
  for (const message of MESSAGES) {
    expect(decodeMessage(encodeMessage({ ...message, cluster: 'eu' }))).toEqual({
      ...decodeMessage(encodeMessage(message)),
      cluster: 'eu',
    });
    expect(encodeMessage({ ...message, cluster: '' })).toEqual(encodeMessage(message));
  }
  const { message } = fromBinary(ReplicaMessageSchema, encodeMessage({ type: 'busy', id: 1, cluster: 'eu' }));
  expect(message.case).toBe('scoped');
  const scoped = (cluster: string, inner: Uint8Array<ArrayBuffer>) =>
    decodeMessage(
      toBinary(
        ReplicaMessageSchema,
        create(ReplicaMessageSchema, { message: { case: 'scoped', value: { cluster, message: inner } } }),
      ),
    );
  const assigned = { ms: 5, counter: 1, node: 2n };
  expect(decodeMessage(encodeMessage({ type: 'busy', id: 1, cluster: 'eu', assigned }))).toEqual({
    ...{ type: 'busy', id: 1, cluster: 'eu', assigned },
  });
  const busy = encodeMessage({ type: 'busy', id: 1 });
  expect(scoped('eu', encodeMessage({ type: 'busy', id: 1, cluster: 'us' }))).toEqual({
    fault: 'not a message: of a cluster within a cluster',
  });
  for (const cluster of ['', 'EU', 'e u', 'x'.repeat(64)]) {
    expect(scoped(cluster, busy)).toEqual({ fault: 'not a message: of no cluster that can be' });
  }
  expect(scoped('eu', new Uint8Array([1, 2, 3]))).toHaveProperty('fault');
});
