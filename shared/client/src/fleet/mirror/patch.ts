// SPDX-License-Identifier: Apache-2.0
/**
 * The way of a FleetState from one thread to another: what is another one than in the state before, as numbers, which are handed over
 * without a copy, and a few values, which are copied as structured clones. A state of 5,000 services on 50 nodes that is copied whole
 * takes seconds; a patch of it takes a thread that draws some milliseconds.
 *
 *   StateDiffer (differ.ts) ──StatePatch──▶ StateMirror (mirror.ts)
 *
 * Numbers are a list of steps (Step), each with what it needs. The last patch of a state ends with Step.STATE; a large state comes as
 * several patches.
 */
export interface StatePatch {
  readonly numbers: Float64Array<ArrayBuffer>;
  /** Names that are new, in the order in which steps ask for them. */
  readonly texts: readonly string[];
  /** What steps name by its place here. Also bigints beyond 2^53. */
  readonly values: readonly unknown[];
}

export const Step = {
  /** Numbers of nodes begin anew. */
  SLOTS: 0,
  /** The next node has the next number: a text. */
  SLOT: 1,
  /** id, and a text: what the id stands for until it is named again. Of nodes, services, objects and backends each. */
  NAME: 2,
  /** id, mask, and a field for each bit. */
  NODE: 3,
  SERVICE: 4,
  OBJECT: 5,
  BACKEND: 6,
  /** Table, id. */
  GONE: 7,
  /** count, ids: in this order. */
  NODE_ORDER: 8,
  /** Everything else of the state: it is complete. */
  STATE: 9,
} as const;

/** Which names a step is about. */
export const Table = { NODES: 0, SERVICES: 1, OBJECTS: 2, BACKENDS: 3 } as const;
export type Table = (typeof Table)[keyof typeof Table];

/** Bits of masks: which fields are other ones. */
export const NodeField = {
  NAME: 1,
  LINK: 2,
  HEARD: 4,
  MEMBER: 8,
  STATUS: 16,
  VERSION: 32,
  AVAILABILITY: 64,
  FLOW: 128,
  HISTORY: 256,
} as const;
export const ObjectField = {
  DECLARED: 1,
  AGREEMENT: 2,
  NODES: 4,
  /** From here on of services. */
  TIERS: 8,
  FLOWS: 16,
  FLOW: 32,
  HISTORY: 64,
  BACKENDS: 128,
} as const;

/** Of cells: what a run of nodes has now. */
export const Cell = {
  NOTHING: 0,
  /** Place of the value. */
  VALUE: 1,
  /** What the node with that number has. */
  LIKE: 2,
  /** In numbers, as its kind of map has it. */
  NUMBERS: 3,
} as const;

/** Of histories. */
export const History = {
  /** count, flows: they are added, and the first go where it is full. */
  ADDED: 0,
  /** count, flows. */
  WHOLE: 1,
} as const;

/** Of optional values. */
export const NO_VALUE = -1;

/** After so many numbers a patch is handed over: what takes a thread some milliseconds. */
export const PATCH_NUMBERS = 16_384;

/** Numbers, texts and values that are being written. */
export class PatchWriter {
  #numbers: number[] = [];
  #texts: string[] = [];
  #values: unknown[] = [];
  #places = new Map<unknown, number>();

  get length(): number {
    return this.#numbers.length;
  }

  put(...numbers: readonly number[]): void {
    for (const number of numbers) this.#numbers.push(number);
  }

  /** For a number that is known later: gives where. */
  hold(): number {
    return this.#numbers.push(0) - 1;
  }

  fill(at: number, number: number): void {
    this.#numbers[at] = number;
  }

  text(text: string): void {
    this.#texts.push(text);
  }

  /** What is the same value here is the same there, within a patch. */
  value(value: unknown): void {
    if (value === undefined) {
      this.#numbers.push(NO_VALUE);
      return;
    }
    let place = this.#places.get(value);
    if (place === undefined) {
      place = this.#values.push(value) - 1;
      this.#places.set(value, place);
    }
    this.#numbers.push(place);
  }

  take(): StatePatch {
    const patch = { numbers: Float64Array.from(this.#numbers), texts: this.#texts, values: this.#values };
    this.#numbers = [];
    this.#texts = [];
    this.#values = [];
    this.#places = new Map();
    return patch;
  }
}

export class PatchReader {
  readonly #patch: StatePatch;
  #at = 0;
  #text = 0;

  constructor(patch: StatePatch) {
    this.#patch = patch;
  }

  get hasMore(): boolean {
    return this.#at < this.#patch.numbers.length;
  }

  number(): number {
    return this.#patch.numbers[this.#at++] as number;
  }

  text(): string {
    return this.#patch.texts[this.#text++] as string;
  }

  value<T>(): T {
    const place = this.number();
    return (place === NO_VALUE ? undefined : this.#patch.values[place]) as T;
  }
}
