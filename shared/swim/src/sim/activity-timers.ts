// SPDX-License-Identifier: Apache-2.0
import { type Activity, type Timer, Timers } from '../core/timers.js';

/**
 * Timers of a node whose activities can be made to wait one by one, while the other timers go on. What falls due of an
 * activity that waits runs when it goes on; only the activity itself may cancel that, which it does not while it waits.
 */
export class ActivityTimers extends Timers {
  readonly #waits = new Set<Activity>();
  #overdue: (() => void)[] = [];

  override at(atMs: number, run: () => void, activity?: Activity): Timer {
    if (!activity) return super.at(atMs, run);
    return super.at(atMs, () => {
      if (this.#waits.has(activity)) this.#overdue.push(run);
      else run();
    });
  }

  /** Until goOn. */
  wait(activity: Activity): void {
    this.#waits.add(activity);
  }

  /** All activities; what has fallen due is due now, in the order in which it was. */
  goOn(nowMs: number): void {
    this.#waits.clear();
    const overdue = this.#overdue;
    this.#overdue = [];
    for (const run of overdue) this.at(nowMs, run);
  }
}
