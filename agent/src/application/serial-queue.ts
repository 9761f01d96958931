// SPDX-License-Identifier: Apache-2.0
/** Runs one piece of work at a time, in the order of asking. A failure is its asker's and stops nobody else. */
export class SerialQueue {
  #tail: Promise<unknown> = Promise.resolve();

  run<T>(work: () => Promise<T> | T): Promise<T> {
    const result = this.#tail.then(work);
    this.#tail = result.catch(() => undefined);
    return result;
  }
}
