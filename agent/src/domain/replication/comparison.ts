// SPDX-License-Identifier: Apache-2.0
/**
 * What two members learn of each other by their summaries: what to pull, who is stale, what forked, and what to repair.
 */
import type { Authorship } from './authorship.js';
import type { Context } from './context.js';
import { type Fork, type Message, type NodeId, ReplicaStoreError, type Summary } from './contract.js';
import type { Intake } from './intake.js';
import { joinRange } from './join.js';
import { covers, includes } from './origin.js';
import type { Peers } from './peers.js';
import { faultOfState } from './plausible.js';
import type { Pulls } from './pulls.js';
import { repairsOf } from './repair.js';
import type { SnapshotTaker } from './snapshots.js';

export interface ComparisonParts {
  readonly context: Context;
  readonly peers: Peers;
  readonly author: Authorship;
  readonly intake: Intake;
  readonly pulls: Pulls;
  readonly taker: SnapshotTaker;
}

const NOT_KNOWN = new Uint8Array(0);

export class Comparison {
  readonly #context: Context;
  readonly #peers: Peers;
  readonly #author: Authorship;
  readonly #intake: Intake;
  readonly #pulls: Pulls;
  readonly #taker: SnapshotTaker;
  readonly #life: number;
  #syncFails = false;

  constructor({ context, peers, author, intake, pulls, taker }: ComparisonParts) {
    this.#context = context;
    this.#peers = peers;
    this.#author = author;
    this.#intake = intake;
    this.#pulls = pulls;
    this.#taker = taker;
    this.#life = Math.floor(context.environment.random() * 2 ** 32);
  }

  /**
   * What this node says of itself. Others take it as acknowledged, forget deletes and drop frames by it: so all of it is
   * on disk before it is said. Where the disk does not take it, less is said, and nothing that would confirm to anyone
   * how much of its frames is here.
   */
  summary(answer: boolean, echo: Summary['echo']): Summary {
    const { ledger } = this.#context;
    this.#sync();
    return {
      type: 'summary',
      answer,
      ...ledger.durableVector(),
      admitted: ledger.admitted,
      seen: ledger.horizon.seen,
      forks: ledger.forks.map(({ origin, sequence }) => ({ origin, sequence })),
      digest: ledger.digests.root,
      cells: ledger.cells,
      wallMs: this.#context.environment.wallMs(),
      life: this.#life,
      echo: ledger.isDurable ? echo : undefined,
    };
  }

  #sync(): void {
    const { ledger, emit } = this.#context;
    try {
      ledger.sync();
      this.#syncFails = false;
    } catch (error) {
      if (!(error instanceof ReplicaStoreError)) throw error;
      // Once, and not for every summary.
      if (!this.#syncFails)
        emit({ type: 'storage', code: error.code, reason: `frames of others not on disk yet: ${error.message}` });
      this.#syncFails = true;
    }
  }

  /** Another's. */
  compared(from: NodeId, summary: Summary, now: number): void {
    const { ledger } = this.#context;
    if (summary.answer) this.#context.send(from, this.summary(false, { life: summary.life, wallMs: summary.wallMs }));
    if (!summary.admitted || !ledger.admitted) {
      if (!summary.admitted) this.#peers.setStale(from);
      // Sooner than in a round: it is there, and takes this node for a member.
      else this.#taker.start(from, now);
      return;
    }
    for (const [origin, sequence] of ledger.horizon.seen) {
      if (covers(summary, origin, sequence)) continue;
      this.#peers.setStale(from);
      this.#context.send(from, { type: 'stale', reason: 'behind-horizon', seen: ledger.horizon.seen });
      return;
    }
    // An answer to what an earlier life of this node has asked says nothing about now.
    const isFresh = summary.echo?.life === this.#life;
    this.#peers.heard(from, isFresh ? summary : { ...summary, echo: undefined }, this.#context.environment.wallMs());
    this.#author.compare(from, summary, isFresh);
    const forks: Fork[] = summary.forks.map(({ origin, sequence }) => {
      return { origin, sequence, kept: NOT_KNOWN, other: NOT_KNOWN };
    });
    for (const [origin, { sequence, hash }] of summary.heads) {
      const own = ledger.heads.get(origin);
      if (own?.sequence === sequence && !startsAlike(own.hash, hash)) {
        forks.push({ origin, sequence, kept: own.hash, other: hash });
      }
    }
    this.#intake.forked(forks, from);
    const wanted = this.#pulls.wanted(summary);
    const frames = wanted.reduce((sum, range) => sum + range.through - range.from + 1, 0);
    // Where there is more to apply than to copy, the copy is cheaper.
    if (frames > Math.max(10_000, 2 * summary.cells)) this.#taker.start(from, now);
    else if (frames > 0) this.#pulls.start(from, summary, now);
    else if (summary.digest !== ledger.digests.root && this.#isLevel(summary)) {
      this.#context.send(from, { type: 'digests', buckets: ledger.digests.buckets() });
    }
  }

  #isLevel(other: Summary): boolean {
    const { ledger } = this.#context;
    return includes(other, ledger, ledger.forks) && includes(ledger, other, ledger.forks);
  }

  /** Cells of a bucket that differed. */
  repaired(from: NodeId, repair: Extract<Message, { type: 'repair' }>): void {
    const { ledger } = this.#context;
    if (!includes(ledger, repair.vector, ledger.forks)) return;
    const fault = faultOfState(ledger, repair);
    if (fault !== undefined) {
      this.#context.emit({ type: 'refused', from, reason: `a repair: ${fault}` });
      return;
    }
    const { objects, cells } = joinRange(ledger, repair);
    if (cells > 0) {
      this.#context.emit({ type: 'repaired', from, bucket: repair.bucket, cells });
      if (objects.length > 0) this.#context.emit({ type: 'changed', objects, writers: [] });
    }
    if (repair.answer && repair.through === undefined) this.sendBucket(from, repair.bucket, false);
  }

  sendBucket(to: NodeId, bucket: number, answer: boolean): void {
    for (const part of repairsOf(this.#context.ledger, bucket, this.#context.settings.answerBytes, answer))
      this.#context.send(to, part);
  }
}

/** Hashes are compared by what a summary carries of them. */
function startsAlike(a: Uint8Array, b: Uint8Array): boolean {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return false;
  return true;
}
