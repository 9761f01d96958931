// SPDX-License-Identifier: Apache-2.0

/** Text from elsewhere on one line, without control characters or what turns its direction, and not longer than it may be. */
export function plainText(text: string, max = 500): string {
  const plain = text
    .replace(/\s+/g, ' ')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
    .replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\ufffd');
  return plain.length <= max ? plain : `${plain.slice(0, max - 1)}…`;
}
