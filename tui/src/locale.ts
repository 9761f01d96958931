// SPDX-License-Identifier: Apache-2.0

/** By the locale (POSIX, 8.2: LC_ALL, then LC_CTYPE, then LANG). The kernel's own console has few glyphs whatever it says. */
export function hasUnicode(env: Readonly<Record<string, string | undefined>>): boolean {
  const locale = env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || '';
  return /utf-?8/i.test(locale) && env['TERM'] !== 'linux';
}
