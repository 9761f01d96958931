// SPDX-License-Identifier: Apache-2.0
/**
 * How much a message of protobuf unfolds to. Two bytes on the wire may become an object of a hundred in memory, so bytes
 * alone bound nothing: what comes from outside is counted before it is decoded.
 */
import { type DescField, type DescMessage, ScalarType } from '@bufbuild/protobuf';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';

/**
 * Fields of a message and of those within it, unknown ones and numbers of packed lists included; more than `most` once it
 * is clear that they are. Throws what BinaryReader throws for bytes that are no message.
 */
export function elementsOf(type: DescMessage, bytes: Uint8Array, most: number): number {
  let count = 0;
  const reader = new BinaryReader(bytes);
  const walk = (desc: DescMessage | undefined, end: number): void => {
    while (reader.pos < end && count <= most) {
      const [number, wire] = reader.tag();
      count += 1;
      if (wire !== WireType.LengthDelimited) {
        reader.skip(wire, number);
        continue;
      }
      const inner = reader.uint32() + reader.pos;
      if (inner > end) throw new RangeError('a field that is longer than what it is in');
      const field = desc && fieldsOf(desc).get(number);
      if (field?.message !== undefined) walk(field.message, inner);
      else if (isPacked(field)) count += inner - reader.pos;
      reader.pos = inner;
    }
  };
  walk(type, bytes.length);
  return count;
}

const byNumber = new WeakMap<DescMessage, ReadonlyMap<number, DescField>>();

function fieldsOf(desc: DescMessage): ReadonlyMap<number, DescField> {
  let fields = byNumber.get(desc);
  if (fields === undefined) {
    fields = new Map(desc.fields.map((field) => [field.number, field]));
    byNumber.set(desc, fields);
  }
  return fields;
}

/** Numbers in a list: each of them takes a byte at least. */
function isPacked(field: DescField | undefined): boolean {
  if (field?.fieldKind !== 'list' || field.listKind !== 'scalar') return false;
  return field.scalar !== ScalarType.BYTES && field.scalar !== ScalarType.STRING;
}
