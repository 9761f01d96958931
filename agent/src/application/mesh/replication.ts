// SPDX-License-Identifier: Apache-2.0
/**
 * A replica at work in the agent: what is changed here becomes frames, in the transaction in which it is confirmed; what
 * comes from others is merged at once, and the configuration follows as fast as the data plane takes it, in batches.
 */

import { setImmediate as nextTurn, setTimeout as wait } from 'node:timers/promises';
import type { CellWrite, Member, Message, NodeId, OriginKey, ReplicaEvent } from '../../domain/replication/contract.js';
import { FRAME_LIMITS } from '../../domain/replication/frame.js';
import { objectKey } from '../../domain/replication/object.js';
import { originKey } from '../../domain/replication/origin.js';
import type { Replica } from '../../domain/replication/replica.js';
import type { CommitChange, ConfigStore, NewRevision } from '../../ports/config-store.js';
import type { Exchange, PeerLinks } from '../../ports/mesh.js';
import { ApplicationError } from '../../ports/use-cases.js';
import { EventLog, type ReplicationLog } from './event-log.js';
import type { Following, Project } from './follower.js';
import { type Exclusion, isConfigurationKind, type ObjectName, type Projection } from './projection.js';
import { bytesOf, writesOf } from './writes.js';

/** Where a change stands among all changes. */
export interface Written {
  readonly origin: OriginKey;
  readonly sequence: number;
}

/** What the configuration asks of it (application/configuration.ts). */
export interface Replicated {
  /** Throws ApplicationError when that could not be written: asked before the data plane is. */
  check(changes: readonly CommitChange[]): void;
  /** Writes it, with confirm in the same transaction; throws with nothing written. */
  record(
    revision: Pick<NewRevision, 'author' | 'message'>,
    changes: readonly CommitChange[],
    confirm: () => void,
  ): Written;
  /** Nodes beside this one that are in the mesh, reached or not. */
  readonly others: number;
  /** How many of them are known to have it: when so many have, or when the time is over. */
  acknowledged(written: Written, count: number, timeoutMs: number): Promise<number>;
}

export interface ReplicationOptions {
  readonly replica: Replica;
  readonly projection: Projection;
  readonly store: Pick<ConfigStore, 'scan' | 'objects'>;
  /** Brings into force what project() gives when its turn has come; whole: of everything, since a part does not tell. */
  readonly follow: (project: Project) => Promise<void>;
  /** Objects of other kinds look different now: nodes, revocation lists. */
  readonly onObjects: (kind: string, ids: readonly string[]) => void;
  readonly monotonicMs: () => number;
  readonly log: ReplicationLog;
}

/** Room for what frames have beside their writes. */
const FRAME_BYTES = FRAME_LIMITS.bytes - 64 * 1024;
/** Of the frames that an existing configuration becomes. */
const INITIAL_BYTES = 1024 * 1024;
const RETRY_MS = 1_000;
/** Between two questions who has a change, growing. */
const ASK_MS = 5;
const ASK_MAX_MS = 500;
/** A timer that is longer is none. */
const TICK_MAX_MS = 60_000;

export class Replication implements Exchange, Replicated {
  readonly #options: ReplicationOptions;
  readonly #replica: Replica;
  readonly #events: EventLog;
  readonly #dirty = new Map<string, ObjectName>();
  #authors = new Set<string>();
  #whole = true;
  #links: PeerLinks | undefined;
  #timer: NodeJS.Timeout | undefined;
  #retry: NodeJS.Timeout | undefined;
  #pumping = false;
  #excluded = false;
  #others = 0;
  #following: Promise<void> | undefined;
  #stopped = false;

  constructor(options: ReplicationOptions) {
    this.#options = options;
    this.#replica = options.replica;
    this.#events = new EventLog(options.log);
  }

  /** From now on messages go out. */
  start(links: PeerLinks): void {
    this.#links = links;
    this.#pump();
    this.#follow();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#retry);
    await this.#following;
    this.#events.close();
  }

  get admitted(): boolean {
    return this.#replica.ledger.admitted;
  }

  /** What is not in force, though it was written. */
  get exclusions(): readonly Exclusion[] {
    return this.#options.projection.exclusions;
  }

  /** This node was removed: what is changed here would be nobody's. */
  exclude(): void {
    this.#excluded = true;
  }

  behind(node: NodeId): number | undefined {
    return this.#replica.behind(node);
  }

  setMembers(members: readonly Member[]): void {
    this.#replica.setMembers(members);
    this.#others = members.filter(({ node }) => node !== this.#replica.node).length;
    this.#links?.keep(new Set(members.filter(({ alive }) => alive).map(({ node }) => node)));
    this.#pump();
  }

  // What is changed here.

  check(changes: readonly CommitChange[]): void {
    if (this.#excluded) {
      throw new ApplicationError(
        'unavailable',
        'this node was removed from its mesh: make the change at one that is in it',
      );
    }
    const writes = writesOf(changes);
    const refusal = this.#replica.refusal(writes);
    if (refusal !== undefined) throw new ApplicationError('unavailable', refusal.reason);
    if (bytesOf(writes) <= FRAME_BYTES) return;
    const size = `${(bytesOf(writes) / 1e6).toFixed(1)} MB`;
    const most = `${(FRAME_BYTES / 1e6).toFixed(1)} MB`;
    throw new ApplicationError('refused', `the change is ${size}, and the mesh takes ${most} at once: split it`);
  }

  record(
    { author, message }: Pick<NewRevision, 'author' | 'message'>,
    changes: readonly CommitChange[],
    confirm: () => void,
  ): Written {
    const written = this.write(author, message, writesOf(changes), confirm);
    // The store has it already; only what was left out may have got room by it.
    if (this.exclusions.length > 0) this.#markWhole();
    return written;
  }

  get others(): number {
    return this.#others;
  }

  /** Members say what they have when they are asked: those nearest first, all of them if they take long. */
  async acknowledged({ origin, sequence }: Written, count: number, timeoutMs: number): Promise<number> {
    const end = this.#options.monotonicMs() + timeoutMs;
    for (let most = count, pauseMs = ASK_MS; ; most *= 2, pauseMs = Math.min(2 * pauseMs, ASK_MAX_MS)) {
      const have = this.#replica.confirmations(origin, sequence);
      const leftMs = end - this.#options.monotonicMs();
      if (have >= count || leftMs <= 0 || this.#stopped) return have;
      // What was pushed a moment ago is on its way before the question.
      this.#replica.askFor(origin, sequence, Math.min(most - have, this.#others));
      this.#pump();
      await wait(Math.min(pauseMs, leftMs));
    }
  }

  /** Of what is not configuration, too. */
  write(author: string, message: string, writes: readonly CellWrite[], alongside?: () => void): Written {
    if (this.#stopped) throw new ApplicationError('unavailable', 'this node is about to stop, or leaves its mesh');
    // What others did before is told apart from what this does.
    this.#take(this.#replica.events());
    const result = this.#replica.write({ author, message, writes }, alongside);
    if (!result.ok) throw new ApplicationError('unavailable', result.reason);
    const events = this.#replica.events();
    this.#take(events.filter(({ type }) => type !== 'changed'));
    this.#tellOthers(writes);
    this.#pump();
    return { origin: result.origin, sequence: result.sequence };
  }

  /** The newest of this node's; undefined: it has written none. */
  get newest(): Written | undefined {
    const { self, heads } = this.#replica.ledger;
    if (self === undefined) return undefined;
    const origin = originKey(self);
    const head = heads.get(origin);
    return head && { origin, sequence: head.sequence };
  }

  /** The configuration that this node has becomes the mesh's. */
  adopt(author: string): void {
    let batch: CommitChange[] = [];
    let bytes = 0;
    const flush = (): void => {
      if (batch.length > 0) this.write(author, 'the configuration with which the mesh began', writesOf(batch));
      batch = [];
      bytes = 0;
    };
    const add = (change: CommitChange): void => {
      batch.push(change);
      bytes += change.after?.length ?? 0;
      if (bytes > INITIAL_BYTES) flush();
    };
    const { store } = this.#options;
    for (const { kind, name, body } of store.objects()) add({ kind, name, before: undefined, after: body });
    for (const { name, body } of store.scan()) add({ kind: 'Service', name, before: undefined, after: body });
    flush();
  }

  // What comes from others.

  receive(from: NodeId, message: Message): void {
    this.#replica.receive(from, message);
    this.#pumpSoon();
  }

  take(node: NodeId): Message | undefined {
    return this.#replica.take(node);
  }

  waiting(): Iterable<NodeId> {
    return this.#replica.waiting();
  }

  disconnected(node: NodeId): void {
    this.#replica.disconnected(node);
  }

  /** Once for all messages that have come in one turn. */
  #pumpSoon(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    queueMicrotask(() => this.#pump());
  }

  #pump(): void {
    this.#pumping = false;
    if (this.#stopped) return;
    this.#take(this.#replica.events());
    this.#links?.flush();
    this.#schedule();
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    const wait = Math.max(0, Math.min(this.#replica.nextDueMs() - this.#options.monotonicMs(), TICK_MAX_MS));
    this.#timer = setTimeout(() => {
      this.#replica.tick();
      this.#pump();
    }, Math.ceil(wait));
    this.#timer.unref();
  }

  #take(events: readonly ReplicaEvent[]): void {
    for (const event of events) {
      if (event.type === 'changed') {
        this.#tellOthers(event.objects);
        for (const object of event.objects) {
          if (isConfigurationKind(object.kind)) this.#dirty.set(objectKey(object.kind, object.id), object);
        }
        for (const { author } of event.writers) if (author !== '') this.#authors.add(author);
      } else this.#events.say(event);
    }
    if (this.#dirty.size > 0) this.#follow();
  }

  #tellOthers(objects: readonly ObjectName[]): void {
    const others = new Map<string, Set<string>>();
    for (const { kind, id } of objects) {
      if (isConfigurationKind(kind)) continue;
      const ids = others.get(kind) ?? new Set();
      others.set(kind, ids.add(id));
    }
    for (const [kind, ids] of others) this.#options.onObjects(kind, [...ids]);
  }

  #markWhole(): void {
    this.#whole = true;
    this.#follow();
  }

  #follow(): void {
    if (this.#stopped || this.#following !== undefined || this.#links === undefined) return;
    if (!this.#whole && this.#dirty.size === 0) return;
    // What waits for other nodes goes out first: they wait for it, and this takes milliseconds at a stretch.
    this.#following = nextTurn()
      .then(() => this.#options.follow((whole) => this.#project(whole)))
      .then(
        () => {
          this.#following = undefined;
          this.#follow();
        },
        (error: unknown) => {
          const reason = error instanceof Error ? error.message : String(error);
          this.#options.log.error({ reason }, "the mesh's configuration could not be brought into force; trying again");
          this.#whole = true;
          this.#retry = setTimeout(() => {
            this.#following = undefined;
            this.#follow();
          }, RETRY_MS);
          this.#retry.unref();
        },
      );
  }

  #project(whole: boolean): Following | undefined {
    const { projection } = this.#options;
    const dirty = [...this.#dirty.values()];
    const authors = [...this.#authors];
    this.#dirty.clear();
    this.#authors = new Set();
    const all = whole || this.#whole;
    this.#whole = false;
    const changes = (all ? undefined : projection.partly(dirty)) ?? projection.whole();
    if (changes.length === 0) return undefined;
    const named = authors.slice(0, 3).join(', ');
    const author = authors.length > 3 ? `${named} and ${authors.length - 3} more` : named;
    return { changes, revision: { author: author === '' ? 'mesh' : author, origin: 'mesh', message: '' } };
  }
}
