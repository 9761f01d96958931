// SPDX-License-Identifier: Apache-2.0
/** Texts measured and cut in the cells of a terminal: wide characters take two, combining marks none. */
import stringWidth from 'string-width';

/** One cell each, alone and beside each other: what themes draw with is among them (arrows, boxes, blocks, Braille). */
const narrow = /^[\x20-\x7e\xb7\u2022\u2026\u203a\u2190-\u2193\u2500-\u259f\u2800-\u28ff]*$/;
const segmenter = new Intl.Segmenter(undefined, { granularity: 'grapheme' });

export function widthOf(text: string): number {
  return narrow.test(text) ? text.length : stringWidth(text);
}

/** Its first cells; a wide character that does not fit whole is left out. */
export function cut(text: string, width: number): string {
  if (width <= 0) return '';
  if (narrow.test(text)) return text.slice(0, width);
  let used = 0;
  let end = 0;
  for (const { segment, index } of segmenter.segment(text)) {
    used += stringWidth(segment);
    if (used > width) break;
    end = index + segment.length;
  }
  return text.slice(0, end);
}

/** Rows of so many cells at most, broken behind blanks where there are any: put together they are the text. At least one. */
export function fold(text: string, width: number): string[] {
  const rows: string[] = [];
  let rest = text;
  while (widthOf(rest) > width) {
    const most = cut(rest, width) || ([...rest][0] ?? '');
    const words = most.slice(0, most.lastIndexOf(' ') + 1);
    // A word that is too long alone is broken anywhere, also behind blanks that it begins with.
    const row = words.trim() === '' ? most : words;
    rows.push(row);
    rest = rest.slice(row.length);
  }
  return [...rows, rest];
}

/** Exactly so many cells; what is cut off shows by the mark at the end. */
export function fit(text: string, width: number, align: 'left' | 'right' = 'left', mark = ''): string {
  if (width <= 0) return '';
  const own = widthOf(text);
  if (own > width) {
    const shown = cut(text, width - widthOf(mark));
    return pad(`${shown}${width > widthOf(mark) ? mark : ''}`, width, 'left');
  }
  return own === width ? text : pad(text, width, align);
}

function pad(text: string, width: number, align: 'left' | 'right'): string {
  const blanks = ' '.repeat(Math.max(0, width - widthOf(text)));
  return align === 'left' ? text + blanks : blanks + text;
}
