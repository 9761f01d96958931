// SPDX-License-Identifier: Apache-2.0
/** A key as the table of keys names it: "j", "G", "ctrl-d", "enter". */
import type { Key } from 'ink';

const named = [
  ['upArrow', 'up'],
  ['downArrow', 'down'],
  ['leftArrow', 'left'],
  ['rightArrow', 'right'],
  ['pageDown', 'pgdn'],
  ['pageUp', 'pgup'],
  ['home', 'home'],
  ['end', 'end'],
  ['return', 'enter'],
  ['escape', 'esc'],
  ['backspace', 'backspace'],
  ['delete', 'delete'],
] as const satisfies readonly (readonly [keyof Key, string])[];

/**
 * The keys of one event: what was typed fast, or over a slow line, comes as one text. Keys with Alt are left to the terminal.
 */
export function chordsOf(input: string, key: Key): readonly string[] {
  if (key.eventType === 'release') return [];
  for (const [flag, name] of named) {
    if (key[flag]) return [name];
  }
  if (key.tab) return [key.shift ? 'shift-tab' : 'tab'];
  if (key.ctrl) return input === '' ? [] : [`ctrl-${input.toLowerCase()}`];
  if (key.meta) return [];
  return [...input].map((character) => {
    if (character === ' ') return 'space';
    if (character === '\r' || character === '\n') return 'enter';
    if (character === '\t') return 'tab';
    if (character === '\u007f' || character === '\b') return 'backspace';
    const code = character.charCodeAt(0);
    // Ctrl with a letter is its place in the alphabet.
    return code >= 1 && code <= 26 ? `ctrl-${String.fromCharCode(code + 96)}` : character;
  });
}

/** What a key adds to a text that is typed; undefined: it is no character. */
export function characterOf(chord: string): string | undefined {
  if (chord === 'space') return ' ';
  return [...chord].length === 1 ? chord : undefined;
}
