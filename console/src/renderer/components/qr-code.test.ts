// SPDX-License-Identifier: Apache-2.0
import decode from 'qr/decode.js';
import { expect, test } from 'vitest';
import { drawn } from './qr-code.js';

const PIXELS = 4;

test('a camera reads it', () => {
  const uri = 'otpauth://totp/Marcher:alice?issuer=Marcher&secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&digits=6&period=30';
  const { size, dark } = drawn(uri);
  const width = size * PIXELS;
  const data = new Uint8Array(width * width * 4).fill(255);
  for (const [, x, y] of dark.matchAll(/M(\d+) (\d+)h1v1h-1z/g)) {
    for (let dy = 0; dy < PIXELS; dy++) {
      for (let dx = 0; dx < PIXELS; dx++) {
        const at = ((Number(y) * PIXELS + dy) * width + Number(x) * PIXELS + dx) * 4;
        data.fill(0, at, at + 3);
      }
    }
  }
  expect(decode({ width, height: width, data })).toBe(uri);
});
