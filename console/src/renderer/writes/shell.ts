// SPDX-License-Identifier: Apache-2.0
/** Lines of a POSIX shell that do what the console does. */

/** One word, whatever is in it. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

export function shellLine(...words: readonly string[]): string {
  return words.map(shellWord).join(' ');
}

/** The text on standard input, up to a mark that is no line of it. */
export function withInput(line: string, text: string): string {
  const lines = new Set(text.split('\n'));
  let mark = 'EOF';
  while (lines.has(mark)) mark += '_';
  return `${line} <<'${mark}'\n${text.endsWith('\n') ? text : `${text}\n`}${mark}`;
}
