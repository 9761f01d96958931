// SPDX-License-Identifier: Apache-2.0
/**
 * A large YAML text, read in parts. The YAML library builds two trees of a whole document before it makes data of them:
 * of 10,000 services that is some 700 MB, and more time goes into collecting that garbage than into reading. Here the
 * items of the top level's `services:` are read some at a time.
 *
 * A text is cut only before a line that begins with "-" at the items' indentation, which nothing else can be there: block
 * scalars and continued plain scalars are indented further, and a quoted text or a flow collection that is cut open
 * makes a part that is not valid. A part that is not valid, or has another number of items than it should, means: not
 * like this. Then, as with everything unusual (anchors, directives, several documents), the text is read as a whole.
 */
import { parseAllDocuments } from 'yaml';
import { YAML_OPTIONS } from './yaml-text.js';

/** Small: what is made of a part should be gone before the collector looks at it twice. */
const PART_CHARACTERS = 8 * 1024;

/** Of a line: its indentation, and what stands there first; '' when blank or a comment. */
function lineStart(text: string, from: number, to: number): { indent: number; first: string } {
  let at = from;
  while (at < to && text.charCodeAt(at) === 0x20) at++;
  const first = at === to || text[at] === '#' || text[at] === '\r' ? '' : (text[at] as string);
  return { indent: at - from, first };
}

/**
 * What may be an anchor or an alias: these begin a node, so that a space, a line or an indicator is before them, and have a
 * name. "?a=1&b=2" and ".*" are neither. In a comment or a quoted text something may look like one, which costs time
 * only; and what were missed here would be refused by dataOf.
 */
const ANCHOR_OR_ALIAS = /(?<![0-9A-Za-z_=/.])[&*](?![\s,\]}]|$)/;

/** Where the items of `services:` begin, and one place more: where they end. */
function cut(text: string): number[] | undefined {
  const found = /^services:[ \t]*(?:#.*)?\r?$/m.exec(text);
  if (found === null) return undefined;
  const cuts: number[] = [];
  let itemIndent = -1;
  let from = text.indexOf('\n', found.index) + 1;
  while (from > 0 && from < text.length) {
    const newline = text.indexOf('\n', from);
    const to = newline === -1 ? text.length : newline;
    const { indent, first } = lineStart(text, from, to);
    if (first !== '' && (itemIndent === -1 || indent <= itemIndent)) {
      const next = text[from + indent + 1];
      const item = first === '-' && (next === ' ' || next === '\n' || next === '\r' || next === undefined);
      if (!item || (itemIndent !== -1 && indent < itemIndent)) {
        // Only another field of the top level ends the items.
        if (indent > 0) return undefined;
        break;
      }
      itemIndent = indent;
      cuts.push(from);
    }
    if (newline === -1) from = text.length;
    else from = newline + 1;
  }
  if (cuts.length === 0) return undefined;
  cuts.push(from);
  return cuts;
}

/** The one document of a text as data; undefined when it has not exactly one, or a mistake. */
function dataOf(text: string): unknown {
  const documents = parseAllDocuments(text, YAML_OPTIONS);
  const [document] = documents;
  if (!Array.isArray(documents) || documents.length !== 1 || document === undefined) return undefined;
  // 0: an alias throws. Its anchor may stand in another part; and without aliases anchors mean nothing.
  return document.errors.length > 0 ? undefined : document.toJS({ maxAliasCount: 0 });
}

/** The document, as reading the text as a whole would give it; undefined: only reading it as a whole can tell. */
export function parseYamlParts(text: string, partCharacters = PART_CHARACTERS): unknown {
  if (ANCHOR_OR_ALIAS.test(text) || /\r(?!\n)/.test(text) || /^(?:%|---|\.\.\.)/m.test(text)) return undefined;
  const cuts = cut(text);
  if (cuts === undefined) return undefined;
  const end = cuts.at(-1) as number;
  try {
    const frame = dataOf(text.slice(0, cuts[0]) + text.slice(end));
    if (typeof frame !== 'object' || frame === null || !('services' in frame) || frame.services !== null) {
      return undefined;
    }
    const services: unknown[] = [];
    for (let first = 0; first < cuts.length - 1; ) {
      const start = cuts[first] as number;
      let last = first + 1;
      while (last < cuts.length - 1 && (cuts[last] as number) - start < partCharacters) last++;
      const part = dataOf(text.slice(start, cuts[last]));
      if (!Array.isArray(part) || part.length !== last - first) return undefined;
      for (const item of part) services.push(item);
      first = last;
    }
    return { ...frame, services };
  } catch {
    // Nested deeper than the stack, or the like: reading it as a whole says what.
    return undefined;
  }
}
