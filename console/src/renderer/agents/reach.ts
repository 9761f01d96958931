// SPDX-License-Identifier: Apache-2.0
/** Calls of agents, from where the page was served: used in its own thread and in that of its fleet. */
import { type AgentCalls, agentCalls, type Reach } from '@marcher/client/fleet';
import type { FleetPlace } from './fleet-port.js';
import { gatewayTransports, type TransportTo } from './transport.js';

export async function reachFrom({ base, mesh }: FleetPlace): Promise<Reach> {
  if (mesh === undefined) return reachThrough(gatewayTransports(base));
  const { desktopTransports } = await import('../desktop/transports.js');
  return reachThrough(desktopTransports(base, mesh));
}

/** The entry agent by itself, others through it. */
function reachThrough(to: TransportTo): Reach {
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
