// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BroadcastQueue, type Room } from './broadcast-queue.js';

const room = (bytes: number, other: Partial<Room> = {}): Room => ({
  bytes,
  overheadBytes: 2,
  items: 255,
  transmitLimit: 3,
  ...other,
});

describe('queue of broadcasts', () => {
  it('sends what was sent least first, of that the largest that fits, then the newest: memberlist, queue.go', () => {
    const queue = new BroadcastQueue<string>(10);
    queue.push({ item: 'old', bytes: 10 });
    queue.take(room(100));
    queue.push({ item: 'small', bytes: 5 });
    queue.push({ item: 'large', bytes: 20 });
    queue.push({ item: 'small, newer', bytes: 5 });
    expect(queue.take(room(100)).items).toEqual(['large', 'small, newer', 'small', 'old']);
    queue.push({ item: 'large, too', bytes: 20 });
    expect(queue.take(room(12)).items).toEqual(['small, newer']);
  });

  it('sends each item as often as the limit says, and then says that it is done', () => {
    const queue = new BroadcastQueue<string>(10);
    const ends: string[] = [];
    queue.push({ item: 'a', bytes: 1, finished: (end) => ends.push(end) });
    const takes = [1, 2, 3, 4].map(() => queue.take(room(100)).items.length);
    expect([takes, ends, queue.length]).toEqual([[1, 1, 1, 0], ['sent'], 0]);
  });

  it('a newer message about the same member takes the place of the older one', () => {
    const queue = new BroadcastQueue<string>(10);
    const ends: string[] = [];
    queue.push({ item: 'suspect m', bytes: 9, key: 'm', finished: (end) => ends.push(end) });
    queue.take(room(100));
    queue.push({ item: 'alive m', bytes: 7, key: 'm' });
    expect([ends, queue.length, queue.take(room(100)).items]).toEqual([['replaced'], 1, ['alive m']]);
  });

  it('when it is full, what has been sent most often goes, and of that the oldest', () => {
    const queue = new BroadcastQueue<string>(3);
    const ends: string[] = [];
    queue.push({ item: 'sent once', bytes: 5, finished: (end) => ends.push(`once ${end}`) });
    queue.take(room(100));
    queue.push({ item: 'a', bytes: 1 });
    queue.push({ item: 'b', bytes: 1 });
    queue.push({ item: 'c', bytes: 1 });
    expect(ends).toEqual(['once dropped']);
    queue.push({ item: 'd', bytes: 1 });
    expect(queue.take(room(100)).items).toEqual(['d', 'c', 'b']);
  });

  it('gives in that order whatever was pushed and taken before, and however little fits', () => {
    const push = fc.record({ bytes: fc.integer({ min: 1, max: 12 }) });
    const take = fc.record({ room: fc.integer({ min: 0, max: 60 }), items: fc.integer({ min: 1, max: 6 }) });
    fc.assert(
      fc.property(fc.array(fc.oneof(push, take), { maxLength: 40 }), (steps) => {
        const queue = new BroadcastQueue<number>(100);
        let model: { item: number; bytes: number; sent: number }[] = [];
        let item = 0;
        for (const step of steps) {
          if ('bytes' in step) {
            model.push({ item: ++item, bytes: step.bytes, sent: 0 });
            queue.push({ item, bytes: step.bytes });
            continue;
          }
          const expected: number[] = [];
          let free = step.room;
          model.sort((a, b) => a.sent - b.sent || b.bytes - a.bytes || b.item - a.item);
          for (const entry of model) {
            if (expected.length >= step.items || entry.bytes + 2 > free) continue;
            expected.push(entry.item);
            free -= entry.bytes + 2;
            entry.sent++;
          }
          model = model.filter(({ sent }) => sent < 3);
          expect(queue.take(room(step.room, { items: step.items })).items).toEqual(expected);
          expect(queue.length).toBe(model.length);
        }
      }),
    );
  });

  it('never gives more bytes or items than there is room for, and counts each transmission once', () => {
    const push = fc.record({ bytes: fc.integer({ min: 1, max: 60 }), key: fc.option(fc.integer({ min: 0, max: 5 })) });
    const take = fc.record({ room: fc.integer({ min: 0, max: 120 }), items: fc.integer({ min: 1, max: 4 }) });
    fc.assert(
      fc.property(fc.array(fc.oneof(push, take), { maxLength: 60 }), (steps) => {
        const queue = new BroadcastQueue<{ bytes: number; sent: number }>(8);
        for (const step of steps) {
          if ('bytes' in step) {
            const key = step.key === null ? {} : { key: String(step.key) };
            queue.push({ item: { bytes: step.bytes, sent: 0 }, bytes: step.bytes, ...key });
          } else {
            const { items, bytes } = queue.take(room(step.room, { items: step.items }));
            const sum = items.reduce((total, item) => total + item.bytes + 2, 0);
            expect(bytes).toBe(sum);
            expect(sum).toBeLessThanOrEqual(step.room);
            expect(items.length).toBeLessThanOrEqual(step.items);
            expect(new Set(items).size).toBe(items.length);
            for (const item of items) expect(++item.sent).toBeLessThanOrEqual(3);
          }
          expect(queue.length).toBeLessThanOrEqual(8);
        }
      }),
      { numRuns: 200 },
    );
  });
});
