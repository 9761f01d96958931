// SPDX-License-Identifier: Apache-2.0
/**
 * What all nodes know of a cluster: that it is there, and which nodes are in it. Each assignment is a register of its own,
 * so that of two nodes that are assigned at once both are in. Whoever creates or deletes a cluster of that name anew
 * erases the assignments before it.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { ClusterAssignmentSchema, ClusterRecordSchema } from '@marcher/proto/marcher/mesh/v1/cluster_pb';
import { isMeshName, isNodeId } from '../identity/names.js';
import type { CellWrite } from '../replication/contract.js';
import { EXISTENCE } from '../replication/object.js';

/** The kind of the replicated object; its id is the cluster's name. */
export const CLUSTER_KIND = 'Cluster';

export const CLUSTER_LIMITS = { ofMesh: 64, ofNode: 16 } as const;

const RECORD_GROUP = '1';
const NODE_GROUP = 'node/';
const AUTHOR_CHARACTERS = 512;
const NOTHING = new Uint8Array(0);

export interface Assignment {
  readonly assignedMs: number;
  readonly assignedBy: string;
  /** It begins with nothing, as nobody had anything when it was assigned. */
  readonly begins: boolean;
}

export interface ClusterRecord {
  readonly name: string;
  readonly createdMs: number;
  readonly createdBy: string;
  /** By node id, those that were removed from the mesh among them. */
  readonly nodes: ReadonlyMap<string, Assignment>;
}

/** Names of clusters follow the rule for every object's name. */
export function isClusterName(text: string): boolean {
  return isMeshName(text);
}

/**
 * cells: values of the groups of an object that is there. undefined: its name can be none of a cluster. Total otherwise:
 * what can't be read of it says nothing, as it may be of a later version.
 */
export function unpackCluster(name: string, cells: ReadonlyMap<string, Uint8Array>): ClusterRecord | undefined {
  if (!isClusterName(name)) return undefined;
  const record = read(ClusterRecordSchema, cells.get(RECORD_GROUP) ?? NOTHING);
  const nodes = new Map<string, Assignment>();
  for (const [group, bytes] of cells) {
    const nodeId = group.startsWith(NODE_GROUP) ? group.slice(NODE_GROUP.length) : '';
    if (!isNodeId(nodeId)) continue;
    const { assignedMs, assignedBy, begins } = read(ClusterAssignmentSchema, bytes);
    nodes.set(nodeId, { assignedMs: Number(assignedMs), assignedBy: assignedBy.slice(0, AUTHOR_CHARACTERS), begins });
  }
  const createdBy = record.createdBy.slice(0, AUTHOR_CHARACTERS);
  return { name, createdMs: Number(record.createdMs), createdBy, nodes };
}

function read<S extends typeof ClusterRecordSchema | typeof ClusterAssignmentSchema>(schema: S, bytes: Uint8Array) {
  try {
    return fromBinary(schema, bytes);
  } catch {
    return create(schema);
  }
}

export function clusterCreation(name: string, createdMs: number, createdBy: string): CellWrite[] {
  const record = create(ClusterRecordSchema, { createdMs: BigInt(createdMs), createdBy });
  const key = { kind: CLUSTER_KIND, id: name };
  return [
    { ...key, group: EXISTENCE, value: NOTHING },
    { ...key, group: RECORD_GROUP, value: toBinary(ClusterRecordSchema, record) },
  ];
}

export function clusterDeletion(name: string): CellWrite {
  return { kind: CLUSTER_KIND, id: name, group: EXISTENCE, value: undefined };
}

/** The register that says that a node is in it. */
export function assignmentGroup(nodeId: string): string {
  return NODE_GROUP + nodeId;
}

export function assignment(name: string, nodeId: string, { assignedMs, assignedBy, begins }: Assignment): CellWrite {
  const message = create(ClusterAssignmentSchema, { assignedMs: BigInt(assignedMs), assignedBy, begins });
  const value = toBinary(ClusterAssignmentSchema, message);
  return { kind: CLUSTER_KIND, id: name, group: assignmentGroup(nodeId), value };
}

export function unassignment(name: string, nodeId: string): CellWrite {
  return { kind: CLUSTER_KIND, id: name, group: assignmentGroup(nodeId), value: undefined };
}
