// SPDX-License-Identifier: Apache-2.0
/** An object in the form of the file that `marcher apply` takes. */
import { create } from '@bufbuild/protobuf';
import type { ObjectView, ServiceView } from '@marcher/client/fleet';
import { ConfigurationSchema, NOUN_OF, printConfiguration } from '@marcher/model';
import { type Line, piece } from '../theme/line.js';

type Declared = NonNullable<ServiceView['declared'] | ObjectView['declared']>;

/** Printing a large service takes milliseconds, and pages are drawn at each change of anything. */
const printed = new WeakMap<Declared, string>();

/** undefined: no node has said yet what it declares. */
export function yamlOf(view: ServiceView | ObjectView): string | undefined {
  const { declared } = view;
  if (declared === undefined) return undefined;
  const before = printed.get(declared);
  if (before !== undefined) return before;
  const text = fileOf(view, view.name);
  printed.set(declared, text);
  return text;
}

/** As another one under a name that is to be changed; undefined: no node has said yet what it declares. */
export function copyOf(view: ServiceView | ObjectView): string | undefined {
  if (view.declared === undefined) return undefined;
  const head = `# Another ${NOUN_OF[view.kind]} like ${view.name}: give it a name of its own, and what else is to differ.\n`;
  return head + fileOf(view, `${view.name.slice(0, NAME_MAX - COPY.length)}${COPY}`);
}

const COPY = '-copy';
const NAME_MAX = 63;

function fileOf(view: ServiceView | ObjectView, name: string): string {
  const configuration = create(ConfigurationSchema);
  if (view.kind === 'Service') configuration.services = view.declared === undefined ? [] : [{ ...view.declared, name }];
  else {
    const object = view.declared?.object;
    if (object?.case === 'guard') configuration.guards = [{ ...object.value, name }];
    if (object?.case === 'trafficPolicy') configuration.trafficPolicies = [{ ...object.value, name }];
  }
  return printConfiguration(configuration, 'yaml');
}

/** What a new one may begin as: all that is needed, and what is often wanted. Fields: docs/configuration.md. */
export function templateOf(kind: ServiceView['kind'] | ObjectView['kind']): string {
  return `apiVersion: marcher/v1\n${TEMPLATES[kind]}`;
}

const TEMPLATES: Readonly<Record<ServiceView['kind'] | ObjectView['kind'], string>> = {
  Service: `services:
  - name: new-service
    listeners:
      - port: 8080
        # protocol: udp
    backends:
      - name: a
        address: "192.0.2.11:8080"
      # - { name: b, address: "192.0.2.12:8080", weight: 2 }
    # health: { tcp: {}, interval: 5s }
    # trafficPolicy: gold
`,
  Guard: `guards:
  - name: new-guard
    default: allow
    rules:
      - { action: deny, sources: [203.0.113.0/24] }
    # sourceLimits: { packetsPerSecond: 20000, connectionsPerSecond: 500 }
`,
  TrafficPolicy: `trafficPolicies:
  - name: new-policy
    priority: P2
    ingress: { rate: 100Mbit }
    egress: { rate: 100Mbit }
    # perConnection: { egress: { rate: 20Mbit } }
    # dscp: AF21
`,
};

export function yamlLines(text: string): Line[] {
  return text
    .replace(/\n$/, '')
    .split('\n')
    .map((line): Line => {
      const match = /^(\s*(?:- )?)([A-Za-z][\w.-]*:)(.*)$/.exec(line);
      return match === null ? [line] : [match[1] ?? '', piece('accent', match[2] ?? ''), match[3] ?? ''];
    });
}
