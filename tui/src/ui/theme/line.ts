// SPDX-License-Identifier: Apache-2.0
/** A line as pieces of one tone each, and as the text that a terminal is given. */
import type { Theme, Tone } from './theme.js';
import { cut, fold, widthOf } from './width.js';

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

/** A line that is too long as several: what goes on stands under what follows the first piece, a title. */
export function foldLine(theme: Theme, line: Line, width: number): readonly Line[] {
  const pieces = line.map((part): Piece => (typeof part === 'string' ? { text: part } : part));
  const plain = pieces.map((part) => ({ ...part, text: theme.plain(part.text) }));
  if (widthOf(textOf(plain)) <= width) return [line];
  const { title, rest, hanging } = titled(plain, width);
  let end = 0;
  return fold(textOf(rest), width - hanging).map((row, i) => {
    const from = end;
    end += row.length;
    return [i === 0 ? title : ' '.repeat(hanging), ...between(rest, from, end)];
  });
}

/** What is one piece alone, or begins with one that takes most of the line, has no title: it goes on further in than it begins. */
function titled(pieces: readonly Piece[], width: number) {
  const [title, ...rest] = pieces;
  const own = widthOf(title?.text ?? '');
  if (title !== undefined && rest.length > 0 && own <= width / 2) return { title, rest, hanging: own };
  const indent = textOf(pieces).search(/\S|$/);
  return { title: '', rest: pieces, hanging: Math.min(indent + 2, Math.floor(width / 2)) };
}

/** By characters of all of them together. */
function between(pieces: readonly Piece[], from: number, to: number): Line {
  let at = 0;
  return pieces.flatMap((part) => {
    const text = part.text.slice(Math.max(0, from - at), Math.max(0, to - at));
    at += part.text.length;
    return text === '' ? [] : [{ ...part, text }];
  });
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
