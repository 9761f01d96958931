// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { EventLines, type GossipEvent } from './event-lines.js';

let told: GossipEvent[];
let lines: EventLines;

beforeEach(() => {
  vi.useFakeTimers();
  told = [];
  lines = new EventLines((event) => told.push(event));
});
afterEach(() => void vi.useRealTimers());

describe('lines of gossip', () => {
  it('tell the first at once, and what follows within a second as one', () => {
    for (let i = 0; i < 1_000; i++) lines.add({ kind: 'joined', about: `node ${i}`, detail: `at ${i}` });
    expect(told).toEqual([{ kind: 'joined', about: ['node 0'], count: 1, detail: 'at 0' }]);
    vi.advanceTimersByTime(999);
    expect(told.length).toBe(1);
    vi.advanceTimersByTime(1);
    expect(told[1]).toMatchObject({ count: 999, detail: 'at 999' });
    expect(told[1]?.about).toEqual(Array.from({ length: 8 }, (_, i) => `node ${i + 1}`));
  });

  it('are at most one a second under a flood, and lose no count', () => {
    for (let ms = 0; ms < 10_000; ms += 10) {
      lines.add({ kind: 'refused', about: 'x', reason: 'no-key-opens', count: 3 });
      vi.advanceTimersByTime(10);
    }
    lines.close();
    expect(told.length).toBeLessThanOrEqual(11);
    expect(told.reduce((sum, { count }) => sum + count, 0)).toBe(3_000);
  });

  it('keep kinds, and reasons of refusals, apart', () => {
    lines.add({ kind: 'dead', about: 'a' });
    lines.add({ kind: 'refused', about: 'b', reason: 'wrong-label' });
    lines.add({ kind: 'refused', about: 'b', reason: 'no-key-opens' });
    expect(told.length).toBe(3);
  });

  it('tell what waits when they are closed, and bound what others named', () => {
    lines.add({ kind: 'left', about: 'a' });
    lines.add({ kind: 'left', about: 'b'.repeat(10_000) });
    lines.close();
    expect(told[1]?.about[0]?.length).toBe(257);
    vi.advanceTimersByTime(5_000);
    expect(told.length).toBe(2);
  });
});
