// SPDX-License-Identifier: Apache-2.0
/** A flow process (flow-main.ts), driven from the runner, and the rate at which bytes came to it. */
import type { ChildProcess } from 'node:child_process';
import path from 'node:path';
import { answer } from './answer.js';
import type { FlowClient, FlowCommand, FlowCount, FlowServer, FlowSettings } from './flow-main.js';
import { type Scope, sleep } from './scope.js';

/** What came to a process in a while. */
export interface Received {
  readonly bitsPerSecond: number;
  /** By connection, those that got nothing too. */
  readonly each: readonly number[];
}

export class Flow {
  readonly #child: ChildProcess;
  readonly #name: string;

  private constructor(name: string, child: ChildProcess) {
    this.#name = name;
    this.#child = child;
  }

  static async start(
    scope: Scope,
    settings: FlowSettings,
    netns: string,
    wrapper: readonly string[] = [],
  ): Promise<Flow> {
    const script = path.join(import.meta.dirname, 'flow-main.js');
    const child = scope.spawn([...wrapper, process.execPath, script, JSON.stringify(settings)], {
      netns,
      ipc: true,
      log: `flow-${settings.name.replaceAll(/[^a-z0-9]+/gi, '-')}.log`,
    });
    await new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve());
      child.once('exit', (code) => reject(new Error(`flow ${settings.name} ended with ${code} at its start`)));
      child.once('error', reject);
    });
    return new Flow(settings.name, child);
  }

  static server(
    scope: Scope,
    name: string,
    server: FlowServer,
    netns: string,
    wrapper?: readonly string[],
  ): Promise<Flow> {
    return Flow.start(scope, { name, server }, netns, wrapper);
  }

  static client(
    scope: Scope,
    name: string,
    client: FlowClient,
    netns: string,
    wrapper?: readonly string[],
  ): Promise<Flow> {
    return Flow.start(scope, { name, client }, netns, wrapper);
  }

  #ask(command: FlowCommand): Promise<FlowCount> {
    const count = answer<FlowCount>(this.#child, `flow ${this.#name}`);
    this.#child.send(command);
    return count;
  }

  count(): Promise<FlowCount> {
    return this.#ask({ kind: 'count' });
  }

  /** A server sends datagrams to all clients that it has heard of, at so many bits of payload per second in all. */
  async flood(bitsPerSecond: number, datagram = 1_200): Promise<void> {
    await this.#ask({ kind: 'flood', bitsPerSecond, datagram });
  }

  async received(ms: number): Promise<Received> {
    const before = await this.count();
    await sleep(ms);
    const after = await this.count();
    const seconds = (after.atMs - before.atMs) / 1_000;
    return {
      bitsPerSecond: ((after.bytes - before.bytes) * 8) / seconds,
      each: after.each.map((bytes, i) => ((bytes - (before.each[i] ?? 0)) * 8) / seconds),
    };
  }

  stop(): Promise<void> {
    return new Promise((resolve) => {
      this.#child.once('exit', () => resolve());
      this.#child.disconnect();
    });
  }
}
