// SPDX-License-Identifier: Apache-2.0
/**
 * The calling end of replica-wire.ts, without a socket: what is to be written next, and what the other end's answers
 * mean.
 *
 * Nothing is queued here. What waits is taken only when it can be written, as much at once as makes one write of
 * BATCH_BYTES. A question follows at least each ASK_BYTES, and without its answer no message is begun after
 * WINDOW_BYTES: else kernels would hold megabytes of a slow node's, who could not say for that long that it is there.
 */
import type { Addressed } from '../../../domain/replication/contract.js';
import { encodeMessage } from '../../../domain/replication/message-codec.js';
import { LENGTH_BYTES } from './replica-wire.js';

export const BATCH_BYTES: number = 64 * 1024;
const ASK_BYTES = 64 * 1024;
/** For each round trip: 80 Mbit/s at 100 ms. */
export const WINDOW_BYTES: number = 1024 * 1024;
const NOTHING = new Uint8Array(0);

export class ReplicaSender {
  readonly #take: () => Addressed | undefined;
  /** Of what was encoded last: what is still to be written. */
  #rest: Uint8Array = NOTHING;
  #due = false;
  /** Bytes since the beginning: made, made before the last question, and known to have been read. */
  #made = 0;
  #asked = 0;
  #read = 0;
  /** How much was made before each question that waits for its answer, oldest first. */
  readonly #questions: number[] = [];
  #taken = false;
  #answerBytes = 0;

  constructor(take: () => Addressed | undefined) {
    this.#take = take;
  }

  /** The other end has taken the connection. */
  get taken(): boolean {
    return this.#taken;
  }

  /** An answer is waited for. */
  get asks(): boolean {
    return this.#due || this.#questions.length > 0;
  }

  /** A message is written in part: a question, too, waits until it is through. */
  get midway(): boolean {
    return this.#rest.length > 0;
  }

  /** Too much has not been answered for another message to begin. */
  get full(): boolean {
    return this.#made - this.#read >= WINDOW_BYTES;
  }

  /** Asks whether the other end is there, behind what was taken. */
  ask(): void {
    this.#due = true;
  }

  /** BATCH_BYTES at most; undefined: nothing, now. */
  next(): Uint8Array | undefined {
    if (this.#rest.length === 0) this.#rest = this.#batch();
    if (this.#rest.length === 0) return undefined;
    const piece = this.#rest.subarray(0, BATCH_BYTES);
    this.#rest = this.#rest.length > BATCH_BYTES ? this.#rest.subarray(BATCH_BYTES) : NOTHING;
    return piece;
  }

  /** What the other end has sent. Returns why it is not to be talked to any more. */
  heard(bytes: Uint8Array): string | undefined {
    if (bytes.some((byte) => byte !== 0)) return 'what it sends is no answer: is it another program?';
    this.#answerBytes += bytes.length;
    for (; this.#answerBytes >= LENGTH_BYTES; this.#answerBytes -= LENGTH_BYTES) {
      if (!this.#taken) {
        this.#taken = true;
        continue;
      }
      const read = this.#questions.shift();
      if (read === undefined) return 'it answers what it was not asked';
      this.#read = read;
    }
    return undefined;
  }

  #batch(): Uint8Array {
    const messages: Uint8Array[] = [];
    let bytes = 0;
    while (bytes < BATCH_BYTES && this.#made + bytes - this.#read < WINDOW_BYTES) {
      const message = this.#take();
      if (message === undefined) break;
      const encoded = encodeMessage(message);
      messages.push(encoded);
      bytes += LENGTH_BYTES + encoded.length;
    }
    const asks = this.#due || this.#made + bytes - this.#asked >= ASK_BYTES;
    if (asks) bytes += LENGTH_BYTES;
    if (bytes === 0) return NOTHING;
    const batch = Buffer.allocUnsafe(bytes);
    let at = 0;
    for (const message of messages) {
      at = batch.writeUInt32BE(message.length, at);
      batch.set(message, at);
      at += message.length;
    }
    this.#made += bytes;
    if (asks) {
      batch.writeUInt32BE(0, at);
      this.#due = false;
      this.#asked = this.#made;
      this.#questions.push(this.#made);
    }
    return batch;
  }
}
