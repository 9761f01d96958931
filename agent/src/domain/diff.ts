// SPDX-License-Identifier: Apache-2.0
/** What differs between two versions of a service, field by field, in the words of the file form. */
import { type FileValue, type Service, serviceToFile } from '@marcher/model';

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

/** What makes an element of a list the same one on both sides: a backend's name or address, otherwise its place. */
function identity(value: FileValue, index: number): string {
  if (isFields(value)) {
    const fields: Fields = value;
    const key = fields['name'] ?? fields['address'];
    if (fields['address'] !== undefined && fields['port'] === undefined && typeof key === 'string') return `=${key}`;
  }
  return `#${index}`;
}

function compare(path: string, before: FileValue | undefined, after: FileValue | undefined, out: FieldChange[]): void {
  if (before === after) return;
  if (Array.isArray(before) || Array.isArray(after)) {
    const old = Array.isArray(before) ? before : [];
    const now = Array.isArray(after) ? after : [];
    if (![...old, ...now].some(isFields)) {
      if (print(before) !== print(after)) out.push({ path, before: print(before), after: print(after) });
      return;
    }
    const places = new Map(old.map((value, index) => [identity(value, index), index]));
    now.forEach((value, index) => {
      const key = identity(value, index);
      const place = places.get(key);
      places.delete(key);
      compare(`${path}[${index}]`, place === undefined ? undefined : old[place], value, out);
    });
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
  const out: FieldChange[] = [];
  compare('', before && (serviceToFile(before) as FileValue), after && (serviceToFile(after) as FileValue), out);
  return out;
}
