// SPDX-License-Identifier: Apache-2.0
/** The nodes of the mesh: replicated as objects beside the configuration, so that all know them, dead ones too. */
import {
  NODE_KIND,
  type NodeRecord,
  packNodeRecord,
  RECORD_GROUP,
  unpackNodeRecord,
} from '../../domain/mesh/node-record.js';
import type { CellWrite, ReplicaStore } from '../../domain/replication/contract.js';
import { objectsOfKind } from '../../domain/replication/kind.js';
import { EXISTENCE, type Groups, visible } from '../../domain/replication/object.js';

const NOTHING = new Uint8Array(0);

export class Nodes {
  readonly #cells: ReplicaStore;
  readonly #records = new Map<string, NodeRecord>();

  constructor(cells: ReplicaStore) {
    this.#cells = cells;
  }

  /** By id, with those that were removed. */
  get known(): ReadonlyMap<string, NodeRecord> {
    return this.#records;
  }

  /** By id, those that are in the mesh. */
  get members(): ReadonlyMap<string, NodeRecord> {
    return new Map([...this.#records].filter(([, { removedMs }]) => removedMs === 0n));
  }

  /** Reads what is stored. */
  load(): void {
    for (const { id, groups } of objectsOfKind(this.#cells, NODE_KIND)) this.#take(id, groups);
  }

  /** They look different now. */
  changed(ids: Iterable<string>): void {
    for (const id of ids) {
      this.#take(id, new Map(this.#cells.object(NODE_KIND, id).map((cell) => [cell.group, cell])));
    }
  }

  /** Before any state was taken over: what the node that let this one in has told. */
  introduce(records: Iterable<NodeRecord>): void {
    for (const record of records) if (!this.#records.has(record.nodeId)) this.#records.set(record.nodeId, record);
  }

  /** By id or, where only one has it, by name. */
  find(node: string): NodeRecord | undefined {
    const { members } = this;
    const byId = members.get(node);
    if (byId !== undefined) return byId;
    const named = [...members.values()].filter(({ name }) => name === node);
    return named.length === 1 ? named[0] : undefined;
  }

  #take(id: string, groups: Groups): void {
    const cells = new Map([...visible(groups)].map(({ group, value }) => [group, value]));
    if (!cells.has(EXISTENCE)) {
      this.#records.delete(id);
      return;
    }
    const record = unpackNodeRecord(id, cells.get(RECORD_GROUP) ?? NOTHING);
    if (record !== undefined) this.#records.set(id, record);
    else this.#records.delete(id);
  }
}

/** A node that comes, or says something new of itself. */
export function recordWrites(record: NodeRecord, isNew: boolean): CellWrite[] {
  const key = { kind: NODE_KIND, id: record.nodeId };
  const written = { ...key, group: RECORD_GROUP, value: packNodeRecord(record) };
  return isNew ? [{ ...key, group: EXISTENCE, value: NOTHING }, written] : [written];
}
