// SPDX-License-Identifier: Apache-2.0
/**
 * A mesh that is observed: the entry agent says who its members are, each of them is asked for itself.
 *
 * What objects declare is asked of the entry alone, where it holds their cluster: of the others a digest says whether they have
 * the same. A cluster that the entry is not in is said whole by one of its nodes; so is everything while the entry is away.
 *
 * Where other nodes are reached through the entry agent, their streams end with its own: each of them says so for itself.
 */
import { type Member, MemberState } from '@marcher/proto/marcher/v1/mesh_service_pb';
import type { ObserveResponse } from '@marcher/proto/marcher/v1/observe_service_pb';
import { Assembly } from './assembly.js';
import type { AgentCalls, Ambient, FleetOptions, FleetState, Link, NodeKey } from './contract.js';
import { DialGate } from './dial-gate.js';
import { type NodeRecord, NotTaken } from './node.js';
import { NodeStream } from './node-stream.js';
import { Publisher } from './publish.js';
import { type FleetSource, Listeners, type StateListener } from './source.js';
import { Watched } from './watched.js';

/** Of the entry, until it has said who it is. */
const UNNAMED: NodeKey = 'name:';
/** Members beyond are listed, and not observed. */
const NODES_MAX = 2_000;
/** The entry is away for longer than a restart takes: another one is asked for what it would say. */
const SUBSTITUTE_AFTER_MS = 5_000;

/** What a session was made of: what its recording keeps. */
export interface FleetTap {
  /** beginsAtMs: it is the first of a stream, whose batches come at that pace. */
  batch(node: NodeKey, isEntry: boolean, beginsAtMs: number | undefined, batch: ObserveResponse, atMs: number): void;
  link(node: NodeKey, name: string, isEntry: boolean, link: Link, atMs: number): void;
  member(node: NodeKey, name: string, member: Member | undefined, atMs: number): void;
  gone(node: NodeKey, atMs: number): void;
}

export class Fleet implements FleetSource {
  readonly #options: FleetOptions;
  readonly #ambient: Ambient;
  readonly #intervalMs: number;
  readonly #assembly: Assembly;
  readonly #publisher: Publisher;
  readonly #gate: DialGate;
  readonly #listeners = new Listeners();
  readonly #watched: Watched;
  readonly #streams = new Map<NodeKey, NodeStream>();
  readonly #taps = new Set<FleetTap>();
  #entryStream: NodeStream | undefined;
  #isEntrySynced = false;
  #isEntryHeard = false;
  #substitute: (() => void) | undefined;
  #isClosed = false;

  /** RangeError: an option that is not allowed. */
  constructor(options: FleetOptions) {
    const { intervalMs = 500, dialsMax = 16, ambient } = options;
    if (!(intervalMs >= 100 && intervalMs <= 10_000)) {
      throw new RangeError(`intervalMs is ${intervalMs}: expected 100 to 10,000`);
    }
    if (!(Number.isInteger(dialsMax) && dialsMax >= 1))
      throw new RangeError(`dialsMax is ${dialsMax}: expected 1 or more`);
    this.#options = options;
    this.#ambient = ambient;
    this.#intervalMs = Math.round(intervalMs);
    this.#gate = new DialGate(dialsMax);
    this.#assembly = new Assembly(this.#intervalMs, ambient.nowMs());
    this.#publisher = new Publisher(ambient, this.#intervalMs, () => this.#publish());
    this.#watched = new Watched((services) => {
      this.#assembly.watch(services);
      if (!this.#isClosed) this.#publisher.touch();
    });
    this.#assembly.add(UNNAMED, '', true, { kind: 'connecting', sinceMs: ambient.nowMs() });
    this.#assembly.publish(ambient.nowMs());
  }

  get state(): FleetState {
    return this.#assembly.state;
  }

  readonly subscribe = (listener: StateListener): (() => void) => this.#listeners.add(listener);

  readonly watch = (services: Iterable<string>): (() => void) => this.#watched.add(services);

  start(): void {
    if (this.#entryStream !== undefined || this.#isClosed) return;
    const stream = new NodeStream({
      calls: () => this.#options.reach.entry,
      ambient: this.#ambient,
      intervalMs: () => this.#intervalMs,
      gate: undefined,
      isEntry: true,
      isWhole: true,
      take: (batch, isFirst) => this.#takeEntry(batch, isFirst),
      link: (link) => this.#linkEntry(link),
    });
    this.#entryStream = stream;
    stream.start();
  }

  /** Streams go on, the state stands. */
  pause(): void {
    if (this.state.paused || this.#isClosed) return;
    this.#publisher.hold();
    this.#listeners.tell(this.#assembly.pause());
  }

  resume(): void {
    if (this.state.paused && !this.#isClosed) this.#publisher.release();
  }

  /** The node is tried again now. */
  retry(node: NodeKey): void {
    this.#stream(node)?.retry();
  }

  /** Ends all streams. The last state stays. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#publisher.close();
    this.#substitute?.();
    this.#entryStream?.close();
    for (const stream of this.#streams.values()) stream.close();
    this.#streams.clear();
    this.#taps.clear();
    this.#listeners.clear();
  }

  /** The calls of one node. undefined: there is none of the key. */
  calls(node: NodeKey): AgentCalls | undefined {
    const { entry } = this.#assembly;
    if (entry?.key === node) return this.#options.reach.entry;
    return this.#assembly.node(node) === undefined ? undefined : this.#options.reach.node(node);
  }

  /** What comes from now on, beginning with who is there and the whole state of each. Gives what ends it. */
  tap(tap: FleetTap): () => void {
    this.#taps.add(tap);
    const nowMs = this.#ambient.nowMs();
    for (const { key, isEntry, now } of this.#assembly.nodes()) {
      tap.link(key, now.name, isEntry, now.link, nowMs);
      tap.member(key, now.name, now.member, nowMs);
    }
    // Each says its whole state again: what it is made of is not kept here in the form in which it came.
    this.#entryStream?.restart(true);
    for (const stream of this.#streams.values()) stream.restart(stream.isWhole);
    return () => void this.#taps.delete(tap);
  }

  #stream(node: NodeKey): NodeStream | undefined {
    return this.#assembly.entry?.key === node ? this.#entryStream : this.#streams.get(node);
  }

  #publish(): void {
    const before = this.state;
    const state = this.#assembly.publish(this.#ambient.nowMs());
    if (this.#assembly.isMoving) this.#publisher.touchIn(3 * this.#intervalMs);
    if (state !== before) this.#listeners.tell(state);
  }

  #takeEntry(batch: ObserveResponse, isFirst: boolean): void {
    const nowMs = this.#ambient.nowMs();
    if (batch.node !== undefined) {
      const { nodeId, name } = batch.node;
      this.#nameEntry(nodeId === '' ? `${UNNAMED}${name}` : nodeId, name);
    }
    const record = this.#assembly.entry;
    if (record === undefined) return;
    this.#take(record, batch, isFirst ? this.#intervalMs : undefined, nowMs);
    this.#isEntrySynced = batch.synced || (this.#isEntrySynced && !isFirst && !batch.forget);
    this.#isEntryHeard ||= batch.synced;
    if (this.#isEntrySynced && (batch.synced || batch.members.length + batch.goneMembers.length > 0)) {
      this.#reconcile(record);
    }
  }

  /** The entry has said who it is. Whatever was another node until now is forgotten. */
  #nameEntry(key: NodeKey, name: string): void {
    const before = this.#assembly.entry;
    if (before?.key === key) return;
    const link = before?.now.link ?? { kind: 'connecting', sinceMs: this.#ambient.nowMs() };
    // It may have been a member among others, when another agent was the entry.
    this.#leave(key);
    if (before !== undefined) this.#tellGone(before.key);
    this.#assembly.add(key, name, true, link);
    for (const tap of this.#taps) tap.link(key, name, true, link, this.#ambient.nowMs());
  }

  #take(record: NodeRecord, batch: ObserveResponse, beginsAtMs: number | undefined, nowMs: number): void {
    // Before the batch is taken: what it brings is kept, and shared.
    for (const tap of this.#taps) tap.batch(record.key, record.isEntry, beginsAtMs, batch, nowMs);
    if (beginsAtMs !== undefined) record.begin(beginsAtMs);
    const isUrgent = isNews(record, batch);
    this.#assembly.take(record, batch, nowMs);
    this.#publisher.touch(isUrgent || this.#assembly.hasTurned);
  }

  #linkEntry(link: Link): void {
    const record = this.#assembly.entry;
    if (record === undefined) return;
    const wasLive = record.now.link.kind === 'live';
    this.#setLink(record, link);
    if (link.kind === 'live') {
      this.#substitute?.();
      // The way to the others may have been through it.
      for (const stream of this.#streams.values()) if (stream.linkKind === 'stale') stream.retry();
    } else if (wasLive) {
      this.#substitute = this.#ambient.after(SUBSTITUTE_AFTER_MS, () => {
        this.#isEntryHeard = false;
        this.#chooseWhole();
      });
    }
  }

  #setLink(record: NodeRecord, link: Link): void {
    // Of fifty nodes that are heard for the first time each would be a state of its own.
    const isFirst = record.now.link.kind === 'connecting' && link.kind === 'live' && !record.isEntry;
    record.set({ link });
    for (const tap of this.#taps) {
      tap.link(record.key, record.now.name, record.isEntry, link, this.#ambient.nowMs());
    }
    this.#publisher.touch(!isFirst);
  }

  /** The nodes that are observed are those that the entry names. */
  #reconcile(entry: NodeRecord): void {
    const named = new Map([...entry.members].filter(([id]) => id !== '' && id !== entry.key));
    for (const { key, isEntry } of [...this.#assembly.nodes()]) {
      if (!isEntry && !named.has(key)) {
        this.#leave(key);
        this.#tellGone(key);
      }
    }
    for (const member of entry.members.values()) {
      if (member.state !== MemberState.SELF) continue;
      this.#setMember(entry, member);
      // It is in a mesh since it was asked, and has another name in it.
      if (member.nodeId !== entry.key) this.#entryStream?.restart(true);
    }
    for (const [key, member] of named) this.#reconcileMember(key, member);
    this.#chooseWhole();
    this.#publisher.touch();
  }

  #reconcileMember(key: NodeKey, member: Member): void {
    const nowMs = this.#ambient.nowMs();
    const record =
      this.#assembly.node(key) ?? this.#assembly.add(key, member.name, false, { kind: 'connecting', sinceMs: nowMs });
    const before = record.now.member?.state;
    this.#setMember(record, member);
    const stream = this.#streams.get(key);
    if (member.state === MemberState.LEFT || member.state === MemberState.DEPARTED) {
      stream?.close();
      this.#streams.delete(key);
      if (before !== member.state) this.#setLink(record, away(record, 'it has left the mesh', nowMs));
      return;
    }
    if (stream === undefined) this.#observe(record);
    else if (before === MemberState.DEAD && member.state === MemberState.ALIVE) stream.retry();
  }

  #setMember(record: NodeRecord, member: Member): void {
    if (record.now.member === member) return;
    record.set({ member, ...(record.now.name === '' && member.name !== '' ? { name: member.name } : {}) });
    for (const tap of this.#taps) tap.member(record.key, record.now.name, member, this.#ambient.nowMs());
  }

  #observe(record: NodeRecord): void {
    const { key } = record;
    if (this.#streams.size >= NODES_MAX) {
      this.#setLink(
        record,
        away(record, `more than ${NODES_MAX} nodes are not observed at once`, this.#ambient.nowMs()),
      );
      return;
    }
    let paceMs = this.#intervalMs;
    const stream = new NodeStream({
      calls: () => this.#options.reach.node(key),
      ambient: this.#ambient,
      intervalMs: () => {
        paceMs = paceOf(this.#intervalMs, this.#assembly.size);
        return paceMs;
      },
      gate: this.#gate,
      isEntry: false,
      isWhole: false,
      take: (batch, isFirst) => {
        const { node } = batch;
        if (node !== undefined && node.nodeId !== key) {
          throw new NotTaken(`node ${node.nodeId === '' ? 'in no mesh' : node.nodeId} answers in its place`);
        }
        this.#take(record, batch, isFirst ? paceMs : undefined, this.#ambient.nowMs());
      },
      link: (link) => {
        const wasLive = record.now.link.kind === 'live';
        this.#setLink(record, link);
        if (wasLive !== (link.kind === 'live')) this.#chooseWhole();
      },
    });
    this.#streams.set(key, stream);
    stream.start();
  }

  #leave(key: NodeKey): void {
    this.#streams.get(key)?.close();
    this.#streams.delete(key);
    this.#assembly.remove(key);
  }

  #tellGone(key: NodeKey): void {
    for (const tap of this.#taps) tap.gone(key, this.#ambient.nowMs());
  }

  /** Who is to say what objects declare, beside the entry. Whoever does so goes on with it. */
  #chooseWhole(): void {
    const { entry } = this.#assembly;
    if (entry === undefined || this.#isClosed) return;
    const candidates = [...this.#assembly.nodes()]
      .filter(({ key, now }) => this.#streams.has(key) && now.link.kind === 'live')
      .sort((a, b) => (a.key < b.key ? -1 : 1));
    const covered = new Set(this.#isEntryHeard ? ['', ...(entry.now.member?.clusters ?? [])] : []);
    const cover = ({ now }: NodeRecord): void => {
      covered.add('');
      for (const cluster of now.member?.clusters ?? []) covered.add(cluster);
    };
    for (const record of candidates) if (this.#streams.get(record.key)?.isWhole === true) cover(record);
    for (const record of candidates) {
      if (['', ...(record.now.member?.clusters ?? [])].every((cluster) => covered.has(cluster))) continue;
      cover(record);
      this.#streams.get(record.key)?.restart(true);
    }
  }
}

/**
 * What somebody waits for: what is configured, who is a member, drains, and whether a node is ready. (Health of a backend: hasTurned.)
 * Figures and which nodes have it already have the interval: fifty nodes that say so one after the other would keep what was configured
 * waiting.
 */
function isNews({ now, isEntry }: NodeRecord, { objects, goneObjects, members, goneMembers, status }: ObserveResponse) {
  if (objects.some(({ declared }) => declared.case !== undefined)) return true;
  if (isEntry && goneObjects.length + members.length + goneMembers.length > 0) return true;
  // The first of a node is no news: fifty of them come one after the other.
  if (status === undefined || now.status === undefined) return false;
  return status.draining !== now.status.draining || status.ready !== now.status.ready;
}

/** Batches a second of all nodes together: of more nodes each is asked more seldom. What is configured does not wait for it. */
const BATCHES_PER_SECOND = 25;
const PACE_MAX_MS = 10_000;

function paceOf(intervalMs: number, nodes: number): number {
  return Math.min(PACE_MAX_MS, Math.max(intervalMs, Math.ceil((nodes * 1_000) / BATCHES_PER_SECOND)));
}

function away(record: NodeRecord, reason: string, nowMs: number): Link {
  return { kind: 'stale', sinceMs: record.heardMs ?? nowMs, reason, retryAtMs: Number.POSITIVE_INFINITY };
}
