// SPDX-License-Identifier: Apache-2.0
/** A line that is being typed, with a cursor in it. */
export interface Typed {
  readonly text: string;
  readonly cursor: number;
}

/** What is pasted is bounded. */
const LENGTH_MAX = 400;

export function insertText({ text, cursor }: Typed, added: string): Typed {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
  const clean = added.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').slice(0, Math.max(0, LENGTH_MAX - text.length));
  return { text: text.slice(0, cursor) + clean + text.slice(cursor), cursor: cursor + clean.length };
}

export function deleteBefore({ text, cursor }: Typed, what: 'character' | 'word' | 'all'): Typed {
  const head = text.slice(0, cursor);
  const kept = what === 'all' ? '' : what === 'word' ? head.replace(/\S*\s*$/, '') : head.replace(/.$/su, '');
  return { text: kept + text.slice(cursor), cursor: kept.length };
}

export function moveCursor({ text, cursor }: Typed, to: 'left' | 'right' | 'start' | 'end'): Typed {
  switch (to) {
    case 'left':
      return { text, cursor: text.slice(0, cursor).replace(/.$/su, '').length };
    case 'right':
      return { text, cursor: cursor + (/^./su.exec(text.slice(cursor))?.[0].length ?? 0) };
    case 'start':
      return { text, cursor: 0 };
    case 'end':
      return { text, cursor: text.length };
  }
}
