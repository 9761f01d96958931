// SPDX-License-Identifier: Apache-2.0
import type { NodeState } from '../wire/message.js';
import type { NodeEvent } from './network-node.js';
import type { FromNode } from './thread-messages.js';

/**
 * Events for the other thread, of which only so many wait there at a time. When it does not keep up, further ones are
 * left out; once it has taken all, it is told how things stand. Answers to what it has asked for are never left out.
 */
export class EventOutlet {
  readonly #post: (message: FromNode) => void;
  readonly #members: () => readonly NodeState[];
  readonly #mostUntaken: number;
  #untaken = 0;
  #lost = 0;
  #pending: NodeEvent[] = [];

  constructor(post: (message: FromNode) => void, members: () => readonly NodeState[], mostUntaken = 8192) {
    this.#post = post;
    this.#members = members;
    this.#mostUntaken = mostUntaken;
  }

  /** Returns whether these are the first of a batch, which flush sends. */
  add(event: NodeEvent): boolean {
    const answer = event.type === 'incarnation' || event.type === 'departed';
    if (!answer && (this.#lost > 0 || this.#untaken >= this.#mostUntaken)) {
      this.#lost++;
      return false;
    }
    this.#untaken++;
    return this.#pending.push(event) === 1;
  }

  flush(): void {
    if (this.#pending.length === 0) return;
    this.#post({ type: 'events', events: this.#pending });
    this.#pending = [];
  }

  taken(count: number): void {
    this.#untaken = Math.max(0, this.#untaken - count);
    if (this.#lost === 0 || this.#untaken > 0) return;
    this.flush();
    this.#post({ type: 'resync', members: this.#members(), lost: this.#lost });
    this.#lost = 0;
  }
}
