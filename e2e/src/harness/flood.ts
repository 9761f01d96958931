// SPDX-License-Identifier: Apache-2.0
/** A host beside a director that floods it with frames from forged sources (e2e/flood), past the router. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { REPOSITORY, type Scope } from './scope.js';
import type { Host } from './topology.js';

const FLOOD = path.join(REPOSITORY, 'e2e/flood');

export type FloodKind = 'syn' | 'udp' | 'fragment';

export interface FloodSettings {
  readonly kind: FloodKind;
  /** Prefix that forged sources are taken from. */
  readonly sources: string;
  readonly destination: string;
  readonly port: number;
  readonly cpu: number;
  readonly seconds: number;
}

export interface Flooded {
  readonly sent: number;
  /** Frames that came back. */
  readonly returned: number;
  readonly seconds: number;
}

const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' });

export class Flooder {
  readonly #scope: Scope;
  readonly #netns: string;
  readonly #target: string;

  /** Adds the interface flood0 to the director. */
  constructor(scope: Scope, director: Host) {
    this.#scope = scope;
    this.#netns = scope.addNetns('f');
    execFileSync('make', ['-s', '-C', FLOOD], { stdio: ['ignore', 'ignore', 'pipe'] });
    ip('-n', director.netns, 'link', 'add', 'flood0', 'type', 'veth', 'peer', 'name', 'out0', 'netns', this.#netns);
    ip('-n', this.#netns, 'link', 'set', 'out0', 'up');
    ip('-n', director.netns, 'link', 'set', 'flood0', 'up');
    const [, , mac = ''] = ip('-n', director.netns, '-br', 'link', 'show', 'flood0').trim().split(/\s+/);
    this.#target = mac;
  }

  /** As fast as one CPU can, through BPF_PROG_TEST_RUN with live frames. */
  async run({ kind, sources, destination, port, cpu, seconds }: FloodSettings): Promise<Flooded> {
    const argv = [path.join(FLOOD, 'build/flood'), path.join(FLOOD, 'build/flood.bpf.o'), 'out0', this.#target];
    const options = { netns: this.#netns, timeoutMs: (seconds + 20) * 1_000 };
    const numbers = [String(port), String(cpu), String(seconds)];
    return JSON.parse(await this.#scope.must([...argv, kind, sources, destination, ...numbers], options)) as Flooded;
  }
}
