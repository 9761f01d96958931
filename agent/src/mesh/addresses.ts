// SPDX-License-Identifier: Apache-2.0
import { parseHostPort } from '../adapters/outbound/mesh/host-port.js';
import { nodeIdOf } from '../domain/identity/names.js';
import type { Part } from './part.js';

interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Gossip is always at the port after that of the mesh. */
export function gossipOf({ host, port }: HostPort): HostPort {
  return { host, port: port + 1 };
}

/** Where a member takes connections of other agents; undefined: it is none. */
export function addressOf(part: Part, node: bigint): HostPort | undefined {
  const record = part.nodes.members.get(nodeIdOf(node));
  return record && parseHostPort(record.meshAddress);
}
