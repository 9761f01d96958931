// SPDX-License-Identifier: Apache-2.0
/** Objects as text and back. Loaded when somebody edits: YAML and its checks are larger than most of the console. */
import { create } from '@bufbuild/protobuf';
import { type ModelViolation, parseConfiguration, printConfiguration } from '@marcher/model';
import { ConfigurationSchema, type Object$, ObjectSchema, type Service } from '@marcher/proto/marcher/v1/model_pb';
import type { Kind } from './write.js';

export interface Objects {
  readonly services: readonly Service[];
  readonly others: readonly Object$[];
}

export type Read =
  | { readonly objects: Objects; readonly violations?: undefined }
  | { readonly objects?: undefined; readonly violations: readonly ModelViolation[] };

export function serviceText(service: Service): string {
  return printConfiguration(create(ConfigurationSchema, { services: [service] }));
}

export function objectText({ object }: Object$): string {
  const { case: kind, value } = object;
  if (kind === 'guard') return printConfiguration(create(ConfigurationSchema, { guards: [value] }));
  if (kind === 'trafficPolicy') return printConfiguration(create(ConfigurationSchema, { trafficPolicies: [value] }));
  return '';
}

/** name: of the object that was edited, which has to be in it, and alone. undefined: it is a new one. */
export function readObjects(text: string, kind: Kind, name: string | undefined): Read {
  const { configuration, violations } = parseConfiguration(text);
  if (configuration === undefined) return { violations };
  const { services, guards, trafficPolicies } = configuration;
  const named = [
    ...services.map((each) => ({ kind: 'Service', name: each.name })),
    ...guards.map((each) => ({ kind: 'Guard', name: each.name })),
    ...trafficPolicies.map((each) => ({ kind: 'TrafficPolicy', name: each.name })),
  ];
  const [only] = named;
  if (only === undefined || named.length > 1 || only.kind !== kind) {
    const fix = 'several at once: marcher apply -f FILE';
    return { violations: [{ path: '', reason: `has ${named.length} objects, and one ${kind} is expected here`, fix }] };
  }
  if (name !== undefined && only.name !== name) {
    const reason = `is ${JSON.stringify(only.name)}, and ${JSON.stringify(name)} is what is edited`;
    return {
      violations: [{ path: 'name', reason, fix: 'a new name is a new object: make that, then remove this one' }],
    };
  }
  const others = [
    ...guards.map((value) => create(ObjectSchema, { object: { case: 'guard', value } })),
    ...trafficPolicies.map((value) => create(ObjectSchema, { object: { case: 'trafficPolicy', value } })),
  ];
  return { objects: { services, others } };
}

export const TEMPLATES: Readonly<Record<'Service' | 'TrafficPolicy', string>> = {
  Service: `apiVersion: marcher/v1
services:
  - name: new-service
    listeners:
      - protocol: tcp
        port: 8080
    backends:
      - address: 192.0.2.10:8080
        name: b1
    balance:
      algorithm: least-connections
    health:
      type: tcp
      interval: 2s
`,
  TrafficPolicy: `apiVersion: marcher/v1
trafficPolicies:
  - name: new-policy
    priority: P1
    ingress:
      rate: 100Mbit
`,
};
