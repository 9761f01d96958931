// SPDX-License-Identifier: Apache-2.0
/** A load client process (load-main.ts), driven from the runner, and what its books say. */
import type { ChildProcess } from 'node:child_process';
import path from 'node:path';
import { answer } from './answer.js';
import type { Exchange, LoadCommand, LoadReport, LoadSettings } from './load-main.js';
import { PACE, SELDOMER } from './pace.js';
import type { Scope } from './scope.js';

export interface Tally {
  readonly sent: number;
  readonly answered: number;
  readonly failed: number;
  /** Failures by reason. */
  readonly reasons: Readonly<Record<string, number>>;
  readonly backends: Readonly<Record<string, number>>;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Longest time without any answer, from the first request sent to the last answer. */
  readonly longestGapMs: number;
}

const round = (value: number): number => Math.round(value * 1_000) / 1_000;

export const percentile = (sorted: readonly number[], share: number): number =>
  sorted.length === 0 ? 0 : (sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? 0);

/** Counts the exchanges that were sent in [from, to). */
export const tally = (exchanges: readonly Exchange[], from = 0, to = Number.POSITIVE_INFINITY): Tally => {
  const within = exchanges.filter((e) => e.sent >= from && e.sent < to);
  const answered = within.filter((e) => e.failure === '');
  const latencies = answered.map((e) => e.done - e.sent).sort((a, b) => a - b);
  const reasons: Record<string, number> = {};
  const backends: Record<string, number> = {};
  for (const e of within) {
    if (e.failure === '') backends[e.backend] = (backends[e.backend] ?? 0) + 1;
    else reasons[e.failure] = (reasons[e.failure] ?? 0) + 1;
  }
  const times = answered.map((e) => e.done).sort((a, b) => a - b);
  let last = within.reduce((least, e) => Math.min(least, e.sent), Number.POSITIVE_INFINITY);
  let longestGapMs = 0;
  for (const at of times) {
    longestGapMs = Math.max(longestGapMs, at - last);
    last = at;
  }
  return {
    sent: within.length,
    answered: answered.length,
    failed: within.length - answered.length,
    reasons,
    backends,
    p50Ms: round(percentile(latencies, 0.5)),
    p99Ms: round(percentile(latencies, 0.99)),
    maxMs: round(latencies.at(-1) ?? 0),
    longestGapMs: round(longestGapMs),
  };
};

export class Load {
  readonly settings: LoadSettings;
  readonly #child: ChildProcess;

  private constructor(settings: LoadSettings, child: ChildProcess) {
    this.settings = settings;
    this.#child = child;
  }

  static async start(scope: Scope, settings: LoadSettings, netns?: string): Promise<Load> {
    const script = path.join(import.meta.dirname, 'load-main.js');
    const paced = { ...settings, rate: settings.rate / SELDOMER, timeoutMs: (settings.timeoutMs ?? 5_000) * PACE };
    const child = scope.spawn([process.execPath, script, JSON.stringify(paced)], {
      netns,
      ipc: true,
      log: `load-${settings.name}.log`,
    });
    await new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve());
      child.once('exit', (code) => reject(new Error(`load client ${settings.name} ended with ${code} at its start`)));
      child.once('error', reject);
    });
    return new Load(settings, child);
  }

  #ask(command: LoadCommand): Promise<LoadReport> {
    const report = answer<LoadReport>(this.#child, `load client ${this.settings.name}`);
    this.#child.send(command);
    return report;
  }

  /** The books as they are now; requests that are still open are not in exchanges. */
  snapshot(): Promise<LoadReport> {
    return this.#ask('snapshot');
  }

  /** Sends no more, waits for what is open, and hands over the books. */
  async stop(): Promise<readonly Exchange[]> {
    const report = await this.#ask('stop');
    if (report.open !== 0 || report.sent !== report.exchanges.length) {
      throw new Error(
        `load client ${this.settings.name}: ${report.sent} sent, but ${report.exchanges.length} in the books`,
      );
    }
    return report.exchanges;
  }
}
