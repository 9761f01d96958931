// SPDX-License-Identifier: Apache-2.0
import type { SessionTokenSource } from '@marcher/client';
import { afterEach, expect, test, vi } from 'vitest';
import { keepRenewed } from './keep-renewed.js';

afterEach(() => void vi.useRealTimers());

test('a session is asked for while nobody calls, also after it has failed, until it is let go', async () => {
  vi.useFakeTimers();
  let asked = 0;
  const source = async () => {
    asked++;
    throw new Error('the agent is away');
  };
  const letGo = keepRenewed(source as unknown as SessionTokenSource);
  await vi.advanceTimersByTimeAsync(45_000);
  expect(asked).toBe(3);
  letGo();
  await vi.advanceTimersByTimeAsync(45_000);
  expect(asked).toBe(3);
});
