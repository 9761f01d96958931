// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { COUNTER_MAX, compare, HybridClock, MS_MAX, NODE_MAX, pack, type Timestamp, unpack } from './index.js';

const time: fc.Arbitrary<Timestamp> = fc.record({
  // Small values make ties, whose order is what matters.
  ms: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: MS_MAX })),
  counter: fc.oneof(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: COUNTER_MAX })),
  node: fc.oneof(fc.bigInt({ min: 0n, max: 2n }), fc.bigInt({ min: 0n, max: NODE_MAX })),
});

test('packed times sort bytewise as they compare, and come back', () => {
  fc.assert(
    fc.property(time, time, (a, b) => {
      expect(unpack(pack(a))).toEqual(a);
      expect(Math.sign(Buffer.compare(pack(a), pack(b)))).toBe(Math.sign(compare(a, b)));
    }),
  );
});

test('the order is total', () => {
  fc.assert(
    fc.property(time, time, time, (a, b, c) => {
      expect(Math.sign(compare(a, b))).toBe(0 - Math.sign(compare(b, a)));
      expect(compare(a, b) === 0).toBe(a.ms === b.ms && a.counter === b.counter && a.node === b.node);
      const [x, y, z] = [a, b, c].sort(compare) as [Timestamp, Timestamp, Timestamp];
      expect(compare(x, y)).toBeLessThanOrEqual(0);
      expect(compare(y, z)).toBeLessThanOrEqual(0);
      expect(compare(x, z)).toBeLessThanOrEqual(0);
    }),
  );
});

test('what has no place in 16 bytes is refused', () => {
  expect(() => pack({ ms: MS_MAX + 1, counter: 0, node: 0n })).toThrow('ms of a timestamp');
  expect(() => pack({ ms: 0.5, counter: 0, node: 0n })).toThrow('ms of a timestamp');
  expect(() => pack({ ms: 0, counter: COUNTER_MAX + 1, node: 0n })).toThrow('counter of a timestamp');
  expect(() => pack({ ms: 0, counter: 0, node: NODE_MAX + 1n })).toThrow('node of a timestamp');
  expect(() => unpack(new Uint8Array(15))).toThrow('15 bytes');
  expect(() => new HybridClock({ node: -1n, wallMs: () => 0, aheadMaxMs: 0 })).toThrow('node of a clock');
});

test('time only grows, whatever the machine and the others say, and follows what was received', () => {
  const step = fc.oneof(
    fc.record({ wall: fc.integer({ min: -2000, max: 2000 }) }),
    fc.record({ remote: fc.record({ ahead: fc.integer({ min: -1500, max: 1500 }), counter: fc.nat(COUNTER_MAX) }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
      let wall = 1_000_000;
      const clock = new HybridClock({ node: 5n, wallMs: () => wall, aheadMaxMs: 500 });
      let last = clock.tick();
      let received = last;
      for (const next of steps) {
        if ('wall' in next) wall += next.wall;
        else {
          const remote = { ms: wall + next.remote.ahead, counter: next.remote.counter, node: 9n };
          const before = clock.last;
          const answer = clock.receive(remote);
          expect(answer.accepted).toBe(next.remote.ahead <= 500);
          if (answer.accepted) received = remote;
          else expect(clock.last).toEqual(before);
        }
        const now = clock.tick();
        expect(compare(now, last)).toBeGreaterThan(0);
        expect(compare(now, received)).toBeGreaterThan(0);
        expect(now.node).toBe(5n);
        last = now;
      }
    }),
  );
});

test('a counter that is used up takes the next millisecond', () => {
  const last = { ms: 1000, counter: COUNTER_MAX, node: 9n };
  const clock = new HybridClock({ node: 1n, wallMs: () => 1000, aheadMaxMs: 0, last });
  expect(clock.tick()).toEqual({ ms: 1001, counter: 0, node: 1n });
  expect(clock.aheadMs()).toBe(1);
  const end = { ms: MS_MAX, counter: COUNTER_MAX, node: 1n };
  expect(() => new HybridClock({ node: 1n, wallMs: () => 0, aheadMaxMs: 0, last: end }).tick()).toThrow('used up');
});

test('a remote time at the bound is taken, one beyond is refused and does not move the clock', () => {
  const clock = new HybridClock({ node: 1n, wallMs: () => 1000, aheadMaxMs: 500 });
  expect(clock.receive({ ms: 1501, counter: 0, node: 2n })).toEqual({ accepted: false, aheadMs: 501 });
  expect(clock.tick()).toEqual({ ms: 1000, counter: 0, node: 1n });
  expect(clock.receive({ ms: 1500, counter: 7, node: 2n })).toEqual({ accepted: true });
  expect(clock.tick()).toEqual({ ms: 1500, counter: 8, node: 1n });
});

test('over a restart with the machine set back, time goes on from the last', () => {
  let wall = 5000;
  const before = new HybridClock({ node: 1n, wallMs: () => wall, aheadMaxMs: 0 });
  const given = before.tick();
  wall = 10;
  const after = new HybridClock({ node: 1n, wallMs: () => wall, aheadMaxMs: 0, last: before.last });
  expect(compare(after.tick(), given)).toBeGreaterThan(0);
  expect(after.aheadMs()).toBe(4990);
});

test('a machine without a time counts as 1970', () => {
  const clock = new HybridClock({ node: 1n, wallMs: () => Number.NaN, aheadMaxMs: 0 });
  expect(clock.tick()).toEqual({ ms: 0, counter: 1, node: 1n });
});
