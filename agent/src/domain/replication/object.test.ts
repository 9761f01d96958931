// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Cell } from './contract.js';
import { beats, compareText, EXISTENCE, isThere, mergeCell, visible } from './object.js';

function cell(group: string, ms: number, value: string | undefined, node = 1n): Cell {
  const bytes = value === undefined ? undefined : new TextEncoder().encode(value);
  const stamp = { ms, counter: 0, node };
  return { kind: 'service', id: 'a', group, stamp, value: bytes, origin: `o${node}`, sequence: ms, mark: 0 };
}

function merged(cells: Iterable<Cell>): Map<string, Cell> {
  const groups = new Map<string, Cell>();
  for (const each of cells) mergeCell(groups, each);
  return groups;
}

const anyCell = fc
  .record({
    group: fc.constantFrom(EXISTENCE, 'spec', 'tls'),
    ms: fc.integer({ min: 1, max: 6 }),
    // One stamp with two values, as after a fork, must come out the same too.
    value: fc.constantFrom(undefined, 'x', 'y', 'xy'),
    node: fc.constantFrom(1n, 2n),
  })
  .map(({ group, ms, value, node }) => cell(group, ms, value, node));
const cells = fc.array(anyCell, { maxLength: 12 });

function sorted(groups: Map<string, Cell>): unknown {
  return [...groups].sort(([a], [b]) => (a < b ? -1 : 1));
}

test('merging is commutative, associative and idempotent: any order, grouping and repetition gives the same', () => {
  fc.assert(
    fc.property(cells, cells, cells, fc.array(fc.nat(99), { maxLength: 20 }), (a, b, c, again) => {
      const all = [...a, ...b, ...c];
      const expected = sorted(merged(all));
      expect(sorted(merged([...c, ...b, ...a]))).toEqual(expected);
      // States that were merged apart, and then with each other.
      const left = merged([...merged([...a, ...b]).values(), ...c]);
      const right = merged([...merged([...b, ...c]).values(), ...a]);
      expect(sorted(left)).toEqual(expected);
      expect(sorted(right)).toEqual(expected);
      const repeated = all.length === 0 ? [] : again.map((i) => all[i % all.length] as Cell);
      expect(sorted(merged([...all, ...repeated, ...left.values()]))).toEqual(expected);
    }),
    { numRuns: 400 },
  );
});

test('keys sort as their UTF-8 does', () => {
  const text = fc.string({
    unit: fc.constantFrom('a', 'é', '\ud7ff', '\ue000', '\uffff', '\u{10000}', '\u{1f600}'),
    maxLength: 4,
  });
  fc.assert(
    fc.property(text, text, (a, b) => {
      expect(Math.sign(compareText(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
    }),
  );
});

test('which of two cells is taken is a total order', () => {
  fc.assert(
    fc.property(anyCell, anyCell, (a, b) => {
      expect(beats(a, b) && beats(b, a)).toBe(false);
      const same = JSON.stringify([...(a.value ?? 'none')]) === JSON.stringify([...(b.value ?? 'none')]);
      if (a.stamp.ms === b.stamp.ms && a.stamp.node === b.stamp.node && same) return;
      expect(beats(a, b) || beats(b, a)).toBe(true);
    }),
  );
});

function shown(...written: Cell[]): string {
  const groups = merged(written);
  const names = Array.from(visible(groups), ({ group, stamp }) => `${group || 'exists'}@${stamp.ms}`);
  return isThere(groups) ? names.sort().join(' ') : 'deleted';
}

const created = [cell('', 1, ''), cell('spec', 1, 'a'), cell('tls', 1, 'a')] as const;

test.each([
  ['an edit takes its group alone', [cell('spec', 2, 'b')], 'exists@1 spec@2 tls@1'],
  ['a removed group is gone', [cell('tls', 2, undefined)], 'exists@1 spec@1'],
  ['a delete beats an older edit', [cell('spec', 2, 'b'), cell('', 3, undefined)], 'deleted'],
  [
    'a delete beats a newer edit, which brings no object back',
    [cell('', 2, undefined), cell('spec', 3, 'b')],
    'deleted',
  ],
  [
    'a re-creation has nothing of before',
    [cell('', 2, undefined), cell('', 3, ''), cell('spec', 3, 'c')],
    'exists@3 spec@3',
  ],
  [
    'a re-creation after the newer edit erases that as well',
    [cell('', 2, undefined), cell('spec', 3, 'b'), cell('', 4, '')],
    'exists@4',
  ],
  [
    'a re-creation between the delete and the edit keeps the edit',
    [cell('', 2, undefined), cell('', 3, ''), cell('tls', 4, 'b')],
    'exists@3 tls@4',
  ],
  ['of two creations one is taken whole', [cell('', 2, '', 2n), cell('spec', 2, 'z', 2n)], 'exists@2 spec@2'],
  ['a delete that is older than the creation does nothing', [cell('', 0, undefined)], 'exists@1 spec@1 tls@1'],
])('%s', (_, changes, expected) => {
  const all = [...created, ...changes];
  expect(shown(...all)).toBe(expected);
  expect(shown(...all.reverse())).toBe(expected);
});
