// SPDX-License-Identifier: Apache-2.0
/**
 * Whether bytes are already what packService would make of them, so that what a client has sent can be stored as it is.
 * Encoding 10,000 services anew costs a tenth of an apply, and clients nearly always send the form that comes out.
 *
 * Canonical: fields in the order of their numbers, each once (or as often as it repeats), known, with the shortest
 * lengths and numbers, and none that says what its absence says. "No" is always right: then they are encoded anew. So
 * what is rare or hard to tell (maps, packed lists, negative numbers) is a "no".
 */
import { type DescField, type DescMessage, ScalarType } from '@bufbuild/protobuf';
import { FeatureSet_FieldPresence } from '@bufbuild/protobuf/wkt';

interface Rule {
  /** Largest value of a number; -1: length-delimited. */
  readonly max: number;
  readonly repeats: boolean;
  /** Not written when it is zero or empty. */
  readonly implicit: boolean;
  /** Of a submessage. */
  readonly fields: Fields | undefined;
}

/** By field number. */
type Fields = (Rule | undefined)[];

const VARINT = 0;
const LENGTH_DELIMITED = 2;
const NUMBERS: Partial<Record<ScalarType, number>> = {
  [ScalarType.BOOL]: 1,
  [ScalarType.UINT32]: 0xffff_ffff,
  [ScalarType.INT32]: 0x7fff_ffff,
};

const known = new Map<DescMessage, Fields>();

function fieldsOf(message: DescMessage): Fields {
  const earlier = known.get(message);
  if (earlier !== undefined) return earlier;
  const fields: Fields = [];
  known.set(message, fields);
  for (const field of message.fields) fields[field.number] = ruleOf(field);
  return fields;
}

function ruleOf(field: DescField): Rule | undefined {
  if (field.oneof !== undefined) return undefined;
  const implicit = field.presence === FeatureSet_FieldPresence.IMPLICIT;
  const repeats = field.fieldKind === 'list';
  if (field.message !== undefined) {
    if (field.fieldKind === 'map' || ('delimitedEncoding' in field && field.delimitedEncoding)) return undefined;
    return { max: -1, repeats, implicit: false, fields: fieldsOf(field.message) };
  }
  if (field.fieldKind === 'map') return undefined;
  if (field.scalar === ScalarType.STRING || field.scalar === ScalarType.BYTES) {
    return { max: -1, repeats, implicit: implicit && !repeats, fields: undefined };
  }
  const max = field.enum === undefined ? NUMBERS[field.scalar as ScalarType] : 0x7fff_ffff;
  return max === undefined || repeats ? undefined : { max, repeats, implicit, fields: undefined };
}

/** Walks one text; a reader of its own, since it is the only one that asks how a number is written. */
class Walk {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** A number of at most 32 bits in its shortest form; -1 otherwise. */
  #varint(end: number): number {
    let value = 0;
    for (let factor = 1; factor <= 0x1000_0000 && this.#at < end; factor *= 128) {
      const byte = this.#bytes[this.#at++] as number;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return (byte === 0 && factor > 1) || value > 0xffff_ffff ? -1 : value;
    }
    return -1;
  }

  message(fields: Fields, end: number): boolean {
    let last = 0;
    while (this.#at < end) {
      const tag = this.#varint(end);
      const number = tag >>> 3;
      const rule = tag === -1 ? undefined : fields[number];
      if (rule === undefined || number < last || (number === last && !rule.repeats)) return false;
      last = number;
      const value = this.#varint(end);
      if (value === -1 || (value === 0 && rule.implicit)) return false;
      if (rule.max !== -1) {
        if ((tag & 7) !== VARINT || value > rule.max) return false;
      } else {
        const stop = this.#at + value;
        if ((tag & 7) !== LENGTH_DELIMITED || stop > end) return false;
        if (rule.fields === undefined) this.#at = stop;
        else if (!this.message(rule.fields, stop)) return false;
      }
    }
    return this.#at === end;
  }
}

/** The bytes are known to decode as the message. */
export function isCanonical(message: DescMessage, bytes: Uint8Array): boolean {
  return new Walk(bytes).message(fieldsOf(message), bytes.length);
}
