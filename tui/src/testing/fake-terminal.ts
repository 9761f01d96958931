// SPDX-License-Identifier: Apache-2.0
/** The two ends of a terminal: what is typed, and what is written. */
import { EventEmitter } from 'node:events';

export class FakeOutput extends EventEmitter {
  readonly isTTY = true;
  columns = 100;
  rows = 30;
  written = '';
  /** Called with each piece that is written. */
  onWrite: (text: string) => void = () => undefined;
  /** False: nobody reads it, and it has as much as it takes. */
  takes = true;

  write(text: string): boolean {
    this.written += text;
    this.onWrite(text);
    return this.takes;
  }
}

export class FakeInput extends EventEmitter {
  readonly isTTY = true;
  isRaw = false;
  private waiting: string[] = [];

  type(text: string): void {
    this.waiting.push(text);
    this.emit('readable');
  }

  read(): string | null {
    return this.waiting.shift() ?? null;
  }

  setRawMode(isRaw: boolean): this {
    this.isRaw = isRaw;
    return this;
  }

  setEncoding(): void {}
  ref(): void {}
  unref(): void {}
  resume(): void {}
  pause(): void {}
}
