// SPDX-License-Identifier: Apache-2.0
import { create, toBinary } from '@bufbuild/protobuf';
import { JoinRequestSchema } from '@marcher/proto/marcher/mesh/v1/peer_pb';
import { FrameBodySchema, FramesSchema } from '@marcher/proto/marcher/mesh/v1/replication_pb';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MessageGauge } from './message-gauge.js';

const gauge = (fieldsMax: number, messageMaxBytes = 1_000_000): MessageGauge =>
  new MessageGauge({ fieldsMax, messageMaxBytes });

function envelope(message: Uint8Array): Uint8Array {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

const frames = (sizes: readonly number[]): Uint8Array =>
  toBinary(FramesSchema, create(FramesSchema, { frames: sizes.map((size) => new Uint8Array(size)) }));

/** The least limit under which all goes through. */
function counted(stream: Uint8Array, pieces: readonly number[]): number {
  for (let most = 0; ; most++) {
    const fields = gauge(most);
    let ok = true;
    for (let at = 0, i = 0; at < stream.length && ok; i++) {
      const size = pieces[i % pieces.length] ?? stream.length;
      ok = fields.push(stream.subarray(at, at + size)) === undefined;
      at += size;
    }
    if (ok) return most;
  }
}

test('counts the fields of the message that has most, whatever pieces it comes in', () => {
  const sizes = fc.array(fc.nat(300), { maxLength: 20 });
  const streams = fc.array(sizes, { minLength: 1, maxLength: 5 });
  const pieces = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(streams, pieces, (messages, by) => {
      const stream = Buffer.concat(messages.map((each) => envelope(frames(each))));
      expect(counted(stream, by)).toBe(Math.max(...messages.map(({ length }) => length)));
    }),
  );
});

test('counts numbers, texts and messages alike', () => {
  const join = create(JoinRequestSchema, { token: 't', certificateRequest: new Uint8Array(9), name: 'n' });
  expect(counted(envelope(toBinary(JoinRequestSchema, join)), [1])).toBe(3);
  const frame = create(FrameBodySchema, { sequence: 300n, author: 'a', writes: [{ kind: 'k', id: 'i' }, {}] });
  expect(counted(envelope(toBinary(FrameBodySchema, frame)), [3])).toBe(4);
  // Fixed 64 and 32 bits wide, and a group.
  const other = Uint8Array.from([0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x15, 1, 2, 3, 4, 0x1b, 0x1c]);
  expect(counted(envelope(other), [2])).toBe(4);
});

test('a message of millions of empty fields is refused after as many as there may be', () => {
  const fields = gauge(100, 2 ** 31);
  expect(fields.push(envelope(frames(new Array(100).fill(0))))).toBeUndefined();
  expect(fields.push(Uint8Array.from([0, 1, 0x80, 0, 0]))).toBeUndefined();
  const many = new Uint8Array(202);
  for (let at = 0; at < many.length; at += 2) many[at] = 0x0a;
  expect(fields.push(many.subarray(0, 200))).toBeUndefined();
  expect(fields.push(many.subarray(200))).toBe('a message has more than 100 fields: split it');
});

test('a message that is announced too large is refused before any of it comes', () => {
  expect(gauge(9, 256).push(Uint8Array.from([0, 0, 0, 1, 0]))).toBeUndefined();
  expect(gauge(9, 256).push(Uint8Array.from([0, 0, 0, 1, 1]))).toBe(
    'a message of 257 bytes is announced, more than 256: split it',
  );
  const high = gauge(9, 256);
  for (const byte of [0, 0xff]) expect(high.push(Uint8Array.of(byte))).toBeUndefined();
  // Said as soon as it is clear, which may be before the last byte of the length.
  expect([0xff, 0xff, 0xff].map((byte) => high.push(Uint8Array.of(byte))).some((fault) => fault !== undefined)).toBe(
    true,
  );
});

test('any bytes are taken without an end or an error', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 5 }), (chunks) => {
      const fields = gauge(1_000);
      for (const chunk of chunks) fields.push(chunk);
    }),
  );
});
