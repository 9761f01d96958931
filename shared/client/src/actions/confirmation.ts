// SPDX-License-Identifier: Apache-2.0
/** What a person has to say before something is done. */
export type Confirmation =
  | { readonly kind: 'plain'; readonly question: string }
  /** It takes something away from clients, or for good: the text is to be typed, so that no key does it by chance. */
  | { readonly kind: 'typed'; readonly question: string; readonly text: string };

/** answer: what was typed, or for a plain one "y". */
export function isConfirmed(confirmation: Confirmation, answer: string): boolean {
  const said = answer.trim();
  return confirmation.kind === 'plain' ? /^y(es)?$/i.test(said) : said === confirmation.text;
}
