// SPDX-License-Identifier: Apache-2.0
/**
 * What waits for one peer's stream. A peer that does not keep up loses its pushes, all at once; when it has caught up
 * with what is left, it is asked to compare vectors, and gets what it missed as its own requests.
 */
import type { Message } from './contract.js';
import { cellBytes } from './memory-store.js';

/** About what a message takes on the wire. */
export function messageBytes(message: Message): number {
  switch (message.type) {
    case 'push':
      return message.frame.length;
    case 'frames':
      return message.frames.reduce((sum, frame) => sum + frame.length + 8, 64);
    case 'snapshot':
    case 'repair':
      return message.cells.reduce((sum, cell) => sum + cellBytes(cell), 256);
    case 'summary':
      return 128 + 32 * message.heads.size;
    case 'digests':
      return 8 * message.buckets.length;
    default:
      return 64;
  }
}

export class Outbox {
  readonly #limitBytes: number;
  #messages: { readonly message: Message; readonly bytes: number }[] = [];
  #next = 0;
  #bytes = 0;
  #lagging = false;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Pushes were lost, and the peer has not been asked to compare yet. */
  get lagging(): boolean {
    return this.#lagging;
  }

  get empty(): boolean {
    return this.#next === this.#messages.length;
  }

  /**
   * Gives the bytes that were dropped, where there was no room: the pushes that waited, and this message if it is one.
   */
  add(message: Message): number {
    const bytes = messageBytes(message);
    // Of what a node says of itself, only the latest counts.
    if (message.type === 'summary') this.#dropWhere((waiting) => waiting.type === 'summary');
    if (message.type === 'push' && this.#lagging) return bytes;
    let dropped = 0;
    if (this.#bytes + bytes > this.#limitBytes && !this.empty) {
      dropped = this.#dropWhere((waiting) => waiting.type === 'push');
      this.#lagging = true;
      if (message.type === 'push') return dropped + bytes;
      // Answers are few, each bounded, and the peer waits for one at a time: no room even so means that it takes
      // nothing.
      if (this.#bytes + bytes > this.#limitBytes) return dropped + bytes;
    }
    this.#messages.push({ message, bytes });
    this.#bytes += bytes;
    return dropped;
  }

  /** The next to send; undefined: none waits. */
  take(): Message | undefined {
    const next = this.#messages[this.#next];
    if (next === undefined) return undefined;
    this.#next++;
    this.#bytes -= next.bytes;
    if (this.empty) {
      this.#messages = [];
      this.#next = 0;
    }
    return next.message;
  }

  /** Whether pushes were lost and everything else has been sent: then it is time to compare. Only said once. */
  recovered(): boolean {
    if (!this.#lagging || !this.empty) return false;
    this.#lagging = false;
    return true;
  }

  #dropWhere(which: (message: Message) => boolean): number {
    const kept = this.#messages.slice(this.#next).filter(({ message }) => !which(message));
    const before = this.#bytes;
    this.#messages = kept;
    this.#next = 0;
    this.#bytes = kept.reduce((sum, { bytes }) => sum + bytes, 0);
    return before - this.#bytes;
  }
}
