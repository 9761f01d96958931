// SPDX-License-Identifier: Apache-2.0
/**
 * When states are published: at once after a quiet time, and otherwise at most once per interval; what is urgent within 100 ms. One that
 * was much work, as while many nodes tell what they have, is followed by a pause.
 */
import type { Ambient } from './contract.js';

/** What comes together is shown together. */
const GATHER_MS = 15;
/** Between two states, whatever has happened: ten a second. */
const HASTE_MS = 100;
/** States take no more than a fiftieth of the time, and what is made of them some times that. */
const REST_PER_WORK = 50;
const REST_MAX_MS = 2_000;

export class Publisher {
  readonly #ambient: Ambient;
  readonly #intervalMs: number;
  readonly #publish: () => void;
  #lastMs = Number.NEGATIVE_INFINITY;
  /** After the last one. */
  #restMs = 0;
  #dueMs = Number.POSITIVE_INFINITY;
  #cancel: (() => void) | undefined;
  #isHeld = false;

  constructor(ambient: Ambient, intervalMs: number, publish: () => void) {
    this.#ambient = ambient;
    this.#intervalMs = intervalMs;
    this.#publish = publish;
  }

  /** Something may have changed: figures, which can wait, or what somebody has done or has to know at once. */
  touch(isUrgent = false): void {
    const nowMs = this.#ambient.nowMs();
    const afterMs = isUrgent ? Math.min(HASTE_MS, this.#intervalMs) : Math.max(this.#intervalMs, this.#restMs);
    this.#plan(Math.max(nowMs + Math.min(GATHER_MS, this.#intervalMs), this.#lastMs + afterMs), nowMs);
  }

  /** Something changes by itself in a while. */
  touchIn(ms: number): void {
    const nowMs = this.#ambient.nowMs();
    this.#plan(nowMs + Math.max(ms, this.#intervalMs), nowMs);
  }

  /** Nothing is published until it is released. */
  hold(): void {
    this.#isHeld = true;
    this.#clear();
  }

  release(): void {
    this.#isHeld = false;
    this.#run();
  }

  close(): void {
    this.hold();
  }

  #plan(dueMs: number, nowMs: number): void {
    if (this.#isHeld || dueMs >= this.#dueMs) return;
    this.#clear();
    this.#dueMs = dueMs;
    this.#cancel = this.#ambient.after(dueMs - nowMs, () => this.#run());
  }

  #run(): void {
    this.#clear();
    this.#lastMs = this.#ambient.nowMs();
    this.#publish();
    this.#restMs = Math.min(REST_MAX_MS, REST_PER_WORK * (this.#ambient.nowMs() - this.#lastMs));
  }

  #clear(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#dueMs = Number.POSITIVE_INFINITY;
  }
}
