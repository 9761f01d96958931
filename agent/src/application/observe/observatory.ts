// SPDX-License-Identifier: Apache-2.0
/** Streams of what this node is, for any number of readers. While there is none, nothing is looked at and nothing kept. */
import type { ObservedBatch, ObserveQuery, ObserveUseCases } from '../../ports/observe.js';
import { type Clock, Observation } from './observation.js';
import type { Hash } from './observed-objects.js';
import type { ObservedSources } from './sources.js';
import { ObservedTables } from './tables.js';

export interface ObservatoryOptions {
  readonly sources: ObservedSources;
  readonly hash: Hash;
  readonly clock: Clock;
  /** Another one with each call. */
  readonly newRun: () => string;
  readonly heartbeatMs?: number;
  /** What is known is kept so long after the last reader, so that one whose connection broke goes on where it was. */
  readonly keptMs?: number;
  /** Bytes of a batch, about. */
  readonly partBytes?: number;
}

const HEARTBEAT_MS = 15_000;
const KEPT_MS = 120_000;

export class Observatory implements ObserveUseCases {
  readonly #options: ObservatoryOptions;
  #tables: ObservedTables | undefined;
  #readers = 0;
  #forget: () => void = () => undefined;

  constructor(options: ObservatoryOptions) {
    this.#options = options;
  }

  get readers(): number {
    return this.#readers;
  }

  async *observe(query: ObserveQuery, signal: AbortSignal): AsyncGenerator<ObservedBatch> {
    const { sources, hash, clock, heartbeatMs = HEARTBEAT_MS, partBytes } = this.#options;
    const tables = this.#enter();
    const options = { tables, sources, hash, clock, heartbeatMs };
    try {
      yield* new Observation(partBytes === undefined ? options : { ...options, partBytes }, query, signal).batches();
    } finally {
      this.#leave();
    }
  }

  /** Health of a backend, or what is drained, has changed: readers get it now, and not with the interval. */
  hurry(...topics: readonly ('status' | 'backends')[]): void {
    for (const topic of topics) this.#tables?.hurry(topic);
  }

  #enter(): ObservedTables {
    const { sources, hash, clock, newRun } = this.#options;
    this.#forget();
    this.#readers++;
    this.#tables ??= new ObservedTables({ sources, hash, monotonicMs: () => clock.monotonicMs(), run: newRun() });
    return this.#tables;
  }

  #leave(): void {
    const { clock, keptMs = KEPT_MS } = this.#options;
    this.#readers--;
    if (this.#readers > 0) return;
    const cancel = clock.after(keptMs, () => {
      this.#tables?.close();
      this.#tables = undefined;
    });
    this.#forget = () => {
      cancel();
      this.#forget = () => undefined;
    };
  }

  /** Nobody observes any more. */
  close(): void {
    this.#forget();
    this.#tables?.close();
    this.#tables = undefined;
  }
}
