// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { EventQueue } from './event-queue.js';

it('events come in order of time, and of adding within one instant', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 9 })), fc.nat(20), (times, early) => {
      const queue = new EventQueue<number>();
      const taken: number[] = [];
      const at = new Map(times.map((atMs, id) => [id, atMs]));
      times.forEach((atMs, id) => {
        queue.add(atMs, id);
      });
      while (queue.size > 0) taken.push(queue.take());
      const sorted = [...at].sort((a, b) => a[1] - b[1] || a[0] - b[0]).map(([id]) => id);
      expect(taken).toEqual(sorted);
      expect(queue.nextMs).toBe(Number.POSITIVE_INFINITY);
      queue.add(early, 1);
      expect(queue.nextMs).toBe(early);
    }),
    { numRuns: 100 },
  );
});
