// SPDX-License-Identifier: Apache-2.0
/** "Show as CLI": lines for a POSIX shell. */

/** What the command lines are for. */
export interface CommandTarget {
  /** As -t takes it. undefined: the one that marcher takes by itself. */
  readonly target?: string;
}

/** One word of a POSIX shell (2.2.2: within single quotes each character is itself). */
export function shellWord(word: string): string {
  // NUL can stand in no argument at all; nothing that is allowed in the configuration has one.
  const text = word.replaceAll('\0', '');
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** "marcher -t prod drain web a" */
export function commandLine({ target }: CommandTarget, words: readonly string[]): string {
  const where = target === undefined ? [] : ['-t', target];
  return ['marcher', ...where, ...words].map(shellWord).join(' ');
}

/** The line with a text on its standard input: a here-document whose end no line of the text is (2.7.4). */
export function withInput(line: string, text: string): string {
  const lines = new Set(text.split('\n'));
  let end = 'EOF';
  for (let at = 1; lines.has(end); at++) end = `EOF${at}`;
  return `${line} <<'${end}'\n${text.replaceAll('\0', '')}${text.endsWith('\n') ? '' : '\n'}${end}`;
}
