// SPDX-License-Identifier: Apache-2.0
/** A text as a QR code (ISO/IEC 18004): black on white in both themes, with the margin that cameras look for. */
import encode from 'qr';
import { type ReactNode, useMemo } from 'react';

interface QrCodeProps {
  readonly text: string;
  readonly label: string;
}

export function QrCode({ text, label }: QrCodeProps): ReactNode {
  const { size, dark } = useMemo(() => drawn(text), [text]);
  return (
    <svg className="qr" viewBox={`0 0 ${size} ${size}`} role="img" aria-label={label} shapeRendering="crispEdges">
      <rect width={size} height={size} fill="#fff" />
      <path d={dark} fill="#000" />
    </svg>
  );
}

/** dark: path of its squares, each of 1 by 1. */
export function drawn(text: string): { readonly size: number; readonly dark: string } {
  const rows = encode(text, 'raw', { ecc: 'medium', border: 4 });
  const squares = rows.flatMap((row, y) => row.flatMap((isDark, x) => (isDark ? [`M${x} ${y}h1v1h-1z`] : [])));
  return { size: rows.length, dark: squares.join('') };
}
