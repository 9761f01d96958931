// SPDX-License-Identifier: Apache-2.0
/**
 * What "/" selects rows by, as in k9s: a regular expression without regard to case, "!" before it for those that it does not
 * fit, "-f" for characters in that order with others between them.
 */
import { Fzf } from 'fzf';

export type Filter =
  | { readonly kind: 'all' }
  | { readonly kind: 'expression'; readonly test: (text: string) => boolean }
  | { readonly kind: 'fuzzy'; readonly query: string }
  /** Half typed, most often: all rows are shown meanwhile, and what is wrong. */
  | { readonly kind: 'faulty'; readonly reason: string };

/** Of an expression: it is tried on each row, and backtracking grows with its length. */
const LENGTH_MAX = 200;
/** Of a row's text that expressions see. */
const TEXT_MAX = 512;

export function parseFilter(text: string): Filter {
  const trimmed = text.trim();
  if (trimmed === '') return { kind: 'all' };
  if (trimmed.length > LENGTH_MAX) {
    return { kind: 'faulty', reason: `a filter of ${trimmed.length} characters: at most ${LENGTH_MAX} are allowed` };
  }
  const fuzzy = /^-f(?:\s+(.*))?$/s.exec(trimmed);
  if (fuzzy !== null) {
    const query = fuzzy[1] ?? '';
    return query === '' ? { kind: 'all' } : { kind: 'fuzzy', query };
  }
  const inverse = trimmed.startsWith('!');
  const source = inverse ? trimmed.slice(1) : trimmed;
  if (source === '') return { kind: 'all' };
  try {
    const expression = new RegExp(source, 'iu');
    return { kind: 'expression', test: (row) => expression.test(row.slice(0, TEXT_MAX)) !== inverse };
  } catch (error) {
    return { kind: 'faulty', reason: (error as Error).message.replace(/^Invalid regular expression: /, '') };
  }
}

/** The rows that are selected: in their order, or of fuzzy ones the best first. */
export function select<Row>(filter: Filter, rows: readonly Row[], textOf: (row: Row) => string): readonly Row[] {
  switch (filter.kind) {
    case 'expression':
      return rows.filter((row) => filter.test(textOf(row)));
    case 'fuzzy':
      return fuzzy(
        filter.query,
        rows.map((row) => textOf(row).slice(0, TEXT_MAX)),
      ).flatMap((index) => rows[index] ?? []);
    default:
      return rows;
  }
}

interface Candidate {
  readonly index: number;
  readonly text: string;
}

/** Indices of the texts that fit, the best first. The declarations of fzf are none to this compiler: its types stand here. */
function fuzzy(query: string, texts: readonly string[]): readonly number[] {
  const candidates = texts.map((text, index): Candidate => ({ index, text }));
  const found: readonly { readonly item: Candidate }[] = new Fzf(candidates, {
    selector: ({ text }: Candidate) => text,
  }).find(query);
  return found.map(({ item }) => item.index);
}
