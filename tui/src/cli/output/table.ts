// SPDX-License-Identifier: Apache-2.0
/** Columns aligned by their widest cell, three blanks apart, as kubectl's. */
import { printable } from './style.js';

export interface Column<Row> {
  readonly title: string;
  readonly value: (row: Row) => string;
  readonly align?: 'right';
  /** Applied after the width is taken. */
  readonly paint?: (text: string, row: Row) => string;
}

const gap = '   ';

export function formatTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[], header = true): string {
  const cells = rows.map((row) => columns.map((column) => printable(column.value(row))));
  const widths = columns.map((column, i) =>
    cells.reduce((width, row) => Math.max(width, displayWidth(row[i] ?? '')), header ? column.title.length : 0),
  );
  const line = (texts: readonly string[], row: Row | undefined): string =>
    texts
      .map((text, i) => {
        const column = columns[i] as Column<Row>;
        const padding = ' '.repeat(Math.max(0, (widths[i] ?? 0) - displayWidth(text)));
        const shown = row !== undefined && column.paint !== undefined ? column.paint(text, row) : text;
        if (column.align === 'right') return padding + shown;
        return i === columns.length - 1 ? shown : shown + padding;
      })
      .join(gap)
      .trimEnd();
  const lines = cells.map((texts, i) => line(texts, rows[i] as Row));
  if (header) {
    lines.unshift(
      line(
        columns.map((column) => column.title),
        undefined,
      ),
    );
  }
  return lines.map((text) => `${text}\n`).join('');
}

/** Cells that a terminal uses: combining marks none, East Asian wide characters two. */
function displayWidth(text: string): number {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is the fast path
  if (/^[\u0000-\u007f]*$/.test(text)) return text.length;
  let width = 0;
  for (const character of text) {
    const point = character.codePointAt(0) ?? 0;
    if (/\p{Mark}/u.test(character) || point === 0x200d) continue;
    width +=
      /[\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}\p{Emoji_Presentation}]/u.test(
        character,
      ) ||
      (point >= 0xff01 && point <= 0xff60)
        ? 2
        : 1;
  }
  return width;
}
