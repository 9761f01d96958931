// SPDX-License-Identifier: Apache-2.0
/** Which clusters there are and which nodes are in them: replicated in the mesh's own replica, which all nodes have. */
import type { Timestamp } from '@marcher/hlc';
import { nodeIdOf, nodeNumber } from '../../domain/identity/names.js';
import {
  assignmentGroup,
  CLUSTER_KIND,
  CLUSTER_LIMITS,
  type ClusterRecord,
  unpackCluster,
} from '../../domain/mesh/cluster.js';
import type { ClusterName, NodeId, ReplicaStore } from '../../domain/replication/contract.js';
import { objectsOfKind, valuesOf } from '../../domain/replication/kind.js';
import { compareText, EXISTENCE, type Groups } from '../../domain/replication/object.js';

/** Since when a node is in a cluster, and since when there is that cluster: stamps of what says so. */
export interface Tenure {
  readonly assigned: Timestamp;
  readonly created: Timestamp;
}

/** Who is in what, as replication asks for it. */
export interface ClusterDirectory {
  /** Clusters of a node, in the order of their names. */
  of(node: NodeId): readonly ClusterName[];
  /** undefined: it is in no such cluster. */
  assignmentOf(cluster: ClusterName, node: NodeId): { readonly begins: boolean } | undefined;
  /** undefined: it is in no such cluster. */
  tenureOf(cluster: ClusterName, node: NodeId): Tenure | undefined;
  has(cluster: ClusterName): boolean;
}

interface Index {
  /** By name. */
  readonly list: readonly ClusterRecord[];
  readonly byNode: ReadonlyMap<string, readonly ClusterName[]>;
}

export class Clusters implements ClusterDirectory {
  readonly #cells: ReplicaStore;
  readonly #isMember: (nodeId: string) => boolean;
  readonly #records = new Map<ClusterName, ClusterRecord>();
  readonly #groups = new Map<ClusterName, Groups>();
  #built: Index | undefined;

  /** isMember: whether a node is in the mesh; who is not is in no cluster. */
  constructor(cells: ReplicaStore, isMember: (nodeId: string) => boolean) {
    this.#cells = cells;
    this.#isMember = isMember;
  }

  /** Reads what is stored. */
  load(): void {
    for (const { id, groups } of objectsOfKind(this.#cells, CLUSTER_KIND)) this.#take(id, groups);
  }

  /** They look different now. */
  changed(names: Iterable<ClusterName>): void {
    for (const name of names) {
      const cells = this.#cells.object(CLUSTER_KIND, name);
      this.#take(name, new Map(cells.map((cell) => [cell.group, cell])));
    }
  }

  /**
   * By name. Two sides of a partition may have created more than there can be: the older ones count, on every node the
   * same, so that none that is in use is put out by one that comes. Likewise with the clusters of a node.
   */
  list(): readonly ClusterRecord[] {
    return this.#index.list;
  }

  get(name: ClusterName): ClusterRecord | undefined {
    return this.list().find((record) => record.name === name);
  }

  has(name: ClusterName): boolean {
    return this.get(name) !== undefined;
  }

  of(node: NodeId): readonly ClusterName[] {
    const nodeId = nodeIdOf(node);
    return this.#isMember(nodeId) ? (this.#index.byNode.get(nodeId) ?? []) : [];
  }

  assignmentOf(cluster: ClusterName, node: NodeId): { readonly begins: boolean } | undefined {
    return this.of(node).includes(cluster) ? this.#records.get(cluster)?.nodes.get(nodeIdOf(node)) : undefined;
  }

  tenureOf(cluster: ClusterName, node: NodeId): Tenure | undefined {
    if (!this.of(node).includes(cluster)) return undefined;
    const groups = this.#groups.get(cluster);
    const [assigned, created] = [assignmentGroup(nodeIdOf(node)), EXISTENCE].map((group) => groups?.get(group)?.stamp);
    return assigned && created && { assigned, created };
  }

  /** Ids of the nodes that are in it, those that do not answer too. */
  nodesOf(cluster: ClusterName): readonly string[] {
    const ids = [...(this.get(cluster)?.nodes.keys() ?? [])].sort();
    return ids.filter((nodeId) => this.of(nodeNumber(nodeId)).includes(cluster));
  }

  #take(name: string, groups: Groups): void {
    const values = valuesOf(groups);
    const record = values && unpackCluster(name, values);
    this.#groups.set(name, groups);
    if (record === undefined) {
      this.#records.delete(name);
      this.#groups.delete(name);
    } else this.#records.set(name, record);
    this.#built = undefined;
  }

  /** Asked for each message, and built for each change. */
  get #index(): Index {
    if (this.#built !== undefined) return this.#built;
    const older = (a: { ms: number; name: string }, b: typeof a) => a.ms - b.ms || compareText(a.name, b.name);
    const all = Array.from(this.#records.values(), (record) => ({ record, ms: record.createdMs, name: record.name }));
    const counted = all.sort(older).slice(0, CLUSTER_LIMITS.ofMesh);
    const list = counted.map(({ record }) => record).sort((a, b) => compareText(a.name, b.name));
    const assigned = new Map<string, { ms: number; name: ClusterName }[]>();
    for (const { name, nodes } of list) {
      for (const [nodeId, { assignedMs: ms }] of nodes) {
        const others = assigned.get(nodeId);
        if (others === undefined) assigned.set(nodeId, [{ ms, name }]);
        else others.push({ ms, name });
      }
    }
    const byNode = new Map<string, readonly ClusterName[]>();
    for (const [nodeId, names] of assigned) {
      const taken = names.sort(older).slice(0, CLUSTER_LIMITS.ofNode);
      byNode.set(nodeId, taken.map(({ name }) => name).sort(compareText));
    }
    this.#built = { list, byNode };
    return this.#built;
  }
}
