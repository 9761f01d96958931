// SPDX-License-Identifier: Apache-2.0
/** Lines of ssh_config(5) as words. Pure. */

export interface Directive {
  /** In lower case. */
  readonly keyword: string;
  readonly words: readonly string[];
}

/**
 * "Keyword word word", "Keyword=word", with "double" and 'single' quotes, a backslash before a quote, a backslash or a space,
 * and "#" where a comment begins. undefined: nothing is said. Throws RangeError where a quote does not end.
 */
export function directiveOf(line: string): Directive | undefined {
  const match = /^[ \t\f]*([^ \t\f=#"]+)[ \t\f]*=?(.*)$/.exec(line.replace(/\r$/, ''));
  if (match === null) return undefined;
  return { keyword: (match[1] ?? '').toLowerCase(), words: wordsOf(match[2] ?? '') };
}

/** Throws RangeError where a quote does not end. */
export function wordsOf(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let at = 0; at < text.length; at++) {
    const sign = text[at] ?? '';
    const next = text[at + 1] ?? '';
    if (sign === '\\' && (next === '\\' || next === '"' || next === "'" || (quote === '' && next === ' '))) {
      word = (word ?? '') + next;
      at++;
    } else if (quote !== '') {
      if (sign === quote) quote = '';
      else word = (word ?? '') + sign;
    } else if (sign === '"' || sign === "'") {
      quote = sign;
      word ??= '';
    } else if (sign === ' ' || sign === '\t' || sign === '\f') {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (sign === '#' && word === undefined) {
      break;
    } else {
      word = (word ?? '') + sign;
    }
  }
  if (quote !== '') throw new RangeError(`a ${quote} has no end`);
  if (word !== undefined) words.push(word);
  return words;
}
