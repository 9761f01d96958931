// SPDX-License-Identifier: Apache-2.0
/** A change that was typed: read, planned, applied to the very version that it was planned for, and taken back. */
import { create } from '@bufbuild/protobuf';
import type { AgentCalls, FleetState, ObjectView, Reach, ServiceView } from '@marcher/client/fleet';
import { formatViolation, objectsOf, parseConfiguration } from '@marcher/model';
import { type Change, ChangeSchema, type ObjectDiff, Operation } from '@marcher/proto/marcher/v1/config_service_pb';
import { callsOf, TIMEOUT_MS } from '../feeds/readers.js';

export interface PlannedChange {
  readonly agent: AgentCalls;
  readonly change: Change;
  readonly version: bigint;
  readonly diffs: readonly ObjectDiff[];
  /** What takes it back; undefined: not all of what it touches is known as it was. */
  readonly inverse: Change | undefined;
}

export type Planned =
  | { readonly kind: 'planned'; readonly planned: PlannedChange }
  | { readonly kind: 'same' }
  | { readonly kind: 'invalid'; readonly problems: readonly string[] };

/** The agent that holds the object: the entry where it does. undefined: nobody that is live holds it. */
export function agentFor(view: ServiceView | ObjectView, state: FleetState, reach: Reach): AgentCalls | undefined {
  const holders = [...view.nodes.keys()].flatMap((key) => state.nodes.get(key) ?? []);
  const live = holders.filter(({ link }) => link.kind === 'live');
  const chosen = live.find(({ isEntry }) => isEntry) ?? live[0];
  return chosen === undefined ? undefined : callsOf(reach, chosen);
}

export async function planText(text: string, name: string, agent: AgentCalls, state: FleetState): Promise<Planned> {
  const parsed = parseConfiguration(text, { source: name, format: 'yaml' });
  if (parsed.violations !== undefined) return { kind: 'invalid', problems: parsed.violations.map(formatViolation) };
  const change = create(ChangeSchema);
  change.upsert = parsed.configuration.services;
  change.upsertObjects = objectsOf(parsed.configuration);
  return await planChange(change, agent, state);
}

/** Fails as AgentError. */
export async function planChange(change: Change, agent: AgentCalls, state: FleetState): Promise<Planned> {
  const { version, diffs, violations } = await agent.config.plan({ change }, { timeoutMs: TIMEOUT_MS });
  if (violations.length > 0) return { kind: 'invalid', problems: violations.map(formatViolation) };
  if (diffs.length === 0) return { kind: 'same' };
  return { kind: 'planned', planned: { agent, change, version, diffs, inverse: inverseOf(diffs, state) } };
}

/** Fails as AgentError, with code "conflict" where somebody has changed something since. Answers with the new version. */
export async function applyChange({ agent, change, version }: PlannedChange, message: string): Promise<bigint> {
  const applied = await agent.config.apply({ change, expectedVersion: version, message }, { timeoutMs: TIMEOUT_MS });
  return applied.version;
}

function inverseOf(diffs: readonly ObjectDiff[], { services, objects }: FleetState): Change | undefined {
  const inverse = create(ChangeSchema);
  for (const { kind, name, operation } of diffs) {
    if (operation === Operation.CREATE) {
      if (kind === 'Service') inverse.remove.push(name);
      else inverse.removeObjects.push({ $typeName: 'marcher.v1.ObjectKey', kind, name });
    } else if (kind === 'Service') {
      const before = services.get(name)?.declared;
      if (before === undefined) return undefined;
      inverse.upsert.push(before);
    } else {
      const before = objects.get(`${kind}/${name}`)?.declared;
      if (before === undefined) return undefined;
      inverse.upsertObjects.push(before);
    }
  }
  return inverse;
}
