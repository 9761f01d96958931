// SPDX-License-Identifier: Apache-2.0
/**
 * YAML (and, for positions, JSON) text: documents as plain data, with a way back from a path to line and column.
 *
 * Aliases are allowed, since operators share health checks that way, but bounded by what they expand to: the usual
 * "billion laughs" text of a few hundred bytes would otherwise become gigabytes.
 */
import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
} from 'yaml';
import type { ModelViolation, PathSegment } from './violation.js';

/** Nodes that all aliases of one text may add up to. */
export const EXPANDED_NODES_MAX = 5_000_000;

/** Of a text that is read as a whole: a hundred bytes of memory for each. */
export const WHOLE_CHARACTERS_MAX = 8 * 1024 * 1024;

export const YAML_OPTIONS = { prettyErrors: false, merge: true, logLevel: 'silent' } as const;

export interface Position {
  readonly line: number;
  readonly column: number;
}

export interface YamlText {
  /** One value per document; undefined for an empty one. */
  readonly documents: readonly unknown[];
  readonly violations: readonly ModelViolation[];
  locate(document: number, path: readonly PathSegment[]): Position | undefined;
}

class Unbounded extends Error {}

/** Nodes below `node` with every alias replaced by what it stands for. Throws Unbounded when there are too many. */
function expandedSize(root: unknown, anchors: Map<string, number>): number {
  let size = 0;
  const walk = (node: unknown): number => {
    if (isAlias(node)) {
      const known = anchors.get(node.source);
      if (known === undefined)
        throw new Unbounded(`the alias *${node.source} refers to itself or to nothing before it`);
      return known;
    }
    let count = 1;
    if (isPair(node)) count += walk(node.key) + walk(node.value);
    else if (isCollection(node)) for (const item of node.items) count += walk(item);
    if ((isCollection(node) || isScalar(node)) && node.anchor !== undefined) anchors.set(node.anchor, count);
    if (count > EXPANDED_NODES_MAX) throw new Unbounded(`its aliases expand to more than ${EXPANDED_NODES_MAX} nodes`);
    return count;
  };
  size += walk(root);
  return size;
}

export function parseYamlText(text: string): YamlText {
  const lines = new LineCounter();
  const violations: ModelViolation[] = [];
  const documents: unknown[] = [];
  let parsed: Document.Parsed[] = [];
  try {
    const result = parseAllDocuments(text, { ...YAML_OPTIONS, lineCounter: lines });
    parsed = Array.isArray(result) ? [...result] : [];
  } catch (error) {
    // Nesting deeper than the stack.
    violations.push({ path: '', reason: `can't be read: ${String(error)}`, fix: 'nest less deeply' });
  }
  for (const document of parsed) {
    for (const error of document.errors) {
      const at = lines.linePos(error.pos[0]);
      violations.push({
        path: '',
        reason: `is not valid YAML: ${error.message}`,
        fix: 'correct the text at this place',
        line: at.line,
        column: at.col,
      });
    }
    if (document.errors.length > 0) {
      documents.push(undefined);
      continue;
    }
    try {
      if (/[&*]/.test(text)) expandedSize(document.contents, new Map());
      documents.push(document.toJS({ maxAliasCount: -1 }) ?? undefined);
    } catch (error) {
      const reason = error instanceof Unbounded ? error.message : `can't be read: ${String(error)}`;
      violations.push({ path: '', reason, fix: 'write the values out, or use fewer aliases' });
      documents.push(undefined);
    }
  }
  return {
    documents,
    violations,
    locate(index, path) {
      let node: unknown = parsed[index]?.contents;
      let found: Node | undefined;
      for (const segment of path) {
        if (isMap(node)) {
          const pair = node.items.find((item) => isScalar(item.key) && item.key.value === segment);
          if (pair === undefined) break;
          found = pair.key as Node;
          node = pair.value;
        } else if (isSeq(node) && typeof segment === 'number') {
          const item = node.items[segment];
          if (item === undefined) break;
          found = item as Node;
          node = item;
        } else break;
      }
      const offset = (found ?? parsed[index]?.contents)?.range?.[0];
      if (offset === undefined) return undefined;
      const at = lines.linePos(offset);
      return { line: at.line, column: at.col };
    },
  };
}
