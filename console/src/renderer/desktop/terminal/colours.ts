// SPDX-License-Identifier: Apache-2.0
import type { ITheme } from '@xterm/xterm';

const DARK: ITheme = {
  ...{ black: '#383838', red: '#fca5a5', green: '#4ade80', yellow: '#fdb813', blue: '#7aa7f8', magenta: '#d8b4fe' },
  ...{ cyan: '#67e8f9', white: '#e2e8f0', brightBlack: '#8b95a5', brightRed: '#fecaca', brightGreen: '#86efac' },
  ...{
    brightYellow: '#ffd700',
    brightBlue: '#a5c4fc',
    brightMagenta: '#e9d5ff',
    brightCyan: '#a5f3fc',
    brightWhite: '#ffffff',
  },
};
const LIGHT: ITheme = {
  ...{ black: '#0f172a', red: '#7f1d1d', green: '#14532d', yellow: '#713f12', blue: '#1e3a8a', magenta: '#6b21a8' },
  ...{ cyan: '#155e75', white: '#475569', brightBlack: '#475569', brightRed: '#991b1b', brightGreen: '#166534' },
  ...{
    brightYellow: '#854d0e',
    brightBlue: '#1d4ed8',
    brightMagenta: '#7e22ce',
    brightCyan: '#0e7490',
    brightWhite: '#0f172a',
  },
};

/** The page's own, by its variables. */
export function terminalColours(theme: 'dark' | 'light', style: CSSStyleDeclaration): ITheme {
  const of = (name: string): string => style.getPropertyValue(name).trim();
  return {
    ...(theme === 'dark' ? DARK : LIGHT),
    background: of('--ground'),
    foreground: of('--text'),
    cursor: of('--accent'),
    cursorAccent: of('--ground'),
    selectionBackground: of('--raised'),
    selectionForeground: of('--text'),
  };
}
