// SPDX-License-Identifier: Apache-2.0
import type { Random } from '../core/random.js';

export interface Link {
  /** One way, uniform between the two. */
  readonly latencyMs: readonly [least: number, most: number];
  /** Share of packets lost, 0 to 1. */
  readonly loss: number;
}

/** First retransmission of a lost SYN, and of lost data on a fast path (RFC 6298: 1 s, and Linux's least timeout). */
const SYN_RETRY_MS = 1000;
const DATA_RETRY_MS = 200;
const TRIES = 6;

/**
 * How long packets take between nodes, and which get there at all. One direction may be cut while the other is whole.
 */
export class Network {
  readonly #random: Random;
  readonly #cut = new Set<string>();
  link: Link;

  constructor(link: Link, random: Random) {
    this.link = link;
    this.#random = random;
  }

  cut(from: readonly number[], to: readonly number[]): void {
    for (const one of from) for (const other of to) this.#cut.add(`${one} ${other}`);
  }

  heal(): void {
    this.#cut.clear();
  }

  reaches(from: number, to: number): boolean {
    return this.#cut.size === 0 || !this.#cut.has(`${from} ${to}`);
  }

  /** When a datagram arrives, from now; undefined: never. */
  datagramMs(from: number, to: number): number | undefined {
    if (!this.reaches(from, to) || (this.link.loss > 0 && this.#random() < this.link.loss)) return undefined;
    return this.#latencyMs();
  }

  /** When a segment of a stream arrives, with what is lost sent again; undefined: never. */
  segmentMs(from: number, to: number, first: boolean): number | undefined {
    if (!this.reaches(from, to) || !this.reaches(to, from)) return undefined;
    let waitedMs = 0;
    let retryMs = first ? SYN_RETRY_MS : DATA_RETRY_MS;
    for (let tries = 0; tries < TRIES; tries++) {
      if (this.link.loss === 0 || this.#random() >= this.link.loss) return waitedMs + this.#latencyMs();
      waitedMs += retryMs;
      retryMs *= 2;
    }
    return undefined;
  }

  #latencyMs(): number {
    const [least, most] = this.link.latencyMs;
    return least + this.#random() * (most - least);
  }
}
