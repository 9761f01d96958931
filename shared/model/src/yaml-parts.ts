// SPDX-License-Identifier: Apache-2.0
/**
 * A large YAML text, read in parts. The YAML library builds two trees of a whole document before it makes data of them:
 * of 10,000 services that is some 700 MB, and more time goes into collecting that garbage than into reading. Here the
 * items of the top level's `services:` are read some at a time. The other lists, of which nobody has thousands, are read with
 * what remains, the frame.
 *
 * A text is cut only before a line that begins with "-" at the items' indentation, which nothing else can be there: block
 * scalars and continued plain scalars are indented further, and a quoted text or a flow collection that is cut open
 * makes a part that is not valid. A part that is not valid, or has another number of items than it should, means: not
 * like this, or a mistake. Then, as with everything unusual (anchors, directives, several documents), only reading the
 * text as a whole can tell.
 */
import { parseAllDocuments } from 'yaml';
import type { ModelViolation, PathSegment } from './violation.js';
import { type Position, parseYamlText, WHOLE_CHARACTERS_MAX, YAML_OPTIONS, type YamlText } from './yaml-text.js';

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

/**
 * What may be an explicit key ("? key", a line or more). Nobody writes those here, and the library takes some of them for
 * valid in a part that it refuses in the whole.
 */
const EXPLICIT_KEY = /(?<![^\s,[{:-])\?(?=\s|$)/;

/** A tab in a line's indentation, which YAML forbids in some places, and the library not always in a part. */
const INDENTED_BY_TAB = /^[ \t]*\t/m;

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

function newlines(text: string, from: number, to: number): number {
  let count = 0;
  for (let at = text.indexOf('\n', from); at !== -1 && at < to; at = text.indexOf('\n', at + 1)) count++;
  return count;
}

export class YamlParts {
  readonly #text: string;
  readonly #cuts: readonly number[];
  /** The text without the items. */
  readonly #frame: string;
  /** Line breaks before each cut, as far as they were counted. */
  readonly #breaks: number[];
  /** What was located in last: mistakes come one service after the other. */
  #last: { readonly item: number; readonly text: YamlText } | undefined;
  #frameText: YamlText | undefined;

  private constructor(text: string, cuts: readonly number[]) {
    const start = cuts[0] as number;
    this.#text = text;
    this.#cuts = cuts;
    this.#frame = text.slice(0, start) + text.slice(cuts.at(-1));
    this.#breaks = [newlines(text, 0, start)];
  }

  /** undefined: the text can't be cut, or means something else in parts. */
  static of(text: string): YamlParts | undefined {
    if (
      ANCHOR_OR_ALIAS.test(text) ||
      EXPLICIT_KEY.test(text) ||
      INDENTED_BY_TAB.test(text) ||
      /\r(?!\n)/.test(text) ||
      /^(?:%|---|\.\.\.)/m.test(text)
    )
      return undefined;
    const cuts = cut(text);
    const parts = cuts && new YamlParts(text, cuts);
    return parts !== undefined && parts.#frame.length <= WHOLE_CHARACTERS_MAX ? parts : undefined;
  }

  /** The document, as reading the text as a whole would give it; undefined: only that can tell. */
  read(partCharacters = PART_CHARACTERS): unknown {
    try {
      const frame = this.#readFrame();
      if (frame === undefined) return undefined;
      const services: unknown[] = [];
      for (const [first, last] of this.#parts(partCharacters)) {
        const part = this.#readPart(first, last);
        if (part === undefined) return undefined;
        for (const item of part) services.push(item);
      }
      return { ...frame, services };
    } catch {
      // Nested deeper than the stack, or the like: reading it as a whole says what.
      return undefined;
    }
  }

  /** Why read() gave nothing, as far as parts can tell: for a text that is too large to be read as a whole. */
  mistakes(max: number, partCharacters = PART_CHARACTERS): ModelViolation[] {
    const found: ModelViolation[] = [];
    const note = (text: YamlText, lineOf: (line: number) => number): void => {
      for (const violation of text.violations) {
        found.push(violation.line === undefined ? violation : { ...violation, line: lineOf(violation.line) });
      }
    };
    note(this.#frameAsText(), (line) => this.#lineOfFrame(line));
    for (const [first, last] of this.#parts(partCharacters)) {
      if (found.length >= max) break;
      if (this.#readPart(first, last) !== undefined) continue;
      // Item by item, so that a mistake in one does not hide those in the next.
      for (let item = first; item < last; item++) {
        note(this.#item(item), (line) => line + this.#breaksBefore(item));
      }
    }
    return found.slice(0, max);
  }

  locate(path: readonly PathSegment[]): Position | undefined {
    const [field, item, ...rest] = path;
    if (field !== 'services' || typeof item !== 'number') {
      const at = this.#frameAsText().locate(0, path);
      return at && { line: this.#lineOfFrame(at.line), column: at.column };
    }
    if (item >= this.#cuts.length - 1) return undefined;
    const at = this.#item(item).locate(0, [0, ...rest]);
    return at && { line: at.line + this.#breaksBefore(item), column: at.column };
  }

  #frameAsText(): YamlText {
    this.#frameText ??= parseYamlText(this.#frame);
    return this.#frameText;
  }

  #readFrame(): object | undefined {
    const frame = dataOf(this.#frame);
    const hasNoMore = typeof frame === 'object' && frame !== null && 'services' in frame && frame.services === null;
    return hasNoMore ? frame : undefined;
  }

  #readPart(first: number, last: number): unknown[] | undefined {
    const part = dataOf(this.#text.slice(this.#cuts[first], this.#cuts[last]));
    return Array.isArray(part) && part.length === last - first ? part : undefined;
  }

  /** Items first to last - 1 at a time. */
  *#parts(characters: number): Generator<[first: number, last: number]> {
    const cuts = this.#cuts;
    for (let first = 0; first < cuts.length - 1; ) {
      let last = first + 1;
      while (last < cuts.length - 1 && (cuts[last] as number) - (cuts[first] as number) < characters) last++;
      yield [first, last];
      first = last;
    }
  }

  #item(item: number): YamlText {
    if (this.#last?.item !== item) {
      this.#last = { item, text: parseYamlText(this.#text.slice(this.#cuts[item], this.#cuts[item + 1])) };
    }
    return this.#last.text;
  }

  #breaksBefore(item: number): number {
    for (let at = this.#breaks.length; at <= item; at++) {
      const before = this.#breaks[at - 1] as number;
      this.#breaks.push(before + newlines(this.#text, this.#cuts[at - 1] as number, this.#cuts[at] as number));
    }
    return this.#breaks[item] as number;
  }

  #lineOfFrame(line: number): number {
    const before = this.#breaks[0] as number;
    return line <= before ? line : line + this.#breaksBefore(this.#cuts.length - 1) - before;
  }
}
