// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { Suspicion } from './suspicion.js';

const bounds = { wanted: 3, minMs: 2000, maxMs: 30_000 };

describe('suspicion', () => {
  it('lasts from its maximum down to its minimum as confirmations come: memberlist, suspicion_test.go', () => {
    const suspicion = new Suspicion('a', bounds, 500);
    const lasts = [suspicion.deadlineMs - 500];
    for (const from of ['b', 'c', 'd']) {
      expect(suspicion.confirm(from)).toBe(true);
      lasts.push(suspicion.deadlineMs - 500);
    }
    expect(lasts).toEqual([30_000, 16_000, 7810, 2000]);
  });

  it('counts no member twice, and not the first accuser', () => {
    const suspicion = new Suspicion('a', bounds, 0);
    expect([suspicion.confirm('a'), suspicion.confirm('b'), suspicion.confirm('b')]).toEqual([false, true, false]);
    expect(suspicion.confirmations).toBe(1);
  });

  it('takes no more confirmations than it wants', () => {
    const suspicion = new Suspicion('a', { ...bounds, wanted: 1 }, 0);
    expect([suspicion.confirm('b'), suspicion.confirm('c')]).toEqual([true, false]);
    expect(suspicion.deadlineMs).toBe(2000);
  });

  it('lasts its minimum when no confirmation is to be expected', () => {
    expect(new Suspicion('a', { ...bounds, wanted: 0 }, 100).deadlineMs).toBe(2100);
    expect(new Suspicion('a', { ...bounds, wanted: -1 }, 100).deadlineMs).toBe(2100);
  });
});
