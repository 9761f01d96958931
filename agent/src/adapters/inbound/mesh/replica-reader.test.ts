// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { written } from '../../outbound/mesh/testing/replica-caller.js';
import { ReplicaReader } from './replica-reader.js';

const MAX_BYTES = 10_000;

function read(reader: ReplicaReader, chunk: Uint8Array): Uint8Array[] {
  reader.push(chunk);
  const messages: Uint8Array[] = [];
  for (let message = reader.next(); message !== undefined; message = reader.next()) messages.push(message);
  return messages;
}

const hex = (messages: readonly Uint8Array[]): string[] => messages.map((bytes) => Buffer.from(bytes).toString('hex'));

test('gives the same messages and questions whatever pieces they come in', () => {
  const sizes = fc.oneof({ arbitrary: fc.nat(20), weight: 4 }, fc.nat(MAX_BYTES));
  const messages = fc.array(
    fc.tuple(sizes, fc.nat(255)).map(([size, byte]) => new Uint8Array(size).map((_, at) => byte + at)),
    { maxLength: 12 },
  );
  const pieces = fc.array(fc.integer({ min: 1, max: 3_000 }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(messages, fc.oneof(pieces, fc.constant([1])), (sent, by) => {
      const reader = new ReplicaReader(MAX_BYTES);
      const stream = written(...sent);
      const got: Uint8Array[] = [];
      for (let at = 0, i = 0; at < stream.length; i++) {
        const size = by[i % by.length] ?? 1;
        got.push(...read(reader, stream.subarray(at, at + size)));
        at += size;
      }
      expect(hex(got)).toEqual(hex(sent));
      expect(reader.fault).toBeUndefined();
    }),
    { numRuns: 60 },
  );
});

test('a message that lies whole in a chunk is not copied, and what is sliced of it is', () => {
  const chunk = written(Uint8Array.of(1, 2, 3));
  const [message] = read(new ReplicaReader(MAX_BYTES), chunk);
  expect(message?.buffer).toBe(chunk.buffer);
  expect(message?.slice().buffer).not.toBe(chunk.buffer);
});

test('room is made for what has come, not for what is announced', () => {
  const announced = Buffer.alloc(4);
  announced.writeUInt32BE(16 * 1024 * 1024);
  const before = process.memoryUsage().arrayBuffers;
  const readers = Array.from({ length: 50 }, () => new ReplicaReader(2 ** 31));
  for (const reader of readers) for (let i = 0; i < 10; i++) read(reader, i === 0 ? announced : Buffer.of(i));
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 * 1024 * 1024);
  expect(readers.every(({ fault }) => fault === undefined)).toBe(true);
});

test('a message that is announced too large is a fault before any of it comes, and nothing after it is read', () => {
  const reader = new ReplicaReader(MAX_BYTES);
  const largest = new Uint8Array(MAX_BYTES);
  expect(read(reader, written(largest))).toHaveLength(1);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(MAX_BYTES + 1);
  expect(read(reader, Buffer.concat([written(Uint8Array.of(7)), head]))).toEqual([Uint8Array.of(7)]);
  expect(reader.fault).toBe(`a message of ${MAX_BYTES + 1} bytes is announced, more than ${MAX_BYTES}: split it`);
  expect(read(reader, written(Uint8Array.of(7)))).toEqual([]);
  const high = new ReplicaReader(MAX_BYTES);
  read(high, Buffer.alloc(4, 0xff));
  expect(high.fault).toContain('4294967295 bytes');
});
