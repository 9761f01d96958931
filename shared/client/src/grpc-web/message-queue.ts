// SPDX-License-Identifier: Apache-2.0
/**
 * Messages between the official client, which hands them out when they come, and a reader that takes them when it likes.
 * XMLHttpRequest can't be told to wait, so a reader that stays behind loses the stream instead of filling the memory.
 */
export class MessageQueue<T> implements AsyncIterable<T> {
  readonly #waitingMaxBytes: number;
  #waiting: { readonly message: T; readonly bytes: number }[] = [];
  #waitingBytes = 0;
  #end: { readonly reason: unknown } | undefined;
  #wake: (() => void) | undefined;

  constructor(waitingMaxBytes: number) {
    this.#waitingMaxBytes = waitingMaxBytes;
  }

  /** Whether there was room: a message alone always has it. */
  push(message: T, bytes: number): boolean {
    if (this.#end !== undefined) return true;
    if (this.#waiting.length > 0 && this.#waitingBytes + bytes > this.#waitingMaxBytes) return false;
    this.#waiting.push({ message, bytes });
    this.#waitingBytes += bytes;
    this.#wake?.();
    return true;
  }

  /** The first end counts. What waits is still read, then the reason is thrown; undefined: a good end. */
  end(reason: unknown): void {
    this.#end ??= { reason };
    this.#wake?.();
  }

  /** For one reader. */
  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    for (;;) {
      const batch = this.#waiting;
      this.#waiting = [];
      for (const { message, bytes } of batch) {
        this.#waitingBytes -= bytes;
        yield message;
      }
      if (this.#waiting.length > 0) continue;
      if (this.#end?.reason !== undefined) throw this.#end.reason;
      if (this.#end !== undefined) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }
}
