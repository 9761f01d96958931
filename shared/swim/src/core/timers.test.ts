// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type Timer, Timers } from './timers.js';

it('timers run in order of time and of setting, and what is cancelled neither runs nor stays', () => {
  const step = fc.oneof(
    fc.record({ set: fc.integer({ min: 0, max: 20 }) }),
    fc.record({ cancel: fc.nat(40) }),
    fc.record({ run: fc.integer({ min: 0, max: 20 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const timers = new Timers();
      const set: { timer: Timer; id: number }[] = [];
      let model: { atMs: number; id: number }[] = [];
      const ran: number[] = [];
      const expected: number[] = [];
      for (const action of steps) {
        if ('set' in action) {
          const id = set.length;
          set.push({ timer: timers.at(action.set, () => ran.push(id)), id });
          model.push({ atMs: action.set, id });
        } else if ('cancel' in action) {
          const entry = set[action.cancel];
          timers.cancel(entry?.timer);
          model = model.filter(({ id }) => id !== entry?.id);
        } else {
          timers.runDue(action.run);
          const due = model.filter(({ atMs }) => atMs <= action.run).sort((a, b) => a.atMs - b.atMs || a.id - b.id);
          expected.push(...due.map(({ id }) => id));
          model = model.filter(({ atMs }) => atMs > action.run);
        }
        expect(timers.size).toBe(model.length);
        expect(timers.nextMs).toBe(Math.min(Number.POSITIVE_INFINITY, ...model.map(({ atMs }) => atMs)));
      }
      expect(ran).toEqual(expected);
    }),
    { numRuns: 200 },
  );
});
