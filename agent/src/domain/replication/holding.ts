// SPDX-License-Identifier: Apache-2.0
/** Frames that cannot be applied yet: one before them is missing, or their time has not come. Bounded. */
import type { Frame, OriginKey, Range } from './contract.js';

export interface HoldingLimits {
  readonly frames: number;
  readonly bytes: number;
}

export class Holding {
  readonly #limits: HoldingLimits;
  readonly #origins = new Map<OriginKey, Map<number, Frame>>();
  #frames = 0;
  #bytes = 0;

  constructor(limits: HoldingLimits) {
    this.#limits = limits;
  }

  get frames(): number {
    return this.#frames;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get(origin: OriginKey, sequence: number): Frame | undefined {
    return this.#origins.get(origin)?.get(sequence);
  }

  /** next: it can be applied at once, and so is always taken. False: there is no room; anti-entropy brings it again. */
  add(frame: Frame, next: boolean): boolean {
    const full = this.#frames >= this.#limits.frames || this.#bytes + frame.bytes.length > this.#limits.bytes;
    if (full && !next) return false;
    const held = this.#origins.get(frame.origin) ?? new Map<number, Frame>();
    if (held.has(frame.sequence)) return true;
    this.#origins.set(frame.origin, held);
    held.set(frame.sequence, frame);
    this.#frames++;
    this.#bytes += frame.bytes.length;
    return true;
  }

  remove(origin: OriginKey, sequence: number): void {
    const held = this.#origins.get(origin);
    const frame = held?.get(sequence);
    if (held === undefined || frame === undefined) return;
    held.delete(sequence);
    if (held.size === 0) this.#origins.delete(origin);
    this.#frames--;
    this.#bytes -= frame.bytes.length;
  }

  /** What lies at or before a sequence has come another way. */
  removeThrough(origin: OriginKey, sequence: number): void {
    for (const at of [...(this.#origins.get(origin)?.keys() ?? [])]) if (at <= sequence) this.remove(origin, at);
  }

  removeOrigin(origin: OriginKey): void {
    this.removeThrough(origin, Number.MAX_SAFE_INTEGER);
  }

  origins(): OriginKey[] {
    return [...this.#origins.keys()];
  }

  /**
   * Of a range, what is not held; at its front and its end only, as a hole costs more to describe than to get again.
   */
  without({ origin, from, through }: Range): Range | undefined {
    const held = this.#origins.get(origin);
    if (held === undefined) return { origin, from, through };
    let first = from;
    let last = through;
    while (first <= last && held.has(first)) first++;
    while (last >= first && held.has(last)) last--;
    return first <= last ? { origin, from: first, through: last } : undefined;
  }
}
