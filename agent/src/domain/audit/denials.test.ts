// SPDX-License-Identifier: Apache-2.0
import type { AuditEntry } from '@marcher/audit';
import { expect, test } from 'vitest';
import { DENIAL_RULES, Denials, OTHERS } from './denials.js';

const ENTRY: AuditEntry = {
  timeMs: 0,
  action: 'marcher.v1.ConfigService/Apply',
  actor: 'eve (uid 1001)',
  via: 'socket',
  source: '',
  outcome: 'denied',
  objects: [],
  moreObjects: 0,
  version: 0n,
  message: 'no',
  repeated: 0,
};
const RULES = { burst: 3, refillMs: 10_000, kindsMax: 4 };

function written(denials: Denials, nowMs: number, everything = false): string[] {
  const { entries, commit } = denials.take(nowMs, everything);
  commit();
  return entries.map(({ actor, action, repeated }) => `${actor} ${action.split('/').at(-1)} +${repeated}`);
}

test('attempts of one actor at one action become one entry, which says how many there were', () => {
  const denials = new Denials(RULES, 0);
  for (let i = 0; i < 1_000; i++) denials.note(ENTRY);
  denials.note({ ...ENTRY, action: 'marcher.v1.NodeService/Drain' });
  denials.note({ ...ENTRY, source: '192.0.2.1' });
  expect(written(denials, 0)).toEqual([
    'eve (uid 1001) Apply +999',
    'eve (uid 1001) Drain +0',
    'eve (uid 1001) Apply +0',
  ]);
  expect(denials.waiting).toBe(false);
  denials.note(ENTRY);
  expect(written(denials, 9_999)).toEqual([]);
  denials.note(ENTRY);
  expect(written(denials, 10_000)).toEqual(['eve (uid 1001) Apply +1']);
});

test('of an unending flood, from ever other sources, there is an entry each ten seconds, and none is uncounted', () => {
  const denials = new Denials(DENIAL_RULES, 0);
  let entries = 0;
  let attempts = 0;
  for (let second = 0; second < 3_600; second++) {
    for (let i = 0; i < 100; i++) denials.note({ ...ENTRY, source: `192.0.2.${second % 250}`, actor: `a${i}` });
    const { entries: taken, commit } = denials.take(second * 1_000);
    commit();
    entries += taken.length;
    attempts += taken.reduce((sum, { repeated }) => sum + 1 + repeated, 0);
  }
  const rest = denials.take(3_600_000, true);
  expect(rest.entries.length).toBeLessThanOrEqual(DENIAL_RULES.kindsMax + 1);
  attempts += rest.entries.reduce((sum, { repeated }) => sum + 1 + repeated, 0);
  expect([entries <= 60 + 360, attempts]).toEqual([true, 360_000]);
});

test('more kinds than are told apart are counted as others', () => {
  const denials = new Denials(RULES, 0);
  for (let i = 0; i < 10; i++) denials.note({ ...ENTRY, actor: `a${i}` });
  expect(written(denials, 0)).toEqual(['a0 Apply +0', 'a1 Apply +0', 'a2 Apply +0']);
  expect(written(denials, 0, true)).toEqual(['a3 Apply +0', `${OTHERS.actor} ${OTHERS.action} +5`]);
});

test('what could not be written waits on', () => {
  const denials = new Denials(RULES, 0);
  denials.note(ENTRY);
  expect(denials.take(0).entries).toHaveLength(1);
  denials.note(ENTRY);
  expect(written(denials, 0)).toEqual(['eve (uid 1001) Apply +1']);
});
