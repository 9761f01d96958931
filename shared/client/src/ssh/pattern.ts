// SPDX-License-Identifier: Apache-2.0
/** Patterns of OpenSSH's files: "*" is any text, "?" one character (ssh_config(5), PATTERNS). */

/** Upper and lower case differ. Takes as many steps as both are long, multiplied. */
export function matchesPattern(text: string, pattern: string): boolean {
  let at = 0;
  let next = 0;
  // Where the last "*" stands, and up to where it has taken the text.
  let star = -1;
  let taken = 0;
  while (at < text.length) {
    const sign = pattern[next];
    if (sign === '*') {
      star = next++;
      taken = at;
    } else if (sign === '?' || sign === text[at]) {
      next++;
      at++;
    } else if (star !== -1) {
      next = star + 1;
      at = ++taken;
    } else {
      return false;
    }
  }
  while (pattern[next] === '*') next++;
  return next === pattern.length;
}

/** Of several, one has to match, and none that begins with "!". */
export function matchesPatterns(text: string, patterns: readonly string[]): boolean {
  let matches = false;
  for (const pattern of patterns) {
    const negated = pattern.startsWith('!');
    if (!matchesPattern(text, negated ? pattern.slice(1) : pattern)) continue;
    if (negated) return false;
    matches = true;
  }
  return matches;
}
