// SPDX-License-Identifier: Apache-2.0
/**
 * The address book as a file that nobody but its owner can read, since sessions are in it. Changes of several processes are
 * made one after the other, so that none takes another's back; that the file is whole does not depend on that.
 */
import { closeSync, openSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type AddressBook, AddressBookError, EMPTY_BOOK, formatBook, parseBook } from './address-book.js';
import { makeDirectoryOf, readPrivate, replacePrivate } from './private-file.js';

/** 1,000 targets with a root each are less than 2 MiB. */
const FILE_MAX_BYTES = 4 << 20;
/** A change is made in some milliseconds; whoever has had the lock for so long was killed. */
const LOCK_STALE_MS = 10_000;
const LOCK_WAIT_MS = 15_000;
const LOCK_PAUSE_MS = 10;

export class AddressBookFile {
  readonly path: string;

  constructor(directory: string) {
    this.path = join(directory, 'targets.json');
  }

  /** Empty when there is none. Fails as AddressBookError "invalid". */
  read(): AddressBook {
    try {
      const text = readPrivate(this.path, FILE_MAX_BYTES);
      return text === undefined ? EMPTY_BOOK : parseBook(text);
    } catch (error) {
      const fix = 'mend it, or move it away and log in again; for the agent of this machine: --target local';
      throw new AddressBookError('invalid', `${this.path} is not used: ${(error as Error).message}; ${fix}`);
    }
  }

  /** The book as it was written. Fails as AddressBookError, also as that of the change; then nothing was changed. */
  async update(change: (book: AddressBook) => AddressBook): Promise<AddressBook> {
    this.#writing(() => makeDirectoryOf(this.path));
    const unlock = await this.#lock();
    try {
      const before = this.read();
      const after = change(before);
      if (after !== before) this.#writing(() => replacePrivate(this.path, formatBook(after)));
      return after;
    } finally {
      unlock();
    }
  }

  /** What gives it back. */
  async #lock(): Promise<() => void> {
    const path = `${this.path}.lock`;
    for (const deadline = Date.now() + LOCK_WAIT_MS; ; await sleep(LOCK_PAUSE_MS)) {
      if (this.#writing(() => made(path))) return () => rmSync(path, { force: true });
      const since = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
      if (since !== undefined && Date.now() - since > LOCK_STALE_MS) rmSync(path, { force: true });
      if (Date.now() > deadline) {
        throw new AddressBookError('invalid', `another command has held ${path} for ${LOCK_WAIT_MS} ms: try again`);
      }
    }
  }

  #writing<T>(write: () => T): T {
    try {
      return write();
    } catch (error) {
      throw new AddressBookError('invalid', `can't write ${this.path}: ${(error as Error).message}`);
    }
  }
}

/** Whether it was not there. */
function made(path: string): boolean {
  try {
    closeSync(openSync(path, 'wx', 0o600));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}
