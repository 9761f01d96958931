// SPDX-License-Identifier: Apache-2.0
/**
 * The main process's side of the ptys: starts the process that has them with the first, passes on what the page writes and reads, and
 * ends it with the last. A page that begins anew has none.
 *
 *   none ──open──▶ a process, with ptys ──the last is closed──▶ none
 *                                └── it ends by itself: whoever waits is told
 */
import { PTYS_MAX, type PtyProgram, type PtyReply, type PtyRequest, type PtySize } from '../../pty/messages.js';
import { ConsoleError, type IpcLogger } from '../ipc-server.js';

/** Of Electron's UtilityProcess. */
export interface PtyProcess {
  postMessage(message: unknown): void;
  on(event: 'message', listener: (message: unknown) => void): unknown;
  on(event: 'exit', listener: (code: number) => void): unknown;
  kill(): boolean;
}

/** What one reading has brought. */
export type TerminalPiece = { readonly text: string } | { readonly ended: number };

interface Waiting {
  readonly done: (reply: PtyReply) => void;
  readonly failed: (error: Error) => void;
}

interface Terminal {
  opening: Waiting | undefined;
  reading: Waiting | undefined;
}

export class Terminals {
  readonly #fork: () => PtyProcess;
  readonly #logger: IpcLogger;
  readonly #open = new Map<number, Terminal>();
  #process: PtyProcess | undefined;
  #last = 0;

  constructor(fork: () => PtyProcess, logger: IpcLogger) {
    this.#fork = fork;
    this.#logger = logger;
  }

  /** The id of it. Fails as ConsoleError. */
  async open(program: PtyProgram, size: PtySize): Promise<number> {
    if (this.#open.size >= PTYS_MAX) {
      throw new ConsoleError(`there are ${PTYS_MAX} terminals, which is the most: close one first`);
    }
    const id = ++this.#last;
    const terminal: Terminal = { opening: undefined, reading: undefined };
    this.#open.set(id, terminal);
    const opened = new Promise<PtyReply>((done, failed) => {
      terminal.opening = { done, failed };
    });
    this.#send({ kind: 'open', id, program, size });
    const reply = await opened;
    if (reply.kind === 'opened') return id;
    this.#forget(id);
    throw new ConsoleError(reply.kind === 'failed' ? reply.reason : 'the terminal was not opened');
  }

  /** What comes next, when there is something. One at a time. Fails as ConsoleError. */
  async read(id: number): Promise<TerminalPiece> {
    const terminal = this.#known(id);
    if (terminal.reading !== undefined) throw new ConsoleError('this terminal is being read already');
    const answered = new Promise<PtyReply>((done, failed) => {
      terminal.reading = { done, failed };
    });
    this.#send({ kind: 'read', id });
    const reply = await answered;
    if (reply.kind === 'output') return { text: reply.text };
    this.#forget(id);
    if (reply.kind === 'ended') return { ended: reply.code };
    throw new ConsoleError(reply.kind === 'failed' ? reply.reason : 'the terminal has said nothing');
  }

  write(id: number, text: string): void {
    this.#known(id);
    this.#send({ kind: 'write', id, text });
  }

  resize(id: number, size: PtySize): void {
    this.#known(id);
    this.#send({ kind: 'resize', id, size });
  }

  /** One that is not there is closed. */
  close(id: number): void {
    const terminal = this.#open.get(id);
    if (terminal === undefined) return;
    this.#send({ kind: 'close', id });
    terminal.reading?.failed(new ConsoleError('this terminal was closed'));
    terminal.opening?.failed(new ConsoleError('this terminal was closed'));
    this.#forget(id);
  }

  closeAll(): void {
    for (const id of [...this.#open.keys()]) this.close(id);
  }

  #known(id: number): Terminal {
    const terminal = this.#open.get(id);
    if (terminal === undefined) throw new ConsoleError('there is no such terminal: it was closed');
    return terminal;
  }

  #send(request: PtyRequest): void {
    this.#process ??= this.#started();
    this.#process.postMessage(request);
  }

  #started(): PtyProcess {
    const process = this.#fork();
    process.on('message', (reply) => this.#take(reply as PtyReply));
    process.on('exit', (code) => {
      if (this.#process !== process) return;
      this.#process = undefined;
      this.#logger.error({ code, terminals: this.#open.size }, 'the process of the terminals has ended');
      for (const { opening, reading } of this.#open.values()) {
        const error = new ConsoleError('the process of the terminals has ended: open another');
        opening?.failed(error);
        reading?.failed(error);
      }
      this.#open.clear();
    });
    return process;
  }

  #take(reply: PtyReply): void {
    const terminal = this.#open.get(reply.id);
    if (terminal?.opening !== undefined) {
      const { done } = terminal.opening;
      terminal.opening = undefined;
      done(reply);
    } else if (terminal?.reading !== undefined) {
      const { done } = terminal.reading;
      terminal.reading = undefined;
      done(reply);
    }
  }

  /** Nobody has one any more: nor is there a process for them. It ends what still runs in them. */
  #forget(id: number): void {
    this.#open.delete(id);
    if (this.#open.size > 0) return;
    const process = this.#process;
    this.#process = undefined;
    process?.kill();
  }
}
