// SPDX-License-Identifier: Apache-2.0
/** Objects of the kinds beside services to the bytes that are stored and compared, and back. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { GuardSchema, type Object$, type ObjectKind, ObjectSchema, TrafficPolicySchema } from '@marcher/model';

/** As for services (service-codec.ts): unknown fields are dropped. */
const WRITE = { writeUnknownFields: false };

export interface PackedObject {
  readonly kind: ObjectKind;
  readonly name: string;
  readonly after: Uint8Array;
}

/** The object is of a known kind (kindOf). */
export function packObject({ object }: Object$): PackedObject {
  switch (object.case) {
    case 'guard':
      return { kind: 'Guard', name: object.value.name, after: toBinary(GuardSchema, object.value, WRITE) };
    case 'trafficPolicy':
      return {
        kind: 'TrafficPolicy',
        name: object.value.name,
        after: toBinary(TrafficPolicySchema, object.value, WRITE),
      };
    default:
      throw new Error('an object of no known kind can not be stored');
  }
}

export function unpackObject(kind: ObjectKind, body: Uint8Array): Object$ {
  return kind === 'Guard'
    ? create(ObjectSchema, { object: { case: 'guard', value: fromBinary(GuardSchema, body) } })
    : create(ObjectSchema, { object: { case: 'trafficPolicy', value: fromBinary(TrafficPolicySchema, body) } });
}
