// SPDX-License-Identifier: Apache-2.0
/** What a terminal shows as a page that looks like it: text with SGR (ECMA-48, 8.3.117; xterm's 256 colours) as HTML. */

/** The first 16, as many terminals have them. */
const BASE = [
  ...['#1e1e1e', '#cd3131', '#0dbc79', '#e5e510', '#2472c8', '#bc3fbc', '#11a8cd', '#e5e5e5'],
  ...['#666666', '#f14c4c', '#23d18b', '#f5f543', '#3b8eea', '#d670d6', '#29b8db', '#ffffff'],
];
const FOREGROUND = '#e5e5e5';
const BACKGROUND = '#1e1e1e';
const ESC = String.fromCharCode(27);
const SEQUENCE = new RegExp(`${ESC}\\[([0-9;:]*)m|${ESC}[()][A-Z0-9]`, 'g');

interface Look {
  foreground: string | undefined;
  background: string | undefined;
  bold: boolean;
  dim: boolean;
  inverse: boolean;
}

export function pictureOf(screen: string): string {
  const look: Look = { foreground: undefined, background: undefined, bold: false, dim: false, inverse: false };
  let body = '';
  let at = 0;
  for (const match of screen.matchAll(SEQUENCE)) {
    body += span(screen.slice(at, match.index), look);
    at = match.index + match[0].length;
    if (match[1] !== undefined) change(look, match[1].split(/[;:]/).map(Number));
  }
  body += span(screen.slice(at), look);
  const style = `margin:0;padding:12px;background:${BACKGROUND};color:${FOREGROUND};font:14px/1.25 "DejaVu Sans Mono",monospace`;
  return `<!doctype html><meta charset="utf-8"><title>terminal</title><body style="margin:0;display:inline-block"><pre style='${style}'>${body.trimEnd()}</pre>`;
}

function span(text: string, { foreground, background, bold, dim, inverse }: Look): string {
  if (text === '') return '';
  const [ink, paper] = inverse ? [background ?? BACKGROUND, foreground ?? FOREGROUND] : [foreground, background];
  const style = [
    ...(ink === undefined ? [] : [`color:${ink}`]),
    ...(paper === undefined ? [] : [`background:${paper}`]),
    ...(bold ? ['font-weight:bold'] : []),
    ...(dim ? ['opacity:.65'] : []),
  ];
  const escaped = text.replace(/[&<>]/g, (one) => `&#${one.charCodeAt(0)};`);
  return style.length === 0 ? escaped : `<span style="${style.join(';')}">${escaped}</span>`;
}

function change(look: Look, codes: readonly number[]): void {
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i] as number;
    if (code === 0)
      Object.assign(look, { foreground: undefined, background: undefined, bold: false, dim: false, inverse: false });
    else if (code === 1) look.bold = true;
    else if (code === 2) look.dim = true;
    else if (code === 7) look.inverse = true;
    else if (code === 22) Object.assign(look, { bold: false, dim: false });
    else if (code === 27) look.inverse = false;
    else if (code === 38 || code === 48) {
      const isIndexed = codes[i + 1] === 5;
      const colour = isIndexed ? indexed(codes[i + 2] ?? 0) : `rgb(${codes.slice(i + 2, i + 5).join(',')})`;
      look[code === 38 ? 'foreground' : 'background'] = colour;
      i += isIndexed ? 2 : 4;
    } else if (code === 39) look.foreground = undefined;
    else if (code === 49) look.background = undefined;
    else if (code >= 30 && code <= 37) look.foreground = BASE[code - 30];
    else if (code >= 40 && code <= 47) look.background = BASE[code - 40];
    else if (code >= 90 && code <= 97) look.foreground = BASE[code - 82];
    else if (code >= 100 && code <= 107) look.background = BASE[code - 92];
  }
}

/** xterm's: 16, then a cube of 6 × 6 × 6, then 24 greys. */
function indexed(index: number): string {
  if (index < 16) return BASE[index] as string;
  if (index >= 232)
    return `rgb(${Array(3)
      .fill(8 + 10 * (index - 232))
      .join(',')})`;
  const part = (by: number): number => {
    const level = Math.floor((index - 16) / by) % 6;
    return level === 0 ? 0 : 55 + 40 * level;
  };
  return `rgb(${part(36)},${part(6)},${part(1)})`;
}
