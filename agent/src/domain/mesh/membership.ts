// SPDX-License-Identifier: Apache-2.0
/**
 * Who is in the mesh, of two sources: the replicated records say who belongs to it, gossip says who answers. A node
 * belongs until its record is deleted, however long it is silent; whom gossip knows without a record is nobody yet.
 */
import { nodeNumber } from '../identity/names.js';
import type { Member } from '../replication/contract.js';
import type { NodeRecord } from './node-record.js';
import type { SaidState } from './node-state.js';

/** departed: it has left the mesh for good, by itself. */
export type MemberState = 'self' | 'alive' | 'suspect' | 'dead' | 'left' | 'unknown' | 'departed';

export interface GossipMember {
  readonly nodeId: string;
  readonly state: Exclude<MemberState, 'self' | 'unknown' | 'departed'>;
}

/** As operators see it. */
export interface MeshMember {
  /** 16 hex digits. */
  readonly nodeId: string;
  readonly name: string;
  readonly state: MemberState;
  /** Where its agent takes connections of other agents: "192.0.2.1:7400". */
  readonly address: string;
  readonly certificateExpiresMs: number;
  /** Newest changes of other nodes are here that this one is not known to have yet; undefined: not known. */
  readonly behind: number | undefined;
  /** How it said last that it is doing; undefined: it has not. */
  readonly said: SaidState | undefined;
  /** That it is in, by name. */
  readonly clusters: readonly string[];
}

export interface KnownNodes {
  /** This node's id. */
  readonly self: string;
  /** By node id, its own among them. */
  readonly records: ReadonlyMap<string, NodeRecord>;
  readonly gossip: readonly GossipMember[];
}

/** What is known of a node elsewhere. */
export interface MemberFigures {
  /** Unix time. */
  readonly certificateExpiresMs: (record: NodeRecord) => number;
  readonly behind: (nodeId: string) => number | undefined;
  readonly state: (nodeId: string) => SaidState | undefined;
  readonly clusters: (nodeId: string) => readonly string[];
}

/**
 * For Replica.setMembers: all but this node, the dead too, as tombstones wait for them. A suspect still counts as
 * alive: most suspicions are refuted, and ending its streams would cost more than a few messages in vain.
 */
export function replicaMembers({ self, records, gossip }: KnownNodes): Member[] {
  const states = statesOf(gossip);
  return [...records.keys()]
    .filter((nodeId) => nodeId !== self)
    .map((nodeId) => ({ node: nodeNumber(nodeId), alive: isThere(states.get(nodeId)) }));
}

/** By name, then by id. */
export function meshMembers({ self, records, gossip }: KnownNodes, figures: MemberFigures): MeshMember[] {
  const states = statesOf(gossip);
  const members = [...records.values()].map((record): MeshMember => {
    const { nodeId, name, meshAddress } = record;
    const state = nodeId === self ? 'self' : (states.get(nodeId) ?? 'unknown');
    const certificateExpiresMs = figures.certificateExpiresMs(record);
    const [behind, said] = [figures.behind(nodeId), figures.state(nodeId)];
    const clusters = figures.clusters(nodeId);
    return { nodeId, name, state, address: meshAddress, certificateExpiresMs, behind, said, clusters };
  });
  return members.sort((a, b) => order(a.name, b.name) || order(a.nodeId, b.nodeId));
}

/**
 * Where to look for nodes that gossip does not reach: at most so many addresses, since each that is silent costs a
 * connection's time-out. They begin at this node's place on the ring of ids, so that a mesh that starts as a whole does
 * not ask one node; turn: how many times it was asked before, so that in the end all are tried. One that has left is
 * not looked for.
 */
export function joinAddresses({ self, records, gossip }: KnownNodes, atMost: number, turn = 0): string[] {
  const states = statesOf(gossip);
  const own = records.get(self)?.gossipAddress;
  const ring = [...records.values()]
    .filter(({ nodeId, gossipAddress }) => {
      const state = states.get(nodeId);
      return nodeId !== self && gossipAddress !== '' && gossipAddress !== own && !isThere(state) && state !== 'left';
    })
    .sort((a, b) => order(a.nodeId, b.nodeId));
  if (ring.length === 0) return [];
  const after = ring.findIndex(({ nodeId }) => nodeId > self);
  const start = (Math.max(0, after) + turn * atMost) % ring.length;
  const turned = [...ring.slice(start), ...ring.slice(0, start)];
  return [...new Set(turned.slice(0, atMost).map(({ gossipAddress }) => gossipAddress))];
}

function statesOf(gossip: readonly GossipMember[]): ReadonlyMap<string, GossipMember['state']> {
  return new Map(gossip.map(({ nodeId, state }) => [nodeId, state]));
}

function isThere(state: MemberState | undefined): boolean {
  return state === 'alive' || state === 'suspect';
}

function order(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
