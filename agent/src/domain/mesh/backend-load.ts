// SPDX-License-Identifier: Apache-2.0
/**
 * What a node says of its open connections to each backend, for services that are balanced by the load of the mesh, and
 * what the others make of it: docs/decisions/0024. A word is a write of all nodes, so it is said only when it is clearly
 * another than the one before, and the less often the more nodes there are and the longer it is.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type NodeBackendLoad, NodeBackendLoadSchema } from '@marcher/proto/marcher/mesh/v1/node_state_pb';
import { LIMITS } from '../defaults.js';
import type { Cell, CellWrite } from '../replication/contract.js';
import { EXISTENCE } from '../replication/object.js';
import { NODE_STATE_KIND, ownCells } from './node-state.js';

/** By backendKey; those without any are left out. */
export type OpenConnections = ReadonlyMap<bigint, number>;

export interface SaidLoad {
  readonly open: OpenConnections;
  /** Unix time. */
  readonly saidMs: number;
  /** Of the word. */
  readonly bytes: number;
}

const GROUP = '5';
/** 8 of a key and at most 5 of a number for each, and the two lengths. */
const BYTES_MAX = LIMITS.meshLoadBackendsPerNode * 13 + 16;

/** Numbers that differ by less are the same, until the word is said again anyway. */
const STEP = 2;
const SHARE = 1 / 8;

/** What all in the mesh together say in a second, at most. */
const WORDS_PER_SECOND = 25;
const BYTES_PER_SECOND = 64 * 1024;
const PAUSE_MIN_MS = 2_000;
const REPEAT_MIN_MS = 60_000;
const REPEAT_PAUSES = 4;
/** One that was not repeated so often does not count any more. */
const MISSED = 3;

/** Connections that last so many pauses, on average, count in full; those that last less the less. */
const LASTING_PAUSES = 10;

const UINT32_MAX = 0xffff_ffff;

/**
 * Of one backend at all nodes: a hash of the cluster, the service, the backend's name and its address. With another of these it
 * is another backend, as it is in the data plane. hash: of bytes, at least 8.
 */
export function backendKey(parts: readonly string[], hash: (bytes: Uint8Array) => Uint8Array): bigint {
  const text = parts.map((part) => `${part.length}:${part}`).join('');
  const bytes = hash(new TextEncoder().encode(text));
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(0);
}

/** Between two words of a node, when one has so many bytes and the mesh so many members. */
export function loadPauseMs(members: number, bytes: number): number {
  return Math.max(PAUSE_MIN_MS, (members * 1_000) / WORDS_PER_SECOND, (members * bytes * 1_000) / BYTES_PER_SECOND);
}

/** After that a word is said again though it is the same: one that is older may be of a node that nobody hears any more. */
export function loadRepeatMs(members: number, bytes: number): number {
  return Math.max(REPEAT_MIN_MS, REPEAT_PAUSES * loadPauseMs(members, bytes));
}

/**
 * Which share of its connections a node says, so that what is heard of them some seconds later is still so: to what comes and
 * goes faster than words do, all nodes together would run and run away again. open: of a service; perSecond: new ones. What
 * one lasts is the quotient (Little's law).
 */
export function lastingShare(open: number, perSecond: number, pauseMs: number): number {
  if (perSecond <= 0) return 1;
  return Math.min(1, (open * 1_000) / (perSecond * pauseMs * LASTING_PAUSES));
}

/** cells: of the node's state. undefined: it has said nothing, or nothing that can be read. */
export function readLoad(nodeId: string, cells: readonly Cell[]): SaidLoad | undefined {
  const cell = ownCells(nodeId, cells).get(GROUP);
  if (cell?.value === undefined || cell.value.length > BYTES_MAX) return undefined;
  let word: NodeBackendLoad;
  try {
    word = fromBinary(NodeBackendLoadSchema, cell.value);
  } catch {
    return undefined;
  }
  const { backends, connections } = word;
  if (backends.length !== connections.length || backends.length > LIMITS.meshLoadBackendsPerNode) return undefined;
  const open = new Map<bigint, number>();
  backends.forEach((backend, i) => {
    open.set(backend, connections[i] ?? 0);
  });
  return { open, saidMs: cell.stamp.ms, bytes: cell.value.length };
}

/** What has to be written for others to know what is open now; nothing where they do. cells: of the node's state here. */
export function loadWrites(
  nodeId: string,
  cells: readonly Cell[],
  now: OpenConnections,
  { members, nowMs }: { readonly members: number; readonly nowMs: number },
): CellWrite[] {
  const said = readLoad(nodeId, cells);
  const before = said?.open ?? new Map<bigint, number>();
  if (isSame(before, now)) {
    const isRepeated = before.size > 0 || now.size > 0;
    if (!isRepeated || nowMs - (said?.saidMs ?? 0) < loadRepeatMs(members, said?.bytes ?? 0)) return [];
  }
  const backends = [...now.keys()].sort((a, b) => (a < b ? -1 : 1)).slice(0, LIMITS.meshLoadBackendsPerNode);
  const connections = backends.map((backend) => Math.min(now.get(backend) ?? 0, UINT32_MAX));
  const value = toBinary(NodeBackendLoadSchema, create(NodeBackendLoadSchema, { backends, connections }));
  const key = { kind: NODE_STATE_KIND, id: nodeId };
  const word = { ...key, group: GROUP, value };
  return ownCells(nodeId, cells).size > 0 ? [word] : [{ ...key, group: EXISTENCE, value: new Uint8Array(0) }, word];
}

/** What those have open together whose words are not too old. words: of other members that are there. */
export function loadElsewhere(words: Iterable<SaidLoad>, members: number, nowMs: number): OpenConnections {
  const sum = new Map<bigint, number>();
  for (const { open, saidMs, bytes } of words) {
    if (nowMs - saidMs > MISSED * loadRepeatMs(members, bytes)) continue;
    for (const [backend, connections] of open) {
      sum.set(backend, Math.min((sum.get(backend) ?? 0) + connections, UINT32_MAX));
    }
  }
  return sum;
}

function isSame(said: OpenConnections, now: OpenConnections): boolean {
  for (const [backend, connections] of now) if (!isNear(said.get(backend) ?? 0, connections)) return false;
  for (const [backend, connections] of said) if (!now.has(backend) && !isNear(connections, 0)) return false;
  return true;
}

function isNear(said: number, now: number): boolean {
  const apart = Math.abs(said - now);
  return apart < STEP || apart < SHARE * said;
}
