// SPDX-License-Identifier: Apache-2.0
import type { NodeId } from './contract.js';

/** Peers that failed are left alone for twice as long each time, half of it by chance. */
export class Backoff {
  readonly #firstMs: number;
  readonly #mostMs: number;
  readonly #random: () => number;
  readonly #peers = new Map<NodeId, { failures: number; untilMs: number }>();

  constructor(firstMs: number, mostMs: number, random: () => number) {
    this.#firstMs = firstMs;
    this.#mostMs = mostMs;
    this.#random = random;
  }

  failed(peer: NodeId, nowMs: number): void {
    const failures = (this.#peers.get(peer)?.failures ?? 0) + 1;
    const ms = Math.min(this.#mostMs, this.#firstMs * 2 ** Math.min(failures - 1, 30));
    this.#peers.set(peer, { failures, untilMs: nowMs + ms * (0.5 + this.#random() / 2) });
  }

  succeeded(peer: NodeId): void {
    this.#peers.delete(peer);
  }

  isOver(peer: NodeId, nowMs: number): boolean {
    return this.overAtMs(peer) <= nowMs;
  }

  /** 0: it has not failed. */
  overAtMs(peer: NodeId): number {
    return this.#peers.get(peer)?.untilMs ?? 0;
  }

  /** Only these are still of interest. */
  keep(peers: ReadonlySet<NodeId>): void {
    for (const peer of this.#peers.keys()) if (!peers.has(peer)) this.#peers.delete(peer);
  }
}
