// SPDX-License-Identifier: Apache-2.0
/** The cluster that a stored object is of, without decoding the rest of it. */
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import type { Kind } from '@marcher/model';

/** Number of the field "cluster" (model.proto). */
const FIELD: Readonly<Record<Kind, number>> = { Service: 14, Guard: 9, TrafficPolicy: 10 };

/** Empty: of none. Throws when the body is no message: it is this node's own. */
export function clusterOf(kind: Kind, body: Uint8Array): string {
  const reader = new BinaryReader(body);
  let cluster = '';
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === FIELD[kind] && type === WireType.LengthDelimited) cluster = reader.string();
    else reader.skip(type, field);
  }
  return cluster;
}
