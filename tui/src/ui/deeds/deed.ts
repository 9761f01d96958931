// SPDX-License-Identifier: Apache-2.0
/**
 * A deed: something that is done to what is chosen, or to the mesh, beside editing objects and draining.
 *
 *   form (where something has to be known) ──▶ plan: what will come of it, as a command, too ──▶ question ──▶ done, and perhaps undone
 */
import type { CommandTarget, NextDeed, Deed as Write } from '@marcher/client/actions';
import type { AgentCalls, FleetState } from '@marcher/client/fleet';
import type { CommandName } from '../commands/table.js';
import type { Subject } from '../keys/table.js';
import type { FormFieldSpec, Values } from '../store/form.js';

export interface DeedContext {
  /** The agent that the console has chosen: it passes on what is for the whole mesh. */
  readonly calls: AgentCalls;
  readonly state: FleetState;
  readonly target: CommandTarget;
  readonly nowMs: number;
}

export interface DeedPlan {
  readonly question: string;
  /** What comes of it, and whether it can be taken back. */
  readonly lines: readonly string[];
  /** That do the same. */
  readonly commands: readonly string[];
  /** Has to be typed, as something is taken away. */
  readonly word?: string;
  /** AgentError: it was refused, and nothing was changed. */
  apply(call: { readonly timeoutMs: number }): Promise<Done>;
}

export interface Done {
  readonly text: string;
  /** Shown once, and kept nowhere. */
  readonly secret?: { readonly title: string; readonly lines: readonly string[] };
  /** What takes it back; absent: nothing does. */
  readonly undo?: () => DeedPlan | Promise<DeedPlan>;
  /** It is not complete without that. */
  readonly next?: FollowingDeed;
}

/** What one answer has to be known for, which nobody could give before. */
export interface FollowingDeed {
  readonly form: DeedForm;
  plan(values: Values): DeedPlan;
}

export interface DeedForm {
  readonly title: string;
  readonly fields: readonly FormFieldSpec[];
}

export interface Deed {
  readonly command: CommandName;
  readonly subject: Subject;
  /** For the list of all that can be done here: "end all of its sessions". */
  readonly help: string;
  /** Nothing has to be chosen for it. */
  readonly isOfNone?: boolean;
  /** Also of several that are marked. */
  readonly isOfMany?: boolean;
  /** items: those that it is for; none for one that is of none. */
  form?(items: readonly object[], context: DeedContext): DeedForm;
  /** Faulty: what was given can't be right. */
  plan(items: readonly object[], values: Values, context: DeedContext): DeedPlan | Promise<DeedPlan>;
}

/** Of a write that both consoles have. */
export function planOf(write: Write, target: CommandTarget): DeedPlan {
  const { confirmation, consequences, lasting } = write;
  return {
    question: confirmation.question,
    lines: [...consequences, lasting === undefined ? ':undo takes it back.' : `:undo can not take it back. ${lasting}`],
    commands: write.asCommand(target).split('\n'),
    ...(confirmation.kind === 'typed' ? { word: confirmation.text } : {}),
    apply: async ({ timeoutMs }) => {
      const { text, secret, undo, next } = await write.apply(AbortSignal.timeout(timeoutMs));
      return {
        text: undo === undefined ? text : `${text} :undo takes it back.`,
        ...(secret === undefined
          ? {}
          : { secret: { title: secret.what, lines: [...secret.text.split('\n'), '', secret.advice] } }),
        ...(next === undefined ? {} : { next: followingOf(next, target) }),
        ...(undo === undefined ? {} : { undo: () => planOf(undo, target) }),
      };
    },
  };
}

function followingOf({ title, label, make }: NextDeed, target: CommandTarget): FollowingDeed {
  const hint = 'Esc leaves it undone';
  return {
    form: { title, fields: [{ kind: 'secret', name: 'answer', label, hint }] },
    plan: ({ answer = '' }) => planOf(make(answer), target),
  };
}

/** Of several at once, one after the other; word: has to be typed. */
export function planOfAll(writes: readonly Write[], target: CommandTarget, question: string, word: string): DeedPlan {
  const plans = writes.map((write) => planOf(write, target));
  const [first] = plans;
  if (first !== undefined && plans.length === 1) return first;
  return {
    ...{
      question,
      word,
      lines: [...writes.map(({ title }) => `- ${title}`), ...new Set(plans.flatMap(({ lines }) => lines))],
    },
    commands: plans.flatMap(({ commands }) => commands),
    apply: async (call) => {
      for (const plan of plans) await plan.apply(call);
      return { text: `Done with all ${plans.length}.` };
    },
  };
}

/** What was given in a form can't be right: the form comes back as it was filled in. */
export class Faulty extends Error {}

/** Words that are separated by blanks or commas. */
export function wordsOf(text: string | undefined): string[] {
  return [...new Set((text ?? '').split(/[\s,]+/).filter((word) => word !== ''))];
}

const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const ACCOUNT = /^[a-z0-9][a-z0-9._-]{0,63}$/;

/** Of services, certificates and clusters. */
export function nameOf(values: Values): string {
  const name = (values['name'] ?? '').trim();
  if (!NAME.test(name)) throw new Faulty(`"${name}" is no name: expected 1 to 63 of a-z, 0-9 and -, not - at an end`);
  return name;
}

/** Of users and API keys. */
export function accountOf(values: Values): string {
  const name = (values['name'] ?? '').trim();
  if (!ACCOUNT.test(name))
    throw new Faulty(`"${name}" is no name: expected 1 to 64 of a-z, 0-9, ., _ and -, the first a letter or digit`);
  return name;
}

export function numberOf(text: string | undefined, what: string, min: number, max: number): number {
  const value = Number(text?.trim() || Number.NaN);
  if (!Number.isInteger(value) || value < min || value > max)
    throw new Faulty(`${what}: "${text ?? ''}", expected a whole number from ${min} to ${max}`);
  return value;
}
