// SPDX-License-Identifier: Apache-2.0
/** What differs between two versions of an object, field by field, in the words of the file form. */
import {
  type FileValue,
  type Object$,
  type ObjectFile,
  objectToFile,
  type Service,
  serviceToFile,
} from '@marcher/model';

export interface FieldChange {
  readonly path: string;
  /** '' where the field is absent. */
  readonly before: string;
  readonly after: string;
}

type Fields = { readonly [key: string]: FileValue | undefined };

function print(value: FileValue | undefined): string {
  if (value === undefined) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function isFields(value: FileValue | undefined): value is { [key: string]: FileValue | undefined } {
  return typeof value === 'object' && !Array.isArray(value);
}

/**
 * What makes an element of a list the same one on both sides: a backend's name or address; of a guard's rule all but its
 * sources, since rules have no order and what changes is most often who they are for; otherwise its place.
 */
function identity(value: FileValue, index: number): string {
  if (isFields(value)) {
    const fields: Fields = value;
    const key = fields['name'] ?? fields['address'];
    if (fields['address'] !== undefined && fields['port'] === undefined && typeof key === 'string') return `=${key}`;
    if (fields['action'] !== undefined) return `=${JSON.stringify({ ...fields, sources: undefined })}`;
  }
  return `#${index}`;
}

/** Each element with its identity; those that share one are told apart by their order. */
function identified(values: readonly FileValue[]): Map<string, number> {
  const places = new Map<string, number>();
  const counts = new Map<string, number>();
  values.forEach((value, index) => {
    const key = identity(value, index);
    const count = counts.get(key) ?? 0;
    counts.set(key, count + 1);
    places.set(count === 0 ? key : `${key} ${count}`, index);
  });
  return places;
}

/** Longer lists of scalars are shown by what came and went. */
const WHOLE_LIST_MAX = 8;

function compareScalars(path: string, old: readonly FileValue[], now: readonly FileValue[], out: FieldChange[]): void {
  const before = new Map(old.map((value, index) => [print(value), index]));
  const after = new Map(now.map((value, index) => [print(value), index]));
  const gone = [...before].filter(([value]) => !after.has(value));
  const come = [...after].filter(([value]) => !before.has(value));
  for (const [value, index] of gone) out.push({ path: `${path}[${index}]`, before: value, after: '' });
  for (const [value, index] of come) out.push({ path: `${path}[${index}]`, before: '', after: value });
  if (gone.length + come.length > 0) return;
  // Another order, or a value that stands in it more than once.
  out.push({ path, before: print([...old]), after: print([...now]) });
}

function compare(path: string, before: FileValue | undefined, after: FileValue | undefined, out: FieldChange[]): void {
  if (before === after) return;
  if (Array.isArray(before) || Array.isArray(after)) {
    const old = Array.isArray(before) ? before : [];
    const now = Array.isArray(after) ? after : [];
    if (![...old, ...now].some(isFields)) {
      if (print(before) === print(after)) return;
      if (Math.min(old.length, now.length) > WHOLE_LIST_MAX) compareScalars(path, old, now, out);
      else out.push({ path, before: print(before), after: print(after) });
      return;
    }
    const places = identified(old);
    for (const [key, index] of identified(now)) {
      const place = places.get(key);
      places.delete(key);
      compare(`${path}[${index}]`, place === undefined ? undefined : old[place], now[index], out);
    }
    for (const index of places.values()) compare(`${path}[${index}]`, old[index], undefined, out);
    return;
  }
  if (isFields(before) || isFields(after)) {
    const old: Fields = isFields(before) ? before : {};
    const now: Fields = isFields(after) ? after : {};
    const keys = [...new Set([...Object.keys(old), ...Object.keys(now)])];
    for (const key of keys) compare(path === '' ? key : `${path}.${key}`, old[key], now[key], out);
    // An empty mapping that comes or goes changes the meaning too: `health: {}` turns probes on.
    if (keys.length === 0 && (before === undefined || after === undefined)) {
      out.push({ path, before: before === undefined ? '' : '{}', after: after === undefined ? '' : '{}' });
    }
    return;
  }
  if (print(before) !== print(after)) out.push({ path, before: print(before), after: print(after) });
}

/** undefined: does not exist on that side. */
export function diffServices(before: Service | undefined, after: Service | undefined): FieldChange[] {
  return diffFiles(before && serviceToFile(before), after && serviceToFile(after));
}

export function diffObjects(before: Object$ | undefined, after: Object$ | undefined): FieldChange[] {
  return diffFiles(before && objectToFile(before), after && objectToFile(after));
}

function diffFiles(before: ObjectFile | undefined, after: ObjectFile | undefined): FieldChange[] {
  const out: FieldChange[] = [];
  compare('', before as FileValue | undefined, after as FileValue | undefined, out);
  return out;
}
