// SPDX-License-Identifier: Apache-2.0
/** What the console has to say of itself, as JSON lines: a file of which at most two are kept. Never secrets, never what a page has sent. */
import { appendFileSync, renameSync, statSync } from 'node:fs';
import { makeDirectoryOf } from '@marcher/client/private-file';
import type { IpcLogger } from './ipc-server.js';

const FILE_MAX_BYTES = 1 << 20;
const TEXT_MAX = 2_000;

export class Log implements IpcLogger {
  readonly #path: string;
  readonly #nowMs: () => number;

  constructor(path: string, nowMs: () => number) {
    this.#path = path;
    this.#nowMs = nowMs;
  }

  info(fields: object, message: string): void {
    this.#write('info', fields, message);
  }

  warn(fields: object, message: string): void {
    this.#write('warn', fields, message);
  }

  error(fields: object, message: string): void {
    this.#write('error', fields, message);
  }

  #write(level: string, fields: object, message: string): void {
    const time = new Date(this.#nowMs()).toISOString();
    const line = JSON.stringify({ time, level, message, ...fields }, (_name, value: unknown) =>
      typeof value === 'string' ? value.slice(0, TEXT_MAX) : value,
    );
    try {
      makeDirectoryOf(this.#path);
      if ((statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0) > FILE_MAX_BYTES) {
        renameSync(this.#path, `${this.#path}.1`);
      }
      appendFileSync(this.#path, `${line}\n`, { mode: 0o600 });
    } catch {
      // A full disk is no reason to show nothing.
    }
  }
}
