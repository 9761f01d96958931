// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { AttemptLimit } from './attempt-limit.js';

const rules = { perSource: { burst: 3, everyMs: 1_000 }, total: { burst: 5, everyMs: 100 }, sourcesMax: 4 };

function admitted(limit: AttemptLimit, source: string, nowMs: number): boolean {
  return limit.admit(source, nowMs).admitted;
}

describe('the limit of attempts', () => {
  it('lets a burst through, then one per interval, and says when to come again', () => {
    const limit = new AttemptLimit(rules);
    expect([0, 0, 0, 0].map((ms) => admitted(limit, 'a', ms))).toEqual([true, true, true, false]);
    expect(limit.admit('a', 400)).toEqual({ admitted: false, retryAfterMs: 600 });
    expect([1_000, 1_000, 2_000].map((ms) => admitted(limit, 'a', ms))).toEqual([true, false, true]);
  });

  it('gives the whole burst again after quiet, and no more', () => {
    const limit = new AttemptLimit(rules);
    for (let at = 0; at < 3; at++) admitted(limit, 'a', 0);
    expect(Array.from({ length: 4 }, () => admitted(limit, 'a', 60_000))).toEqual([true, true, true, false]);
  });

  it('bounds all sources together', () => {
    const limit = new AttemptLimit(rules);
    const outcome = ['a', 'a', 'b', 'b', 'c', 'c'].map((source) => admitted(limit, source, 0));
    expect(outcome).toEqual([true, true, true, true, true, false]);
    expect(admitted(limit, 'c', 100)).toBe(true);
  });

  it('has room for so many sources, and takes new ones when old ones have been quiet', () => {
    const limit = new AttemptLimit(rules);
    for (const [at, source] of ['a', 'b', 'c', 'd'].entries()) expect(admitted(limit, source, at * 200)).toBe(true);
    expect(admitted(limit, 'e', 900)).toBe(false);
    expect(admitted(limit, 'd', 900)).toBe(true);
    expect(admitted(limit, 'e', 1_001)).toBe(true);
  });

  it('shuts nobody out when the clock is set back, and limits them by it', () => {
    const limit = new AttemptLimit(rules);
    for (let at = 0; at < 4; at++) admitted(limit, 'a', 10_000_000);
    expect([0, 0, 0, 0].map((ms) => admitted(limit, 'a', ms))).toEqual([true, true, true, false]);
  });
});
