// SPDX-License-Identifier: Apache-2.0
/** A real terminal without anybody at it: a window of tmux, on a server of the run's own. */
import path from 'node:path';
import { type Scope, until } from './scope.js';

export interface TerminalOptions {
  readonly columns: number;
  readonly rows: number;
  /** Network namespace of what runs in it. */
  readonly netns?: string;
}

export class Terminal {
  readonly #scope: Scope;
  readonly #socket: string;

  private constructor(scope: Scope, socket: string) {
    this.#scope = scope;
    this.#socket = socket;
  }

  /** A shell, whose prompt is "shell> ". It ends with the scope. */
  static async open(scope: Scope, { columns, rows, netns }: TerminalOptions): Promise<Terminal> {
    const terminal = new Terminal(scope, path.join(scope.dir, 'tmux'));
    const size = ['-x', String(columns), '-y', String(rows)];
    const env = { LANG: 'C.UTF-8', TMUX: '', NO_COLOR: '' };
    // Colours as a person has them; in the default tmux says of itself that it has few.
    const shell = 'env TERM=tmux-256color PS1="shell> " sh';
    const argv = ['tmux', '-S', terminal.#socket, '-f', '/dev/null', 'new-session', '-d', ...size, shell];
    await scope.must(argv, { env, ...(netns === undefined ? {} : { netns }) });
    return terminal;
  }

  #tmux(...words: string[]): Promise<string> {
    return this.#scope.must(['tmux', '-S', this.#socket, ...words], { env: { LANG: 'C.UTF-8' } });
  }

  /** As tmux names keys: "Enter", "Escape", "C-c"; anything else is typed. */
  async keys(...keys: string[]): Promise<void> {
    await this.#tmux('send-keys', ...keys);
  }

  /** Of what was begun in it: the shell, or what has taken its place. */
  async processId(): Promise<number> {
    return Number((await this.#tmux('display-message', '-p', '#{pane_pid}')).trim());
  }

  async resize(columns: number, rows: number): Promise<void> {
    await this.#tmux('resize-window', '-x', String(columns), '-y', String(rows));
  }

  /** Lines. escapes: with colours, as SGR (ECMA-48, 8.3.117). */
  async screen(escapes = false): Promise<string> {
    return await this.#tmux('capture-pane', '-p', ...(escapes ? ['-e'] : []));
  }

  /** What the screen was when it held. */
  async shows(what: string, holds: RegExp | ((screen: string) => boolean), timeoutMs = 20_000): Promise<string> {
    const isThere = typeof holds === 'function' ? holds : (screen: string) => holds.test(screen);
    return await until(
      `the terminal to show ${what}`,
      async () => {
        const screen = await this.screen();
        if (isThere(screen)) return screen;
        throw new Error(`it shows\n${screen}`);
      },
      timeoutMs,
      50,
    );
  }
}
