// SPDX-License-Identifier: Apache-2.0
/** The console without a terminal: a mesh that a test turns as it likes, keys, and what stands on the screen. */
import type { AgentCalls, FleetState, NodeKey } from '@marcher/client/fleet';
import { Controller } from '../ui/controller.js';
import type { Clock, ConsoleFleet, ConsolePorts, ConsoleSession, Editor } from '../ui/ports.js';
import type { Page } from '../ui/store/ui-state.js';
import { createTheme } from '../ui/theme/theme.js';
import { NOW_MS } from './mesh-state.js';

/** A fleet that is what it is told to be. */
export class HandFleet implements ConsoleFleet {
  state: FleetState;
  readonly retried: NodeKey[] = [];
  /** Services that a history is asked for. */
  watched: readonly string[] = [];
  private readonly listeners = new Set<(state: FleetState) => void>();

  constructor(state: FleetState) {
    this.state = state;
  }

  set(state: FleetState): void {
    this.state = state;
    for (const listener of this.listeners) listener(state);
  }

  readonly subscribe = (listener: (state: FleetState) => void): (() => void) => {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  };

  readonly watch = (services: Iterable<string>): (() => void) => {
    const asked = [...services];
    this.watched = asked;
    return () => {
      if (this.watched === asked) this.watched = [];
    };
  };

  pause(): void {
    this.set({ ...this.state, paused: true });
  }

  resume(): void {
    this.set({ ...this.state, paused: false });
  }

  retry(node: NodeKey): void {
    this.retried.push(node);
  }
}

/** Time that passes when a test says so. */
export class HandClock implements Clock {
  private now = NOW_MS;
  /** How far the clock on the wall is from it. */
  private off = 0;
  private due: { readonly at: number; readonly run: () => void }[] = [];

  nowMs(): number {
    return this.now + this.off;
  }

  /** Somebody sets the clock on the wall. */
  jump(ms: number): void {
    this.off += ms;
  }

  steadyMs(): number {
    return this.now;
  }

  after(ms: number, run: () => void): () => void {
    const entry = { at: this.now + ms, run };
    this.due.push(entry);
    return () => {
      this.due = this.due.filter((each) => each !== entry);
    };
  }

  pass(ms: number): void {
    const end = this.now + ms;
    for (;;) {
      const next = this.due.filter(({ at }) => at <= end).sort((one, other) => one.at - other.at)[0];
      if (next === undefined) break;
      this.due = this.due.filter((each) => each !== next);
      this.now = next.at;
      next.run();
    }
    this.now = end;
  }
}

export interface Harness {
  readonly controller: Controller;
  readonly fleet: HandFleet;
  readonly clock: HandClock;
  /** Keys, by their names, or texts to be typed: "j", "enter", ":nodes". */
  press(...keys: string[]): void;
  type(text: string): void;
  /** Without colours. */
  screen(): string[];
  suspended: number;
}

export interface HarnessOptions {
  readonly columns?: number;
  readonly rows?: number;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly entry?: Partial<AgentCalls>;
  readonly node?: (key: NodeKey) => Partial<AgentCalls>;
  readonly editor?: Editor;
  readonly page?: Page;
  readonly session?: ConsoleSession;
}

export function harness(state: FleetState, options: HarnessOptions = {}): Harness {
  const { columns = 100, rows = 30, env = { LANG: 'C.UTF-8' }, page } = options;
  const fleet = new HandFleet(state);
  const clock = new HandClock();
  const none = {} as AgentCalls;
  const ports: ConsolePorts = {
    ...{ fleet, clock, target: 'unix:/run/marcher/marcher.sock' },
    reach: {
      entry: (options.entry ?? none) as AgentCalls,
      node: (key) => (options.node?.(key) ?? options.entry ?? none) as AgentCalls,
    },
    ...(options.session === undefined ? {} : { session: options.session }),
    editor: options.editor ?? (async () => undefined),
    suspend: () => {
      made.suspended++;
    },
  };
  const controller = new Controller(ports, createTheme(env), { columns, rows }, page);
  const made: Harness = {
    ...{ controller, fleet, clock, suspended: 0 },
    press(...keys) {
      for (const key of keys) controller.press(key);
    },
    type(text) {
      for (const character of text) controller.press(character === ' ' ? 'space' : character);
    },
    screen: () => controller.lines().map(bare),
  };
  controller.start();
  return made;
}

/** Without what colours it. */
export function bare(line: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what begins a colour
  return line.replace(/\u001b\[[0-9;]*m/g, '');
}

/** Lets promises that are settled be seen to be. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}
