// SPDX-License-Identifier: Apache-2.0
/**
 * The replicas of a node: the mesh's own, and one for each cluster that the node is in. They share its streams to other
 * nodes, on which each message names its cluster, and nothing else: cells, frames and numbers are each replica's own.
 *
 *   the mesh's replica says who is in a cluster ─▶ its replica is opened here ─▶ begins empty, or takes a snapshot
 *                                              └▶ its messages go to nodes that are in it, and are taken from those
 *
 * Who is not in a cluster is given nothing of it, whatever it asks for. A message that comes too early or too late, since
 * another node has heard of an assignment before this one, is lost like any other, and made good by comparing.
 */
import { compare, type Timestamp } from '@marcher/hlc';
import type { ReplicaSettings } from '../../domain/replication/context.js';
import {
  type Addressed,
  type CellWrite,
  type ClusterName,
  type Member,
  type NodeId,
  type ReplicaEvent,
  ReplicaStoreError,
  type WriteRefusal,
} from '../../domain/replication/contract.js';
import type { Replica } from '../../domain/replication/replica.js';
import type { HeldCluster } from '../../ports/mesh.js';
import { ApplicationError } from '../../ports/use-cases.js';
import type { ClusterDirectory } from './clusters.js';

/**
 * Rounds of comparing with other members, and looks for damage: what is pushed does not wait for these, so that a node in
 * many clusters, of which most are quiet, need not do them so often.
 */
export const CLUSTER_PACE = { roundMs: 4_000, upkeepMs: 4_000 } as const satisfies Partial<ReplicaSettings>;

/** Stamps of assignments of one node to one cluster. */
export interface HeldUnder {
  /** When it was opened. */
  readonly first: Timestamp;
  /** The newest that was heard of. */
  readonly last: Timestamp;
}

/** Where replicas of clusters are made, and kept. */
export interface ClusterReplicas {
  readonly directory: ClusterDirectory;
  /** Of which something is kept. */
  stored(): Iterable<ClusterName>;
  open(cluster: ClusterName): Replica;
  /** Under which assignments of this node what is kept of it was had; undefined: not known. */
  heldUnder(cluster: ClusterName): HeldUnder | undefined;
  setHeldUnder(cluster: ClusterName, under: HeldUnder): void;
  /** With all that is kept of it; nothing is asked of its replica any more. */
  drop(cluster: ClusterName): void;
}

export interface ShardsOptions {
  /** The mesh's. */
  readonly replica: Replica;
  /** Absent: there are no clusters. */
  readonly clusters?: ClusterReplicas | undefined;
  /** A message that was not taken. */
  readonly refused: (from: NodeId, reason: string) => void;
  readonly monotonicMs: () => number;
}

/** Where a change stands among all of one replica. */
export interface Written {
  readonly cluster: ClusterName;
  readonly origin: string;
  readonly sequence: number;
}

/** What changed by arrange(). */
export interface Arranged {
  readonly entered: readonly ClusterName[];
  readonly left: readonly ClusterName[];
}

/** The mesh's own. */
const MESH: ClusterName = '';

export class Shards {
  readonly #options: ShardsOptions;
  readonly #replicas: Map<ClusterName, Replica>;
  /** undefined: nobody has said yet. A replica that takes it for none writes, and forgets deletes, as if it were alone. */
  #members: readonly Member[] | undefined;
  /** By which assignment this node is in the clusters that it holds, as far as it has heard. */
  readonly #assigned = new Map<ClusterName, Timestamp>();
  /** In which of them is asked first what waits for a node, so that none keeps the others waiting. */
  #turn = 0;

  constructor(options: ShardsOptions) {
    this.#options = options;
    this.#replicas = new Map([[MESH, options.replica]]);
  }

  get mesh(): Replica {
    return this.#options.replica;
  }

  /** undefined: this node is not in it. */
  of(cluster: ClusterName): Replica | undefined {
    return this.#replicas.get(cluster);
  }

  /** In the order of their names. */
  held(): readonly HeldCluster[] {
    const held: HeldCluster[] = [];
    for (const [name, { ledger }] of this.#replicas) {
      if (name !== MESH) held.push({ name, admitted: ledger.admitted, digest: hex(ledger.digests.root) });
    }
    return held.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Members of the mesh. */
  setMembers(members: readonly Member[]): void {
    this.#members = members;
    this.mesh.setMembers(members);
    for (const cluster of this.#replicas.keys()) this.#tellMembers(cluster);
  }

  /** Others that are in it, reached or not. */
  othersIn(cluster: ClusterName): number {
    return this.#membersOf(cluster).filter(({ node }) => node !== this.mesh.node).length;
  }

  /**
   * Opens replicas of clusters that this node has come into, and drops those that it is out of. keep: it is in the mesh no
   * more, and stays with what it has.
   */
  arrange(keep: boolean): Arranged {
    const { clusters } = this.#options;
    if (clusters === undefined) return { entered: [], left: [] };
    const { node } = this.mesh;
    const wanted = new Set(keep ? clusters.stored() : clusters.directory.of(node));
    const there = new Set([...this.#replicas.keys(), ...clusters.stored()]);
    const isOut = (cluster: ClusterName): boolean => !wanted.has(cluster) || (!keep && this.#isOfBefore(cluster));
    const left = [...there].filter((cluster) => cluster !== MESH && isOut(cluster));
    for (const cluster of left) {
      this.#replicas.get(cluster)?.close();
      this.#replicas.delete(cluster);
      this.#assigned.delete(cluster);
      clusters.drop(cluster);
    }
    const entered = [...wanted].filter((cluster) => !this.#replicas.has(cluster));
    for (const cluster of entered) this.#replicas.set(cluster, clusters.open(cluster));
    for (const cluster of wanted) {
      this.#resume(cluster);
      this.#tellMembers(cluster);
    }
    return { entered, left };
  }

  /**
   * What is kept was in a cluster of that name that was deleted, and another was made, before this node heard of either:
   * nobody else has it any more.
   */
  #isOfBefore(cluster: ClusterName): boolean {
    const tenure = this.#options.clusters?.directory.tenureOf(cluster, this.mesh.node);
    const under = this.#options.clusters?.heldUnder(cluster);
    return tenure !== undefined && under !== undefined && compare(under.first, tenure.created) < 0;
  }

  /**
   * Where this node was assigned again, it may have been out meanwhile without hearing of it, and the others have
   * forgotten deletes without it: it takes over what they have, and writes anew what only it has.
   */
  #resume(cluster: ClusterName): void {
    const { clusters } = this.#options;
    const replica = this.#replicas.get(cluster);
    const begins = clusters?.directory.assignmentOf(cluster, this.mesh.node)?.begins === true;
    const tenure = clusters?.directory.tenureOf(cluster, this.mesh.node);
    if (clusters === undefined || replica === undefined) return;
    const under = clusters.heldUnder(cluster);
    const isAgain = tenure !== undefined && under !== undefined && compare(under.last, tenure.assigned) !== 0;
    if (begins) replica.begin(isAgain);
    else if (isAgain) {
      replica.rejoin();
      if (replica.ledger.admitted) throw new ReplicaStoreError('io', `cluster ${cluster} could not be joined again`);
    }
    if (tenure === undefined) return;
    this.#assigned.set(cluster, tenure.assigned);
    // The first stays: that the cluster was deleted and made anew between the two may be heard later.
    const first = under?.first ?? tenure.assigned;
    if (under === undefined || isAgain) clusters.setHeldUnder(cluster, { first, last: tenure.assigned });
  }

  #membersOf(cluster: ClusterName): readonly Member[] {
    const members = this.#members ?? [];
    return cluster === MESH ? members : members.filter(({ node }) => this.#isIn(cluster, node));
  }

  #isIn(cluster: ClusterName, node: NodeId): boolean {
    return this.#options.clusters?.directory.assignmentOf(cluster, node) !== undefined;
  }

  #isKnown(cluster: ClusterName, node: NodeId, assigned: Timestamp): boolean {
    const tenure = this.#options.clusters?.directory.tenureOf(cluster, node);
    return tenure !== undefined && compare(tenure.assigned, assigned) === 0;
  }

  /** Who is new there is told what is here, so that it takes over what it lacks without waiting for its turn. */
  #tellMembers(cluster: ClusterName): void {
    const replica = this.#replicas.get(cluster);
    if (cluster === MESH || replica === undefined || this.#members === undefined) return;
    const members = this.#membersOf(cluster);
    const before = new Set(replica.members());
    replica.setMembers(members);
    for (const { node, alive } of members) if (alive && !before.has(node)) replica.compare(node);
  }

  // Writing.

  refusal(
    cluster: ClusterName,
    writes: readonly CellWrite[],
  ): { readonly code: WriteRefusal; readonly reason: string } | undefined {
    return this.#replicas.get(cluster)?.refusal(writes);
  }

  /**
   * One transaction of this machine, and a frame in each of these replicas; nothing of it where one of them or alongside
   * fails. Throws ApplicationError, or what alongside has thrown.
   */
  write(
    { author, message }: { readonly author: string; readonly message: string },
    parts: ReadonlyMap<ClusterName, readonly CellWrite[]>,
    alongside: (() => void) | undefined,
  ): readonly Written[] {
    // Each is written within the commit of the one before. The mesh's is the first: it is the one that can't be opened anew.
    const order = [...parts].sort(([a], [b]) => (a < b ? -1 : 1));
    const written: Written[] = [];
    let refusal: string | undefined;
    const write = (at: number): void => {
      const part = order[at];
      if (part === undefined) {
        alongside?.();
        return;
      }
      const [cluster, writes] = part;
      const replica = this.#replicas.get(cluster);
      if (replica === undefined) throw new Error(`cluster ${cluster} is not on this node`);
      const isLast = at === order.length - 1;
      const result = replica.write({ author, message, writes }, isLast ? alongside : () => write(at + 1));
      if (result.ok) {
        written.push({ cluster, origin: result.origin, sequence: result.sequence });
        return;
      }
      // The innermost reason is the cause of the others.
      refusal ??= result.reason;
      throw new Error(result.reason);
    };
    try {
      write(0);
      return written;
    } catch (error) {
      this.#takeBack(written);
      throw refusal === undefined ? error : new ApplicationError('unavailable', refusal);
    }
  }

  /**
   * These hold in memory what was rolled back with the transaction around it: they are read again. Nobody was told of it.
   * One that can't be read now is opened by the next arrange().
   */
  #takeBack(written: readonly Written[]): void {
    for (const { cluster } of written) {
      this.#replicas.get(cluster)?.close();
      this.#replicas.delete(cluster);
      try {
        const opened = this.#options.clusters?.open(cluster);
        if (opened !== undefined) this.#replicas.set(cluster, opened);
        this.#tellMembers(cluster);
      } catch {
        // The reason is that of the write, which its caller is told.
      }
    }
  }

  // Messages.

  receive(from: NodeId, message: Addressed): void {
    const { cluster = MESH, assigned } = message;
    const replica = this.#replicas.get(cluster);
    if (replica === undefined) {
      this.#options.refused(from, `a message of cluster ${cluster}, which this node is not in`);
    } else if (cluster !== MESH && !this.#isIn(cluster, from)) {
      this.#options.refused(from, `a message of cluster ${cluster}, which that node is not in: ${message.type}`);
    } else if (cluster !== MESH && assigned !== undefined && !this.#isKnown(cluster, from, assigned)) {
      // One of the two has not heard yet: comparing makes up for it when both have.
      this.#options.refused(from, `a message of cluster ${cluster}, by another assignment than is known here`);
    } else replica.receive(from, message);
  }

  take(node: NodeId): Addressed | undefined {
    const shards = [...this.#replicas];
    for (let i = 0; i < shards.length; i++) {
      const [cluster, replica] = shards[(this.#turn + i) % shards.length] as [ClusterName, Replica];
      const message = replica.take(node);
      if (message === undefined) continue;
      this.#turn = (this.#turn + i + 1) % shards.length;
      if (cluster === MESH) return message;
      // It may have gone out of the cluster since this was written.
      if (this.#isIn(cluster, node)) {
        const assigned = this.#assigned.get(cluster);
        return { ...message, cluster, ...(assigned && { assigned }) };
      }
      i--;
    }
    return undefined;
  }

  *waiting(): Iterable<NodeId> {
    if (this.#replicas.size === 1) {
      yield* this.mesh.waiting();
      return;
    }
    const nodes = new Set<NodeId>();
    for (const replica of this.#replicas.values()) for (const node of replica.waiting()) nodes.add(node);
    yield* nodes;
  }

  disconnected(node: NodeId): void {
    for (const replica of this.#replicas.values()) replica.disconnected(node);
  }

  /** Frames that are here and that the member is not known to have, of all that both are in; undefined: it has not said. */
  behind(node: NodeId): number | undefined {
    let frames = 0;
    for (const [cluster, replica] of this.#replicas) {
      if (cluster !== MESH && !this.#isIn(cluster, node)) continue;
      const behind = replica.behind(node);
      if (behind === undefined) return undefined;
      frames += behind;
    }
    return frames;
  }

  // Time, and what happened.

  nextDueMs(): number {
    return Math.min(...Array.from(this.#replicas.values(), (replica) => replica.nextDueMs()));
  }

  /** Those whose time has come. */
  tick(): void {
    for (const replica of this.#replicas.values()) {
      const dueMs = replica.nextDueMs();
      // What is due at once says the time at which it was asked.
      if (dueMs <= this.#options.monotonicMs()) replica.tick();
    }
  }

  *events(): Iterable<[ClusterName, readonly ReplicaEvent[]]> {
    for (const [cluster, replica] of [...this.#replicas]) {
      const events = replica.events();
      if (events.length > 0) yield [cluster, events];
    }
  }

  close(): void {
    for (const replica of this.#replicas.values()) replica.close();
  }
}

/** A digest has 48 bits. */
function hex(digest: number): string {
  return digest.toString(16).padStart(12, '0');
}
