// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatRecoveryCode, parseRecoveryCode, RECOVERY, recoveryClaim } from './recovery-code.js';

test('a code is 16 characters in groups, and is read however it is typed', () => {
  const bytes = { minLength: RECOVERY.bytes, maxLength: RECOVERY.bytes };
  const seen = new Map<string, string>();
  fc.assert(
    fc.property(fc.uint8Array(bytes), (random) => {
      const text = formatRecoveryCode(random);
      expect(text).toMatch(/^(?:[a-z2-7]{4}-){3}[a-z2-7]{4}$/);
      const parsed = parseRecoveryCode(text);
      expect(parsed).toBe(text.replaceAll('-', ''));
      expect(parseRecoveryCode(` ${text.toUpperCase().replaceAll('-', ' ')} `)).toBe(parsed);
      const hex = Buffer.from(random).toString('hex');
      expect(seen.get(text) ?? hex).toBe(hex);
      seen.set(text, hex);
    }),
  );
  expect(() => formatRecoveryCode(new Uint8Array(9))).toThrow(RangeError);
});

test.each(['', '123456', 'abcd-efgh-ijkl-mno', 'abcd-efgh-ijkl-mno1', 'a'.repeat(1_000)])('%j is none', (text) =>
  expect(parseRecoveryCode(text)).toBeUndefined(),
);

test('a code of one user is not that of another', () => {
  expect(recoveryClaim('alice', 'x')).not.toEqual(recoveryClaim('bob', 'x'));
});
