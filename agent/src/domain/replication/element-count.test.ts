// SPDX-License-Identifier: Apache-2.0
import { create, toBinary } from '@bufbuild/protobuf';
import { ReplicaMessageSchema } from '@marcher/proto/marcher/mesh/v1/replication_pb';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { elementsOf } from './element-count.js';
import { decodeMessage, encodeMessage } from './message-codec.js';

const elements = (bytes: Uint8Array, most = 1_000_000): number => elementsOf(ReplicaMessageSchema, bytes, most);

/** Field 3, length-delimited, of `count` empty fields 1. */
function nothings(field: number, count: number): Uint8Array {
  const inner = new Uint8Array(2 * count);
  for (let at = 0; at < inner.length; at += 2) inner[at] = 0x0a;
  const head: number[] = [field * 8 + 2];
  for (let length = inner.length; ; length >>>= 7) {
    head.push(length > 127 ? (length & 127) | 128 : length);
    if (length <= 127) break;
  }
  return Uint8Array.from([...head, ...inner]);
}

test('counts the fields of a message, of those within it, and numbers in lists', () => {
  const heads = [1n, 2n, 3n].map((sequence) => ({ origin: new Uint8Array(14), sequence }));
  const have = toBinary(
    ReplicaMessageSchema,
    create(ReplicaMessageSchema, { message: { case: 'have', value: { heads } } }),
  );
  expect(elements(have)).toBe(1 + 3 * 3);
  const push = toBinary(
    ReplicaMessageSchema,
    create(ReplicaMessageSchema, { message: { case: 'push', value: { frame: new Uint8Array(1_000).fill(0x0a) } } }),
  );
  expect(elements(push)).toBe(2);
  // Unknown ones are kept by who decodes them, and so cost as much.
  expect(elements(Uint8Array.from([0xba, 0x3e, 2, 0x0a, 0, 0xb8, 0x3e, 1]))).toBe(2);
});

test('stops where there are more than there may be', () => {
  expect(elements(nothings(3, 100_000), 1_000)).toBe(1_001);
});

test('never counts less than there is, whatever the bytes are, or says that they are no message', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      let count: number;
      try {
        count = elements(bytes);
      } catch {
        return;
      }
      expect(count).toBeGreaterThanOrEqual(bytes.length === 0 ? 0 : 1);
      expect(count).toBeLessThanOrEqual(2 * bytes.length);
    }),
  );
});

test.each([3, 7, 9])('a message of millions of nothings is no message, at once (field %i)', (field) => {
  expect(decodeMessage(nothings(field, 2_000_000))).toEqual({
    fault: 'not a message: more than 1000000 fields in 4000005 bytes',
  });
});

test('what has more of a kind than there can be is no message', () => {
  const frames = new Array<Uint8Array>(16_385).fill(new Uint8Array());
  expect(decodeMessage(encodeMessage({ type: 'frames', id: 1, frames, compacted: [] }))).toEqual({
    fault: 'not a message: 16385 frames, more than 16384',
  });
  expect(decodeMessage(nothings(3, 65_537))).toEqual({ fault: 'not a message: 65537 origins, more than 65536' });
});
