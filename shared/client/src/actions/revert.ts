// SPDX-License-Identifier: Apache-2.0
/** Going back to an earlier version of one agent's history. */
import type { Revision } from '@marcher/proto/marcher/v1/config_service_pb';
import { AgentError } from '../agent-error.js';
import type { AgentCalls } from '../fleet/contract.js';
import { type CommandTarget, commandLine } from './command.js';
import type { Confirmation } from './confirmation.js';
import type { WriteOptions } from './edit.js';

export interface RevertPlan {
  /** That it was made from. */
  readonly version: bigint;
  /** What is taken back, newest first, each with its diffs; at most 1,000. */
  readonly undone: readonly Revision[];
  readonly isEmpty: boolean;
}

const UNDONE_MAX = 1_000;

export class RevertDraft {
  readonly #calls: AgentCalls;
  readonly #version: bigint;

  constructor(calls: AgentCalls, version: bigint) {
    this.#calls = calls;
    this.#version = version;
  }

  get title(): string {
    return `revert to version ${this.#version}`;
  }

  get confirmation(): Confirmation {
    const text = `revert ${this.#version}`;
    return { kind: 'typed', question: `Make all as it was in version ${this.#version}?`, text };
  }

  /** AgentError: 'not_found' where the agent does not know that version any more. */
  async plan(signal?: AbortSignal): Promise<RevertPlan> {
    const call = signal === undefined ? {} : { signal };
    const { revisions } = await this.#calls.config.history({ limit: UNDONE_MAX, withDiff: true }, call);
    const newest = revisions[0]?.version ?? 0n;
    const oldest = revisions.at(-1)?.version ?? 0n;
    if (this.#version > newest || (oldest > this.#version + 1n && revisions.length < UNDONE_MAX)) {
      const message = `there is no version ${this.#version}: the agent has ${oldest} to ${newest}`;
      throw new AgentError('not_found', message, [], undefined);
    }
    const undone = revisions.filter(({ version }) => version > this.#version);
    return { version: newest, undone, isEmpty: undone.length === 0 };
  }

  /** Gives the new version. AgentError: 'conflict' when the version has moved since the plan. */
  async apply(plan: RevertPlan, options: WriteOptions = {}): Promise<bigint> {
    const { message = '', minAcks = 0, ackTimeoutMs = 0, signal } = options;
    const { version } = await this.#calls.config.revert(
      { version: this.#version, expectedVersion: plan.version, message, minAcks, ackTimeoutMs },
      signal === undefined ? {} : { signal },
    );
    return version;
  }

  asCommand(target: CommandTarget = {}, plan?: RevertPlan, message = ''): string {
    return commandLine(target, [
      'revert',
      String(this.#version),
      ...(message === '' ? [] : ['-m', message]),
      ...(plan === undefined ? [] : ['--expected-version', String(plan.version)]),
    ]);
  }
}
