// SPDX-License-Identifier: Apache-2.0
/** Sent as often as it should be, or another has taken its place, or there was no room. */
export type Finished = (end: 'sent' | 'replaced' | 'dropped') => void;

export interface Broadcast<T> {
  readonly item: T;
  readonly bytes: number;
  /** Absent: nothing takes its place. */
  readonly key?: string;
  /** Called once. */
  readonly finished?: Finished;
}

interface Entry<T> extends Broadcast<T> {
  readonly id: number;
  transmits: number;
}

export interface Room {
  readonly bytes: number;
  /** Added to each item. */
  readonly overheadBytes: number;
  readonly items: number;
  /** How often an item is sent before it is done. */
  readonly transmitLimit: number;
}

/**
 * What is to be gossiped: each item goes out a limited number of times, the least transmitted first, of those the
 * largest that still fits, then the newest (memberlist, queue.go). A newer item about the same key takes the place of
 * the older one. Bounded: when it is full, what has been sent most often goes first.
 */
export class BroadcastQueue<T> {
  readonly #maxItems: number;
  /** By number of transmissions; within one, by size and then id, both descending. */
  readonly #tiers: Entry<T>[][] = [];
  readonly #byKey = new Map<string, Entry<T>>();
  #length = 0;
  #id = 0;

  constructor(maxItems: number) {
    this.#maxItems = maxItems;
  }

  get length(): number {
    return this.#length;
  }

  push(broadcast: Broadcast<T>): void {
    const older = broadcast.key === undefined ? undefined : this.#byKey.get(broadcast.key);
    if (older) {
      this.#remove(older);
      older.finished?.('replaced');
    }
    const entry: Entry<T> = { ...broadcast, id: ++this.#id, transmits: 0 };
    this.#insert(entry);
    if (entry.key !== undefined) this.#byKey.set(entry.key, entry);
    if (this.#length > this.#maxItems) this.#drop();
  }

  /** Takes what fits, and counts it as transmitted once more; bytes: with overhead. */
  take(room: Room): { readonly items: T[]; readonly bytes: number } {
    const items: T[] = [];
    if (this.#length === 0) return { items, bytes: 0 };
    const taken: Entry<T>[] = [];
    let free = room.bytes;
    for (const tier of this.#tiers) {
      let at = 0;
      while (items.length < room.items && free > room.overheadBytes) {
        at = firstWithin(tier, free - room.overheadBytes, at);
        // Neighbours mostly fit as well: they leave the tier together.
        let end = at;
        for (let entry = tier[end]; entry && items.length < room.items; entry = tier[++end]) {
          if (entry.bytes + room.overheadBytes > free) break;
          items.push(entry.item);
          free -= entry.bytes + room.overheadBytes;
          taken.push(entry);
        }
        if (end === at) break;
        tier.splice(at, end - at);
      }
    }
    this.#length -= taken.length;
    for (const entry of taken) {
      entry.transmits++;
      if (entry.transmits < room.transmitLimit) this.#insert(entry);
      else {
        if (entry.key !== undefined) this.#byKey.delete(entry.key);
        entry.finished?.('sent');
      }
    }
    return { items, bytes: room.bytes - free };
  }

  #insert(entry: Entry<T>): void {
    while (this.#tiers.length <= entry.transmits) this.#tiers.push([]);
    const tier = this.#tiers[entry.transmits] as Entry<T>[];
    tier.splice(placeOf(tier, entry), 0, entry);
    this.#length++;
  }

  #remove(entry: Entry<T>): void {
    const tier = this.#tiers[entry.transmits] as Entry<T>[];
    tier.splice(placeOf(tier, entry), 1);
    if (entry.key !== undefined) this.#byKey.delete(entry.key);
    this.#length--;
  }

  #drop(): void {
    for (let transmits = this.#tiers.length - 1; transmits >= 0; transmits--) {
      const tier = this.#tiers[transmits] as Entry<T>[];
      if (tier.length === 0) continue;
      let oldest = tier[0] as Entry<T>;
      for (const entry of tier) if (entry.id < oldest.id) oldest = entry;
      this.#remove(oldest);
      oldest.finished?.('dropped');
      return;
    }
  }
}

/** First index from `from` on whose item has at most that many bytes. */
function firstWithin<T>(tier: readonly Entry<T>[], bytes: number, from: number): number {
  let low = from;
  let high = tier.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((tier[middle] as Entry<T>).bytes > bytes) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Where the entry stands, or would stand. */
function placeOf<T>(tier: readonly Entry<T>[], entry: Entry<T>): number {
  let low = 0;
  let high = tier.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const other = tier[middle] as Entry<T>;
    if (other.bytes > entry.bytes || (other.bytes === entry.bytes && other.id > entry.id)) low = middle + 1;
    else high = middle;
  }
  return low;
}
