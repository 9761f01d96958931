// SPDX-License-Identifier: Apache-2.0
import decode from 'qr/decode.js';
import { expect, test } from 'vitest';
import { qrLines } from './qr-code.js';

const URI =
  'otpauth://totp/Marcher%20prod:alice?issuer=Marcher%20prod&secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&algorithm=SHA1&digits=6&period=30';
const PIXELS = 4;

/** As a camera sees it: each half of a cell is so many pixels. */
function seen(lines: readonly string[], isInverted: boolean): string {
  const rows = lines.flatMap((line) =>
    [2, 1].map((half) => [...line].map((cell) => ((' ▄▀█'.indexOf(cell) & half) !== 0) !== isInverted)),
  );
  const [width, height] = [(rows[0]?.length ?? 0) * PIXELS, rows.length * PIXELS];
  const data = new Uint8Array(width * height * 4);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const isLight = rows[Math.floor(y / PIXELS)]?.[Math.floor(x / PIXELS)] === true;
      data.set([...Array.from({ length: 3 }, () => (isLight ? 255 : 0)), 255], (y * width + x) * 4);
    }
  }
  return decode({ width, height, data });
}

test('a camera reads it, in colours and without', () => {
  const plain = qrLines(URI, false);
  expect(seen(plain, false)).toBe(URI);
  const coloured = qrLines(URI, true);
  expect(coloured.map((line) => line.replace('\u001b[97;40m', '').replace('\u001b[39;49m', ''))).toEqual(plain);
});

test('an address of an authenticator fits into a window of 80 columns', () => {
  const lines = qrLines(URI, false);
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(60);
  expect(lines.length).toBeLessThanOrEqual(30);
});
