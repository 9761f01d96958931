// SPDX-License-Identifier: Apache-2.0
/**
 * Frames that another member has and this one lacks, asked for range by range until there are none; and the answers to
 * others.
 */
import type { Backoff } from './backoff.js';
import type { Context } from './context.js';
import type { Message, NodeId, OriginKey, Range, Summary, VectorState } from './contract.js';
import type { Intake } from './intake.js';
import { lacking } from './origin.js';

interface Pull {
  id: number;
  readonly target: VectorState;
  /** How far this node had come when it last asked, summed over the target's origins. */
  reached: number;
  askedMs: number;
  deadlineMs: number;
  readonly origins: Set<OriginKey>;
}

/** Of one request. */
const RANGES_MAX = 1024;
/** Of pullsMax: with those that keep nobody from being asked any more, as they are slow. */
const ACTIVE_FACTOR = 4;

export class Pulls {
  readonly #context: Context;
  readonly #intake: Intake;
  readonly #backoff: Backoff;
  /** That member's log no longer reaches back to what is lacking. */
  readonly #onCompacted: (node: NodeId) => void;
  readonly #active = new Map<NodeId, Pull>();
  #id = 0;

  constructor(context: Context, intake: Intake, backoff: Backoff, onCompacted: (node: NodeId) => void) {
    this.#context = context;
    this.#intake = intake;
    this.#backoff = backoff;
    this.#onCompacted = onCompacted;
  }

  get active(): number {
    return this.#active.size;
  }

  /** Frames of which that vector knows and this node does not, and that are not in quarantine. */
  wanted(target: VectorState): Range[] {
    const { ledger } = this.#context;
    const quarantined = this.#intake.quarantined();
    const ranges: Range[] = [];
    for (const range of lacking(ledger, target, ledger.forks)) {
      if (quarantined.has(range.origin)) continue;
      const rest = this.#intake.holding.without(range);
      if (rest !== undefined) ranges.push(rest);
    }
    return ranges;
  }

  start(node: NodeId, { heads, floors }: Summary, nowMs: number): void {
    const { pullsMax } = this.#context.settings;
    if (this.#active.has(node) || this.#active.size >= ACTIVE_FACTOR * pullsMax) return;
    if (this.#prompt(nowMs).length >= pullsMax) return;
    if (!this.#backoff.isOver(node, nowMs)) return;
    const pull: Pull = {
      id: 0,
      target: { heads, floors },
      reached: 0,
      askedMs: nowMs,
      deadlineMs: 0,
      origins: new Set(),
    };
    this.#active.set(node, pull);
    this.#ask(node, pull, nowMs);
  }

  /** An answer; its frames have been offered and drained. */
  answered(node: NodeId, id: number, compacted: readonly OriginKey[], nowMs: number): void {
    const pull = this.#active.get(node);
    if (pull === undefined || pull.id !== id) return;
    if (compacted.length > 0) {
      this.#active.delete(node);
      this.#onCompacted(node);
      return;
    }
    if (this.#reached(pull) > pull.reached) {
      this.#backoff.succeeded(node);
      this.#ask(node, pull, nowMs);
      return;
    }
    // Nothing came of it: a fork, a store that is full, a peer that promises what it does not have.
    this.#active.delete(node);
    if (this.wanted(pull.target).length > 0) this.#backoff.failed(node, nowMs);
  }

  tick(nowMs: number): void {
    for (const [node, { deadlineMs }] of this.#active) {
      if (deadlineMs > nowMs) continue;
      this.#active.delete(node);
      this.#backoff.failed(node, nowMs);
    }
  }

  stop(node: NodeId): void {
    this.#active.delete(node);
  }

  /** To a request: as many frames as one answer takes. */
  answer(id: number, ranges: readonly Range[]): Message {
    const { ledger, settings } = this.#context;
    const frames: Uint8Array[] = [];
    const compacted: OriginKey[] = [];
    let room = settings.answerBytes;
    for (const { origin, from, through } of ranges.slice(0, RANGES_MAX)) {
      if (room <= 0) break;
      if (ledger.sequence(origin) < from) continue;
      const found = ledger.store.frames(origin, from, through, room);
      if (found.length === 0) compacted.push(origin);
      for (const frame of found) {
        frames.push(frame);
        room -= frame.length;
      }
    }
    return { type: 'frames', id, frames, compacted };
  }

  #reached({ target }: Pull): number {
    let sum = 0;
    for (const origin of target.heads.keys()) sum += this.#context.ledger.sequence(origin);
    return sum + this.#intake.holding.frames;
  }

  /** Who has not answered for a round may be far away, or stand still: from then on others are asked for the same. */
  #prompt(nowMs: number): Pull[] {
    return [...this.#active.values()].filter(({ askedMs }) => nowMs - askedMs < this.#context.settings.roundMs);
  }

  #ask(node: NodeId, pull: Pull, nowMs: number): void {
    pull.origins.clear();
    const elsewhere = new Set<OriginKey>();
    for (const other of this.#prompt(nowMs)) for (const origin of other.origins) elsewhere.add(origin);
    const ranges = this.wanted(pull.target).filter(({ origin }) => !elsewhere.has(origin));
    if (ranges.length === 0) {
      this.#active.delete(node);
      return;
    }
    const asked = ranges.slice(0, RANGES_MAX);
    for (const { origin } of asked) pull.origins.add(origin);
    pull.id = ++this.#id;
    pull.reached = this.#reached(pull);
    pull.askedMs = nowMs;
    pull.deadlineMs = nowMs + this.#context.settings.answerMs;
    this.#context.send(node, { type: 'request', id: pull.id, ranges: asked });
  }
}
