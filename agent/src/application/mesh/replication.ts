// SPDX-License-Identifier: Apache-2.0
/**
 * The replicas of a node at work in the agent: what is changed here becomes frames, in the transaction in which it is
 * confirmed; what comes from others is merged at once, and the configuration follows as fast as the data plane takes it,
 * in batches.
 */

import { setImmediate as nextTurn, setTimeout as wait } from 'node:timers/promises';
import { nodeIdOf } from '../../domain/identity/names.js';
import { assignment, CLUSTER_LIMITS, clusterCreation } from '../../domain/mesh/cluster.js';
import type {
  Addressed,
  CellWrite,
  ClusterName,
  Member,
  NodeId,
  ReplicaEvent,
} from '../../domain/replication/contract.js';
import { FRAME_LIMITS } from '../../domain/replication/frame.js';
import { objectKey } from '../../domain/replication/object.js';
import { originKey } from '../../domain/replication/origin.js';
import type { Replica } from '../../domain/replication/replica.js';
import type { CommitChange, ConfigStore, NewRevision } from '../../ports/config-store.js';
import type { Exchange, HeldCluster, PeerLinks } from '../../ports/mesh.js';
import { ApplicationError } from '../../ports/use-cases.js';
import { EventLog, type ReplicationLog } from './event-log.js';
import type { Following, Project } from './follower.js';
import { type Exclusion, isConfigurationKind, type ObjectName, type Projection } from './projection.js';
import { type ClusterReplicas, Shards, type Written } from './shards.js';
import { bytesOf, clustersOf, writesByCluster } from './writes.js';

export type { Written } from './shards.js';

/** What the configuration asks of it (application/configuration.ts). */
export interface Replicated {
  /** Throws ApplicationError when that could not be written: asked before the data plane is. */
  check(changes: readonly CommitChange[]): void;
  /** Writes it, with confirm in the same transaction; throws with nothing written. */
  record(
    revision: Pick<NewRevision, 'author' | 'message'>,
    changes: readonly CommitChange[],
    confirm: () => void,
  ): readonly Written[];
  /** Those of clusters that this node is in. It may have gone out of others since they were made: they are nobody's. */
  recordable(changes: readonly CommitChange[]): readonly CommitChange[];
  /**
   * Nodes beside this one that are in the mesh, reached or not; of changes those that are in the cluster, and of more than
   * one cluster the fewest.
   */
  others(changes?: Iterable<CommitChange>): number;
  /** How many of them are known to have it: when so many have, or when the time is over. */
  acknowledged(written: readonly Written[], count: number, timeoutMs: number): Promise<number>;
}

export interface ReplicationOptions {
  /** The mesh's. */
  readonly replica: Replica;
  /** Absent: there are none. */
  readonly clusters?: ClusterReplicas;
  /** Names of the nodes that are in a cluster, for advice. Absent: not known. */
  readonly nodesIn?: (cluster: ClusterName) => readonly string[];
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
/** What could not be stored is tried again every second: so long after the last failure it has been. */
const TROUBLE_MS = 3_000;
/** Between two questions who has a change, growing. */
const ASK_MS = 5;
const ASK_MAX_MS = 500;
/** As many nodes as a message can name. */
const NAMED_MAX = 5;
/** A timer that is longer is none. */
const TICK_MAX_MS = 60_000;

export class Replication implements Exchange, Replicated {
  readonly #options: ReplicationOptions;
  readonly #shards: Shards;
  readonly #events: EventLog;
  readonly #dirty = new Map<string, ObjectName>();
  #authors = new Set<string>();
  #whole = true;
  #links: PeerLinks | undefined;
  #timer: NodeJS.Timeout | undefined;
  #turn: NodeJS.Immediate | undefined;
  #retry: NodeJS.Timeout | undefined;
  #again: NodeJS.Timeout | undefined;
  #pumping = false;
  #excluded = false;
  #following: Promise<void> | undefined;
  #stopped = false;
  #notStored: { readonly reason: string; readonly untilMs: number } | undefined;
  #notApplied = '';

  constructor(options: ReplicationOptions) {
    this.#options = options;
    const { replica, clusters, monotonicMs } = options;
    this.#events = new EventLog(options.log);
    const refused = (from: NodeId, reason: string): void => this.#events.say({ type: 'refused', from, reason });
    this.#shards = new Shards({ replica, clusters, monotonicMs, refused });
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
    clearImmediate(this.#turn);
    clearTimeout(this.#retry);
    clearTimeout(this.#again);
    await this.#following;
    this.#shards.close();
    this.#events.close();
  }

  get #replica(): Replica {
    return this.#shards.mesh;
  }

  get admitted(): boolean {
    return this.#replica.ledger.admitted;
  }

  /** Clusters that this node is in. */
  get held(): readonly HeldCluster[] {
    return this.#shards.held();
  }

  /** Whether one of these has said that it has what is in a cluster; undefined: this node does not have it itself. */
  isHeldBy(cluster: ClusterName, nodes: readonly NodeId[]): boolean | undefined {
    const replica = this.#shards.of(cluster);
    if (replica?.ledger.admitted !== true) return undefined;
    return nodes.some((node) => replica.behind(node) !== undefined);
  }

  /** What is not in force, though it was written. */
  get exclusions(): readonly Exclusion[] {
    return this.#options.projection.exclusions;
  }

  /** Why what others have changed is not on this node's disk, or not in force, though it has come; undefined: it is. */
  get trouble(): { readonly reason: 'NotStored' | 'NotApplied'; readonly message: string } | undefined {
    const { monotonicMs } = this.#options;
    if (this.#notStored !== undefined && monotonicMs() < this.#notStored.untilMs) {
      return { reason: 'NotStored', message: this.#notStored.reason };
    }
    return this.#notApplied === '' ? undefined : { reason: 'NotApplied', message: this.#notApplied };
  }

  /** This node was removed: what is changed here would be nobody's. */
  exclude(): void {
    this.#excluded = true;
  }

  behind(node: NodeId): number | undefined {
    return this.#shards.behind(node);
  }

  setMembers(members: readonly Member[]): void {
    this.#shards.setMembers(members);
    this.#links?.keep(new Set(members.filter(({ alive }) => alive).map(({ node }) => node)));
    this.#pump();
  }

  /** Who is in which cluster may have changed, also whether this node is. */
  clustersChanged(): void {
    if (this.#stopped) return;
    const { log } = this.#options;
    let arranged: ReturnType<Shards['arrange']>;
    try {
      arranged = this.#shards.arrange(this.#excluded);
    } catch (error) {
      // A disk that is full: what was done of it stays, and the rest is tried until it is done.
      log.error({ reason: String(error) }, 'the clusters of this node could not be opened or left; trying again');
      clearTimeout(this.#again);
      this.#again = setTimeout(() => this.clustersChanged(), RETRY_MS);
      this.#again.unref();
      this.#markWhole();
      return;
    }
    const { entered, left } = arranged;
    for (const cluster of entered) log.info({ cluster }, 'this node holds a cluster');
    for (const cluster of left) log.info({ cluster }, 'this node is out of a cluster, and what was in it is gone here');
    // What is stored of a cluster that this node was in before counts as well.
    if (entered.length + left.length > 0) this.#markWhole();
    this.#pumpSoon();
  }

  // What is changed here.

  check(changes: readonly CommitChange[]): void {
    if (this.#excluded) {
      throw new ApplicationError(
        'unavailable',
        'this node was removed from its mesh: make the change at one that is in it',
      );
    }
    for (const [cluster, writes] of writesByCluster(changes)) this.#checkIn(cluster, writes);
  }

  #checkIn(cluster: ClusterName, writes: readonly CellWrite[]): void {
    if (this.#shards.of(cluster) === undefined) throw this.#notHere(cluster);
    const refusal = this.#shards.refusal(cluster, writes);
    if (refusal !== undefined) {
      const where = cluster === '' ? '' : `cluster ${cluster}: `;
      throw new ApplicationError('unavailable', `${where}${refusal.reason}`);
    }
    if (bytesOf(writes) <= FRAME_BYTES) return;
    const size = `${(bytesOf(writes) / 1e6).toFixed(1)} MB`;
    const most = `${(FRAME_BYTES / 1e6).toFixed(1)} MB`;
    throw new ApplicationError('refused', `the change is ${size}, and the mesh takes ${most} at once: split it`);
  }

  #notHere(cluster: ClusterName): ApplicationError {
    const { clusters, nodesIn } = this.#options;
    const shown = JSON.stringify(cluster.slice(0, 80));
    if (clusters?.directory.has(cluster) !== true) {
      const fix = `make it with marcher cluster create, or name one of marcher cluster list`;
      return new ApplicationError('refused', `the mesh has no cluster ${shown}: ${fix}`);
    }
    const nodes = nodesIn?.(cluster) ?? [];
    const more = nodes.length > NAMED_MAX ? ` and ${nodes.length - NAMED_MAX} more` : '';
    const fix =
      nodes.length === 0
        ? 'no node is: marcher cluster assign NODE CLUSTER'
        : `make the change at a node that is: ${nodes.slice(0, NAMED_MAX).join(', ')}${more}`;
    return new ApplicationError('unavailable', `this node is not in cluster ${shown}; ${fix}`);
  }

  record(
    { author, message }: Pick<NewRevision, 'author' | 'message'>,
    changes: readonly CommitChange[],
    confirm: () => void,
  ): readonly Written[] {
    const written = this.#write({ author, message }, writesByCluster(changes), confirm);
    // The store has it already; only what was left out may have got room by it.
    if (this.exclusions.length > 0) this.#markWhole();
    return written;
  }

  recordable(changes: readonly CommitChange[]): readonly CommitChange[] {
    return changes.filter((change) => [...clustersOf([change])].every((name) => this.#shards.of(name) !== undefined));
  }

  others(changes: Iterable<CommitChange> = []): number {
    const clusters = clustersOf(changes);
    return Math.min(...(clusters.size === 0 ? [''] : [...clusters]).map((cluster) => this.#shards.othersIn(cluster)));
  }

  /** Members say what they have when they are asked: those nearest first, all of them if they take long. */
  async acknowledged(written: readonly Written[], count: number, timeoutMs: number): Promise<number> {
    const end = this.#options.monotonicMs() + timeoutMs;
    for (let most = count, pauseMs = ASK_MS; ; most *= 2, pauseMs = Math.min(2 * pauseMs, ASK_MAX_MS)) {
      let have = Number.POSITIVE_INFINITY;
      for (const { cluster, origin, sequence } of written) {
        const known = this.#shards.of(cluster)?.confirmations(origin, sequence) ?? 0;
        have = Math.min(have, known);
      }
      const leftMs = end - this.#options.monotonicMs();
      if (have >= count || leftMs <= 0 || this.#stopped) return have;
      // What was pushed a moment ago is on its way before the question.
      for (const { cluster, origin, sequence } of written) {
        this.#shards.of(cluster)?.askFor(origin, sequence, Math.min(most - have, this.#shards.othersIn(cluster)));
      }
      this.#pump();
      await wait(Math.min(pauseMs, leftMs));
    }
  }

  /** Of what is not configuration, too: in the mesh's replica. */
  write(author: string, message: string, writes: readonly CellWrite[], alongside?: () => void): Written {
    const [written] = this.#write({ author, message }, new Map([['', writes]]), alongside);
    return written as Written;
  }

  #write(
    about: { readonly author: string; readonly message: string },
    parts: ReadonlyMap<ClusterName, readonly CellWrite[]>,
    alongside: (() => void) | undefined,
  ): readonly Written[] {
    if (this.#stopped) throw new ApplicationError('unavailable', 'this node is about to stop, or leaves its mesh');
    // What others did before is told apart from what this does.
    this.#takeEvents(true);
    let written: readonly Written[];
    try {
      written = this.#shards.write(about, parts, alongside);
    } catch (error) {
      // One that was to be read again and could not be is missing.
      if (parts.size > 1) this.clustersChanged();
      throw error;
    }
    this.#takeEvents(false);
    this.#tellOthers(parts.get('') ?? []);
    this.#pump();
    return written;
  }

  /** The newest of this node's; undefined: it has written none. */
  get newest(): Written | undefined {
    const { self, heads } = this.#replica.ledger;
    if (self === undefined) return undefined;
    const origin = originKey(self);
    const head = heads.get(origin);
    return head && { cluster: '', origin, sequence: head.sequence };
  }

  /** The configuration that this node has becomes the mesh's, with the clusters that it names. Throws ApplicationError. */
  adopt(author: string): void {
    const { store } = this.#options;
    const message = 'the configuration with which the mesh began';
    const all = function* (): Iterable<CommitChange> {
      for (const { kind, name, body } of store.objects()) yield { kind, name, before: undefined, after: body };
      for (const { name, body } of store.scan()) yield { kind: 'Service', name, before: undefined, after: body };
    };
    this.#foundClusters(clustersOf(all()), author, message);
    let batch: CommitChange[] = [];
    let bytes = 0;
    const flush = (): void => {
      if (batch.length > 0) this.#write({ author, message }, writesByCluster(batch), undefined);
      batch = [];
      bytes = 0;
    };
    for (const change of all()) {
      batch.push(change);
      bytes += change.after?.length ?? 0;
      if (bytes > INITIAL_BYTES) flush();
    }
    flush();
  }

  #foundClusters(clusters: ReadonlySet<ClusterName>, author: string, message: string): void {
    const names = [...clusters].filter((name) => name !== '' && this.#shards.of(name) === undefined);
    if (names.length === 0) return;
    if (names.length > CLUSTER_LIMITS.ofNode) {
      const what = `the configuration names ${names.length} clusters, and a node is in ${CLUSTER_LIMITS.ofNode} at most`;
      throw new ApplicationError('refused', `${what}: name fewer`);
    }
    const now = Date.now();
    const self = nodeIdOf(this.#replica.node);
    const begins = { assignedMs: now, assignedBy: author, begins: true };
    this.write(
      author,
      message,
      names.flatMap((name) => [...clusterCreation(name, now, author), assignment(name, self, begins)]),
    );
  }

  // What comes from others.

  receive(from: NodeId, message: Addressed): void {
    // What it would open now nobody would close.
    if (this.#stopped) return;
    this.#shards.receive(from, message);
    this.#pumpSoon();
  }

  take(node: NodeId): Addressed | undefined {
    return this.#shards.take(node);
  }

  waiting(): Iterable<NodeId> {
    return this.#shards.waiting();
  }

  disconnected(node: NodeId): void {
    this.#shards.disconnected(node);
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
    this.#takeEvents(true);
    this.#links?.flush();
    this.#schedule();
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#turn);
    const tick = (): void => {
      this.#shards.tick();
      this.#pump();
    };
    const wait = this.#shards.nextDueMs() - this.#options.monotonicMs();
    // In the next turn: what is to leave has left by then.
    if (wait <= 0) this.#turn = setImmediate(tick);
    else this.#timer = setTimeout(tick, Math.ceil(Math.min(wait, TICK_MAX_MS))).unref();
  }

  /** changes: whether those that are told of are others', and not in the store yet. */
  #takeEvents(changes: boolean): void {
    for (const [cluster, events] of this.#shards.events()) {
      for (const event of events) {
        if (event.type === 'storage') {
          this.#notStored = { reason: event.reason, untilMs: this.#options.monotonicMs() + TROUBLE_MS };
        }
        if (event.type !== 'changed') this.#events.say(cluster === '' ? event : { ...event, cluster });
        else if (changes) this.#changed(cluster, event);
      }
    }
    if (this.#dirty.size > 0) this.#follow();
  }

  #changed(cluster: ClusterName, { objects, writers }: Extract<ReplicaEvent, { type: 'changed' }>): void {
    // Of a cluster only configuration counts: who belongs to the mesh, or may use it, is for all to know.
    if (cluster === '') this.#tellOthers(objects);
    for (const object of objects) {
      if (isConfigurationKind(object.kind)) this.#dirty.set(objectKey(object.kind, object.id), object);
    }
    for (const { author } of writers) if (author !== '') this.#authors.add(author);
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
          this.#notApplied = '';
          this.#following = undefined;
          this.#follow();
        },
        (error: unknown) => {
          const reason = error instanceof Error ? error.message : String(error);
          this.#notApplied = reason;
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
