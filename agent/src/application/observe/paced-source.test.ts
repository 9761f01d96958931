// SPDX-License-Identifier: Apache-2.0
import { beforeEach, expect, test } from 'vitest';
import { PacedSource } from './paced-source.js';

let nowMs: number;
let looks: number;
/** By hand, and no pause: what the test itself takes of a busy machine is not to count. */
const byHand = { nowMs: () => nowMs, rest: 0 };

beforeEach(() => {
  nowMs = 0;
  looks = 0;
});

const counting = async (): Promise<void> => {
  looks++;
};

test('is looked at by whoever wants it newer than it was seen', async () => {
  const source = new PacedSource(counting, byHand);
  await source.fresh(500);
  nowMs = 300;
  await source.fresh(500);
  expect(looks).toBe(1);
  await source.fresh(200);
  expect(looks).toBe(2);
});

test('who asks while it is being looked at takes what is seen then', async () => {
  let finish: () => void = () => undefined;
  const source = new PacedSource(async () => {
    looks++;
    await new Promise<void>((resolve) => {
      finish = resolve;
    });
  }, byHand);
  const asked = [source.fresh(0), source.fresh(0)];
  finish();
  await Promise.all(asked);
  expect(looks).toBe(1);
});

test('is not looked at more often than it is worth', async () => {
  const source = new PacedSource(counting, { ...byHand, leastMs: 1_000 });
  for (nowMs = 0; nowMs < 10_000; nowMs += 100) await source.fresh(100);
  expect(looks).toBe(10);
});

test('what is much work has a pause after it', async () => {
  const source = new PacedSource(
    async () => {
      looks++;
      nowMs += 10;
    },
    { nowMs: () => nowMs },
  );
  await source.fresh(100);
  nowMs = 199;
  await source.fresh(100);
  expect(looks).toBe(1);
  nowMs = 1e9;
  await source.fresh(100);
  expect(looks).toBe(2);
});

test('a failure is its asker’s, and the next one looks again', async () => {
  const source = new PacedSource(async () => {
    if (looks++ === 0) throw new Error('broken');
  }, byHand);
  await expect(source.fresh(100)).rejects.toThrow('broken');
  nowMs = 100;
  await source.fresh(100);
  expect(looks).toBe(2);
});
