// SPDX-License-Identifier: Apache-2.0
/**
 * What the same bytes were decoded to before. Of a mesh of fifty nodes most say of most backends what the one before has said: in their
 * first states 49 of 50 messages are known, and neither decoded nor allocated again.
 *
 * Bytes are compared, not hashes alone: what one agent sends never stands for what another has sent. Of a fixed size: a value takes the
 * place of another one, and when the bytes are full all of them go.
 */

const SLOTS = 1 << 16;
/** A value may be in one of two places. */
const WAYS = 2;
const ARENA_BYTES = 4 << 20;
/** Longer ones are seldom the same, and few. */
const MESSAGE_MAX = 4_096;
const PRIME = 0x9e3779b1;

interface Kept<T> {
  readonly value: T;
  /** In the arena. */
  readonly at: number;
  readonly length: number;
}

export class DecodedCache<T> {
  #slots: (Kept<T> | undefined)[] | undefined;
  #arena = new Uint8Array(0);
  #view = new DataView(this.#arena.buffer);
  #end = 0;
  /** Of the slot that was looked at last. */
  #slot = 0;

  /** Of bytes from..to of the view. undefined: they are not known, and keep() may be told what they are. */
  find(view: DataView, from: number, to: number): T | undefined {
    const length = to - from;
    this.#slot = slotOf(view, from, to);
    if (this.#slots === undefined) return undefined;
    for (let way = 0; way < WAYS; way++) {
      const kept = this.#slots[this.#slot ^ way];
      if (kept !== undefined && kept.length === length && isSame(this.#view, kept.at, view, from, length))
        return kept.value;
    }
    return undefined;
  }

  /** What the bytes are that find() was asked for last. */
  keep(bytes: Uint8Array, from: number, to: number, value: T): void {
    const length = to - from;
    if (length > MESSAGE_MAX) return;
    if (this.#slots === undefined || this.#end + length > ARENA_BYTES) this.#clear();
    const slots = this.#slots as (Kept<T> | undefined)[];
    const other = this.#slot ^ 1;
    const slot = slots[this.#slot] === undefined || slots[other] !== undefined ? this.#slot : other;
    this.#arena.set(bytes.subarray(from, to), this.#end);
    slots[slot] = { value, at: this.#end, length };
    this.#end += length;
  }

  #clear(): void {
    if (this.#slots === undefined) {
      this.#arena = new Uint8Array(ARENA_BYTES);
      this.#view = new DataView(this.#arena.buffer);
    }
    this.#slots = new Array<Kept<T> | undefined>(SLOTS).fill(undefined);
    this.#end = 0;
  }
}

/** By four bytes at a time. */
function slotOf(view: DataView, from: number, to: number): number {
  let hash = to - from;
  let at = from;
  for (; at + 4 <= to; at += 4) {
    hash = Math.imul(hash ^ view.getUint32(at, true), PRIME);
    hash ^= hash >>> 15;
  }
  for (; at < to; at++) hash = Math.imul(hash ^ view.getUint8(at), PRIME);
  return (hash ^ (hash >>> 16)) & (SLOTS - 1);
}

function isSame(a: DataView, atA: number, b: DataView, atB: number, length: number): boolean {
  let i = 0;
  for (; i + 4 <= length; i += 4) if (a.getUint32(atA + i, true) !== b.getUint32(atB + i, true)) return false;
  for (; i < length; i++) if (a.getUint8(atA + i) !== b.getUint8(atB + i)) return false;
  return true;
}
