// SPDX-License-Identifier: Apache-2.0
/**
 * The alternate screen (xterm's private mode 1049) and its size. Ink writes through this and not to the terminal: so nothing
 * is written once the screen was left, and Ink sees another size only when the old picture has been taken away, in one step.
 *
 *   shut ──enter──▶ open ──leave──▶ shut     enter and leave again and again: an editor, Ctrl-Z, the end
 *
 * A terminal that is not read for a while (a frozen SSH session) gets nothing more until it has taken what it was given, and then
 * the whole picture: nothing piles up, and the console goes on meanwhile, to be ended by a signal, say. Lines do not wrap (DECAWM):
 * where a terminal takes a character for wider than it is here, a line is cut off and the next one is where it should be.
 */
import type { Size } from '../components/frame.js';
import { LineCodes } from './line-codes.js';

/** What is pasted comes in brackets (2004): Ink asks for that once, and not again behind a stop. */
const ENTER = '\u001b[?1049h\u001b[?7l\u001b[?2004h\u001b[?25l\u001b[0m\u001b[H\u001b[2J';
const LEAVE = '\u001b[0m\u001b[?7h\u001b[?2004l\u001b[?25h\u001b[?1049l';
const CLEAR = '\u001b[0m\u001b[H\u001b[2J';

export class Screen {
  /** What Ink writes stands for lines. */
  readonly codes = new LineCodes();
  private isOpen = false;
  /** The terminal has not taken yet what it was given. */
  private isBehind = false;
  /** Something was not written because of that. */
  private isStale = false;
  private measured: Size;
  /** Since the beginning: for measurements and tests. */
  bytesWritten = 0;
  readonly isTTY = true;
  readonly destroyed = false;
  readonly writableEnded = false;
  readonly writable = true;

  private readonly output: NodeJS.WriteStream;
  private readonly caughtUp: () => void;

  /** caughtUp: the terminal takes something again, and has not got all: the picture is to be written whole. */
  constructor(output: NodeJS.WriteStream, caughtUp: () => void) {
    this.output = output;
    this.caughtUp = caughtUp;
    this.measured = sizeOf(output);
    output.on('drain', this.onDrain);
  }

  /** For Ink, which makes a cell of each of a frame's: it is given one character a line, however wide the terminal is. */
  readonly columns = INK_COLUMNS;

  get rows(): number {
    return this.measured.rows;
  }

  get size(): Size {
    return this.measured;
  }

  enter(): void {
    if (this.isOpen) return;
    this.isOpen = true;
    // A program that had the terminal meanwhile has it blocking, and this end of it with it.
    setBlocking(this.output, false);
    this.put(ENTER);
  }

  /** isHandedOver: to another program, which may have it once all is written. */
  leave(isHandedOver = false): void {
    if (!this.isOpen) return;
    if (isHandedOver) setBlocking(this.output, true);
    this.isBehind = false;
    this.put(LEAVE);
    this.isOpen = false;
  }

  close(): void {
    this.output.off('drain', this.onDrain);
  }

  /** Takes everything away, and looks at how large it is now. */
  clear(): Size {
    this.measured = sizeOf(this.output);
    this.put(CLEAR);
    return this.measured;
  }

  /** As a stream's. */
  write(data: string | Uint8Array, done?: () => void): boolean {
    this.put(this.codes.written(typeof data === 'string' ? data : Buffer.from(data).toString()));
    done?.();
    return true;
  }

  /** Ink asks to be told of another size: it is, by being drawn anew. */
  on(): this {
    return this;
  }

  off(): this {
    return this;
  }

  private readonly onDrain = (): void => {
    this.isBehind = false;
    if (!this.isStale || !this.isOpen) return;
    this.isStale = false;
    this.caughtUp();
  };

  private put(text: string): void {
    if (!this.isOpen || text === '') return;
    if (this.isBehind) {
      this.isStale = true;
      return;
    }
    this.bytesWritten += Buffer.byteLength(text);
    try {
      this.isBehind = !this.output.write(text);
    } catch {
      // The terminal is gone; whoever waits for the end is told by a signal.
    }
  }
}

function sizeOf({ columns, rows }: NodeJS.WriteStream): Size {
  return { columns: Math.min(columns || 80, COLUMNS_MAX), rows: Math.min(rows || 24, ROWS_MAX) };
}

/** That of a line's character, and one beside it. */
const INK_COLUMNS = 2;
/** A terminal may say anything. */
const COLUMNS_MAX = 500;
const ROWS_MAX = 200;

/**
 * Node.js writes to terminals blocking, and has no other word for it than its own handle's: a process that waits in write() takes
 * no signal and reads no stream.
 */
function setBlocking(output: NodeJS.WriteStream, isBlocking: boolean): void {
  // Whatever ends the process shows the cursor by standard error, which is the same terminal.
  for (const stream of [output, process.stderr]) {
    const { _handle: handle } = stream as { readonly _handle?: { setBlocking?(isBlocking: boolean): unknown } };
    if (stream.isTTY) handle?.setBlocking?.(isBlocking);
  }
}
