// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { BAD_MS, GOOD, HOLD_MAX_MS, HOLD_MS, judge, type TierHealth, TRIAL_MS } from './tier-health.js';

/** Feeds rates per second for so many seconds, one sample each; the tier after each second: '+' carries, '-' is demoted. */
function run(...spans: readonly (readonly [seconds: number, forwarded: number, failed: number])[]) {
  let health: TierHealth = GOOD;
  let [ms, forwarded, failed] = [0, 0n, 0n];
  let seen = '';
  for (const [seconds, forwardedRate, failedRate] of spans) {
    for (let i = 0; i < seconds; i++) {
      health = judge(health, { ms, forwarded, failed, cause: 'no-neighbour' });
      seen += health.demotion === undefined ? '+' : '-';
      ms += 1_000;
      forwarded += BigInt(forwardedRate);
      failed += BigInt(failedRate);
    }
  }
  return { seen, health };
}

/** "+5-60": so long in each tier. */
function lengths(seen: string): string {
  return seen.replaceAll(/(.)\1*/g, (run, sign: string) => `${sign}${run.length}`);
}

describe('a packet tier over time', () => {
  test.each([
    ['carries what can be sent on', [[60, 1000, 0]], '+60'],
    ['carries on when little fails, for however long', [[120, 1000, 100]], '+120'],
    ['carries on when few fail, though all do', [[120, 0, 3]], '+120'],
    [
      'carries on when a burst fails',
      [
        [20, 1000, 0],
        [3, 0, 1000],
        [30, 1000, 0],
      ],
      '+53',
    ],
    [
      'is demoted when a large share fails for 6 s',
      [
        [20, 1000, 0],
        [30, 700, 300],
      ],
      '+26-24',
    ],
    ['is demoted when all fails', [[30, 0, 100]], '+6-24'],
    [
      'is tried again after a minute',
      [
        [10, 0, 100],
        [70, 0, 0],
      ],
      '+6-60+14',
    ],
    [
      'is demoted for twice as long when the trial fails',
      [
        [140, 0, 100],
        [120, 0, 100],
      ],
      '+6-60+6-120+6-62',
    ],
    [
      'is demoted for a minute again when it did well since',
      [
        [66, 0, 100],
        [310, 1000, 0],
        [40, 0, 1000],
      ],
      '+6-60+315-35',
    ],
  ] as const)('%s', (_, spans, expected) => {
    const { seen } = run(...spans);
    expect(lengths(seen)).toBe(expected);
  });

  test('says how much failed, and by what', () => {
    expect(run([12, 50, 50]).health.demotion).toEqual({
      sinceMs: BAD_MS,
      untilMs: BAD_MS + HOLD_MS,
      reason: '300 of 600 packets in 6 s could not be sent on (mostly no-neighbour)',
    });
  });

  test('is tried at least every half an hour', () => {
    const { health } = run([20_000, 0, 100]);
    expect(health.holdMs).toBe(HOLD_MAX_MS);
    expect(TRIAL_MS).toBeGreaterThan(BAD_MS);
  });

  test('is not judged by counters that begin anew, nor by a clock that was set back', () => {
    const good = judge(judge(GOOD, { ms: 0, forwarded: 0n, failed: 900n, cause: '' }), {
      ms: 1_000,
      forwarded: 0n,
      failed: 0n,
      cause: '',
    });
    expect(good.samples).toHaveLength(1);
    expect(good.bad).toBeUndefined();
    const back = judge(good, { ms: 500, forwarded: 0n, failed: 1_000n, cause: '' });
    expect(back.samples).toHaveLength(1);
    expect(back.bad).toBeUndefined();
  });
});
