// SPDX-License-Identifier: Apache-2.0
/** Objects as text and back. Loaded when somebody edits: YAML and its checks are larger than most of the console. */
import { create } from '@bufbuild/protobuf';
import { type ModelViolation, parseConfiguration, printConfiguration } from '@marcher/model';
import { ConfigurationSchema, ObjectSchema } from '@marcher/proto/marcher/v1/model_pb';
import { type Edited, nameOf } from './edited.js';
import type { Edit } from './write.js';

export type Read =
  | { readonly edit: Edit; readonly violations?: undefined }
  | { readonly edit?: undefined; readonly violations: readonly ModelViolation[] };

/** What an editor begins with. */
export function offeredText(edited: Edited): string {
  if (edited.kind === 'Service') {
    const shown = edited.declared ?? edited.like;
    return shown === undefined
      ? TEMPLATES.Service
      : printConfiguration(create(ConfigurationSchema, { services: [shown] }));
  }
  const shown = edited.declared ?? edited.like;
  if (shown === undefined) return TEMPLATES[edited.kind];
  const { case: of, value } = shown.object;
  if (of === 'guard') return printConfiguration(create(ConfigurationSchema, { guards: [value] }));
  if (of === 'trafficPolicy') return printConfiguration(create(ConfigurationSchema, { trafficPolicies: [value] }));
  return '';
}

/** base: what is edited, which has to be in the text, and alone. */
export function readEdit(text: string, base: Edited): Read {
  const { configuration, violations } = parseConfiguration(text);
  if (configuration === undefined) return { violations };
  const { services, guards, trafficPolicies } = configuration;
  const edits: Edit[] = [
    ...services.map((after): Edit => ({ kind: 'Service', name: after.name, before: undefined, after })),
    ...guards.map((value): Edit => {
      const after = create(ObjectSchema, { object: { case: 'guard', value } });
      return { kind: 'Guard', name: value.name, before: undefined, after };
    }),
    ...trafficPolicies.map((value): Edit => {
      const after = create(ObjectSchema, { object: { case: 'trafficPolicy', value } });
      return { kind: 'TrafficPolicy', name: value.name, before: undefined, after };
    }),
  ];
  const [only] = edits;
  if (only === undefined || edits.length > 1 || only.kind !== base.kind) {
    const fix = 'several at once: marcher apply -f FILE';
    const reason = `has ${edits.length} objects, and one ${base.kind} is expected here`;
    return { violations: [{ path: '', reason, fix }] };
  }
  const name = nameOf(base);
  if (name !== undefined && only.name !== name) {
    const reason = `is ${JSON.stringify(only.name)}, and ${JSON.stringify(name)} is what is edited`;
    return {
      violations: [{ path: 'name', reason, fix: 'a new name is a new object: make that, then remove this one' }],
    };
  }
  return { edit: { ...only, before: base.declared } as Edit };
}

export const TEMPLATES: Readonly<Record<Edited['kind'], string>> = {
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
  Guard: `apiVersion: marcher/v1
guards:
  - name: new-guard
    rules:
      - action: deny
        sources:
          - 203.0.113.0/24
`,
};
