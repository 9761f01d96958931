// SPDX-License-Identifier: Apache-2.0
/** Which columns a list has room for, and how wide each is. */
import type { Column } from '../views/view.js';

export interface Fitted {
  /** Of the view's columns. */
  readonly index: number;
  readonly width: number;
}

export const GAP = 2;
const MAX_DEFAULT = 40;
/** Columns of this rank and above go before one of rank 0 is cut: who is meant matters more than what else is known of it. */
const EXTRA_RANK = 6;

/**
 * natural: what each would need. Where that is too much, columns that may be cut are, down to their least, names the last of
 * them; then those of the highest rank go, and what is won goes back to those that were cut.
 */
export function fitColumns(
  columns: readonly Pick<Column<never>, 'rank' | 'min' | 'max'>[],
  natural: readonly number[],
  room: number,
): readonly Fitted[] {
  const wanted = columns.map(({ max = MAX_DEFAULT }, i) => Math.min(natural[i] ?? 0, max));
  const least = columns.map(({ min }, i) => (min === undefined ? (wanted[i] ?? 0) : Math.min(min, wanted[i] ?? 0)));
  const leastBesideExtras = least.map((width, i) => (columns[i]?.rank === 0 ? (wanted[i] ?? 0) : width));
  let kept = columns.map((_, i) => i);
  const total = (widths: readonly number[]): number => kept.reduce((sum, i) => sum + (widths[i] ?? 0) + GAP, -GAP);
  while (kept.length > 1) {
    const ranks = kept.map((i) => columns[i]?.rank ?? 0);
    const highest = Math.max(...ranks);
    if (highest === 0 || total(highest >= EXTRA_RANK ? leastBesideExtras : least) <= room) break;
    const going = kept[ranks.lastIndexOf(highest)];
    kept = kept.filter((i) => i !== going);
  }
  let spare = room - total(least);
  return kept.map((index) => {
    const base = least[index] ?? 0;
    const more = Math.max(0, Math.min((wanted[index] ?? 0) - base, spare));
    spare -= more;
    return { index, width: base + more };
  });
}
