// SPDX-License-Identifier: Apache-2.0
/**
 * Something that may be done to the configuration: looked at before, and taken back after. What is done is @marcher/client's
 * to know, which is loaded when somebody does something.
 */
import type { Edit } from '@marcher/client/actions';
import type { AgentCalls } from '@marcher/client/fleet';
import { type ObjectDiff, Operation, type Revision, type Violation } from '@marcher/proto/marcher/v1/config_service_pb';

import type { Edited } from './edited.js';

export type { Edit } from '@marcher/client/actions';
export type Kind = Edit['kind'];

export interface Plan {
  /** That it was made from: it counts for no other. */
  readonly version: bigint;
  readonly diffs: readonly ObjectDiff[];
  readonly violations: readonly Violation[];
  /** "service web": what somebody else has changed since the edit began. */
  readonly moved: readonly string[];
}

export interface Applied {
  /** That it was made from, and that it has made. */
  readonly before: bigint;
  readonly version: bigint;
  readonly diffs: readonly ObjectDiff[];
}

/** Failures are AgentErrors. */
export interface Write {
  readonly title: string;
  /** What has to be typed before; undefined: nothing, it destroys nothing. */
  readonly typed: string | undefined;
  plan(): Promise<Plan>;
  /** By the last plan. */
  apply(message: string): Promise<Applied>;
  /** Of what was applied. Gives the version that it has made. */
  undo(): Promise<bigint>;
  /** Lines of a shell that do the same, by the last plan. */
  command(message: string): string;
}

const actions = () => import('@marcher/client/actions');

export async function editing(calls: AgentCalls, edits: readonly Edit[]): Promise<Write> {
  const { EditDraft, UndoDraft } = await actions();
  const draft = new EditDraft(calls, edits);
  const { confirmation } = draft;
  let plan: Awaited<ReturnType<typeof draft.plan>> | undefined;
  let applied: Awaited<ReturnType<typeof draft.apply>> | undefined;
  return {
    title: capitalised(draft.title),
    typed: confirmation.kind === 'typed' ? confirmation.text : undefined,
    plan: async () => {
      plan = await draft.plan();
      return plan;
    },
    apply: async (message) => {
      applied = await draft.apply(known(plan), { message });
      return { before: applied.fromVersion, version: applied.version, diffs: applied.diffs };
    },
    undo: async () => {
      const undo = new UndoDraft(calls, known(applied));
      const back = await undo.plan();
      if (!back.canApply) throw Object.assign(new Error(back.why), { code: 'conflict' });
      return (await undo.apply(back)).version;
    },
    command: (message) => draft.asCommand({}, plan, message),
  };
}

const READ_MS = 20_000;

/** What there is to be edited. AgentError: 'not_found'. */
export async function declaredNow(
  calls: AgentCalls,
  { kind, name }: { readonly kind: Kind; readonly name: string },
): Promise<Edited> {
  const call = { timeoutMs: READ_MS };
  if (kind === 'Service') {
    const { resource } = await calls.config.get({ name }, call);
    return { kind, declared: resource?.service };
  }
  const { resources } = await calls.config.listObjects({ kind, name }, call);
  const declared = resources[0]?.object;
  if (declared === undefined) {
    throw Object.assign(new Error(`${kind} ${name} is not there any more`), { code: 'not_found' });
  }
  return { kind, declared };
}

export async function reverting(calls: AgentCalls, to: bigint): Promise<Write> {
  const { RevertDraft } = await actions();
  const draft = new RevertDraft(calls, to);
  const { confirmation } = draft;
  let plan: Awaited<ReturnType<typeof draft.plan>> | undefined;
  let made = 0n;
  return {
    title: capitalised(draft.title),
    typed: confirmation.kind === 'typed' ? confirmation.text : undefined,
    plan: async () => {
      plan = await draft.plan();
      return { version: plan.version, diffs: plan.undone.flatMap(takenBack), violations: [], moved: [] };
    },
    apply: async (message) => {
      const { version: before, undone } = known(plan);
      made = await draft.apply(known(plan), { message });
      return { before, version: made, diffs: undone.flatMap(takenBack) };
    },
    undo: async () => {
      const back = { version: known(plan).version, expectedVersion: made, message: `undo of version ${made}` };
      return (await calls.config.revert(back)).version;
    },
    command: (message) => draft.asCommand({}, plan, message),
  };
}

/** Each field from what the version has made of it to what it was before. */
export function takenBack({ version, diffs }: Pick<Revision, 'version' | 'diffs'>): ObjectDiff[] {
  const opposite = (operation: Operation): Operation =>
    operation === Operation.CREATE ? Operation.DELETE : operation === Operation.DELETE ? Operation.CREATE : operation;
  return diffs.map((diff) => ({
    ...diff,
    name: `${diff.name} (as before version ${version})`,
    operation: opposite(diff.operation),
    fields: diff.fields.map((field) => ({ ...field, before: field.after, after: field.before })),
  }));
}

function known<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('nothing was planned, or applied');
  return value;
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
