// SPDX-License-Identifier: Apache-2.0
/** A change of the configuration, from the plan to its undoing. */
import { create } from '@bufbuild/protobuf';
import type { AgentCalls } from '@marcher/client/fleet';
import {
  type Change,
  ChangeSchema,
  type ObjectDiff,
  type Violation,
} from '@marcher/proto/marcher/v1/config_service_pb';
import type { Object$, Service } from '@marcher/proto/marcher/v1/model_pb';
import { shellLine, withInput } from './shell.js';

export type Kind = 'Service' | 'Guard' | 'TrafficPolicy';

export interface Plan {
  /** That it was made from: it counts for no other. */
  readonly version: bigint;
  readonly diffs: readonly ObjectDiff[];
  readonly violations: readonly Violation[];
}

export interface Applied {
  /** That it was made from, and that it has made. */
  readonly before: bigint;
  readonly version: bigint;
  readonly diffs: readonly ObjectDiff[];
}

/** Something that may be done, is looked at before, and can be taken back. Failures are AgentErrors. */
export interface Write {
  readonly title: string;
  /** What has to be typed before; undefined: nothing, it destroys nothing. */
  readonly typed: string | undefined;
  readonly message: string;
  plan(): Promise<Plan>;
  apply(plan: Plan, message: string): Promise<Applied>;
  undo(applied: Applied): Promise<bigint>;
  command(plan: Plan): string;
}

const CALL_MS = 60_000;
const NOUNS: Readonly<Record<Kind, string>> = { Service: 'service', Guard: 'guard', TrafficPolicy: 'policy' };

function written(
  { config }: AgentCalls,
  change: Change,
  rest: Pick<Write, 'title' | 'typed' | 'message' | 'command'>,
): Write {
  return {
    ...rest,
    plan: async () => {
      const { version, diffs, violations } = await config.plan({ change }, { timeoutMs: CALL_MS });
      return { version, diffs, violations };
    },
    apply: async (plan, message) => {
      const call = { change, expectedVersion: plan.version, message };
      const { version, diffs } = await config.apply(call, { timeoutMs: CALL_MS });
      return { before: plan.version, version, diffs };
    },
    undo: (applied) => undone(config, applied),
  };
}

/** Back to the version before, unless something has changed since. */
async function undone(config: AgentCalls['config'], { before, version: expectedVersion }: Applied): Promise<bigint> {
  const message = `undo of version ${expectedVersion}`;
  const { version } = await config.revert({ version: before, expectedVersion, message }, { timeoutMs: CALL_MS });
  return version;
}

/** text: of the file form, as it was typed. */
export function saving(
  calls: AgentCalls,
  objects: { readonly services: readonly Service[]; readonly others: readonly Object$[] },
  title: string,
  text: string,
): Write {
  const change = create(ChangeSchema, { upsert: [...objects.services], upsertObjects: [...objects.others] });
  return written(calls, change, {
    title,
    typed: undefined,
    message: '',
    command: ({ version }) =>
      withInput(shellLine('marcher', 'apply', '--expected-version', String(version), '-f', '-'), text),
  });
}

export function removing(calls: AgentCalls, kind: Kind, name: string): Write {
  const change = create(ChangeSchema, kind === 'Service' ? { remove: [name] } : { removeObjects: [{ kind, name }] });
  return written(calls, change, {
    title: `Remove ${NOUNS[kind]} ${name}`,
    typed: name,
    message: `remove ${NOUNS[kind]} ${name}`,
    command: () => shellLine('marcher', 'delete', NOUNS[kind], name),
  });
}

/** diffs: of the versions since, the newest first, which are taken back. */
export function reverting({ config }: AgentCalls, to: bigint, now: bigint, diffs: readonly ObjectDiff[]): Write {
  return {
    title: `Go back to version ${to}`,
    typed: String(to),
    message: `back to version ${to}`,
    plan: async () => ({ version: now, diffs, violations: [] }),
    apply: async (plan, message) => {
      const call = { version: to, expectedVersion: plan.version, message };
      const { version, diffs: made } = await config.revert(call, { timeoutMs: CALL_MS });
      return { before: plan.version, version, diffs: made };
    },
    undo: (applied) => undone(config, applied),
    command: ({ version }) => shellLine('marcher', 'revert', String(to), '--expected-version', String(version)),
  };
}
