// SPDX-License-Identifier: Apache-2.0
/**
 * What agents and other people have written, as it may be shown: without control characters, and without those that turn the
 * direction of writing, by which a name can be made to look like another.
 */
const UNSHOWN =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g;
const LENGTH_MAX = 20_000;

export function said(text: string): string {
  const short = text.length > LENGTH_MAX ? `${text.slice(0, LENGTH_MAX)}…` : text;
  return short.replace(UNSHOWN, '\ufffd');
}
