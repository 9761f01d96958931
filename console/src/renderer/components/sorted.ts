// SPDX-License-Identifier: Apache-2.0
export interface Order {
  readonly key: string;
  readonly descending: boolean;
}

type Comparable = string | number | bigint;

const collator = new Intl.Collator('en', { numeric: true });

/** In the order of what is said of each; what is equal stays as it was. */
export function sorted<T>(rows: readonly T[], value: (row: T) => Comparable, descending: boolean): readonly T[] {
  const keyed = rows.map((row) => ({ row, key: value(row) }));
  const sign = descending ? -1 : 1;
  // Most states have the order of the one before.
  const isSorted = keyed.every((each, i) => i === 0 || sign * compared(keyed[i - 1]?.key ?? each.key, each.key) <= 0);
  if (isSorted) return rows;
  keyed.sort((a, b) => sign * compared(a.key, b.key));
  return keyed.map(({ row }) => row);
}

function compared(a: Comparable, b: Comparable): number {
  if (typeof a === 'string' && typeof b === 'string') return collator.compare(a, b);
  return a < b ? -1 : a > b ? 1 : 0;
}
