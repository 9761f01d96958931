// SPDX-License-Identifier: Apache-2.0
/** Codes that stand for a second factor that is lost, each once: 80 random bits as "abcd-efgh-ijkl-mnop" (base 32). */
export const RECOVERY = { count: 10, bytes: 10 } as const;

const DIGITS = 'abcdefghijklmnopqrstuvwxyz234567';
const CODE = /^[a-z2-7]{16}$/;

export function formatRecoveryCode(random: Uint8Array): string {
  if (random.length !== RECOVERY.bytes) throw new RangeError(`a recovery code is made of ${RECOVERY.bytes} bytes`);
  let bits = 0n;
  for (const byte of random) bits = (bits << 8n) | BigInt(byte);
  const digits = Array.from({ length: 16 }, (_, at) => DIGITS[Number((bits >> BigInt(5 * (15 - at))) & 31n)]);
  return [0, 4, 8, 12].map((at) => digits.slice(at, at + 4).join('')).join('-');
}

/** As it is hashed, however it was typed; undefined: it is none. */
export function parseRecoveryCode(text: string): string | undefined {
  if (text.length > 64) return undefined;
  const code = text.replace(/[\s-]/g, '').toLowerCase();
  return CODE.test(code) ? code : undefined;
}

/** What is hashed: of no use for another user. */
export function recoveryClaim(user: string, code: string): Uint8Array {
  return new TextEncoder().encode(`marcher recovery code 1\n${user}\n${code}`);
}
