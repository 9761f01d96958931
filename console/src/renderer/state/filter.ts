// SPDX-License-Identifier: Apache-2.0
/**
 * The filter of tables, as in the terminal console: a regular expression without case, "!EXPRESSION" for what does not match,
 * "-f TEXT" for letters in this order.
 */
export interface Filter {
  readonly text: string;
  matches(candidate: string): boolean;
  /** Why it is taken as plain text. undefined: it is what it says. */
  readonly note: string | undefined;
}

const LENGTH_MAX = 200;

export function parseFilter(given: string): Filter {
  const text = given.slice(0, LENGTH_MAX).trim();
  if (text === '') return { text, matches: () => true, note: undefined };
  if (text.startsWith('-f ')) {
    const letters = text.slice(3).trim();
    return { text, matches: (candidate) => fuzzyScore(letters, candidate) !== undefined, note: undefined };
  }
  const inverse = text.startsWith('!');
  const wanted = inverse ? text.slice(1) : text;
  try {
    const expression = new RegExp(wanted, 'i');
    return { text, matches: (candidate) => expression.test(candidate) !== inverse, note: undefined };
  } catch {
    const plain = wanted.toLowerCase();
    const note = `${JSON.stringify(wanted)} is no regular expression: searched as it stands`;
    return { text, matches: (candidate) => candidate.toLowerCase().includes(plain) !== inverse, note };
  }
}

/** The less, the better: how far the letters are apart and from the beginning. undefined: they are not there in this order. */
export function fuzzyScore(letters: string, candidate: string): number | undefined {
  const within = candidate.toLowerCase();
  let at = -1;
  let score = 0;
  for (const letter of letters.toLowerCase()) {
    if (letter === ' ') continue;
    const next = within.indexOf(letter, at + 1);
    if (next < 0) return undefined;
    // A letter that begins a word costs nothing.
    const begins = next === 0 || /[^a-z0-9]/.test(within[next - 1] ?? '');
    score += begins ? 0 : next - at - 1 + (at < 0 ? 1 : 0);
    at = next;
  }
  return score + within.length / 100;
}
