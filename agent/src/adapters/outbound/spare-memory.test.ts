// SPDX-License-Identifier: Apache-2.0
import koffi from 'koffi';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { mallocTrim, watchSpareMemory } from './spare-memory.js';

const MIB = 1 << 20;
const EVERY_MS = 1_000;

describe('memory is given back', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  /** What is resident at each look, the first at the start; the looks at which memory was given back. */
  async function looks(...residentMib: readonly number[]): Promise<number[]> {
    return looksOf(residentMib, () => 0.01);
  }

  async function looksOf(residentMib: readonly number[], busy: (look: number) => number): Promise<number[]> {
    let at = 0;
    let collected = -1;
    const called: number[] = [];
    const watch = watchSpareMemory({
      residentBytes: () => (residentMib[at] as number) * MIB,
      busyShare: () => busy(at),
      collect: () => {
        collected = at;
      },
      giveBack: () => {
        called.push(collected);
        return Promise.reject(new Error('the next look comes all the same'));
      },
      everyMs: EVERY_MS,
    });
    for (at = 1; at < residentMib.length; at++) await vi.advanceTimersByTimeAsync(EVERY_MS);
    watch.stop();
    at = 1;
    await vi.advanceTimersByTimeAsync(1_000 * EVERY_MS);
    return called;
  }

  test('once there is much more than there was, and not for a little', async () => {
    expect(await looks(140, 155, 240, 141, 141)).toEqual([2]);
  });

  test('also when it was tried while a crowd was there, which needed it', async () => {
    expect(await looks(140, 240, 240, 230, 142)).toEqual([1, 3]);
  });

  test('when there is next to nothing to do, and not before', async () => {
    const held = Array<number>(6).fill(240);
    expect(await looksOf([140, ...held], (look) => (look < 4 ? 0.1 : 0.01))).toEqual([4, 6]);
    expect(await looksOf([140, ...held], () => 0.1)).toEqual([]);
  });

  test('after five minutes without such a moment when there is little to do, and never when there is much', async () => {
    const held = Array<number>(50).fill(240);
    expect(await looksOf([140, ...held], () => 0.1)).toEqual([21, 43]);
    expect(await looksOf([140, ...held], () => 0.9)).toEqual([]);
  });

  test('compared with the least that there was, also when that was after the start', async () => {
    expect(await looks(180, 140, 170, 140)).toEqual([2]);
  });

  test('more and more seldom while it is in use, and at once again after that', async () => {
    const tries = await looks(140, ...Array<number>(160).fill(240), 140, 240, 240, 240);
    expect(tries).toEqual([1, 3, 6, 11, 20, 37, 70, 111, 152, 162, 164]);
  });

  test('as soon again after it came to something, though there is no look between one crowd and the next', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    let resident = 140;
    const tries: number[] = [];
    let look = 0;
    const watch = watchSpareMemory({
      residentBytes: () => resident * MIB,
      busyShare: () => 0,
      collect: () => tries.push(look),
      giveBack: async () => {
        resident = 141;
      },
      everyMs: EVERY_MS,
    });
    for (look = 1; look <= 10; look++) {
      resident = 240;
      await vi.advanceTimersByTimeAsync(EVERY_MS);
      // What the look has begun comes to its end.
      await new Promise((resolve) => setImmediate(resolve));
    }
    watch.stop();
    expect(tries).toEqual([1, 3, 5, 7, 9]);
  });

  test('not any more where it has been in use for two hours', async () => {
    const tries = await looks(140, ...Array<number>(1_000).fill(240));
    expect(tries.at(-1)).toBeGreaterThan(240);
    expect(tries.at(-1)).toBeLessThan(480);
  });
});

test('what was freed below something that is in use goes back to the kernel', async () => {
  const BLOCK_BYTES = 64 << 10;
  const BLOCKS = 1_600;
  const program = koffi.load(null);
  const malloc = program.func('malloc', 'void *', ['size_t']);
  const free = program.func('free', 'void', ['void *']);
  const memset = program.func('memset', 'void *', ['void *', 'int', 'size_t']);
  const trim = mallocTrim();
  expect(trim).toBeDefined();
  const blocks = Array.from({ length: BLOCKS }, () => malloc(BLOCK_BYTES) as bigint);
  for (const block of blocks) memset(block, 1, BLOCK_BYTES);
  const last = blocks.pop();
  for (const block of blocks) free(block);
  const before = process.memoryUsage.rss();
  await trim?.();
  const after = process.memoryUsage.rss();
  free(last);
  expect(before - after).toBeGreaterThan((BLOCKS * BLOCK_BYTES) / 2);
});
