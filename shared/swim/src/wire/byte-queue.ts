// SPDX-License-Identifier: Apache-2.0
/** Bytes that have come and are not yet used, in one piece. Its memory is at most twice the most that it has held. */

const CAPACITY_MIN = 4_096;

export class ByteQueue {
  #bytes = new Uint8Array(0);
  #start = 0;
  #end = 0;

  get length(): number {
    return this.#end - this.#start;
  }

  /** All of them; a view, valid until the next push. */
  view(): Uint8Array {
    return this.#bytes.subarray(this.#start, this.#end);
  }

  push(chunk: Uint8Array): void {
    const needed = this.length + chunk.length;
    if (this.#end + chunk.length > this.#bytes.length) {
      // In place when that is less work than what was used up since.
      const target = needed <= this.#start ? this.#bytes : new Uint8Array(Math.max(CAPACITY_MIN, needed * 2));
      target.set(this.view());
      this.#bytes = target;
      this.#end = this.length;
      this.#start = 0;
    }
    this.#bytes.set(chunk, this.#end);
    this.#end += chunk.length;
  }

  drop(count: number): void {
    this.#start += count;
  }

  clear(): void {
    this.#bytes = new Uint8Array(0);
    this.#start = 0;
    this.#end = 0;
  }
}
