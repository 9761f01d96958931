// SPDX-License-Identifier: Apache-2.0
/** This node says how it is doing, now and then and only what is new: each word is a write of all nodes. */
import { NODE_STATE_KIND, readState, statePauseMs, stateWrites } from '../domain/mesh/node-state.js';
import type { Part } from './part.js';

/** A look at so many backends is to take but a small part of the time between two. */
const MS_PER_BACKEND = 1;

export function sayState(part: Part, share = 0.2): void {
  const { timers, nodes, options } = part;
  const pauseMs = Math.max(statePauseMs(nodes.members.size), options.backends() * MS_PER_BACKEND);
  // Not all of them at once.
  timers.after(pauseMs * share * (0.75 + Math.random() / 2), () => {
    void say(part).finally(() => sayState(part, 1));
  });
}

async function say({ identity, cells, replication, options, timers }: Part): Promise<void> {
  try {
    const state = await options.observe();
    if (timers.stopped || !replication.admitted) return;
    const { nodeId } = identity;
    const writes = stateWrites(nodeId, readState(nodeId, cells.object(NODE_STATE_KIND, nodeId)), state);
    if (writes.length > 0) replication.write('', '', writes);
  } catch (error) {
    options.log.debug({ reason: String(error) }, 'how this node is doing is said later');
  }
}
