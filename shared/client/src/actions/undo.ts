// SPDX-License-Identifier: Apache-2.0
/**
 * Taking back what was applied, at the agent that applied it (versions are counted by each agent for itself).
 *
 * A revert makes the whole configuration that of an earlier version. That is right as long as nothing else has come since: it is
 * exact, and the history says what it was. Later it would take back what others have changed. Then only the objects of the edit
 * are put back, and only if they still are what the edit has made of them.
 */
import type { AgentCalls } from '../fleet/contract.js';
import { type CommandTarget, commandLine } from './command.js';
import type { Confirmation } from './confirmation.js';
import { type Applied, type Edit, EditDraft, type EditPlan, type WriteOptions } from './edit.js';

export interface UndoPlan extends EditPlan {
  readonly how: 'revert' | 'inverse';
  /** In a sentence. */
  readonly why: string;
}

export class UndoDraft {
  readonly #calls: AgentCalls;
  readonly #applied: Applied;
  readonly #inverse: EditDraft;

  /** calls: of the agent that applied it. */
  constructor(calls: AgentCalls, applied: Applied) {
    this.#calls = calls;
    this.#applied = applied;
    const edits = applied.edits.map((edit) => ({ ...edit, before: edit.after, after: edit.before }) as Edit);
    this.#inverse = new EditDraft(calls, edits);
  }

  get title(): string {
    return `undo version ${this.#applied.version}`;
  }

  get confirmation(): Confirmation {
    return { kind: 'plain', question: `Undo version ${this.#applied.version}?` };
  }

  /** AgentError. */
  async plan(signal?: AbortSignal): Promise<UndoPlan> {
    const plan = await this.#inverse.plan(signal);
    const { version, fromVersion } = this.#applied;
    if (plan.version === version && plan.moved.length === 0) {
      return { ...plan, how: 'revert', why: `nothing has changed since: all is as in version ${fromVersion} again` };
    }
    const why =
      plan.moved.length > 0
        ? `${plan.moved.join(', ')}: changed since by somebody else, which this would take back`
        : `the configuration has changed since (version ${version} to ${plan.version}): only what this edit changed is put back`;
    return { ...plan, how: 'inverse', why };
  }

  /** AgentError: 'conflict' when the version has moved since the plan; then nothing was changed. */
  async apply(plan: UndoPlan, options: WriteOptions = {}): Promise<Applied> {
    const { message = `undo of version ${this.#applied.version}`, minAcks = 0, ackTimeoutMs = 0, signal } = options;
    if (plan.how === 'inverse') return await this.#inverse.apply(plan, { ...options, message });
    const { version, diffs, acks } = await this.#calls.config.revert(
      { version: this.#applied.fromVersion, expectedVersion: plan.version, message, minAcks, ackTimeoutMs },
      signal === undefined ? {} : { signal },
    );
    return { edits: this.#inverse.edits, fromVersion: plan.version, version, changed: true, diffs, acks };
  }

  asCommand(plan: UndoPlan, target: CommandTarget = {}): string {
    const message = `undo of version ${this.#applied.version}`;
    if (plan.how === 'inverse') return this.#inverse.asCommand(target, plan, message);
    const version = String(this.#applied.fromVersion);
    return commandLine(target, ['revert', version, '-m', message, '--expected-version', String(plan.version)]);
  }
}
