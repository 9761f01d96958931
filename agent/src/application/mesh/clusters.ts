// SPDX-License-Identifier: Apache-2.0
/** Which clusters there are and which nodes are in them: replicated in the mesh's own replica, which all nodes have. */
import { nodeIdOf, nodeNumber } from '../../domain/identity/names.js';
import { CLUSTER_KIND, CLUSTER_LIMITS, type ClusterRecord, unpackCluster } from '../../domain/mesh/cluster.js';
import type { ClusterName, NodeId, ReplicaStore } from '../../domain/replication/contract.js';
import { objectsOfKind, valuesOf } from '../../domain/replication/kind.js';
import { compareText } from '../../domain/replication/object.js';

/** Who is in what, as replication asks for it. */
export interface ClusterDirectory {
  /** Clusters of a node, in the order of their names. */
  of(node: NodeId): readonly ClusterName[];
  /** undefined: it is in no such cluster. */
  assignmentOf(cluster: ClusterName, node: NodeId): { readonly begins: boolean } | undefined;
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
  #built: Index | undefined;

  /** isMember: whether a node is in the mesh; who is not is in no cluster. */
  constructor(cells: ReplicaStore, isMember: (nodeId: string) => boolean) {
    this.#cells = cells;
    this.#isMember = isMember;
  }

  /** Reads what is stored. */
  load(): void {
    for (const { id, groups } of objectsOfKind(this.#cells, CLUSTER_KIND)) this.#take(id, valuesOf(groups));
  }

  /** They look different now. */
  changed(names: Iterable<ClusterName>): void {
    for (const name of names) {
      const cells = this.#cells.object(CLUSTER_KIND, name);
      this.#take(name, valuesOf(new Map(cells.map((cell) => [cell.group, cell]))));
    }
  }

  /**
   * By name. Two sides of a partition may have created more than there can be: those that come first by name count, on
   * every node the same.
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

  /** Ids of the nodes that are in it, those that do not answer too. */
  nodesOf(cluster: ClusterName): readonly string[] {
    const ids = [...(this.get(cluster)?.nodes.keys() ?? [])].sort();
    return ids.filter((nodeId) => this.of(nodeNumber(nodeId)).includes(cluster));
  }

  #take(name: string, values: ReadonlyMap<string, Uint8Array> | undefined): void {
    const record = values && unpackCluster(name, values);
    if (record === undefined) this.#records.delete(name);
    else this.#records.set(name, record);
    this.#built = undefined;
  }

  /** Asked for each message, and built for each change. */
  get #index(): Index {
    if (this.#built !== undefined) return this.#built;
    const all = [...this.#records.values()].sort((a, b) => compareText(a.name, b.name));
    const list = all.slice(0, CLUSTER_LIMITS.ofMesh);
    const byNode = new Map<string, ClusterName[]>();
    for (const { name, nodes } of list) {
      for (const nodeId of nodes.keys()) {
        const names = byNode.get(nodeId) ?? [];
        if (names.length < CLUSTER_LIMITS.ofNode) byNode.set(nodeId, [...names, name]);
      }
    }
    this.#built = { list, byNode };
    return this.#built;
  }
}
