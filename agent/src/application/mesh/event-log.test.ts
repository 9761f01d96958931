// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { ReplicaEvent } from '../../domain/replication/contract.js';
import { EventLog } from './event-log.js';

let lines: object[];
let log: EventLog;

beforeEach(() => {
  vi.useFakeTimers();
  lines = [];
  const say = (fields: object, message: string): void => void lines.push({ ...fields, message });
  log = new EventLog({ info: say, warn: say, error: say });
});

afterEach(() => vi.useRealTimers());

const refused = (reason: string): Extract<ReplicaEvent, { type: 'refused' }> => ({ type: 'refused', from: 2n, reason });

test('a node that sends nothing but nonsense costs a line a second, and none of it goes uncounted', () => {
  for (let second = 0; second < 3; second++) {
    for (let i = 0; i < 1_000; i++) log.say(refused(`nonsense ${second} ${i}`));
    vi.advanceTimersByTime(1_000);
  }
  log.close();
  expect(lines).toHaveLength(4);
  expect(lines[0]).toMatchObject({ from: '0000000000000002', reason: 'nonsense 0 0', count: 1 });
  expect((lines as { count: number }[]).reduce((sum, { count }) => sum + count, 0)).toBe(3_000);
});

test('one kind does not hide another, and after a quiet second the next is said at once', () => {
  log.say(refused('a'));
  log.say({ type: 'overflow', peer: 3n, bytes: 5 });
  expect(lines).toMatchObject([{ type: 'refused' }, { type: 'overflow', peer: '0000000000000003', bytes: 5 }]);
  vi.advanceTimersByTime(2_000);
  log.say(refused('b'));
  expect(lines.at(-1)).toMatchObject({ reason: 'b', count: 1 });
});

test('of what is long the beginning is said, and how much it is', () => {
  const keys = Array.from({ length: 100_000 }, (_, at) => ({ kind: 'service', id: String(at), group: '' }));
  log.say({ type: 'late', origin: 'o', sequence: 1, keys });
  log.say(refused('x'.repeat(1_000_000)));
  const fork = { origin: 'o', sequence: 2, kept: Uint8Array.of(1, 2), other: new Uint8Array() };
  log.say({ type: 'forked', fork, from: 2n });
  expect(lines[0]).toMatchObject({ keysInAll: 100_000, keys: keys.slice(0, 8) });
  expect(lines[2]).toMatchObject({ fork: { origin: 'o', sequence: 2, kept: '0102', other: '' } });
  expect(JSON.stringify(lines).length).toBeLessThan(3_000);
});
