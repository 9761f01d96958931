// SPDX-License-Identifier: Apache-2.0
import type { NodeId } from '../contract.js';
import { Cuts } from './cuts.js';
import type { Random } from './random.js';
import type { Timeline } from './timeline.js';

/** Loses, doubles, delays and reorders. */
export class Network {
  readonly #time: Timeline;
  readonly #random: Random;
  readonly cuts = new Cuts();
  loss = 0;
  duplication = 0;
  /** Of a message that takes far longer than others, and so comes after them. */
  reordering = 0;
  /** What became of messages so far. */
  messages = 0;
  lost = 0;
  duplicated = 0;
  reordered = 0;

  constructor(time: Timeline, random: Random) {
    this.#time = time;
    this.#random = random;
  }

  /** dispatch: called if it is not lost; gives what is to be done when it arrives. */
  send(from: NodeId, to: NodeId, dispatch: () => () => void): void {
    const random = this.#random;
    this.messages++;
    if (this.cuts.between(from, to)) return;
    if (random.chance(this.loss)) {
      this.lost++;
      return;
    }
    const deliver = dispatch();
    const copies = random.chance(this.duplication) ? 2 : 1;
    if (copies > 1) this.duplicated++;
    for (let i = 0; i < copies; i++) {
      const late = random.chance(this.reordering);
      if (late) this.reordered++;
      this.#time.after(late ? random.between(50, 2000) : random.between(0.2, 5), deliver);
    }
  }
}
