// SPDX-License-Identifier: Apache-2.0
/**
 * An agent that adopts an engine may find another build installed than the one that runs: a package was updated. The new
 * one then takes over the listening sockets and the configuration, and the old one serves its connections to their end.
 */
import type { Dataplane } from '../ports/dataplane.js';
import type { ConfigurationLog } from './configuration.js';
import type { NodeCondition } from './node.js';

/** The old engine may go on serving its connections for so long: what is open then is closed. */
const DRAIN_MS = 3_600_000;

export class EngineUpgrade {
  readonly #dataplane: Dataplane;
  readonly #log: ConfigurationLog;
  #failure = '';

  constructor(dataplane: Dataplane, log: ConfigurationLog) {
    this.#dataplane = dataplane;
    this.#log = log;
  }

  /** Replaces the engine when another build is installed. A failure leaves the running one as it is. */
  async run(): Promise<void> {
    try {
      const from = this.#dataplane.status();
      if (!from.running) return; // a restart takes the installed build by itself
      const installed = await this.#dataplane.installedBuildId();
      if (from.buildId !== installed) {
        await this.#dataplane.upgrade({ drainMs: DRAIN_MS });
        const { pid } = this.#dataplane.status();
        this.#log.info({ from: from.buildId, to: installed, pid }, 'the engine was replaced by the installed build');
      }
      this.#failure = '';
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== this.#failure) this.#log.error({ reason }, 'the installed engine could not take over');
      this.#failure = reason;
    }
  }

  get failed(): boolean {
    return this.#failure !== '';
  }

  get condition(): NodeCondition | undefined {
    if (this.#failure === '') return undefined;
    const message = `another build of the engine is installed and could not take over: ${this.#failure}; trying again every minute`;
    return { type: 'EngineCurrent', status: false, reason: 'UpgradeFailed', message };
  }
}
