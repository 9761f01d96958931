// SPDX-License-Identifier: Apache-2.0
export type Theme = 'dark' | 'light';

const KEY = 'marcher-theme';

/** As it was chosen, else as the system has it, else dark. */
export function storedTheme(): Theme {
  const stored = localStorage.getItem(KEY);
  if (stored === 'dark' || stored === 'light') return stored;
  return matchMedia('(prefers-color-scheme: light)').matches ? 'light' : 'dark';
}

export function applyTheme(theme: Theme): void {
  document.documentElement.dataset['theme'] = theme;
}

export function keepTheme(theme: Theme): void {
  localStorage.setItem(KEY, theme);
  applyTheme(theme);
}
