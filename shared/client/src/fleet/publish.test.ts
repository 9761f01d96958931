// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { SimulatedClock } from '../testing/simulated-clock.js';
import { Publisher } from './publish.js';

/** When states were published, of touches each 50 ms, where each state is so much work. */
async function published(workMs: number, urgentAt: readonly number[] = []): Promise<readonly number[]> {
  const clock = new SimulatedClock(1);
  const beganMs = clock.nowMs();
  let workedMs = 0;
  const ambient = { ...clock, nowMs: () => clock.nowMs() + workedMs, after: clock.after.bind(clock), random: () => 0 };
  const times: number[] = [];
  const publisher = new Publisher(ambient as never, 500, () => {
    times.push(clock.nowMs() - beganMs);
    workedMs += workMs;
  });
  for (let atMs = 0; atMs < 5_000; atMs += 50) {
    publisher.touch(urgentAt.includes(atMs));
    await clock.advance(50);
  }
  publisher.close();
  return times;
}

test('states are an interval apart', async () => {
  const times = await published(1);
  expect(times.length).toBeGreaterThanOrEqual(9);
  expect(times.length).toBeLessThanOrEqual(11);
});

test('one that was much work has a pause after it, of 2 s at most', async () => {
  const [first = 0, second = 0] = await published(100);
  expect(second - first).toBeGreaterThanOrEqual(700);
  const slow = await published(1_000);
  expect((slow[1] ?? 0) - (slow[0] ?? 0)).toBeLessThanOrEqual(2_100);
});

test('what is urgent does not wait for the pause', async () => {
  const times = await published(100, [400]);
  expect(times.some((ms) => ms >= 400 && ms <= 500)).toBe(true);
});
