// SPDX-License-Identifier: Apache-2.0
/** Who is in the mesh and who is there, for replication, for operators, and for finding those that gossip has lost. */
import { X509Certificate } from 'node:crypto';
import { heldRemoval } from '../application/mesh/gossip-keys.js';
import { recordWrites } from '../application/mesh/nodes.js';
import { heldRootsRemoval } from '../application/mesh/roots.js';
import { ACTION } from '../domain/audit/actions.js';
import { nodeNumber } from '../domain/identity/names.js';
import { departedNodes } from '../domain/mesh/departure.js';
import { joinAddresses, type KnownNodes, meshMembers, replicaMembers } from '../domain/mesh/membership.js';
import type { NodeRecord } from '../domain/mesh/node-record.js';
import { NODE_STATE_KIND, readState, stateRemoval } from '../domain/mesh/node-state.js';
import type { MeshMember } from '../ports/mesh.js';
import { ApplicationError, type Caller } from '../ports/use-cases.js';
import { tell } from './auditing.js';
import { unassignAll } from './clusters.js';
import type { Part } from './part.js';

/** Between two looks for nodes that gossip does not reach. */
const SEEK_MS = 5_000;
const SEEK_ADDRESSES = 3;

function knownNodes({ identity, nodes, gossip }: Part): KnownNodes {
  return { self: identity.nodeId, records: nodes.members, gossip: gossip?.members() ?? [] };
}

export function membersChanged(part: Part): void {
  if (part.gossip === undefined || part.timers.stopped) return;
  const members = replicaMembers(knownNodes(part));
  part.replication.setMembers(members);
  part.server?.keep(new Set(members.map(({ node }) => node)));
}

/** Those that gossip does not reach are looked for, a few at a time. turn: how often it was done before. */
export function seek(part: Part, turn = 0): void {
  if (part.timers.stopped || part.gossip === undefined) return;
  void seekNow(part, turn).then(() => part.timers.after(SEEK_MS, () => seek(part, turn + 1)));
}

export async function seekNow(part: Part, turn = 0): Promise<void> {
  const addresses = joinAddresses(knownNodes(part), SEEK_ADDRESSES, turn);
  if (addresses.length > 0) await part.gossip?.join(addresses).catch(() => 0);
}

/** Ids of other members that answer; a suspect is one until it is declared dead. */
export function aliveOthers(part: Part): string[] {
  const { members } = part.nodes;
  const there = (part.gossip?.members() ?? []).filter(({ state }) => state === 'alive' || state === 'suspect');
  return there.map(({ nodeId }) => nodeId).filter((id) => id !== part.identity.nodeId && members.has(id));
}

/** Parsing a certificate takes as long as all else that is said of a member. */
const expiries = new WeakMap<NodeRecord, number>();

function certificateExpiresMs(record: NodeRecord): number {
  const known = expiries.get(record);
  if (known !== undefined) return known;
  const [newest] = record.certificates;
  const expiresMs = newest === undefined ? 0 : new Date(new X509Certificate(newest).validTo).getTime();
  expiries.set(record, expiresMs);
  return expiresMs;
}

/** Those that have left of late come last. */
export function membersOf(part: Part): readonly MeshMember[] {
  const members = meshMembers(knownNodes(part), {
    certificateExpiresMs,
    state: (nodeId) => readState(nodeId, part.cells.object(NODE_STATE_KIND, nodeId)),
    behind: (nodeId) => (nodeId === part.identity.nodeId ? 0 : part.replication.behind(nodeNumber(nodeId))),
    clusters: (nodeId) => part.clusters.of(nodeNumber(nodeId)),
  });
  const departed = departedNodes(part.nodes.known.values(), Date.now()).map((record): MeshMember => {
    const { nodeId, name, meshAddress: address } = record;
    const known = {
      certificateExpiresMs: certificateExpiresMs(record),
      behind: undefined,
      said: undefined,
      clusters: [],
    };
    return { nodeId, name, state: 'departed', address, ...known };
  });
  return [...members, ...departed];
}

/** node: id or name. Throws ApplicationError. */
export function removeMember(part: Part, node: string, keepKeys: boolean, caller: Caller): void {
  const record = part.nodes.find(node);
  if (record === undefined) {
    const excerpt = JSON.stringify(node.slice(0, 80));
    throw new ApplicationError('not_found', `there is no node ${excerpt}: see marcher mesh members`);
  }
  const { nodeId, name } = record;
  if (nodeId === part.identity.nodeId) {
    throw new ApplicationError('refused', 'a node does not remove itself: ask another one');
  }
  const removed = { ...record, removedMs: BigInt(Date.now()), ...(keepKeys ? { keysKept: true } : {}) };
  const writes = [
    ...recordWrites(removed, false),
    stateRemoval(nodeId),
    heldRemoval(nodeId),
    heldRootsRemoval(nodeId),
    ...unassignAll(part, nodeId),
  ];
  part.replication.write(caller.author, `node ${name} removed`, writes, () =>
    tell(part, 'done', {
      action: ACTION.removeMember,
      by: caller,
      objects: [`Node/${nodeId}`],
      message: `node ${name}`,
    }),
  );
  part.options.log.info({ node: nodeId, name, author: caller.author }, 'a node was removed');
}
