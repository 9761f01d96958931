// SPDX-License-Identifier: Apache-2.0
/**
 * Text from agents as a terminal may have it: without control characters, without what turns the direction of writing, on one
 * line, and in ASCII where the terminal has no more than that.
 */
import { printable } from '../../cli/output/style.js';

/** Whether there is anything to take out: most names and numbers are plain. */
const plainAscii = /^[\x20-\x7e]*$/;
/** Bidirectional controls and characters of no width: they let a name look like another one. */
const deceptive = /[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
/** Variation selectors and skin tones: they change how wide the character before is, in some terminals and not in others. */
const modifiers = /[\ufe00-\ufe0f\u{1f3fb}-\u{1f3ff}]/gu;
const beyondAscii = /[^\x20-\x7e]/gu;

/** At most so many characters of a text go on: what agents say is bounded by the protocol at megabytes. */
const CHARACTERS_MAX = 4_096;

export function plain(text: string, ascii = false): string {
  const bounded = text.length > CHARACTERS_MAX ? text.slice(0, CHARACTERS_MAX) : text;
  if (plainAscii.test(bounded)) return bounded;
  const tidy = printable(bounded).replace(modifiers, '').replace(deceptive, '\ufffd');
  return ascii ? tidy.replace(beyondAscii, '?') : tidy;
}
