// SPDX-License-Identifier: Apache-2.0
/** A text as a QR code (ISO/IEC 18004) in half blocks, two rows of it in a line, for an authenticator's camera. */
import encode from 'qr';

/** Modules around it: the standard has four, cameras make do with two, and a window has few lines. */
const QUIET = 2;
/** Both dark, the upper, the lower, neither: what is light is drawn, as most terminals are dark. */
const LIT = [' ', '▄', '▀', '█'] as const;

/**
 * isColoured: black on white, whatever the terminal has; else in its own colours, where a light one shows it inverted, which most cameras read.
 */
export function qrLines(text: string, isColoured: boolean): readonly string[] {
  const rows = encode(text, 'raw', { ecc: 'low', border: QUIET });
  const lines: string[] = [];
  for (let y = 0; y < rows.length; y += 2) {
    const upper = rows[y] ?? [];
    const lower = rows[y + 1];
    const line = upper.map((isDark, x) => LIT[(isDark ? 0 : 2) + (lower?.[x] === false ? 1 : 0)]).join('');
    lines.push(isColoured ? `\u001b[97;40m${line}\u001b[39;49m` : line);
  }
  return lines;
}
