// SPDX-License-Identifier: Apache-2.0
/** Names of kinds on the command line: plural, singular and short. */
import { usage } from '../failure.js';

export const kindNames = {
  services: ['services', 'service', 'svc'],
  backends: ['backends', 'backend', 'be'],
  listeners: ['listeners', 'listener', 'ls'],
  nodes: ['nodes', 'node', 'no'],
  guards: ['guards', 'guard', 'gd'],
  policies: ['policies', 'policy', 'tp'],
  connections: ['connections', 'connection', 'conn'],
} as const;

export type KindName = keyof typeof kindNames;

/** Kinds whose objects the API carries as Object, by the name that commands give them. */
export const objectKinds = { guards: 'Guard', policies: 'TrafficPolicy' } as const;

/** "TrafficPolicy" -> "traffic policy" */
export function nounOf(kind: string): string {
  return kind.replace(/(?<=[a-z])(?=[A-Z])/g, ' ').toLowerCase();
}

export function parseKind<K extends KindName>(text: string, allowed: readonly K[]): K {
  const found = allowed.find((kind) => (kindNames[kind] as readonly string[]).includes(text.toLowerCase()));
  if (found !== undefined) return found;
  const spelled = allowed.map((kind) => kindNames[kind].join('|')).join(', ');
  const near = allowed.find((kind) => kind.slice(0, 3) === text.toLowerCase().slice(0, 3));
  throw usage(`"${text}" is not a kind${near === undefined ? '' : ` (did you mean ${near}?)`}: expected ${spelled}`);
}
