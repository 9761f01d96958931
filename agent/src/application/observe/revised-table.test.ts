// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { RevisedTable } from './revised-table.js';

function tableOf(goneMax = 10): RevisedTable<number> {
  return new RevisedTable<number>((a, b) => a === b, goneMax);
}

function fill(table: RevisedTable<number>, values: Record<string, number>): void {
  table.begin();
  for (const [key, value] of Object.entries(values)) table.set(key, value);
  for (const _ of table.end());
}

const changed = (table: RevisedTable<number>, since: number) =>
  [...table.changed(since)].filter((value) => value !== undefined);

test('has what is newer than a revision, and what has gone since', () => {
  const table = tableOf();
  fill(table, { a: 1, b: 2, c: 3 });
  const { revision } = table;
  expect(changed(table, 0)).toEqual([1, 2, 3]);
  fill(table, { a: 1, b: 20 });
  expect(changed(table, revision)).toEqual([20]);
  expect([...table.gone(revision)]).toEqual(['c']);
  expect(changed(table, table.revision)).toEqual([]);
  expect([...table.gone(table.revision)]).toEqual([]);
});

test('the same again is no change', () => {
  const table = tableOf();
  fill(table, { a: 1 });
  const { revision } = table;
  fill(table, { a: 1 });
  table.begin();
  expect(table.keep('a')).toBe(true);
  expect(table.keep('b')).toBe(false);
  for (const _ of table.end());
  expect(table.revision).toBe(revision);
});

test('what comes back is not gone', () => {
  const table = tableOf();
  fill(table, { a: 1 });
  const { revision } = table;
  fill(table, {});
  fill(table, { a: 1 });
  expect(changed(table, revision)).toEqual([1]);
  expect([...table.gone(revision)]).toEqual([]);
});

test('while it is read it may change: nothing is missed', () => {
  const table = tableOf();
  fill(table, { a: 1, b: 2, c: 3 });
  const { revision } = table;
  const seen: number[] = [];
  for (const value of table.changed(0)) {
    if (value !== undefined) seen.push(value);
    if (value === 2) fill(table, { a: 10, b: 2, d: 4 });
  }
  for (const value of changed(table, revision)) seen.push(value);
  expect(new Set(seen)).toEqual(new Set([1, 2, 10, 4]));
  expect([...table.gone(revision)]).toEqual(['c']);
});

test('of what has gone only so much is known: whoever is further behind is told', () => {
  const table = tableOf(2);
  fill(table, { a: 1, b: 2, c: 3 });
  const { revision } = table;
  expect(table.reaches(0)).toBe(true);
  fill(table, { a: 1 });
  expect(table.reaches(revision)).toBe(true);
  fill(table, {});
  expect(table.reaches(revision)).toBe(false);
  expect(table.reaches(revision + 1)).toBe(true);
});
