// SPDX-License-Identifier: Apache-2.0
/**
 * The way of a frame from outside into the ledger: decoded, its number and its signature checked, held until those
 * before it are there, its chain and its time checked, applied with what else is ready in one commit.
 *
 *   offered ─▶ duplicate | refused | held ─▶ applied, when it is due()
 *                                       ├──▶ quarantined (its time has not come) ─▶ applied
 *                                       └──▶ forked (another frame had its number)
 */
import type { Context } from './context.js';
import { type Fork, type Frame, type NodeId, type OriginKey, ReplicaStoreError } from './contract.js';
import { decodeFrame, nameOfFrame } from './frame.js';
import { Holding } from './holding.js';
import { sameBytes } from './object.js';
import { covers, isForked, originKey } from './origin.js';

export type Offer =
  /** gap: frames before it are neither applied nor held. Without, it is applied with what else is due. */
  | { readonly outcome: 'held'; readonly frame: Frame; readonly gap: boolean }
  | { readonly outcome: 'duplicate'; readonly frame: Frame }
  | { readonly outcome: 'refused' };

interface Quarantine {
  readonly sequence: number;
  readonly dueMs: number;
  readonly aheadMs: number;
}

/** Frames of an origin that wait behind one in quarantine. */
const QUARANTINED_MAX = 64;
/** In one commit. */
const COMMIT_FRAMES = 1024;
const COMMIT_BYTES = 8 * 1024 * 1024;
/** Of signatures that others vouch for. */
const LOOKED_AT = 1 / 16;
const NO_HASH = new Uint8Array(0);
const REFUSED: Offer = { outcome: 'refused' };

export class Intake {
  readonly holding: Holding;
  readonly #context: Context;
  /** A frame of this node's own origin came that this node does not have. */
  readonly #onOwnAhead: () => void;
  readonly #quarantine = new Map<OriginKey, Quarantine>();
  /** Something of these can be applied. */
  readonly #ready = new Set<OriginKey>();
  /** Of each origin of which frames are held: the last of those that follow what is applied without a gap. */
  readonly #tails = new Map<OriginKey, number>();
  #retryAtMs = 0;

  constructor(context: Context, onOwnAhead: () => void) {
    this.#context = context;
    this.#onOwnAhead = onOwnAhead;
    this.holding = new Holding(context.settings.holding);
  }

  quarantined(): ReadonlyMap<OriginKey, Quarantine> {
    return this.#quarantine;
  }

  offer(bytes: Uint8Array, from: NodeId): Offer {
    const frame = this.#decode(bytes, from);
    return frame === undefined ? REFUSED : this.#offer(frame, from, () => this.#isSigned(frame));
  }

  /**
   * An answer to what was asked for. Frames are chained by hashes, so that one signature vouches for all frames before it,
   * and theirs are looked at by chance only: a signature costs more than all the rest. One that is no good and is taken
   * so does no harm: whoever gets that frame from here looks for himself.
   */
  offerAll(all: readonly Uint8Array[], from: NodeId): Offer[] {
    const frames = all.map((bytes) => this.#decode(bytes, from));
    const authentic = this.#authentic(frames.filter((frame) => frame !== undefined));
    return frames.map((frame) =>
      frame === undefined ? REFUSED : this.#offer(frame, from, () => authentic.has(frame)),
    );
  }

  #authentic(frames: readonly Frame[]): ReadonlySet<Frame> {
    const authentic = new Set<Frame>();
    const next = new Map<OriginKey, Frame>();
    for (const frame of frames.toReversed()) {
      const after = next.get(frame.origin);
      const vouchedFor =
        after !== undefined &&
        authentic.has(after) &&
        sameBytes(after.previous, frame.hash) &&
        this.#context.environment.random() >= LOOKED_AT;
      if (vouchedFor || this.#isSigned(frame)) authentic.add(frame);
      next.set(frame.origin, frame);
    }
    return authentic;
  }

  #decode(bytes: Uint8Array, from: NodeId): Frame | undefined {
    const { cluster, environment, settings, emit } = this.#context;
    const frame = decodeFrame(bytes, environment.hash, settings.frame);
    if ('fault' in frame) {
      emit({ type: 'refused', from, reason: frame.fault });
      return undefined;
    }
    if (frame.cluster === cluster) return frame;
    // Numbers and signatures are each replica's own: in another it would be somebody's word for what was never said there.
    const [of, here] = [frame.cluster, cluster].map((name) => (name === '' ? 'the mesh' : `cluster ${name}`));
    emit({ type: 'refused', from, reason: `${nameOfFrame(frame)}: it is for ${of}, and was sent as one for ${here}` });
    return undefined;
  }

  #offer(frame: Frame, from: NodeId, isAuthentic: () => boolean): Offer {
    const { ledger, settings, emit } = this.#context;
    const refuse = (reason: string): Offer => {
      emit({ type: 'refused', from, reason });
      return REFUSED;
    };
    const { origin, sequence } = frame;
    if (isForked(ledger.forks, origin, sequence)) return REFUSED;
    if (covers(ledger, origin, sequence)) {
      const kept = this.#applied(origin, sequence);
      if (kept !== undefined && !sameBytes(kept, frame.hash)) return this.#twice(frame, kept, from);
      return { outcome: 'duplicate', frame };
    }
    const held = this.holding.get(origin, sequence);
    if (held !== undefined)
      return sameBytes(held.hash, frame.hash) ? { outcome: 'duplicate', frame } : this.#twice(frame, held.hash, from);
    const head = ledger.heads.get(origin);
    if (head === undefined && ledger.heads.size >= settings.originsMax) {
      return refuse(`${nameOfFrame(frame)}: ${settings.originsMax} origins are known, and no more are taken`);
    }
    if (!isAuthentic()) return refuse(`${nameOfFrame(frame)}: the signature is not that node's`);
    if (ledger.self !== undefined && origin === originKey(ledger.self)) this.#onOwnAhead();
    const waiting = this.#quarantine.get(origin);
    if (waiting !== undefined && sequence > waiting.sequence + QUARANTINED_MAX) return REFUSED;
    const applied = head?.sequence ?? 0;
    if (!this.holding.add(frame, sequence === applied + 1)) return REFUSED;
    const gap = sequence !== Math.max(applied, this.#tails.get(origin) ?? 0) + 1;
    if (!gap) {
      this.#tails.set(origin, sequence);
      this.#ready.add(origin);
    }
    return { outcome: 'held', frame, gap };
  }

  /** Applies what is ready of these origins; gives the frames. A store that fails is left alone for a while. */
  drain(origins: Iterable<OriginKey>, nowMs: number): readonly Frame[] {
    if (nowMs < this.#retryAtMs) return [];
    const { ledger, settings, emit } = this.#context;
    const frames: Frame[] = [];
    let bytes = 0;
    for (const origin of origins) {
      this.#ready.delete(origin);
      let { sequence, hash } = ledger.heads.get(origin) ?? { sequence: 0, hash: NO_HASH };
      for (;;) {
        const frame = this.holding.get(origin, sequence + 1);
        if (frame === undefined || !this.#follows(frame, sequence, hash) || !this.#isTime(frame, nowMs)) break;
        if (frames.length >= COMMIT_FRAMES || bytes + frame.bytes.length > Math.max(COMMIT_BYTES, frame.bytes.length)) {
          this.#ready.add(origin);
          break;
        }
        frames.push(frame);
        bytes += frame.bytes.length;
        ({ sequence, hash } = frame);
      }
    }
    if (frames.length === 0) return frames;
    try {
      // Lost, they are fetched again: nobody was told that they are here (comparison.ts).
      const { objects, late } = ledger.apply(frames, undefined, false);
      for (const { frame, keys } of late) emit({ type: 'late', origin: frame.origin, sequence: frame.sequence, keys });
      if (objects.length > 0)
        emit({ type: 'changed', objects, writers: frames.map(({ author, node }) => ({ author, node })) });
    } catch (error) {
      if (!(error instanceof ReplicaStoreError)) throw error;
      emit({
        type: 'storage',
        code: error.code,
        reason: `${frames.length} frames of others not stored: ${error.message}`,
      });
      this.#retryAtMs = nowMs + settings.storageRetryMs;
      return [];
    }
    const through = new Map(frames.map(({ origin, sequence }) => [origin, sequence]));
    for (const [origin, sequence] of through) {
      this.holding.removeThrough(origin, sequence);
      if ((this.#tails.get(origin) ?? 0) <= sequence) this.#tails.delete(origin);
    }
    return frames;
  }

  /** Origins whose frames may be ready now without anything having come. */
  due(nowMs: number): readonly OriginKey[] {
    if (this.#retryAtMs !== 0) {
      if (nowMs < this.#retryAtMs) return [];
      this.#retryAtMs = 0;
      return this.holding.origins();
    }
    const due = new Set(this.#ready);
    for (const [origin, { dueMs }] of this.#quarantine) if (dueMs <= nowMs) due.add(origin);
    return [...due];
  }

  nextDueMs(nowMs: number): number | undefined {
    if (this.#retryAtMs !== 0) return this.#retryAtMs;
    if (this.#ready.size > 0) return nowMs;
    let next: number | undefined;
    for (const { dueMs } of this.#quarantine.values()) if (next === undefined || dueMs < next) next = dueMs;
    return next;
  }

  /** A snapshot was taken: what came with it need not be held, and what follows it may be ready. */
  skip(): void {
    for (const origin of this.holding.origins()) {
      this.holding.removeThrough(origin, this.#context.ledger.sequence(origin));
      this.#ready.add(origin);
    }
    this.#tails.clear();
    this.#quarantine.clear();
  }

  /** From frames of these numbers on, frames of their origins are no longer taken. */
  forked(forks: readonly Fork[], from: NodeId): void {
    const { ledger, emit } = this.#context;
    let added: readonly Fork[];
    try {
      added = ledger.addForks(forks);
    } catch (error) {
      if (!(error instanceof ReplicaStoreError)) throw error;
      const reason = `forks of ${forks.length} origins not stored: ${error.message}`;
      emit({ type: 'storage', code: error.code, reason });
      return;
    }
    for (const fork of added) {
      this.holding.removeOrigin(fork.origin);
      this.#tails.delete(fork.origin);
      this.#quarantine.delete(fork.origin);
      emit({ type: 'forked', fork, from });
    }
  }

  /** Hash of a frame that was applied, if it is still known. */
  #applied(origin: OriginKey, sequence: number): Uint8Array | undefined {
    const { ledger, environment, settings } = this.#context;
    const head = ledger.heads.get(origin);
    if (head?.sequence === sequence) return head.hash;
    const [bytes] = ledger.store.frames(origin, sequence, sequence, 1);
    if (bytes === undefined) return undefined;
    const frame = decodeFrame(bytes, environment.hash, settings.frame);
    return 'fault' in frame ? undefined : frame.hash;
  }

  #isSigned({ node, hash, signature }: Frame): boolean {
    return this.#context.environment.verify(node, hash, signature);
  }

  #twice(frame: Frame, kept: Uint8Array, from: NodeId): Offer {
    const { origin, sequence, hash } = frame;
    if (this.#isSigned(frame)) this.forked([{ origin, sequence, kept, other: hash }], from);
    else
      this.#context.emit({ type: 'refused', from, reason: `${nameOfFrame(frame)}: the signature is not that node's` });
    return REFUSED;
  }

  #follows({ origin, node, previous }: Frame, sequence: number, hash: Uint8Array): boolean {
    if (sequence === 0 || sameBytes(previous, hash)) return true;
    this.forked([{ origin, sequence, kept: hash, other: previous }], node);
    return false;
  }

  #isTime({ origin, sequence, stamp }: Frame, nowMs: number): boolean {
    const { ledger, settings, emit } = this.#context;
    const received = ledger.clock.receive(stamp);
    const before = this.#quarantine.get(origin);
    if (received.accepted) {
      if (before !== undefined) emit({ type: 'released', origin, sequence, aheadMs: before.aheadMs });
      this.#quarantine.delete(origin);
      return true;
    }
    const { aheadMs } = received;
    if (before?.sequence !== sequence) emit({ type: 'quarantined', origin, sequence, aheadMs });
    // The machine's clock may be set: asked again now and then, however far the time is.
    const waitMs = Math.min(aheadMs - settings.aheadMaxMs, 60_000);
    this.#quarantine.set(origin, { sequence, aheadMs, dueMs: nowMs + waitMs });
    return false;
  }
}
