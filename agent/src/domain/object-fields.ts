// SPDX-License-Identifier: Apache-2.0
/**
 * An object as the registers that are replicated one by one, so that changes of two nodes to different fields of an object
 * both stand: each top-level field of the packed message is one, and of a list whose elements have names each element.
 *
 * It works on the encoding alone: fields that this version does not know are registers as all others, and a new field
 * makes nothing that was written before look changed.
 *
 *   ""            the object exists; its name (field 1)
 *   "4"           field 4, all its occurrences
 *   "3/web-1"     the element web-1 of field 3, a list with names; written as in a URL
 *   "3"           the order of those elements
 */
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { Kind } from '@marcher/model';

export type Registers = ReadonlyMap<string, Uint8Array>;

/** The object's existence. */
export const EXISTS = '';

const NAME_FIELD = 1;

interface NamedList {
  readonly field: number;
  /** Fields of an element that may name it: the first that is not empty does. */
  readonly names: readonly number[];
}

/** Service.backends by Backend.name, else by Backend.address. */
const NAMED_LISTS: Partial<Record<Kind, NamedList>> = { Service: { field: 3, names: [2, 1] } };

interface Part {
  readonly field: number;
  readonly bytes: Uint8Array;
  /** Of a length-delimited field. */
  readonly payload: Uint8Array | undefined;
}

function* partsOf(body: Uint8Array): Iterable<Part> {
  const reader = new BinaryReader(body);
  while (reader.pos < reader.len) {
    const begin = reader.pos;
    const [field, type] = reader.tag();
    let payload: Uint8Array | undefined;
    if (type === WireType.LengthDelimited) payload = reader.bytes();
    else reader.skip(type, field);
    yield { field, payload, bytes: body.subarray(begin, reader.pos) };
  }
}

function nameOf(element: Uint8Array, list: NamedList): string {
  const found = new Map<number, string>();
  for (const { field, payload } of partsOf(element)) {
    if (payload !== undefined && list.names.includes(field)) found.set(field, new TextDecoder().decode(payload));
  }
  return list.names.map((field) => found.get(field) ?? '').find((name) => name !== '') ?? '';
}

function joined(a: Uint8Array | undefined, b: Uint8Array): Uint8Array {
  if (a === undefined) return b;
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

/** Throws when the body is not a message: it is the caller's own. */
export function splitObject(kind: Kind, body: Uint8Array): Map<string, Uint8Array> {
  const list = NAMED_LISTS[kind];
  const registers = new Map<string, Uint8Array>([[EXISTS, new Uint8Array(0)]]);
  const order = new BinaryWriter();
  const add = (register: string, bytes: Uint8Array): void => {
    registers.set(register, joined(registers.get(register), bytes));
  };
  for (const { field, bytes, payload } of partsOf(body)) {
    if (field === NAME_FIELD) {
      registers.set(EXISTS, bytes);
    } else if (field === list?.field && payload !== undefined) {
      const name = nameOf(payload, list);
      order.uint32((1 << 3) | WireType.LengthDelimited).string(name);
      add(`${field}/${encodeURIComponent(name)}`, bytes);
    } else {
      add(String(field), bytes);
    }
  }
  const names = order.finish();
  if (list !== undefined && names.length > 0) registers.set(String(list.field), names);
  return registers;
}

/** Names in an order register, as far as it can be read. */
function orderOf(register: Uint8Array): string[] {
  const names: string[] = [];
  try {
    for (const { payload } of partsOf(register))
      if (payload !== undefined) names.push(new TextDecoder().decode(payload));
  } catch {
    // Another node's: the rest is in the order of names.
  }
  return names;
}

/**
 * The packed message; undefined when the object does not exist. Total: any registers make a body, which may be invalid,
 * and the same ones the same body on every node.
 */
export function joinObject(kind: Kind, registers: Registers): Uint8Array | undefined {
  const exists = registers.get(EXISTS);
  if (exists === undefined) return undefined;
  const list = NAMED_LISTS[kind];
  const prefix = `${list?.field}/`;
  const fields: [field: number, bytes: readonly Uint8Array[]][] = [[NAME_FIELD, [exists]]];
  const elements = new Map<string, Uint8Array>();
  for (const [register, bytes] of registers) {
    if (register.startsWith(prefix)) elements.set(register.slice(prefix.length), bytes);
    else if (/^[1-9][0-9]*$/.test(register) && register !== String(list?.field))
      fields.push([Number(register), [bytes]]);
  }
  if (list !== undefined && elements.size > 0) {
    const order = orderOf(registers.get(String(list.field)) ?? new Uint8Array(0));
    const known = new Set(order.map(encodeURIComponent));
    const first = [...known].filter((name) => elements.has(name));
    const others = [...elements.keys()].filter((name) => !known.has(name)).sort();
    fields.push([list.field, [...first, ...others].map((name) => elements.get(name) as Uint8Array)]);
  }
  fields.sort(([a], [b]) => a - b);
  return Buffer.concat(fields.flatMap(([, bytes]) => bytes));
}

/** Registers that differ, with what they become; undefined: the register goes. */
export function changedRegisters(before: Registers, after: Registers): Map<string, Uint8Array | undefined> {
  const changed = new Map<string, Uint8Array | undefined>();
  for (const [register, bytes] of after) {
    const old = before.get(register);
    if (old === undefined || Buffer.compare(old, bytes) !== 0) changed.set(register, bytes);
  }
  for (const register of before.keys()) if (!after.has(register)) changed.set(register, undefined);
  return changed;
}
