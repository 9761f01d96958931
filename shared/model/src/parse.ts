// SPDX-License-Identifier: Apache-2.0
/** The file form of a configuration, YAML or JSON, to messages; or everything that is wrong with it, at once. */
import { create } from '@bufbuild/protobuf';
import { type Configuration, ConfigurationSchema } from '@marcher/proto/marcher/v1/model_pb';
import type { z } from 'zod';
import { API_VERSION, documentShape, LISTS } from './file-shape.js';
import { serviceFromFile } from './from-file.js';
import { guardFromFile } from './guard-form.js';
import { nearest } from './nearest.js';
import { trafficPolicyFromFile } from './traffic-policy-form.js';
import { formatPath, type ModelViolation, type PathSegment, parsePath } from './violation.js';
import { YamlParts } from './yaml-parts.js';
import { type Position, parseYamlText, WHOLE_CHARACTERS_MAX } from './yaml-text.js';

export const TEXT_BYTES_MAX = 64 * 1024 * 1024;
/** As many as a person reads; a file of 10,000 wrong services would otherwise answer with megabytes. */
export const VIOLATIONS_MAX = 1_000;
/** From here on reading in parts pays, although a text with a mistake is then read twice. */
const PARTS_CHARACTERS_MIN = 128 * 1024;

export interface ParseOptions {
  /** Absent: JSON when the source ends in .json or the text begins with "{", else YAML. */
  readonly format?: 'yaml' | 'json';
  /** Name of the file, for messages. */
  readonly source?: string;
}

export type ParseResult =
  | { readonly configuration: Configuration; readonly violations?: undefined }
  | { readonly configuration?: undefined; readonly violations: readonly ModelViolation[] };

/** Names that are allowed beside the one that was not, so that a suggestion can be made. */
function knownKeys(path: readonly PathSegment[]): string[] {
  let schema: unknown = documentShape;
  for (const segment of path) {
    schema = unwrap(schema);
    const def = definition(schema);
    if (typeof segment === 'number') schema = def?.element;
    else schema = def?.shape?.[segment];
  }
  return Object.keys(definition(unwrap(schema))?.shape ?? {});
}

interface Definition {
  readonly shape?: Record<string, unknown>;
  readonly element?: unknown;
  readonly innerType?: unknown;
}

function definition(schema: unknown): Definition | undefined {
  return (schema as { def?: Definition } | undefined)?.def;
}

function unwrap(schema: unknown): unknown {
  const inner = definition(schema)?.innerType;
  return inner === undefined ? schema : unwrap(inner);
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  object: 'a mapping',
  record: 'a mapping',
  array: 'a list',
  string: 'a text',
  number: 'a number',
  boolean: 'true or false',
};

function shown(input: unknown): string {
  if (input === null) return 'empty';
  if (Array.isArray(input)) return 'a list';
  if (typeof input === 'object') return 'a mapping';
  const text = JSON.stringify(input) ?? String(input);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

type Found = { path: PathSegment[]; reason: string; fix: string };

function fromIssue(issue: z.core.$ZodIssue): Found[] {
  const path = issue.path.map((segment) => (typeof segment === 'number' ? segment : String(segment)));
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = knownKeys(path);
      return issue.keys.map((key) => {
        const meant = nearest(key, known);
        return {
          path: [...path, key],
          reason: 'is not a known field',
          fix: meant === undefined ? `remove it; known here: ${known.join(', ')}` : `did you mean ${meant}?`,
        };
      });
    }
    case 'invalid_value': {
      const values = issue.values.map(String);
      const written = typeof issue.input === 'string' ? nearest(issue.input, values) : undefined;
      const oneOf = values.length === 1 ? `write ${values[0]}` : `write one of ${values.join(', ')}`;
      const reason = issue.input === undefined ? 'is missing' : `${shown(issue.input)} is not possible here`;
      return [{ path, reason, fix: written === undefined ? oneOf : `did you mean ${written}? Otherwise ${oneOf}` }];
    }
    case 'invalid_type': {
      const expected = TYPE_NAMES[issue.expected] ?? issue.expected;
      if (issue.input === undefined) return [{ path, reason: 'is missing', fix: `add it: ${expected}` }];
      const quote = issue.expected === 'string' && typeof issue.input !== 'object' ? `: "${String(issue.input)}"` : '';
      return [{ path, reason: `is ${shown(issue.input)}, not ${expected}`, fix: `write ${expected}${quote}` }];
    }
    case 'invalid_union':
      return [{ path, reason: `${shown(issue.input)} is not possible here`, fix: 'write a text or a number' }];
    case 'custom':
      return [{ path, reason: issue.message, fix: String(issue.params?.['fix'] ?? '') }];
    default:
      return [{ path, reason: issue.message, fix: '' }];
  }
}

type DocumentShape = z.output<typeof documentShape>;

/** A document without any list says nothing; which services there are is what it most often was to say. */
function lacksLists(value: unknown): Found[] {
  if (typeof value !== 'object' || value === null || LISTS.some((list) => list in value)) return [];
  return [{ path: ['services'], reason: 'is missing', fix: `add it: a list; or one of ${LISTS.slice(1).join(', ')}` }];
}

function inspect(value: unknown): { document: DocumentShape } | { found: Found[] } {
  if (value === undefined || value === null) {
    // Not "no services": an empty file is most often one that is just being written.
    return { found: [{ path: [], reason: 'is empty', fix: `write apiVersion: ${API_VERSION} and services: []` }] };
  }
  const result = documentShape.safeParse(value, { reportInput: true });
  const found: Found[] = lacksLists(value);
  if (result.success) {
    result.data.services?.forEach((service, i) => {
      service.listeners?.forEach((listener, j) => {
        if (listener.port !== undefined && listener.ports !== undefined) {
          const reason = 'stands beside ports, which means the same';
          found.push({ path: ['services', i, 'listeners', j, 'port'], reason, fix: 'keep one of the two' });
        }
      });
    });
    return found.length > 0 ? { found } : { document: result.data };
  }
  return { found: [...result.error.issues.flatMap(fromIssue), ...found] };
}

/** What a document declares is added to what those before it do. */
function add(configuration: Configuration, document: DocumentShape): void {
  for (const service of document.services ?? []) configuration.services.push(serviceFromFile(service));
  for (const guard of document.guards ?? []) configuration.guards.push(guardFromFile(guard));
  for (const policy of document.trafficPolicies ?? []) {
    configuration.trafficPolicies.push(trafficPolicyFromFile(policy));
  }
}

function isJson(text: string, options: ParseOptions): boolean {
  if (options.format !== undefined) return options.format === 'json';
  return options.source?.endsWith('.json') === true || /^\s*\{/.test(text);
}

export function parseConfiguration(text: string, options: ParseOptions = {}): ParseResult {
  const place = options.source === undefined ? {} : { source: options.source };
  if (text.length > TEXT_BYTES_MAX || new TextEncoder().encode(text).length > TEXT_BYTES_MAX) {
    const fix = 'split it into several files, or apply it in parts';
    return { violations: [{ path: '', reason: `is larger than ${TEXT_BYTES_MAX} bytes`, fix, ...place }] };
  }
  const read = readText(withoutMark(text), options);
  if (read.violations !== undefined) {
    return { violations: read.violations.slice(0, VIOLATIONS_MAX).map((violation) => ({ ...violation, ...place })) };
  }
  const { documents, locate } = read;
  const configuration = create(ConfigurationSchema);
  const violations: ModelViolation[] = [];
  documents.forEach((document, index) => {
    const inspected = inspect(document);
    if ('document' in inspected) {
      add(configuration, inspected.document);
      return;
    }
    for (const { path, reason, fix } of inspected.found.slice(0, VIOLATIONS_MAX - violations.length)) {
      const at = locate(index, path);
      const prefix: PathSegment[] = documents.length > 1 ? ['documents', index] : [];
      violations.push({ path: formatPath([...prefix, ...path]), reason, fix, ...place, ...at });
    }
  });
  return violations.length > 0 ? { violations } : { configuration };
}

type Locate = (document: number, path: readonly PathSegment[]) => Position | undefined;
type Read =
  | { readonly documents: readonly unknown[]; readonly locate: Locate; readonly violations?: undefined }
  | { readonly documents?: undefined; readonly violations: readonly ModelViolation[] };

function withoutMark(text: string): string {
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
}

function readText(text: string, options: ParseOptions): Read {
  if (isJson(text, options)) {
    try {
      return { documents: [JSON.parse(text)], locate: locator(text) };
    } catch (error) {
      // YAML's flow style begins with "{" too, so only a text that is neither is refused, with YAML's position.
      const surely = options.format === 'json' || options.source?.endsWith('.json') === true;
      if (surely || text.length > WHOLE_CHARACTERS_MAX) return { violations: [jsonFailure(text, error)] };
    }
  }
  const parts = text.length >= PARTS_CHARACTERS_MIN ? YamlParts.of(text) : undefined;
  const document = parts?.read();
  if (parts !== undefined && document !== undefined) {
    return { documents: [document], locate: (_index, path) => parts.locate(path) };
  }
  if (text.length > WHOLE_CHARACTERS_MAX) {
    const mistakes = parts?.mistakes(VIOLATIONS_MAX) ?? [];
    return { violations: mistakes.length > 0 ? mistakes : [tooLargeAsAWhole(text.length)] };
  }
  const yaml = parseYamlText(text);
  if (yaml.violations.length > 0) return { violations: yaml.violations };
  // A trailing "---" is a habit, not a document.
  const documents = yaml.documents.filter((each, index) => index === 0 || each !== undefined);
  return { documents: documents.length > 0 ? documents : [undefined], locate: yaml.locate };
}

/** Reads the text again, and only when asked. */
function locator(text: string): Locate {
  let locate: Locate | undefined;
  return (index, path) => {
    locate ??= text.length <= WHOLE_CHARACTERS_MAX ? parseYamlText(text).locate : () => undefined;
    return locate(index, path);
  };
}

function tooLargeAsAWhole(characters: number): ModelViolation {
  return {
    path: '',
    reason: `has ${characters} characters of YAML that can only be read as a whole, and at most ${WHOLE_CHARACTERS_MAX} are`,
    fix: 'write services as a list with a line for each field, without anchors, aliases and several documents; or split it into several files, or write JSON',
  };
}

function jsonFailure(text: string, error: unknown): ModelViolation {
  const reason = `is not valid JSON: ${error instanceof Error ? error.message : String(error)}`;
  const at = /at position (\d+)/.exec(reason);
  const violation = { path: '', reason, fix: 'correct the text at this place' };
  if (at === null) {
    // V8 quotes a short text in place of a position; the YAML parser stumbles over the same character.
    const { line, column } = text.length <= WHOLE_CHARACTERS_MAX ? (parseYamlText(text).violations[0] ?? {}) : {};
    return line === undefined || column === undefined ? violation : { ...violation, line, column };
  }
  const before = text.slice(0, Number(at[1]));
  const line = before.split('\n').length;
  return { ...violation, line, column: before.length - before.lastIndexOf('\n') };
}

/**
 * Adds line and column to violations that were found later (by the agent) in a configuration parsed from this text.
 * Paths count the items of each list over all documents of the text, as the parsed configuration does.
 */
export function locateViolations<V extends { path: string; reason: string; fix: string }>(
  text: string,
  violations: readonly V[],
  options: ParseOptions = {},
): ModelViolation[] {
  const place = options.source === undefined ? {} : { source: options.source };
  const body = withoutMark(text);
  const parts = body.length >= PARTS_CHARACTERS_MIN ? YamlParts.of(body) : undefined;
  if (parts !== undefined) {
    return violations.map(({ path, reason, fix }) => ({
      path,
      reason,
      fix,
      ...place,
      ...parts.locate(parsePath(path)),
    }));
  }
  const yaml = body.length <= WHOLE_CHARACTERS_MAX ? parseYamlText(body) : undefined;
  const documents = yaml?.documents ?? [];
  const lengthIn = (document: number, list: string): number => {
    const items = (documents[document] as Record<string, unknown> | undefined)?.[list];
    return Array.isArray(items) ? items.length : 0;
  };
  return violations.map(({ path, reason, fix }) => {
    const segments = parsePath(path);
    const list = String(segments[0]);
    let document = 0;
    let index = typeof segments[1] === 'number' ? segments[1] : 0;
    while (document < documents.length - 1 && index >= lengthIn(document, list)) index -= lengthIn(document++, list);
    if (typeof segments[1] === 'number') segments[1] = index;
    const at = yaml?.locate(document, segments);
    return { path, reason, fix, ...place, ...at };
  });
}
