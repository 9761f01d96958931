// SPDX-License-Identifier: Apache-2.0
/** The kinds of the configuration: what they are called in the API and in the file form. */
import { create } from '@bufbuild/protobuf';
import { type Configuration, type Object$, ObjectSchema } from '@marcher/proto/marcher/v1/model_pb';
import type { ObjectFile } from './file-shape.js';
import { guardToFile } from './guard-form.js';
import { trafficPolicyToFile } from './traffic-policy-form.js';

/** Kinds that the API carries as Object; services, which may be many, have fields and calls of their own. */
export const OBJECT_KINDS = ['Guard', 'TrafficPolicy'] as const;
export type ObjectKind = (typeof OBJECT_KINDS)[number];

export const KINDS = ['Service', ...OBJECT_KINDS] as const;
export type Kind = (typeof KINDS)[number];

/** Field of the file form that lists the objects of a kind. */
export const LIST_OF = { Service: 'services', Guard: 'guards', TrafficPolicy: 'trafficPolicies' } as const;

/** What messages and commands call one. */
export const NOUN_OF = { Service: 'service', Guard: 'guard', TrafficPolicy: 'traffic policy' } as const;

export function isObjectKind(kind: string): kind is ObjectKind {
  return (OBJECT_KINDS as readonly string[]).includes(kind);
}

/** undefined: of a kind that this version does not know, or of none. */
export function kindOf({ object }: Object$): ObjectKind | undefined {
  if (object.case === 'guard') return 'Guard';
  return object.case === 'trafficPolicy' ? 'TrafficPolicy' : undefined;
}

export function nameOf({ object }: Object$): string {
  return object.value?.name ?? '';
}

/** The objects of a configuration that are not services, kind by kind in the order in which they stand. */
export function objectsOf({ guards, trafficPolicies }: Configuration): Object$[] {
  return [
    ...guards.map((value) => create(ObjectSchema, { object: { case: 'guard', value } })),
    ...trafficPolicies.map((value) => create(ObjectSchema, { object: { case: 'trafficPolicy', value } })),
  ];
}

export function objectToFile({ object }: Object$): ObjectFile {
  if (object.case === 'guard') return guardToFile(object.value);
  return object.case === 'trafficPolicy' ? trafficPolicyToFile(object.value) : { name: '' };
}
