// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ACCOUNT_RULES, SlowDown, type SlowDownRules } from './slow-down.js';

const rules: SlowDownRules = { free: 3, firstMs: 1_000, mostMs: 8_000, forgetMs: 60_000, keysMax: 3 };

describe('slowing down', () => {
  test('some attempts are free, then each doubles the wait up to a limit', () => {
    const slow = new SlowDown(rules);
    let now = 0;
    const waits: number[] = [];
    for (let attempt = 0; attempt < 9; attempt++) {
      now += slow.waitMs('a', now);
      slow.charge('a', now);
      waits.push(slow.waitMs('a', now));
    }
    expect(waits).toEqual([0, 0, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000, 8_000]);
    expect(slow.waitMs('b', now)).toBe(0);
  });

  test('attempts at once are charged before any has failed', () => {
    const slow = new SlowDown(rules);
    for (let i = 0; i < 3; i++) slow.charge('a', 0);
    expect(slow.waitMs('a', 0)).toBe(1_000);
    slow.giveBack('a');
    expect(slow.waitMs('a', 0)).toBe(0);
    slow.charge('a', 0);
    slow.forget('a');
    expect(slow.waitMs('a', 0)).toBe(0);
  });

  test('after a quiet time it begins anew, and a clock that was set back shuts nobody out', () => {
    const slow = new SlowDown(rules);
    for (let i = 0; i < 9; i++) slow.charge('a', 100_000);
    expect(slow.waitMs('a', 159_999)).toBe(0);
    slow.charge('a', 159_999);
    expect(slow.waitMs('a', 160_000)).toBe(7_999);
    expect(slow.waitMs('a', 219_999)).toBe(0);
    expect(slow.waitMs('a', 50_000)).toBe(0);
  });

  test('so many are remembered, those that failed last', () => {
    const slow = new SlowDown(rules);
    for (const key of ['a', 'b', 'c', 'd', 'e']) for (let i = 0; i < 4; i++) slow.charge(key, 0);
    expect(['a', 'b', 'c', 'd', 'e'].map((key) => slow.waitMs(key, 0) > 0)).toEqual([false, false, true, true, true]);
  });

  test('an account is guessed at most about a hundred times a day, however it is tried', () => {
    const dayMs = 86_400_000;
    fc.assert(
      // So many as fast as they are let, then a pause, over ten days.
      fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 0, max: dayMs }), (burst, pauseMs) => {
        const slow = new SlowDown(ACCOUNT_RULES);
        let tried = 0;
        for (let now = 0; now < 10 * dayMs; now += pauseMs) {
          for (let i = 0; i < burst; i++) {
            now += slow.waitMs('a', now);
            slow.charge('a', now);
            tried++;
          }
        }
        expect(tried / 10).toBeLessThan(112);
      }),
      { numRuns: 200 },
    );
  });
});
