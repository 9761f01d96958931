// SPDX-License-Identifier: Apache-2.0
/** Services to the bytes that are stored and compared, and back. Equal services have equal bytes. */
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { type Service, ServiceSchema } from '@marcher/model';
import { isCanonical } from './canonical.js';

/** Fields that this version doesn't know are dropped: stored, they would come back to life unvalidated one day. */
const WRITE = { writeUnknownFields: false };

export function packService(service: Service): Uint8Array {
  const names = Object.keys(service.labels);
  if (names.length > 1) {
    service.labels = Object.fromEntries(names.sort().map((name) => [name, service.labels[name] ?? '']));
  }
  return toBinary(ServiceSchema, service, WRITE);
}

/** packService of the service that these bytes were decoded to: the same bytes, mostly. */
export function repackService(packed: Uint8Array, service: Service): Uint8Array {
  return isCanonical(ServiceSchema, packed) ? packed : packService(service);
}

export function unpackService(body: Uint8Array): Service {
  return fromBinary(ServiceSchema, body);
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}

/** Tag of Service.name: field 1, length-delimited. */
const NAME_TAG = 0x0a;

/** Name of a packed service that begins with it, as packService writes it; undefined when it does not. */
export function packedName(body: Uint8Array): string | undefined {
  const length = body[1] ?? 0;
  if (body[0] !== NAME_TAG || length > 0x7f || 2 + length > body.length) return undefined;
  return Buffer.from(body.buffer, body.byteOffset + 2, length).toString('utf8');
}
