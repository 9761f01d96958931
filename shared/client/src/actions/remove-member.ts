// SPDX-License-Identifier: Apache-2.0
/** Taking a node out of its mesh. Not to be undone: it would have to join again. */
import type { AgentCalls } from '../fleet/contract.js';
import { type CommandTarget, commandLine } from './command.js';
import type { Confirmation } from './confirmation.js';

export class RemoveMemberDraft {
  readonly #calls: AgentCalls;
  readonly #node: { readonly id: string; readonly name: string };

  /** calls: of another node than the one that is removed. */
  constructor(calls: AgentCalls, node: { readonly id: string; readonly name: string }) {
    this.#calls = calls;
    this.#node = node;
  }

  get title(): string {
    return `remove ${this.#node.name} from the mesh`;
  }

  get confirmation(): Confirmation {
    const question = `Remove ${this.#node.name} (${this.#node.id}) from the mesh, and revoke its certificate?`;
    return { kind: 'typed', question, text: this.#node.name };
  }

  /** AgentError. */
  async apply(signal?: AbortSignal): Promise<void> {
    await this.#calls.mesh.removeMember({ node: this.#node.id }, signal === undefined ? {} : { signal });
  }

  asCommand(target: CommandTarget = {}): string {
    return commandLine(target, ['mesh', 'remove', this.#node.id, '-y']);
  }
}
