// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Message } from '../../../domain/replication/contract.js';
import { encodeMessage } from '../../../domain/replication/message-codec.js';
import { ReplicaReader } from '../../inbound/mesh/replica-reader.js';
import { BATCH_BYTES, ReplicaSender, WINDOW_BYTES } from './replica-sender.js';
import { MESSAGE_MAX_BYTES } from './replica-wire.js';

const ANSWER = new Uint8Array(4);
const push = (bytes: number): Message => ({ type: 'push', frame: new Uint8Array(bytes) });

/** A sender that the other end has taken. */
function senderOf(messages: Message[]): ReplicaSender {
  const sender = new ReplicaSender(() => messages.shift());
  expect(sender.heard(ANSWER)).toBeUndefined();
  return sender;
}

/** What is written until there is nothing more to write, now. */
function writes(sender: ReplicaSender): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let piece = sender.next(); piece !== undefined; piece = sender.next()) pieces.push(piece);
  return pieces;
}

test('what it writes is what it took, in turn, in writes of a bounded size, when each question is answered', () => {
  const sizes = fc.oneof({ arbitrary: fc.nat(2_000), weight: 4 }, fc.nat(3 * BATCH_BYTES));
  fc.assert(
    fc.property(fc.array(sizes, { maxLength: 40 }), (all) => {
      const waiting = all.map(push);
      const expected = waiting.map((message) => encodeMessage(message).length);
      const sender = senderOf(waiting);
      const reader = new ReplicaReader(MESSAGE_MAX_BYTES);
      const got: number[] = [];
      for (let piece = sender.next(); piece !== undefined; piece = sender.next()) {
        expect(piece.length).toBeLessThanOrEqual(BATCH_BYTES);
        reader.push(piece);
        for (let message = reader.next(); message !== undefined; message = reader.next()) {
          if (message.length > 0) got.push(message.length);
          else expect(sender.heard(ANSWER)).toBeUndefined();
        }
      }
      expect(got).toEqual(expected);
      expect([sender.midway, sender.full, sender.asks]).toEqual([false, false, false]);
    }),
    { numRuns: 40 },
  );
});

test('one message is one write, and no more is taken than makes one', () => {
  const waiting = [push(100)];
  const sender = senderOf(waiting);
  expect(writes(sender)).toHaveLength(1);
  waiting.push(...Array.from({ length: 100 }, () => push(10_000)));
  sender.next();
  expect(waiting.length).toBeGreaterThan(90);
});

test('without answers no message is begun after the window, with one as much as it vouches for', () => {
  const waiting = Array.from({ length: 5_000 }, () => push(1_000));
  const sender = senderOf(waiting);
  const sent = writes(sender).reduce((sum, { length }) => sum + length, 0);
  expect(sent).toBeGreaterThanOrEqual(WINDOW_BYTES);
  expect(sent).toBeLessThan(WINDOW_BYTES + 2 * BATCH_BYTES);
  expect(sender.full).toBe(true);
  sender.heard(ANSWER);
  const more = writes(sender).reduce((sum, { length }) => sum + length, 0);
  expect(more).toBeGreaterThan(BATCH_BYTES / 2);
  expect(more).toBeLessThan(3 * BATCH_BYTES);
});

test('a question goes out when it is asked for, behind a message that is on its way', () => {
  const sender = senderOf([push(2 * BATCH_BYTES)]);
  sender.next();
  expect(sender.midway).toBe(true);
  sender.ask();
  const rest = Buffer.concat(writes(sender));
  // One for so many bytes, and the one that was asked for.
  expect(rest.subarray(-8)).toEqual(Buffer.alloc(8));
  expect(sender.asks).toBe(true);
  for (const answers of [1, 2]) {
    expect(sender.asks, `${answers}`).toBe(true);
    expect(sender.heard(ANSWER)).toBeUndefined();
  }
  expect(sender.asks).toBe(false);
});

test('answers may come in pieces; what is none, and what was not asked for, is a fault', () => {
  const sender = new ReplicaSender(() => undefined);
  expect(sender.heard(new Uint8Array(3))).toBeUndefined();
  expect(sender.taken).toBe(false);
  expect(sender.heard(new Uint8Array(1))).toBeUndefined();
  expect(sender.taken).toBe(true);
  expect(sender.heard(new Uint8Array(4))).toBe('it answers what it was not asked');
  expect(new ReplicaSender(() => undefined).heard(Buffer.from('HTTP'))).toContain('no answer');
});
