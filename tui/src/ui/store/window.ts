// SPDX-License-Identifier: Apache-2.0
/** Which part of a list is on the screen, and which row of it is chosen. */
export interface Place {
  /** -1: the list is empty. */
  readonly index: number;
  /** Of the first row that is shown. */
  readonly offset: number;
}

export interface Chosen {
  /** Id of the row; undefined: the first one, or the last of a list that is followed. */
  readonly selected: string | undefined;
  /** Where it was, for when it is gone. */
  readonly index: number;
  readonly offset: number;
}

/** The chosen row stays chosen wherever it has moved to; when it is gone, the one that is in its place is. */
export function place(chosen: Chosen, ids: readonly string[], height: number, tail = false): Place {
  if (ids.length === 0) return { index: -1, offset: 0 };
  const found = chosen.selected === undefined ? -1 : ids.indexOf(chosen.selected);
  const fallback = chosen.selected === undefined ? (tail ? ids.length - 1 : 0) : chosen.index;
  const index = Math.max(0, Math.min(found === -1 ? fallback : found, ids.length - 1));
  return { index, offset: scrolled(chosen.offset, index, ids.length, height) };
}

/** As far from the offset as it must be for the row to be shown, without blank rows at the end. */
function scrolled(offset: number, index: number, length: number, height: number): number {
  const rows = Math.max(1, height);
  const shown = Math.min(Math.max(offset, index - rows + 1), index);
  return Math.max(0, Math.min(shown, length - rows));
}

export function moved(chosen: Chosen, to: number, ids: readonly string[], height: number, tail = false): Chosen {
  if (ids.length === 0) return { selected: undefined, index: 0, offset: 0 };
  const index = Math.max(0, Math.min(to, ids.length - 1));
  const follows = tail && index === ids.length - 1;
  return {
    selected: follows ? undefined : ids[index],
    index,
    offset: scrolled(chosen.offset, index, ids.length, height),
  };
}
