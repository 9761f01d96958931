// SPDX-License-Identifier: Apache-2.0
/** Snapshots that have come, and when this node must take one before it is a member again. */
import type { Authorship } from './authorship.js';
import type { Backoff } from './backoff.js';
import type { Context } from './context.js';
import type { Frame, Message, NodeId } from './contract.js';
import type { Intake } from './intake.js';
import { joinSnapshot, type Reissue, rejoin } from './join.js';
import { covers } from './origin.js';
import { faultOfState } from './plausible.js';
import type { SnapshotTaker } from './snapshots.js';

export interface JoiningParts {
  readonly context: Context;
  readonly author: Authorship;
  readonly intake: Intake;
  readonly taker: SnapshotTaker;
  readonly backoff: Backoff;
  readonly reissue: Reissue;
  readonly spread: (frames: readonly Frame[]) => void;
}

/** A reissued frame's bytes of values, about. */
const REISSUE_BYTES = 1024 * 1024;

export class Joining {
  readonly #context: Context;
  readonly #author: Authorship;
  readonly #intake: Intake;
  readonly #taker: SnapshotTaker;
  readonly #backoff: Backoff;
  readonly #reissue: Reissue;
  readonly #spread: (frames: readonly Frame[]) => void;

  constructor({ context, author, intake, taker, backoff, reissue, spread }: JoiningParts) {
    this.#context = context;
    this.#author = author;
    this.#intake = intake;
    this.#taker = taker;
    this.#backoff = backoff;
    this.#reissue = reissue;
    this.#spread = spread;
  }

  /** All of a snapshot. */
  join(from: NodeId, { cells, end }: Exclude<ReturnType<SnapshotTaker['part']>, undefined>): void {
    const { ledger, emit, environment } = this.#context;
    const received = ledger.clock.receive(end.clock);
    if (!received.accepted) {
      this.#backoff.failed(from, environment.monotonicMs());
      emit({ type: 'clock-off', from, aheadMs: received.aheadMs });
      return;
    }
    const fault = faultOfState(ledger, { cells, vector: end, horizon: end.horizon });
    if (fault !== undefined) {
      this.#backoff.failed(from, environment.monotonicMs());
      emit({ type: 'refused', from, reason: `a snapshot: ${fault}` });
      return;
    }
    if (ledger.admitted) {
      const objects = joinSnapshot(ledger, cells, end);
      emit({ type: 'snapshot', from, cells: cells.length, reissued: 0 });
      if (objects.length > 0) emit({ type: 'changed', objects, writers: [] });
      this.#intake.skip();
      return;
    }
    const before = ledger.self;
    const now = this.#author.next(end.heads.keys());
    const { objects, reissued, lost } = rejoin(ledger, cells, end, now, this.#reissue, REISSUE_BYTES);
    this.#author.adopted(before, now);
    emit({ type: 'snapshot', from, cells: cells.length, reissued: reissued.length });
    if (lost.length > 0) emit({ type: 'edits-lost', keys: lost });
    if (objects.length > 0) emit({ type: 'changed', objects, writers: [] });
    this.#intake.skip();
    this.#spread(reissued);
  }

  /** Another says that this node holds what may have been deleted. */
  toldStale(from: NodeId, { reason, seen }: Extract<Message, { type: 'stale' }>): void {
    const { ledger, emit, environment } = this.#context;
    if (!ledger.admitted) return;
    // Only membership can say whether that is so, or the other has not heard of this node yet: the agent decides.
    if (reason === 'removed') {
      emit({ type: 'stale', from, reason: 'that node does not know this one as a member' });
      return;
    }
    // It may be about a summary from long ago.
    if ([...seen].every(([origin, sequence]) => covers(ledger, origin, sequence))) return;
    emit({ type: 'stale', from, reason: 'deletes that this node has not seen are forgotten there' });
    ledger.setAdmitted(false);
    this.#taker.start(from, environment.monotonicMs());
  }
}
