// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { isPasswordText, normalizePassword, PASSWORD, passwordFault } from './password.js';

const good = 'correct horse battery staple';

test.each([
  good,
  'ünïcödé wörds åre fïne',
  '鹿が山を越えて海まで歩いていった夜',
  'x7f9 k2 zq! m0 b8',
  '               .x y z!',
])('%j may be a password', (password) => expect(passwordFault(normalizePassword(password), 'alice')).toBeUndefined());

test.each([
  ['fourteen chars', /has 14 characters: expected 15 to 128/],
  ['x'.repeat(8) + good.repeat(5), /expected 15 to 128/],
  ['passwordpassword', /repetition or a sequence/],
  ['abcabcabcabcabcabc', /repetition or a sequence/],
  ['aaaaaaaaaaaaaaaaaaaa', /repetition or a sequence/],
  ['123456789012345', /repetition or a sequence/],
  ['abcdefghijklmnopqrst', /repetition or a sequence/],
  ['qwertyuiopasdfgh', /repetition or a sequence/],
  ['my name is Alice, hello', /the user's name/],
  ['\ud800 is half a character', /no Unicode/],
])('%j may not', (password, why) => {
  const fault = passwordFault(normalizePassword(password), 'alice');
  expect(fault).toMatch(why);
  expect(fault).not.toContain(password);
});

test('characters are counted as such, and the same text of two keyboards is one password', () => {
  expect(passwordFault(`${'🦌'.repeat(3)}a b c d e f`, 'alice')).toMatch(/has 14 characters/);
  expect(normalizePassword('Ａlice’s ﬁne words')).toBe('Alice’s fine words');
  expect(normalizePassword('e\u0301')).toBe('\u00e9');
});

test('what is too long to be one is not hashed', () => {
  expect(isPasswordText('x'.repeat(2 * PASSWORD.maxCharacters))).toBe(true);
  expect(isPasswordText('x'.repeat(2 * PASSWORD.maxCharacters + 1))).toBe(false);
  expect(isPasswordText('')).toBe(false);
});
