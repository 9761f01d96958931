// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { nackAfterMs, pushPullIntervalMs, retransmitLimit, suspicionTimeoutMs } from './scaling.js';
import { lan, local, wan } from './tuning.js';

describe('what grows with the cluster: memberlist, util_test.go', () => {
  it('a suspicion lasts multiplier × log10 n probe intervals, and not less than for ten members', () => {
    expect([5, 10, 50, 100, 500, 1000].map((members) => suspicionTimeoutMs(3, members, 1000))).toEqual([
      3000, 3000, 5094, 6000, 8094, 9000,
    ]);
  });

  it('a message is passed on multiplier × ceil(log10(n + 1)) times', () => {
    expect([0, 1, 9, 10, 99, 1000].map((members) => retransmitLimit(3, members))).toEqual([0, 3, 3, 6, 6, 12]);
  });

  it('states are exchanged at the interval up to 32 members, at twice that up to 64, at three times up to 128', () => {
    expect([0, 32, 33, 64, 65, 128, 129].map((members) => pushPullIntervalMs(1000, members))).toEqual([
      1000, 1000, 2000, 2000, 3000, 3000, 4000,
    ]);
  });

  it('a nack comes at 80 % of the timeout, and before the probe that asked for it has ended, in each preset', () => {
    expect([lan, wan, local].map((tuning) => nackAfterMs(tuning.probeTimeoutMs, tuning.probeIntervalMs))).toEqual([
      400, 1600, 160,
    ]);
  });
});
