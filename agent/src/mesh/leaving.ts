// SPDX-License-Identifier: Apache-2.0
/**
 * This node goes out of its mesh on purpose:
 *
 *   its record says that it left ─▶ another has heard ─▶ everything closed ─▶ identity set aside, cells forgotten
 *
 * The record is what decides: an agent that is killed on the way goes on from there when it starts again.
 */
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { heldRemoval } from '../application/mesh/gossip-keys.js';
import { recordWrites } from '../application/mesh/nodes.js';
import type { Written } from '../application/mesh/replication.js';
import { heldRootsRemoval } from '../application/mesh/roots.js';
import { ACTION } from '../domain/audit/actions.js';
import { mayLeave } from '../domain/mesh/departure.js';
import { stateRemoval } from '../domain/mesh/node-state.js';
import type { Departure } from '../ports/mesh.js';
import { ApplicationError, type Caller } from '../ports/use-cases.js';
import { tell } from './auditing.js';
import { aliveOthers } from './membership.js';
import { hasLeft, isRemoved, ownRecord } from './own-record.js';
import type { Part } from './part.js';
import { end } from './running.js';

const TELL_MS = 5_000;
/** After it was killed on its way: those that heard of it before take nothing of it any more, and can't say so. */
const TELL_AGAIN_MS = 2_000;

export interface Goodbye {
  /** By which the others know; undefined: it could not say so, and goes all the same. */
  readonly frame: Written | undefined;
  readonly again: boolean;
}

/** Throws ApplicationError, and then this node is in the mesh as before. */
export function sayGoodbye(part: Part, force: boolean, caller: Caller): Goodbye {
  const { identity, nodes, replication, options } = part;
  if (isRemoved(part)) return goodbyeOf(part);
  const { nodeId } = identity;
  const signs = identity.authority !== undefined;
  const alive = aliveOthers(part).length;
  const verdict = mayLeave({ self: nodeId, members: nodes.members, signs, alive, admitted: replication.admitted });
  if (verdict.kind !== 'leaves' && !force) {
    throw new ApplicationError(verdict.kind === 'refused' ? 'refused' : 'unavailable', verdict.reason);
  }
  const left = { ...ownRecord(part), removedMs: BigInt(Date.now()), left: true };
  try {
    const writes = [...recordWrites(left, false), stateRemoval(nodeId), heldRemoval(nodeId), heldRootsRemoval(nodeId)];
    const told = { action: ACTION.leaveMesh, by: caller, objects: [`Node/${nodeId}`] };
    const frame = replication.write(caller.author, `node ${left.name} leaves`, writes, () => tell(part, 'done', told));
    return { frame, again: false };
  } catch (error) {
    if (!force) throw error;
    options.log.warn({ reason: String(error) }, 'this node leaves without saying so');
    return { frame: undefined, again: false };
  }
}

/** What a node said that is on its way out already: it was killed, or its identity could not be set aside. */
export function goodbyeOf({ replication }: Part): Goodbye {
  return { frame: replication.newest, again: true };
}

/** Closes everything and sets aside what this node was. gone: nothing may use the part any more. */
export async function depart(part: Part, goodbye: Goodbye, gone: () => void): Promise<Departure> {
  const { identity, files, options } = part;
  const told = await isHeard(part, goodbye);
  await end(part);
  const identityPath = await options.exclusively(async () => {
    const path = files.setAside(Date.now());
    gone();
    options.store.forgetReplica();
    return path;
  });
  forgetMembers(part, identityPath);
  const { mesh, nodeId } = identity;
  options.log.info({ mesh: mesh.name, node: nodeId, told, kept: identityPath }, 'this node has left its mesh');
  return { meshName: mesh.name, told, identityPath };
}

/** Of one that was removed by another nobody takes anything any more, nor needs to. */
async function isHeard(part: Part, { frame, again }: Goodbye): Promise<boolean> {
  const { nodes, identity, replication } = part;
  if (isRemoved(part) && !hasLeft(part)) return true;
  if (![...nodes.members.keys()].some((nodeId) => nodeId !== identity.nodeId)) return true;
  if (frame === undefined) return false;
  return (await replication.acknowledged([frame], 1, again ? TELL_AGAIN_MS : TELL_MS)) > 0;
}

/** Gossip of another mesh would look for them in vain. */
function forgetMembers({ options }: Part, identityPath: string): void {
  try {
    renameSync(join(options.stateDir, 'gossip-members'), join(identityPath, 'gossip-members'));
  } catch (error) {
    options.log.debug({ reason: String(error) }, 'what gossip remembers was not set aside');
  }
}
