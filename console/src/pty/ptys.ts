// SPDX-License-Identifier: Apache-2.0
/**
 * The ptys of the Terminal page. What nobody has read waits here, up to a bound; then the program at the other end waits, as it would
 * for a slow terminal.
 */
import { PIECE_MAX, PTYS_MAX, type PtyProgram, type PtyReply, type PtyRequest, type PtySize } from './messages.js';

/** Of node-pty's IPty. */
export interface Pty {
  onData(listener: (text: string) => void): unknown;
  onExit(listener: (end: { readonly exitCode: number; readonly signal?: number | undefined }) => void): unknown;
  write(text: string): void;
  resize(columns: number, rows: number): void;
  pause(): void;
  resume(): void;
  kill(signal?: string): void;
}

export type SpawnPty = (program: PtyProgram, size: PtySize) => Pty;

/** Waiting output at which a program is held, and at which it goes on. */
const HELD_AT = 4 * PIECE_MAX;
const GOES_ON_AT = PIECE_MAX;
const SIGNALS = 128;

interface Open {
  readonly pty: Pty;
  waiting: string[];
  length: number;
  isHeld: boolean;
  isAsked: boolean;
  code: number | undefined;
}

export class Ptys {
  readonly #spawn: SpawnPty;
  readonly #reply: (reply: PtyReply) => void;
  readonly #open = new Map<number, Open>();

  constructor(spawn: SpawnPty, reply: (reply: PtyReply) => void) {
    this.#spawn = spawn;
    this.#reply = reply;
  }

  take(request: PtyRequest): void {
    if (request.kind === 'open') {
      this.#begin(request.id, request.program, request.size);
      return;
    }
    const open = this.#open.get(request.id);
    if (open === undefined) {
      if (request.kind === 'read') this.#reply({ kind: 'failed', id: request.id, reason: 'this terminal was closed' });
      return;
    }
    switch (request.kind) {
      case 'read':
        open.isAsked = true;
        this.#give(request.id, open);
        return;
      case 'write':
        if (open.code === undefined) open.pty.write(request.text);
        return;
      case 'resize':
        // One whose program has ended has no size any more.
        if (open.code === undefined) open.pty.resize(request.size.columns, request.size.rows);
        return;
      case 'close':
        this.#end(request.id, open);
        return;
    }
  }

  /** All of them, with what runs in them. */
  close(): void {
    for (const [id, open] of this.#open) this.#end(id, open);
  }

  #begin(id: number, program: PtyProgram, size: PtySize): void {
    if (this.#open.size >= PTYS_MAX) {
      this.#reply({
        kind: 'failed',
        id,
        reason: `there are ${PTYS_MAX} terminals, which is the most: close one first`,
      });
      return;
    }
    let pty: Pty;
    try {
      pty = this.#spawn(program, size);
    } catch (error) {
      this.#reply({ kind: 'failed', id, reason: `${program.file} can't be run: ${(error as Error).message}` });
      return;
    }
    const open: Open = { pty, waiting: [], length: 0, isHeld: false, isAsked: false, code: undefined };
    this.#open.set(id, open);
    pty.onData((text) => {
      open.waiting.push(text);
      open.length += text.length;
      if (open.length >= HELD_AT && !open.isHeld) {
        open.isHeld = true;
        pty.pause();
      }
      this.#give(id, open);
    });
    pty.onExit(({ exitCode, signal }) => {
      open.code = signal === undefined || signal === 0 ? exitCode : SIGNALS + signal;
      this.#give(id, open);
    });
    this.#reply({ kind: 'opened', id });
  }

  /** What waits, to who has asked. */
  #give(id: number, open: Open): void {
    if (!open.isAsked || this.#open.get(id) !== open) return;
    if (open.length > 0) {
      open.isAsked = false;
      const all = open.waiting.join('');
      const at = pieceEnd(all);
      open.waiting = at === all.length ? [] : [all.slice(at)];
      open.length = all.length - at;
      if (open.isHeld && open.length <= GOES_ON_AT && open.code === undefined) {
        open.isHeld = false;
        open.pty.resume();
      }
      this.#reply({ kind: 'output', id, text: all.slice(0, at) });
      return;
    }
    if (open.code === undefined) return;
    open.isAsked = false;
    this.#open.delete(id);
    this.#reply({ kind: 'ended', id, code: open.code });
  }

  #end(id: number, open: Open): void {
    this.#open.delete(id);
    if (open.isAsked) this.#reply({ kind: 'failed', id, reason: 'this terminal was closed' });
    if (open.code !== undefined) return;
    try {
      // As when a terminal's window is closed.
      open.pty.kill('SIGHUP');
    } catch {
      // It has ended by itself just now.
    }
  }
}

/** Not between the halves of a character. */
function pieceEnd(text: string): number {
  if (text.length <= PIECE_MAX) return text.length;
  const code = text.charCodeAt(PIECE_MAX - 1);
  return code >= 0xd800 && code <= 0xdbff ? PIECE_MAX - 1 : PIECE_MAX;
}
