// SPDX-License-Identifier: Apache-2.0
/**
 * One node's part in replication, without sockets, timers or a clock of its own: messages, writes and time go in;
 * messages, by take(), and events come out.
 *
 * - A write is one commit here and a push down the broadcast tree (tree.ts).
 * - What a push misses, announcements and grafts bring within some hundred ms; what they miss, comparing vectors with
 *   one member after another brings (pulls.ts); where logs no longer reach, a snapshot does (snapshots.ts).
 * - Members with equal vectors and different digests repair what differs, bucket by bucket.
 * - A replica that may hold what was deleted and forgotten elsewhere is stale: nobody takes its frames until it has
 *   taken a snapshot and written its own unseen changes anew (join.ts).
 */
import { Authorship } from './authorship.js';
import { Backoff } from './backoff.js';
import { Comparison } from './comparison.js';
import { type Context, type ReplicaSettings, SETTINGS } from './context.js';
import {
  type CellWrite,
  type ClusterName,
  type Environment,
  type Frame,
  type Member,
  type Message,
  type NodeId,
  type Origin,
  type OriginKey,
  type ReplicaEvent,
  type ReplicaStore,
  ReplicaStoreError,
  type VectorState,
  type WriteRefusal,
  type WriteResult,
} from './contract.js';
import { encodeFrame, nameOfFrame } from './frame.js';
import { Intake } from './intake.js';
import type { Reissue } from './join.js';
import { Joining } from './joining.js';
import { Ledger } from './ledger.js';
import { covers, lacking, originKey } from './origin.js';
import { Outbox } from './outbox.js';
import { neighbours } from './overlay.js';
import { Peers } from './peers.js';
import { Pulls } from './pulls.js';
import { differing } from './repair.js';
import { SnapshotGiver, SnapshotTaker } from './snapshots.js';
import { Tree } from './tree.js';
import { Upkeep } from './upkeep-round.js';
import { refusalOf } from './write-check.js';

export interface ReplicaOptions {
  readonly node: NodeId;
  readonly store: ReplicaStore;
  readonly environment: Environment;
  readonly settings?: Partial<ReplicaSettings>;
  /**
   * The first node of a mesh, or one that has always been in it: has nothing to take from others before it may write.
   */
  readonly founds?: boolean;
  /** Whose replica it is. Absent: the mesh's. */
  readonly cluster?: ClusterName;
}

export interface WriteRequest {
  readonly author: string;
  readonly message: string;
  readonly writes: readonly CellWrite[];
}

/** Of a round, between it and one with a member that has come; and chance's part. */
const GREET = 1 / 16;

export class Replica {
  readonly node: NodeId;
  readonly cluster: ClusterName;
  readonly ledger: Ledger;
  readonly #environment: Environment;
  readonly #settings: ReplicaSettings;
  readonly #context: Context;
  readonly #intake: Intake;
  readonly #pulls: Pulls;
  readonly #giver: SnapshotGiver;
  readonly #taker: SnapshotTaker;
  readonly #tree: Tree;
  readonly #peers: Peers;
  readonly #author: Authorship;
  readonly #backoff: Backoff;
  readonly #upkeep: Upkeep;
  readonly #outboxes = new Map<NodeId, Outbox>();
  readonly #comparison: Comparison;
  readonly #joining: Joining;
  /** Of frames that were pushed here: by whom. */
  readonly #givers = new WeakMap<Frame, NodeId>();
  readonly #forwarded = new WeakSet<Frame>();
  /** Of each origin the greatest number that has come by request. */
  readonly #pulled = new Map<OriginKey, number>();
  #events: ReplicaEvent[] = [];
  #roundDueMs: number;
  /** When the last one was. */
  #roundMs = Number.NEGATIVE_INFINITY;
  #newsDueMs: number | undefined;

  constructor({ node, store, environment, settings, founds = false, cluster = '' }: ReplicaOptions) {
    this.node = node;
    this.cluster = cluster;
    this.#environment = environment;
    this.#settings = { ...SETTINGS, ...settings };
    const { aheadMaxMs, roundMs, backoffMaxMs } = this.#settings;
    const { hash, wallMs, random } = environment;
    this.ledger = new Ledger({ store, node, hash, wallMs, aheadMaxMs });
    const emit = (event: ReplicaEvent): void => {
      this.#events.push(event);
    };
    const send = (to: NodeId, message: Message): void => this.#send(to, message);
    this.#context = { cluster, ledger: this.ledger, environment, settings: this.#settings, send, emit };
    this.#author = new Authorship(this.#context, node);
    this.#backoff = new Backoff(roundMs, backoffMaxMs, random);
    this.#intake = new Intake(this.#context, () => this.#guarded('a new incarnation', () => this.#author.isBehind()));
    this.#pulls = new Pulls(this.#context, this.#intake, this.#backoff, (from) =>
      this.#taker.start(from, environment.monotonicMs()),
    );
    this.#giver = new SnapshotGiver(this.#context);
    this.#taker = new SnapshotTaker(this.#context, this.#backoff);
    this.#tree = new Tree(this.#settings);
    this.#peers = new Peers(node);
    this.#upkeep = new Upkeep(this.#context, this.#peers);
    const parts = { context: this.#context, author: this.#author, intake: this.#intake, taker: this.#taker };
    this.#comparison = new Comparison({ ...parts, peers: this.#peers, pulls: this.#pulls });
    const reissue: Reissue = (writes, self, sequence, previous) => {
      const request = { author: '', message: 'changes of a node that was away, written anew', writes };
      const frame = this.#frame(self, sequence, previous, request);
      if ('fault' in frame)
        throw new RangeError(`${nameOfFrame({ origin: originKey(self), sequence })}: ${frame.fault}`);
      return frame;
    };
    const spread = (frames: readonly Frame[]): void => this.#spread(frames);
    this.#joining = new Joining({ ...parts, backoff: this.#backoff, reissue, spread });
    const damaged = this.ledger.verify();
    if (damaged.length > 0) emit({ type: 'damaged', keys: damaged });
    if (founds) this.ledger.setAdmitted(true);
    this.#roundDueMs = environment.monotonicMs() + roundMs * random();
  }

  // What the rest of the agent asks and says.

  /**
   * All known members, dead ones too: until they are removed, tombstones wait for them. Tombstones wait for this first,
   * too.
   */
  setMembers(members: readonly Member[]): void {
    const before = new Set(this.#peers.alive());
    this.#peers.set(members);
    const alive = this.#peers.alive();
    this.#tree.setLinks(neighbours(this.node, alive), (origin) => this.ledger.heads.has(origin));
    this.#upkeep.start();
    const living = new Set(alive);
    this.#backoff.keep(living);
    for (const node of this.#outboxes.keys()) if (!living.has(node)) this.disconnected(node);
    this.#greet(alive.filter((node) => !before.has(node)));
  }

  /** Others, dead ones too. */
  members(): Iterable<NodeId> {
    return this.#peers.all();
  }

  /**
   * Nobody has anything that it could take over: as founds, if nothing has ever been in it. anew: that is said now, and
   * not of before; then with what is in it.
   */
  begin(anew = false): void {
    const { admitted, self, heads } = this.ledger;
    if (admitted || (!anew && (self !== undefined || heads.size > 0))) return;
    this.#guarded('that this node begins', () => this.ledger.setAdmitted(true));
  }

  /** The stream to that node broke: what waited for it is lost, and made good by comparing vectors. */
  disconnected(node: NodeId): void {
    this.#outboxes.delete(node);
    this.#pulls.stop(node);
    this.#taker.stop(node, this.#environment.monotonicMs());
  }

  /** Why that could not be written now; undefined: it could. */
  refusal(writes: readonly CellWrite[]): { readonly code: WriteRefusal; readonly reason: string } | undefined {
    return refusalOf(this.#context, this.#peers, writes);
  }

  /**
   * One transaction. alongside: what else belongs into its commit; what it throws comes through, with nothing changed.
   */
  write({ author, message, writes }: WriteRequest, alongside?: () => void): WriteResult {
    const refusal = this.refusal(writes);
    if (refusal !== undefined) return { ok: false, ...refusal };
    try {
      const self = this.#author.origin(this.#peers.known ? this.#peers.all() : undefined);
      const { sequence, hash } = this.ledger.heads.get(originKey(self)) ?? { sequence: 0, hash: new Uint8Array(0) };
      const frame = this.#frame(self, sequence + 1, hash, { author, message, writes });
      if ('fault' in frame) return { ok: false, code: 'too-large', reason: frame.fault };
      const { objects } = this.ledger.apply([frame], alongside);
      if (objects.length > 0) this.#context.emit({ type: 'changed', objects, writers: [{ author, node: this.node }] });
      this.#spread([frame]);
      return { ok: true, origin: frame.origin, sequence: frame.sequence, stamp: frame.stamp };
    } catch (error) {
      if (!(error instanceof ReplicaStoreError)) throw error;
      return { ok: false, code: 'storage', reason: `not stored: ${error.message}` };
    }
  }

  /** Members that are known to have that frame; compare() learns more. */
  confirmations(origin: OriginKey, sequence: number): number {
    return this.#peers.countOf((vector) => covers(vector, origin, sequence));
  }

  /** Asks living members that are not known to have that frame what they have: so many at most, linked ones first. */
  askFor(origin: OriginKey, sequence: number, most: number): void {
    const linked = new Set(this.#tree.links());
    const lacks = (node: NodeId): boolean => {
      const known = this.#peers.vectorOf(node);
      return known === undefined || !covers(known, origin, sequence);
    };
    const living = this.#peers.alive().filter(lacks);
    const inOrder = [...living.filter((node) => linked.has(node)), ...living.filter((node) => !linked.has(node))];
    for (const node of inOrder.slice(0, most)) this.compare(node);
  }

  /** Frames that are here and that the member is not known to have; undefined: it has not said yet what it has. */
  behind(node: NodeId): number | undefined {
    const known = this.#peers.vectorOf(node);
    if (known === undefined) return undefined;
    let frames = 0;
    for (const [origin, { sequence }] of this.ledger.heads) {
      if (!covers(known, origin, sequence)) frames += sequence - (known.heads.get(origin)?.sequence ?? 0);
    }
    return frames;
  }

  /** Compares vectors with a member now instead of in its turn. */
  compare(node: NodeId): void {
    this.#send(node, this.#comparison.summary(true, undefined));
  }

  /** This node was removed and comes back: it must take a snapshot, and writes nothing until then. */
  rejoin(): void {
    this.#guarded('that this node must join again', () => this.ledger.setAdmitted(false));
  }

  /** Nothing is asked of it any more: what it holds open of its store is closed. */
  close(): void {
    this.#giver.close();
    this.#outboxes.clear();
  }

  /** What happened since the last call. */
  events(): readonly ReplicaEvent[] {
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /** Nodes that messages wait for; most are linked, and any living member may be. */
  *waiting(): Iterable<NodeId> {
    for (const [node, outbox] of this.#outboxes) if (!outbox.empty) yield node;
  }

  /** The next message for that node's stream, when it can take one. */
  take(node: NodeId): Message | undefined {
    const outbox = this.#outboxes.get(node);
    if (outbox === undefined) return undefined;
    const message = outbox.take();
    const recovered = message === undefined && outbox.recovered();
    // Whoever asks for whom messages wait need not look through everyone that there ever were any for.
    if (outbox.empty && !outbox.lagging) this.#outboxes.delete(node);
    return recovered ? this.#comparison.summary(true, undefined) : message;
  }

  /** Streams that are worth keeping open. */
  links(): readonly NodeId[] {
    return [...this.#tree.links()];
  }

  /** By environment.monotonicMs(): when tick() is due. */
  nextDueMs(): number {
    const now = this.#environment.monotonicMs();
    const upkeep = this.#upkeep.dueMs;
    const due = [this.#newsDueMs, this.#tree.nextDueMs(), this.#intake.nextDueMs(now), upkeep];
    if (this.#pulls.active > 0 || this.#taker.active) due.push(now + this.#settings.roundMs);
    return Math.min(this.#roundDueMs, ...due.filter((ms) => ms !== undefined));
  }

  // Time.

  tick(): void {
    const now = this.#environment.monotonicMs();
    this.#applyDue(now);
    for (const { node, origin, through } of this.#tree.due(now)) this.#graft(node, origin, through);
    if (this.#newsDueMs !== undefined && this.#newsDueMs <= now) this.#tellNews();
    this.#pulls.tick(now);
    this.#taker.tick(now);
    this.#giver.tick(now);
    this.#guarded('upkeep', () => this.#upkeep.tick(now));
    if (this.#roundDueMs <= now) {
      const { roundMs } = this.#settings;
      this.#roundDueMs = now + roundMs * (0.75 + this.#environment.random() / 2);
      this.#round();
    }
  }

  /** They were away, or this node was: one of them is compared with before its turn, if the last was not just now. */
  #greet(nodes: readonly NodeId[]): void {
    const { monotonicMs, random } = this.#environment;
    const { roundMs } = this.#settings;
    const node = nodes[Math.floor(random() * nodes.length)];
    if (node === undefined) return;
    this.#peers.putFirst(node);
    const soonMs = Math.max(monotonicMs(), this.#roundMs + GREET * roundMs) + GREET * roundMs * random();
    this.#roundDueMs = Math.min(this.#roundDueMs, soonMs);
  }

  #round(): void {
    this.#roundMs = this.#environment.monotonicMs();
    const node = this.#peers.next(this.#environment.random);
    if (node === undefined) return;
    if (this.ledger.admitted) this.compare(node);
    else this.#taker.start(node, this.#environment.monotonicMs());
  }

  // Messages.

  /** Whatever it holds: never throws for what another node did wrong. */
  receive(from: NodeId, message: Message): void {
    if (!this.#peers.isMember(from)) {
      if (message.type === 'summary') this.#send(from, { type: 'stale', reason: 'removed', seen: new Map() });
      return;
    }
    const now = this.#environment.monotonicMs();
    switch (message.type) {
      case 'summary':
        // Or the other would send what is about to be applied.
        this.#applyDue(now);
        this.#guarded('a new incarnation', () => this.#comparison.compared(from, message, now));
        return;
      case 'snapshot-request':
        this.#giver.request(from, message.id, message.part, now);
        return;
      case 'snapshot': {
        const taken = this.#taker.part(from, message, now);
        if (taken !== undefined) this.#guarded('a snapshot', () => this.#joining.join(from, taken));
        return;
      }
      case 'busy':
        this.#taker.busy(from, message.id, now);
        return;
      case 'stale':
        this.#guarded('that this node must join again', () => this.#joining.toldStale(from, message));
        return;
      default:
    }
    // The rest needs a state to stand on, and a sender whose frames may be taken.
    if (!this.ledger.admitted || this.#peers.isStale(from)) return;
    switch (message.type) {
      case 'push':
        this.#pushed(from, message.frame, now);
        return;
      case 'have':
        for (const { origin, sequence } of message.heads) this.#missing(from, origin, sequence, now);
        return;
      case 'graft':
        for (const { origin } of message.ranges) this.#tree.setEager(from, origin, true);
        for (const frame of this.#answerOf(message.ranges)) this.#send(from, { type: 'push', frame });
        return;
      case 'prune':
        if (this.ledger.heads.has(message.origin)) this.#tree.setEager(from, message.origin, false);
        return;
      case 'request':
        this.#send(from, this.#pulls.answer(message.id, message.ranges));
        return;
      case 'frames':
        this.#took(from, message.frames, now);
        this.#pulls.answered(from, message.id, message.compacted, now);
        return;
      case 'digests':
        for (const bucket of differing(this.ledger, message.buckets)) this.#comparison.sendBucket(from, bucket, true);
        return;
      case 'repair':
        this.#guarded('a repair', () => this.#comparison.repaired(from, message));
        return;
    }
  }

  // Frames.

  #frame(
    origin: Origin,
    sequence: number,
    previous: Uint8Array,
    { author, message, writes }: WriteRequest,
  ): ReturnType<typeof encodeFrame> {
    const { hash, sign } = this.#environment;
    const stamp = this.ledger.clock.tick();
    return encodeFrame(
      { origin, sequence, cluster: this.cluster, stamp, previous, author, message, writes },
      hash,
      sign,
      this.#settings.frame,
    );
  }

  #pushed(from: NodeId, bytes: Uint8Array, now: number): void {
    const offer = this.#intake.offer(bytes, from);
    if (offer.outcome === 'duplicate') {
      const { node, origin, sequence, hash, signature } = offer.frame;
      const pulled = this.#pulled.get(origin) ?? 0;
      this.#tree.has(from, origin, sequence);
      // Its own frames need no way back.
      if (node === this.node || this.#tree.pushed(from, origin, true)) {
        this.#send(from, { type: 'prune', origin });
      } else if (sequence <= pulled && this.#environment.verify(node, hash, signature)) {
        // What was asked for has overtaken the tree: those below wait for it, and get it once.
        if (sequence === pulled) this.#pulled.delete(origin);
        this.#givers.set(offer.frame, from);
        this.#forward(offer.frame);
      }
    }
    if (offer.outcome !== 'held') return;
    const { frame, gap } = offer;
    this.#tree.pushed(from, frame.origin, false);
    this.#givers.set(frame, from);
    if (gap) this.#tree.miss(frame.origin, frame.sequence - 1, from, now);
    else this.#forward(frame);
  }

  /** Before it is applied here: each node on its way would add the time that this takes, and loses nothing if it fails. */
  #forward(frame: Frame): void {
    const giver = this.#givers.get(frame);
    this.#forwarded.add(frame);
    for (const node of this.#tree.eager(frame.origin))
      if (node !== giver) this.#send(node, { type: 'push', frame: frame.bytes });
  }

  /** Frames that were asked for. */
  #took(from: NodeId, frames: readonly Uint8Array[], now: number): void {
    const origins = new Set<OriginKey>();
    for (const offer of this.#intake.offerAll(frames, from)) {
      if (offer.outcome !== 'held') continue;
      const { origin, sequence } = offer.frame;
      origins.add(origin);
      this.#pulled.set(origin, Math.max(sequence, this.#pulled.get(origin) ?? 0));
    }
    for (;;) {
      const applied = this.#intake.drain(origins, now);
      if (applied.length === 0) return;
      // Others lack them as well, as likely as not; but not all at once, and not from here alone.
      for (const { origin, sequence } of applied) this.#tree.announce(origin, sequence, false);
      this.#hasNews(now);
    }
  }

  #applyDue(now: number): void {
    const origins = this.#intake.due(now);
    if (origins.length > 0) this.#spread(this.#intake.drain(origins, now));
  }

  #spread(frames: readonly Frame[]): void {
    if (frames.length === 0) return;
    for (const frame of frames) {
      if (!this.#forwarded.has(frame)) this.#forward(frame);
      this.#tree.announce(frame.origin, frame.sequence, true, this.#givers.get(frame));
    }
    this.#hasNews(this.#environment.monotonicMs());
  }

  /** By chance, so that of two who have got the same one is first and the other need not say it. */
  #hasNews(now: number): void {
    this.#newsDueMs ??= now + this.#settings.newsMs * (0.5 + this.#environment.random());
  }

  #tellNews(): void {
    this.#newsDueMs = undefined;
    for (const { node, heads } of this.#tree.news()) this.#send(node, { type: 'have', heads });
  }

  #missing(from: NodeId, origin: OriginKey, sequence: number, now: number): void {
    if (lacking(this.ledger, headOf(origin, sequence), this.ledger.forks).length === 0) {
      this.#tree.has(from, origin, sequence);
      return;
    }
    if (!this.#intake.quarantined().has(origin)) this.#tree.miss(origin, sequence, from, now);
  }

  #graft(node: NodeId, origin: OriginKey, through: number): void {
    const ranges = this.#pulls.wanted(headOf(origin, through));
    if (ranges.length === 0) return;
    this.#tree.setParent(node, origin);
    this.#send(node, { type: 'graft', ranges });
  }

  #answerOf(ranges: Parameters<Pulls['answer']>[1]): readonly Uint8Array[] {
    const answer = this.#pulls.answer(0, ranges);
    return answer.type === 'frames' ? answer.frames : [];
  }

  // Sending.

  #send(node: NodeId, message: Message): void {
    let outbox = this.#outboxes.get(node);
    if (outbox === undefined) {
      outbox = new Outbox(this.#settings.outboxBytes);
      this.#outboxes.set(node, outbox);
    }
    const bytes = outbox.add(message);
    if (bytes > 0) this.#context.emit({ type: 'overflow', peer: node, bytes });
  }

  /** A store that fails must not stop what needs none. */
  #guarded(what: string, act: () => void): void {
    try {
      act();
    } catch (error) {
      if (!(error instanceof ReplicaStoreError)) throw error;
      this.#context.emit({ type: 'storage', code: error.code, reason: `${what}: ${error.message}` });
    }
  }
}

function headOf(origin: OriginKey, sequence: number): VectorState {
  return { heads: new Map([[origin, { sequence, hash: new Uint8Array(0) }]]), floors: new Map() };
}
