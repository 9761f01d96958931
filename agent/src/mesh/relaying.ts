// SPDX-License-Identifier: Apache-2.0
/** Calls that this node passes on to other members, and those that others pass on to it (decision 27). */
import type { RelayDoorOptions } from '../adapters/inbound/mesh/relay-door.js';
import { parseHostPort } from '../adapters/outbound/mesh/host-port.js';
import { RelayLinks } from '../adapters/outbound/mesh/relay-links.js';
import { nodeNumber } from '../domain/identity/names.js';
import { type Relay, RelayError } from '../ports/relay.js';
import type { Part } from './part.js';

/** part: undefined: this node is in no mesh. */
export function relayOf(part: () => Part | undefined): Relay {
  return {
    get self() {
      return part()?.identity.nodeId;
    },
    nameOf: (nodeId) => memberName(part(), nodeId) ?? nodeId,
    async call(nodeId, headers, signal) {
      const here = part();
      if (here === undefined) throw new RelayError('no-mesh', 'this node is in no mesh');
      if (here.relays !== undefined) return await here.relays.call(nodeId, headers, signal);
      throw new RelayError('unreachable', 'the mesh port is not open here yet: marcher status says why');
    },
  };
}

export function openRelays(part: Part): RelayLinks {
  return new RelayLinks({
    mesh: part.tls,
    addressOf: (nodeId) => {
      const record = part.nodes.members.get(nodeId);
      return record && parseHostPort(record.meshAddress);
    },
    nameOf: (nodeId) => memberName(part, nodeId) ?? nodeId,
    logger: part.options.log,
  });
}

export function relayedTo(part: Part): Pick<RelayDoorOptions, 'answer' | 'memberName'> | undefined {
  const { answer } = part.options;
  return answer && { answer, memberName: (nodeId) => memberName(part, nodeId) };
}

/** Who belongs to the mesh has changed. */
export function keepRelays({ nodes, relays, server }: Part): void {
  const members = new Set(nodes.members.keys());
  relays?.keep(members);
  server?.keepRelays(new Set([...members].map(nodeNumber)));
}

/** What tells a member from all others: its name, or its id where another has that name too. undefined: it is none. */
function memberName(part: Part | undefined, nodeId: string): string | undefined {
  const members = part?.nodes.members;
  const name = members?.get(nodeId)?.name;
  if (members === undefined || name === undefined) return undefined;
  for (const [id, other] of members) if (id !== nodeId && other.name === name) return nodeId;
  return name === '' ? nodeId : name;
}
