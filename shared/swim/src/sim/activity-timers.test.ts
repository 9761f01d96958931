// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { ActivityTimers } from './activity-timers.js';

describe('timers by activity', () => {
  it('what is due of an activity that waits runs when it goes on, in its order; everything else in time', () => {
    const ran: string[] = [];
    const timers = new ActivityTimers();
    timers.at(1, () => ran.push('probe 1'), 'probe');
    timers.at(2, () => ran.push('gossip 2'), 'gossip');
    timers.at(3, () => ran.push('other 3'));
    timers.at(4, () => ran.push('probe 4'), 'probe');
    timers.at(9, () => ran.push('probe 9'), 'probe');
    timers.wait('probe');
    timers.runDue(5);
    expect(ran).toEqual(['gossip 2', 'other 3']);
    timers.goOn(5);
    expect(timers.nextMs).toBe(5);
    timers.runDue(5);
    expect(ran.slice(2)).toEqual(['probe 1', 'probe 4']);
    timers.runDue(9);
    expect(ran.slice(4)).toEqual(['probe 9']);
  });

  it('an activity may begin to wait in the midst of what is due', () => {
    const ran: string[] = [];
    const timers = new ActivityTimers();
    timers.at(1, () => timers.wait('gossip'), 'gossip');
    timers.at(1, () => ran.push('gossip'), 'gossip');
    timers.at(1, () => ran.push('probe'), 'probe');
    timers.runDue(1);
    expect(ran).toEqual(['probe']);
  });
});
