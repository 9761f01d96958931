// SPDX-License-Identifier: Apache-2.0
/** Codes of authenticators (RFC 6238). What they all can: SHA-1, six digits, 30 s; the secret is 160 bits (RFC 4226, 4). */
import { Secret, TOTP } from 'otpauth';
import type { CodeGenerator } from '../../../ports/access.js';

const SECRET_BYTES = 20;
const PERIOD_S = 30;
/** Steps before and after the one of now. */
const WINDOW = 1;

export function createTotpCodes(): CodeGenerator {
  return {
    newSecret: () => new Uint8Array(new Secret({ size: SECRET_BYTES }).bytes),
    show(secret, label, issuer) {
      const totp = totpOf(secret, { label, issuer });
      return { base32: totp.secret.base32, uri: totp.toString() };
    },
    stepOf(secret, code, nowMs) {
      if (!/^[0-9]{6}$/.test(code)) return undefined;
      const delta = totpOf(secret).validate({ token: code, timestamp: nowMs, window: WINDOW });
      return delta === null ? undefined : Math.floor(nowMs / 1_000 / PERIOD_S) + delta;
    },
  };
}

function totpOf(secret: Uint8Array, shown: { label?: string; issuer?: string } = {}): TOTP {
  const buffer = Uint8Array.from(secret).buffer;
  return new TOTP({ ...shown, secret: new Secret({ buffer }), algorithm: 'SHA1', digits: 6, period: PERIOD_S });
}
