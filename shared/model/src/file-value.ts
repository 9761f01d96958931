// SPDX-License-Identifier: Apache-2.0
/** Printing a message's fields: what is absent in the message is absent in the file. */
import type { FileValue } from './file-shape.js';

export type Fields = { [key: string]: FileValue | undefined };

export function compact(fields: Fields): Fields {
  for (const key of Object.keys(fields)) if (fields[key] === undefined) delete fields[key];
  return fields;
}

export const text = (value: string) => (value === '' ? undefined : value);

/** undefined stays undefined. */
export function when<T, U>(value: T | undefined, print: (value: T) => U): U | undefined {
  return value === undefined ? undefined : print(value);
}

/** A message that holds nothing but absent fields prints as nothing. */
export function nonEmpty(fields: Fields): Fields | undefined {
  return Object.keys(fields).length === 0 ? undefined : fields;
}
