// SPDX-License-Identifier: Apache-2.0
/**
 * The connection that writes. Each transaction says whether it waits for the disk.
 *
 * A write-ahead log is read up to the first frame that is not whole, so that what a power failure takes of transactions
 * that did not wait is the newest of them; and the next that waits brings all before it to the disk
 * (https://sqlite.org/pragma.html#pragma_synchronous).
 */
import type Database from 'better-sqlite3';

export class Writer {
  readonly database: Database.Database;
  readonly #transaction: (work: () => void) => void;
  /** A connection stays as it is set; setting it takes as long as a small write, as SQLite parses it each time. */
  #waits = true;

  constructor(database: Database.Database) {
    this.database = database;
    database.pragma('synchronous = FULL');
    this.#transaction = database.transaction((work: () => void) => work());
  }

  /** All of it or nothing, on disk when this returns. Within another transaction: when that does. */
  transaction(work: () => void): void {
    this.#run(true, work);
  }

  /** The same, but for the disk: a failure of the machine may take it. */
  relaxed(work: () => void): void {
    this.#run(false, work);
  }

  #run(waits: boolean, work: () => void): void {
    // Within a transaction SQLite does not change it, and the outer one decides.
    if (waits !== this.#waits && !this.database.inTransaction) {
      this.database.pragma(`synchronous = ${waits ? 'FULL' : 'NORMAL'}`);
      this.#waits = waits;
    }
    this.#transaction(work);
  }
}
