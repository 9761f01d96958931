// SPDX-License-Identifier: Apache-2.0
import { hash as sha } from 'node:crypto';
import { expect, test } from 'vitest';
import { runHistory } from './history.js';

const hash = (bytes: Uint8Array): Uint8Array => sha('sha256', bytes, 'buffer');

test('short histories', () => {
  const from = Number(process.env['SIM_SEED'] ?? 1);
  const count = Number(process.env['SIM_COUNT'] ?? 50);
  const events: Record<string, number> = {};
  let failed = 0;
  for (let seed = from; seed < from + count; seed++) {
    const result = runHistory({ seed, nodes: 3, hash });
    for (const [k, v] of Object.entries(result.events)) events[k] = (events[k] ?? 0) + v;
    if (result.faults.length > 0 && failed++ < 3) console.log('seed', seed, result);
  }
  console.log(failed, events);
  expect(failed).toBe(0);
});
