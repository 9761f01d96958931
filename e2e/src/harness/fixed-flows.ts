// SPDX-License-Identifier: Apache-2.0
/** A process of fixed flows (fixed-flows-main.ts), driven from the runner. */
import type { ChildProcess } from 'node:child_process';
import path from 'node:path';
import { answer } from './answer.js';
import type { FixedFlowsCommand, FixedFlowsReport, FixedFlowsSettings } from './fixed-flows-main.js';
import { PACE } from './pace.js';
import type { Scope } from './scope.js';

export class FixedFlows {
  readonly settings: FixedFlowsSettings;
  readonly #child: ChildProcess;

  private constructor(settings: FixedFlowsSettings, child: ChildProcess) {
    this.settings = settings;
    this.#child = child;
  }

  /** Every flow is open, or this throws. */
  static async start(scope: Scope, settings: FixedFlowsSettings, netns: string): Promise<FixedFlows> {
    const script = path.join(import.meta.dirname, 'fixed-flows-main.js');
    const paced = { ...settings, timeoutMs: settings.timeoutMs * PACE };
    const child = scope.spawn([process.execPath, script, JSON.stringify(paced)], {
      netns,
      ipc: true,
      log: `fixed-flows-${settings.name.replaceAll(/[^a-z0-9]+/gi, '-')}.log`,
    });
    const flows = new FixedFlows(settings, child);
    await flows.#answer();
    await flows.open();
    return flows;
  }

  #answer(): Promise<FixedFlowsReport> {
    return answer(this.#child, `fixed flows ${this.settings.name}`);
  }

  async #command(command: FixedFlowsCommand): Promise<readonly string[]> {
    const answered = this.#answer();
    this.#child.send(command);
    const { backends, failures } = await answered;
    if (failures.length > 0) {
      const { name, count } = this.settings;
      throw new Error(`${name}: ${failures.length} of ${count} flows failed: ${failures.slice(0, 5).join('; ')}`);
    }
    return backends;
  }

  /** New flows of the same five-tuples. */
  async open(): Promise<void> {
    await this.#command('open');
  }

  /** The backend of each flow. */
  backends(): Promise<readonly string[]> {
    return this.#command('ask');
  }
}
