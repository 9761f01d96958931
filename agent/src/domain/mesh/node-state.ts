// SPDX-License-Identifier: Apache-2.0
/**
 * How a node is doing (node_state.proto): what of it is worth saying to all others, as each word costs all of them a
 * write, and what of what others have said counts.
 */
import { create, type DescMessage, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf';
import {
  type NodeHealth,
  NodeHealthSchema,
  type NodeLoad,
  NodeLoadSchema,
  type NodeTiers,
  NodeTiersSchema,
  type NodeVersion,
  NodeVersionSchema,
} from '@marcher/proto/marcher/mesh/v1/node_state_pb';
import { nodeNumber } from '../identity/names.js';
import type { Cell, CellWrite } from '../replication/contract.js';
import { EXISTENCE, sameBytes, visible } from '../replication/object.js';
import { parseOrigin } from '../replication/origin.js';

/** The kind of the replicated object; its id is the node's. */
export const NODE_STATE_KIND = 'NodeState';

export interface NodeState {
  readonly version: NodeVersion;
  readonly health: NodeHealth;
  readonly tiers: NodeTiers;
  readonly load: NodeLoad;
}

/** As others have it; what was not said yet is absent. */
export interface SaidState extends Partial<NodeState> {
  /** Unix time of the newest word. */
  readonly saidMs: number;
}

const PARTS = {
  version: { group: '1', schema: NodeVersionSchema },
  health: { group: '2', schema: NodeHealthSchema },
  tiers: { group: '3', schema: NodeTiersSchema },
  load: { group: '4', schema: NodeLoadSchema },
} as const satisfies Record<keyof NodeState, { group: string; schema: DescMessage }>;

const NAMED_MAX = 256;
const UNMET_MAX = 32;
/** A register of another node that is larger is not read. */
const BYTES_MAX = 128 * 1024;
/** Loads that differ by less are the same. */
const LOAD_STEP = 16;
const LOAD_SHARE = 0.25;
const NOTHING = new Uint8Array(0);

/** All in the mesh together say so much in a second, at most. */
const WORDS_PER_SECOND = 10;
const PAUSE_MS = { least: 5_000, most: 100_000 } as const;

/** Between two words of one node, in a mesh of so many. */
export function statePauseMs(members: number): number {
  return Math.min(PAUSE_MS.most, Math.max(PAUSE_MS.least, (members * 1_000) / WORDS_PER_SECOND));
}

/** Within its bounds, and in an order that the same state always has. */
export function boundedState({ version, health, tiers, load }: NodeState): NodeState {
  const busiest = load.services.toSorted(
    (a, b) => Number(b.connections - a.connections) || order(a.service, b.service),
  );
  return {
    version,
    health: create(NodeHealthSchema, {
      ...health,
      unmet: [...new Set(health.unmet)].sort(order).slice(0, UNMET_MAX),
      unhealthy: health.unhealthy
        .toSorted((a, b) => order(a.service, b.service) || order(a.backend, b.backend))
        .slice(0, NAMED_MAX),
    }),
    tiers: create(NodeTiersSchema, { tiers: tiers.tiers.toSorted((a, b) => order(a.tier, b.tier)) }),
    load: create(NodeLoadSchema, { ...load, services: busiest.slice(0, NAMED_MAX) }),
  };
}

/** What has to be written for others to know it; nothing where they do. */
export function stateWrites(nodeId: string, before: SaidState | undefined, now: NodeState): CellWrite[] {
  const key = { kind: NODE_STATE_KIND, id: nodeId };
  const writes: CellWrite[] = [];
  const say = <K extends keyof NodeState>(part: K, isSame: (said: NodeState[K]) => boolean): void => {
    const said = before?.[part] as NodeState[K] | undefined;
    if (said === undefined || !isSame(said))
      writes.push({ ...key, group: PARTS[part].group, value: bytesOf(part, now[part]) });
  };
  for (const part of ['version', 'health', 'tiers'] as const) {
    say(part, (said) => sameBytes(bytesOf(part, said), bytesOf(part, now[part])));
  }
  say('load', (said) => isSameLoad(said, now.load));
  return before === undefined ? [{ ...key, group: EXISTENCE, value: NOTHING }, ...writes] : writes;
}

/** A node that has gone says nothing any more. */
export function stateRemoval(nodeId: string): CellWrite {
  return { kind: NODE_STATE_KIND, id: nodeId, group: EXISTENCE, value: undefined };
}

/** Of the object's cells; undefined: it has said nothing. */
export function readState(nodeId: string, cells: readonly Cell[]): SaidState | undefined {
  const own = ownCells(nodeId, cells);
  if (own.size === 0) return undefined;
  const read = <K extends keyof NodeState>(part: K): NodeState[K] | undefined =>
    unpack(PARTS[part].schema, own.get(PARTS[part].group)?.value) as NodeState[K] | undefined;
  const [version, health, tiers, load] = [read('version'), read('health'), read('tiers'), read('load')];
  return {
    saidMs: Math.max(...[...own.values()].map(({ stamp }) => stamp.ms)),
    ...(version && { version }),
    ...(health && { health }),
    ...(tiers && { tiers }),
    ...(load && { load }),
  };
}

/** Those of the object's cells that count, by group: which the node itself has written. */
export function ownCells(nodeId: string, cells: readonly Cell[]): ReadonlyMap<string, Cell> {
  const node = nodeNumber(nodeId);
  const own = new Map<string, Cell>();
  for (const cell of visible(new Map(cells.map((cell) => [cell.group, cell])))) {
    if (parseOrigin(cell.origin).node === node) own.set(cell.group, cell);
  }
  return own;
}

function isSameLoad(said: NodeLoad, now: NodeLoad): boolean {
  if (!isNear(said.connections, now.connections)) return false;
  const services = new Map(said.services.map(({ service, connections }) => [service, connections]));
  for (const { service, connections } of now.services) {
    if (!isNear(services.get(service) ?? 0n, connections)) return false;
    services.delete(service);
  }
  return [...services.values()].every((connections) => isNear(connections, 0n));
}

function isNear(one: bigint, other: bigint): boolean {
  const apart = Math.abs(Number(one - other));
  return apart < LOAD_STEP || apart < LOAD_SHARE * Number(one);
}

function bytesOf<K extends keyof NodeState>(part: K, message: NodeState[K]): Uint8Array {
  const { schema } = PARTS[part];
  return toBinary(schema as DescMessage, message);
}

function unpack<T extends DescMessage>(schema: T, bytes: Uint8Array | undefined): MessageShape<T> | undefined {
  if (bytes === undefined || bytes.length > BYTES_MAX) return undefined;
  try {
    return fromBinary(schema, bytes);
  } catch {
    return undefined;
  }
}

function order(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
