// SPDX-License-Identifier: Apache-2.0
/** What a running command has: its streams, its style, the agent that it talks to, and Ctrl-C. */
import type { AgentClient } from '@marcher/client';
import type { CredentialOptions } from './credentials.js';
import { ExitCode } from './exit-code.js';
import { Failure, usage } from './failure.js';
import { createStyle, type Style } from './output/style.js';

export interface TargetOptions extends CredentialOptions {
  readonly target?: string;
  readonly timeout?: string;
  /** A member, by name or id, that is asked through the target; only of commands that have it. */
  readonly node?: string;
}

export class Session {
  readonly style: Style = createStyle(process.stdout, process.env);
  private opened: AgentClient | undefined;
  /** The one that --node names, through it. */
  private member: AgentClient | undefined;
  private readonly interruption = new AbortController();

  /** Aborts on the first SIGINT or SIGTERM once asked for; a second one ends the process. */
  get interrupted(): AbortSignal {
    const { signal } = this.interruption;
    if (process.listenerCount('SIGINT') === 0) {
      for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => this.interruption.abort());
    }
    return signal;
  }

  /** mayAsk: the person at the terminal, where the way there takes that. */
  async agent(options: TargetOptions, connectTimeoutMs = 5_000, mayAsk = true): Promise<AgentClient> {
    const agent = await this.targeted(options, connectTimeoutMs, mayAsk);
    if (options.node === undefined) return agent;
    if (this.member === undefined) {
      const { memberId } = await import('./member-id.js');
      this.member = { ...agent, ...agent.throughNode(await memberId(agent, options.node, this.call(options))) };
    }
    return this.member;
  }

  /** The one that -t names. */
  private async targeted(options: TargetOptions, connectTimeoutMs: number, mayAsk: boolean): Promise<AgentClient> {
    if (this.opened === undefined) {
      const [{ chooseTarget }, { openAgent }] = await Promise.all([
        import('./chosen-target.js'),
        import('./opened-agent.js'),
      ]);
      const chosen = await chooseTarget(options, process.env);
      this.opened = await openAgent(chosen, process.env, connectTimeoutMs, true, mayAsk);
    }
    return this.opened;
  }

  /** Options of a call that is not a stream. */
  call(options: TargetOptions): { timeoutMs: number } {
    return { timeoutMs: positiveSeconds(options.timeout ?? '60', '--timeout') * 1000 };
  }

  /** Waits while the reader of standard output is behind, so that output is never piled up in memory. */
  async write(text: string): Promise<void> {
    if (text === '' || process.stdout.write(text)) return;
    await new Promise<void>((resolve) => process.stdout.once('drain', resolve));
  }

  close(): void {
    this.opened?.close();
  }
}

export function positiveSeconds(text: string, what: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text);
  const factor = { ms: 0.001, s: 1, m: 60, h: 3600 }[match?.[2] ?? 's'] ?? 1;
  const value = Number(match?.[1]) * factor;
  if (!(value > 0 && value <= 604_800)) {
    throw usage(`${what} is "${text}": expected a time such as 500ms, 10s or 5m, above 0 and at most 7 days`);
  }
  return value;
}

export function wholeNumber(text: string, what: string, min: number, max: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max) {
    throw usage(`${what} is "${text}": expected a whole number from ${min} to ${max}`);
  }
  return value;
}

export function oneOf<T extends string>(text: string, what: string, values: readonly T[]): T {
  if (!values.includes(text as T)) throw usage(`${what} is "${text}": expected ${values.join(', ')}`);
  return text as T;
}

export function versionNumber(text: string, what: string): bigint {
  if (!/^\d{1,19}$/.test(text)) throw usage(`${what} is "${text}": expected the number of a version, as history shows`);
  return BigInt(text);
}

/** Ends a stream that Ctrl-C has stopped without calling that an error. */
export function unlessInterrupted(error: unknown, signal: AbortSignal): void {
  if (!signal.aborted) throw error;
  throw new Failure(ExitCode.interrupted, '');
}
