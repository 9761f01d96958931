// SPDX-License-Identifier: Apache-2.0
/**
 * What a password may be, by NIST SP 800-63B-4, 3.1.1.2: long enough to stand alone, no rules of composition, nothing that
 * is expected. There is no list of passwords that have leaked; guesses are slowed instead (slow-down.ts).
 */
export const PASSWORD = { minCharacters: 15, maxCharacters: 128 } as const;

/** How it is hashed and compared, so that it does not depend on the keyboard that it comes from. */
export function normalizePassword(text: string): string {
  return text.normalize('NFKC');
}

/** Whether it could be one at all: what is longer is not hashed. UTF-16 code units. */
export function isPasswordText(text: string): boolean {
  return text !== '' && text.length <= 2 * PASSWORD.maxCharacters && text.isWellFormed();
}

/** Why a new one, normalized, is not taken; it is not repeated. undefined: it is. */
export function passwordFault(password: string, user: string): string | undefined {
  const { minCharacters, maxCharacters } = PASSWORD;
  if (!password.isWellFormed()) return 'the password is no Unicode text';
  const characters = [...password];
  if (characters.length < minCharacters || characters.length > maxCharacters) {
    const what = `the password has ${characters.length} characters`;
    return `${what}: expected ${minCharacters} to ${maxCharacters}; a few words make one that can be remembered`;
  }
  const folded = password.toLowerCase();
  if (user.length >= 4 && folded.includes(user)) return "the password has the user's name in it: choose another";
  if (isRepeated(folded) || isRow(folded) || steps(characters) < 4) {
    return 'the password is a repetition or a sequence: choose another';
  }
  return undefined;
}

/** "passwordpassword", "abcabcabcabcabc" */
function isRepeated(text: string): boolean {
  return /^(.+?)\1+$/su.test(text);
}

const ROWS = 'qwertyuiopasdfghjklzxcvbnm';

/** Along the keyboard. */
function isRow(text: string): boolean {
  return ROWS.includes(text) || ROWS.includes([...text].reverse().join(''));
}

/** How often a character is not the one before it, or next to it: "123456789012345" once. */
function steps(characters: readonly string[]): number {
  const points = characters.map((character) => character.codePointAt(0) ?? 0);
  return points.slice(1).filter((point, at) => Math.abs(point - (points[at] ?? 0)) > 1).length;
}
