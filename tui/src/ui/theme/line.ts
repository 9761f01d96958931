// SPDX-License-Identifier: Apache-2.0
/** A line as pieces of one tone each, and as the text that a terminal is given. */
import type { Theme, Tone } from './theme.js';
import { cut, widthOf } from './width.js';

export interface Piece {
  readonly text: string;
  readonly tone?: Tone;
}

/** What is a text alone is in the normal tone. */
export type Line = readonly (Piece | string)[];

export function piece(tone: Tone, text: string): Piece {
  return { text, tone };
}

export function textOf(line: Line): string {
  return line.map((part) => (typeof part === 'string' ? part : part.text)).join('');
}

/** As many cells as there are at most, and blanks up to there, so that nothing of an earlier frame stays behind them. */
export function paintLine(theme: Theme, line: Line, width: number): string {
  let painted = '';
  let left = width;
  for (const part of line) {
    if (left <= 0) break;
    const { text, tone = 'normal' } = typeof part === 'string' ? { text: part } : part;
    let shown = theme.plain(text);
    let own = widthOf(shown);
    if (own > left) {
      shown = `${cut(shown, left - 1)}${theme.glyphs.ellipsis}`;
      own = widthOf(shown);
    }
    painted += theme.paint(tone, shown);
    left -= own;
  }
  return painted + ' '.repeat(Math.max(0, left));
}
