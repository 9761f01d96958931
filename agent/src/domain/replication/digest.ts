// SPDX-License-Identifier: Apache-2.0
/**
 * Digests over what is visible: an exclusive or of cells' marks per bucket of objects. Order plays no part, a change
 * costs only what it touches, and collecting tombstones changes nothing. They tell errors, not attacks: those are the
 * signatures' task.
 */
import { pack } from '@marcher/hlc';
import { WireWriter } from '../wire-writer.js';
import type { Cell, Hash } from './contract.js';

export const BUCKETS = 256;

/** FNV-1a over the UTF-16 code units, 32 bits folded to 8. */
export function bucketOf(kind: string, id: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < kind.length; i++) h = Math.imul(h ^ kind.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ 0x1ffff, 0x01000193);
  for (let i = 0; i < id.length; i++) h = Math.imul(h ^ id.charCodeAt(i), 0x01000193);
  h ^= h >>> 16;
  return (h ^ (h >>> 8)) & (BUCKETS - 1);
}

/** Of numbers below 2^48, which JavaScript's own operator cuts to 32 bits. */
export function xor48(a: number, b: number): number {
  const high = (Math.floor(a / 0x1_0000_0000) ^ Math.floor(b / 0x1_0000_0000)) >>> 0;
  return high * 0x1_0000_0000 + ((a ^ b) >>> 0);
}

/** For cells as most are: a mark is made of every cell again whenever its bucket is looked through. */
const SCRATCH_BYTES = 4096;
const scratch = new WireWriter(SCRATCH_BYTES);

function writerOf(bytes: number): WireWriter {
  if (bytes > SCRATCH_BYTES) return new WireWriter(bytes);
  scratch.reset();
  return scratch;
}

/** 48 bits of the hash over key, stamp and value. */
export function markOf(cell: Omit<Cell, 'mark' | 'origin' | 'sequence'>, hash: Hash): number {
  const writer = writerOf(64 + 3 * (cell.kind.length + cell.id.length + cell.group.length) + (cell.value?.length ?? 0));
  writer.text(1, cell.kind);
  writer.text(2, cell.id);
  writer.text(3, cell.group);
  writer.bytes(4, pack(cell.stamp));
  if (cell.value === undefined) writer.bool(5, true);
  else writer.bytes(6, cell.value);
  const h = hash(writer.written());
  let mark = 0;
  for (let i = 0; i < 6; i++) mark = mark * 256 + (h[i] ?? 0);
  return mark;
}

export class Digests {
  readonly #buckets = new Float64Array(BUCKETS);
  #root = 0;

  get root(): number {
    return this.#root;
  }

  buckets(): number[] {
    return [...this.#buckets];
  }

  of(bucket: number): number {
    return this.#buckets[bucket] ?? 0;
  }

  change(bucket: number, by: number): void {
    this.#buckets[bucket] = xor48(this.of(bucket), by);
    this.#root = xor48(this.#root, by);
  }
}
