// SPDX-License-Identifier: Apache-2.0

/** One thing wrong with a configuration: where, why, and what to write instead. */
export interface ModelViolation {
  /** "services[3].backends[0].address"; in a file of several documents "documents[1].services[0].name". */
  readonly path: string;
  readonly reason: string;
  readonly fix: string;
  /** File that it stands in, and 1-based position, where known. */
  readonly source?: string;
  readonly line?: number;
  readonly column?: number;
}

export type PathSegment = string | number;

/** ['services', 3, 'name'] -> "services[3].name" */
export function formatPath(segments: readonly PathSegment[]): string {
  let path = '';
  for (const segment of segments) {
    if (typeof segment === 'number') path += `[${segment}]`;
    else path += path === '' ? segment : `.${segment}`;
  }
  return path;
}

/** The reverse of formatPath, for keys without dots and brackets. */
export function parsePath(path: string): PathSegment[] {
  const segments: PathSegment[] = [];
  for (const match of path.matchAll(/\[(\d+)\]|([^.[\]]+)/g)) {
    if (match[1] !== undefined) segments.push(Number(match[1]));
    else if (match[2] !== undefined) segments.push(match[2]);
  }
  return segments;
}

/** "web.yaml:12:5: services[0].name: reason; fix" */
export function formatViolation(violation: ModelViolation): string {
  const { source, line, column, path, reason, fix } = violation;
  const at = line === undefined ? '' : column === undefined ? `:${line}` : `:${line}:${column}`;
  const where = source === undefined ? '' : `${source}${at}: `;
  return `${where}${path === '' ? '' : `${path}: `}${reason}${fix === '' ? '' : ` (${fix})`}`;
}
