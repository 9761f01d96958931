// SPDX-License-Identifier: Apache-2.0
import { type AgentCalls, agentCalls, type Reach } from '@marcher/client/fleet';
import type { TransportTo } from './transport.js';

/** The entry agent by itself, others through it. */
export function reachThrough(to: TransportTo): Reach {
  const known = new Map<string, AgentCalls>();
  const calls = (node: string, where: string): AgentCalls => {
    const before = known.get(node);
    if (before !== undefined) return before;
    const made = agentCalls(to(node), where);
    known.set(node, made);
    return made;
  };
  return { entry: calls('entry', 'the agent'), node: (id) => calls(id, `node ${id}`) };
}
