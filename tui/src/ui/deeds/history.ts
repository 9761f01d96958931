// SPDX-License-Identifier: Apache-2.0
/** Going back to an earlier version of the configuration. */
import { RevertDraft } from '@marcher/client/actions';
import type { Revision } from '@marcher/proto/marcher/v1/config_service_pb';
import { plural } from '../../cli/output/quantity.js';
import { diffTexts } from '../actions/diff-text.js';
import { type Deed, type DeedContext, type DeedPlan, Faulty } from './deed.js';

const READ_MS = 10_000;
const LINES_MAX = 2_000;

const revert: Deed = {
  ...{ command: 'revert', subject: 'version', help: 'make all as it was in it' },
  plan: async (items, _values, context) => await planned((items[0] as Revision).version, context),
};

async function planned(to: bigint, context: DeedContext): Promise<DeedPlan> {
  const { calls, target } = context;
  const draft = new RevertDraft(calls, to);
  const plan = await draft.plan(AbortSignal.timeout(READ_MS));
  if (plan.isEmpty) throw new Faulty(`version ${to} is the current one: there is nothing to take back`);
  const { confirmation } = draft;
  const message = `console: ${draft.title}`;
  const lines = plan.undone.flatMap((revision) => [
    `version ${revision.version} by ${revision.author}${revision.message === '' ? '' : `: ${revision.message}`}`,
    ...diffTexts(revision.diffs).map((line) => `  ${line}`),
  ]);
  return {
    question: confirmation.question,
    lines: [
      `This takes back what ${plural(plan.undone.length, 'version')} changed, the newest first:`,
      ...lines.slice(0, LINES_MAX),
      ...(lines.length > LINES_MAX ? [`and ${lines.length - LINES_MAX} lines more`] : []),
      '',
      `It is another version on top of them. :undo makes all as it is now, in version ${plan.version}.`,
    ],
    commands: draft.asCommand(target, plan, message).split('\n'),
    ...(confirmation.kind === 'typed' ? { word: confirmation.text } : {}),
    apply: async (call) => {
      const version = await draft.apply(plan, { message, signal: AbortSignal.timeout(call.timeoutMs) });
      return {
        text: `All is as it was in version ${to}; this is version ${version}. :undo takes it back.`,
        undo: () => planned(plan.version, context),
      };
    },
  };
}

export const historyDeeds: readonly Deed[] = [revert];
