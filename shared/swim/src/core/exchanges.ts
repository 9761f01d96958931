// SPDX-License-Identifier: Apache-2.0
import type { Address, StreamMessage } from '../wire/message.js';
import type { Context } from './context.js';
import type { Timer } from './timers.js';

/** The reply, or undefined when none was expected and the request went out; otherwise why there is none. */
export type Outcome = StreamMessage | undefined | string;

interface Pending {
  readonly done: (outcome: Outcome) => void;
  readonly timer: Timer;
}

/** Streams this node has opened: each ends once, by the transport's word or at its deadline. */
export class Exchanges {
  readonly #context: Context;
  readonly #pending = new Map<number, Pending>();
  #id = 0;

  constructor(context: Context) {
    this.#context = context;
  }

  get size(): number {
    return this.#pending.size;
  }

  open(
    to: Address,
    request: StreamMessage,
    expectReply: boolean,
    deadlineMs: number,
    done: (outcome: Outcome) => void,
  ): void {
    const { limits, timers } = this.#context;
    if (this.#pending.size >= limits.exchanges) {
      done(`${limits.exchanges} streams are open already (limits.exchanges)`);
      return;
    }
    const id = ++this.#id;
    const timer = timers.at(deadlineMs, () => this.end(id, 'no answer in time'));
    this.#pending.set(id, { done, timer });
    this.#context.emit({ type: 'open-stream', id, to, request, expectReply, deadlineMs });
  }

  /** Of one that has ended already: nothing happens. */
  end(id: number, outcome: Outcome): void {
    const pending = this.#pending.get(id);
    if (!pending) return;
    this.#pending.delete(id);
    this.#context.timers.cancel(pending.timer);
    pending.done(outcome);
  }
}
