// SPDX-License-Identifier: Apache-2.0
/**
 * The alternate screen (xterm's private mode 1049) and its size. Ink writes through this and not to the terminal: so nothing
 * is written once the screen was left, and Ink sees another size only when the old picture has been taken away, in one step.
 *
 *   shut ──enter──▶ open ──leave──▶ shut     enter and leave again and again: an editor, Ctrl-Z, the end
 */
import type { Size } from '../components/frame.js';
import { LineCodes } from './line-codes.js';

const ENTER = '\u001b[?1049h\u001b[?25l\u001b[0m\u001b[H\u001b[2J';
const LEAVE = '\u001b[0m\u001b[?2004l\u001b[?25h\u001b[?1049l';
const CLEAR = '\u001b[0m\u001b[H\u001b[2J';

export class Screen {
  /** What Ink writes stands for lines. */
  readonly codes = new LineCodes();
  private isOpen = false;
  private measured: Size;
  /** Since the beginning: for measurements and tests. */
  bytesWritten = 0;
  readonly isTTY = true;
  readonly destroyed = false;
  readonly writableEnded = false;
  readonly writable = true;

  private readonly output: NodeJS.WriteStream;

  constructor(output: NodeJS.WriteStream) {
    this.output = output;
    this.measured = sizeOf(output);
  }

  get columns(): number {
    return this.measured.columns;
  }

  get rows(): number {
    return this.measured.rows;
  }

  get size(): Size {
    return this.measured;
  }

  enter(): void {
    if (this.isOpen) return;
    this.isOpen = true;
    this.put(ENTER);
  }

  leave(): void {
    if (!this.isOpen) return;
    this.put(LEAVE);
    this.isOpen = false;
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

  private put(text: string): void {
    if (!this.isOpen || text === '') return;
    this.bytesWritten += Buffer.byteLength(text);
    try {
      this.output.write(text);
    } catch {
      // The terminal is gone; whoever waits for the end is told by a signal.
    }
  }
}

function sizeOf({ columns, rows }: NodeJS.WriteStream): Size {
  return { columns: Math.min(columns || 80, COLUMNS_MAX), rows: Math.min(rows || 24, ROWS_MAX) };
}

/** A terminal may say anything. */
const COLUMNS_MAX = 500;
const ROWS_MAX = 200;
