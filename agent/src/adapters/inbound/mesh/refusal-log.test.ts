// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { RefusalLog } from './refusal-log.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function lines(): { readonly log: RefusalLog; readonly seen: object[] } {
  const seen: object[] = [];
  const silent = (): void => {};
  const log = new RefusalLog({
    debug: silent,
    info: silent,
    warn: (fields) => void seen.push(fields),
    error: silent,
  });
  return { log, seen };
}

test('the first of a kind is written at once, then one line per second with how many it stands for', () => {
  const { log, seen } = lines();
  for (let at = 0; at < 1_000; at++) log.note('handshake', { reason: `r${at}`, from: '192.0.2.1' });
  log.note('join', { reason: 'used', from: '192.0.2.2' });
  expect(seen).toMatchObject([
    { refusal: 'handshake', reason: 'r0', count: 1 },
    { refusal: 'join', reason: 'used', count: 1 },
  ]);
  vi.advanceTimersByTime(1_000);
  expect(seen.slice(2)).toMatchObject([{ refusal: 'handshake', reason: 'r999', from: '192.0.2.1', count: 999 }]);
  log.note('handshake', { reason: 'again', from: '192.0.2.1' });
  expect(seen).toHaveLength(3);
  vi.advanceTimersByTime(1_000);
  expect(seen[3]).toMatchObject({ reason: 'again', count: 1 });
  vi.advanceTimersByTime(10_000);
  expect(seen).toHaveLength(4);
  expect(log.counts.get('handshake')).toBe(1_001);
});

test('what was not written yet is when it is closed', () => {
  const { log, seen } = lines();
  for (let at = 0; at < 3; at++) log.note('expired', { reason: 'its certificate', from: '' });
  log.close();
  expect(seen).toMatchObject([{ count: 1 }, { count: 2 }]);
  expect(vi.getTimerCount()).toBe(0);
});
