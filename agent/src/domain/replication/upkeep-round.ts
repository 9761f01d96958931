// SPDX-License-Identifier: Apache-2.0
import type { Context } from './context.js';
import { BUCKETS } from './digest.js';
import type { Peers } from './peers.js';
import { collect, compact, scrub, settle } from './upkeep.js';

/** Buckets between two looks at the logs. */
const LOGS_EVERY = 64;

/** Looks through one bucket after the other, and through the logs now and then. */
export class Upkeep {
  readonly #context: Context;
  readonly #peers: Peers;
  #bucket = 0;
  #dueMs: number | undefined;

  constructor(context: Context, peers: Peers) {
    this.#context = context;
    this.#peers = peers;
  }

  /** undefined: nothing is forgotten before the members are known. */
  get dueMs(): number | undefined {
    return this.#dueMs;
  }

  start(): void {
    this.#dueMs ??= this.#context.environment.monotonicMs() + this.#context.settings.upkeepMs;
  }

  tick(nowMs: number): void {
    if (this.#dueMs === undefined || this.#dueMs > nowMs) return;
    const { ledger, environment, settings, emit } = this.#context;
    this.#dueMs = nowMs + settings.upkeepMs;
    if (!ledger.admitted) return;
    const acknowledged = this.#peers.acknowledged();
    for (let i = 0; i < settings.upkeepBuckets; i++) {
      const bucket = this.#bucket;
      this.#bucket = (bucket + 1) % BUCKETS;
      const keys = scrub(ledger, bucket);
      if (keys.length > 0) emit({ type: 'damaged', keys });
      collect(ledger, bucket, acknowledged, environment.wallMs(), settings.tombstoneMinMs);
      if (this.#bucket % LOGS_EVERY !== 0) continue;
      compact(ledger, acknowledged, settings.retention);
      settle(ledger, acknowledged, (node) => this.#peers.vectorOf(node));
    }
  }
}
