// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { coalesced } from './coalesced.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('a thousand who ask at once cost one run, those who ask during it one more, after a pause', async () => {
  let runs = 0;
  let end = (): void => {};
  const ask = coalesced(() => {
    runs += 1;
    return new Promise((resolve) => {
      end = resolve;
    });
  }, 1_000);
  const first = Array.from({ length: 1_000 }, () => ask());
  await vi.advanceTimersByTimeAsync(0);
  expect(runs).toBe(1);
  const second = Array.from({ length: 1_000 }, () => ask());
  end();
  await Promise.all(first);
  await vi.advanceTimersByTimeAsync(999);
  expect(runs).toBe(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(runs).toBe(2);
  end();
  await Promise.all(second);
});

test('a run that fails is told to who asked for it, and the next goes on', async () => {
  let fails = true;
  const ask = coalesced(async () => {
    if (fails) throw new Error('no');
  }, 10);
  await expect(ask()).rejects.toThrow('no');
  fails = false;
  const again = ask();
  await vi.advanceTimersByTimeAsync(10);
  await again;
});
