// SPDX-License-Identifier: Apache-2.0
/**
 * A character for each line of a frame: Ink is given that character, and the screen writes the line where it comes out. Ink takes every
 * text of a frame apart, cell by cell, with each frame anew; of 100 lines of 300 cells that is most of what a frame costs, for lines that are
 * painted already. What Ink still does is what it is for: it lays out, and finds which lines are others than before.
 *
 * The characters are of a plane that is for private use (U+F0000 on). They don't reach the terminal, and lines may have them all the same.
 */
const FIRST = 0xf0000;
/** More lines than a few frames have: none that is on the screen is forgotten. */
const CODES = 1_024;
const CODE = /[\u{F0000}-\u{F03FF}]/gu;

export class LineCodes {
  readonly #lines: string[] = [];
  /** In the order in which they were wanted last. */
  readonly #codes = new Map<string, number>();

  /** The same character for the same line, as long as it is among the last CODES. */
  of(line: string): string {
    const code = this.#codes.get(line) ?? this.#place();
    this.#codes.delete(line);
    this.#codes.set(line, code);
    this.#lines[code] = line;
    return String.fromCodePoint(FIRST + code);
  }

  #place(): number {
    if (this.#codes.size < CODES) return this.#codes.size;
    const [oldest] = this.#codes;
    if (oldest === undefined) return 0;
    this.#codes.delete(oldest[0]);
    return oldest[1];
  }

  /** What Ink writes, with the lines in their places. */
  written(text: string): string {
    return text.replace(CODE, (character) => this.#lines[(character.codePointAt(0) as number) - FIRST] ?? '');
  }
}
