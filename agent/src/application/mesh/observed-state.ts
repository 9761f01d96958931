// SPDX-License-Identifier: Apache-2.0
/** How this node is doing, as it sees it itself: what it says to the others of its mesh (domain/mesh/node-state.ts). */
import { create } from '@bufbuild/protobuf';
import {
  NodeHealthSchema,
  NodeLoadSchema,
  NodeTiersSchema,
  NodeVersionSchema,
} from '@marcher/proto/marcher/mesh/v1/node_state_pb';
import type { StatusResponse } from '@marcher/proto/marcher/v1/node_service_pb';
import { boundedState, type NodeState } from '../../domain/mesh/node-state.js';
import { Counter, type Dataplane, SlotKind } from '../../ports/dataplane.js';

export interface ObservedNode {
  readonly status: () => StatusResponse;
  readonly dataplane: Pick<Dataplane, 'stats' | 'backends'>;
  /** Services of the packet tiers. */
  readonly tiers: () => { readonly xdp: number; readonly tc: number };
}

/** Fails while the engine does not answer. */
export async function observedState({ status, dataplane, tiers }: ObservedNode): Promise<NodeState> {
  const { version, ready, draining, conditions, engine, services } = status();
  const unhealthy = (await dataplane.backends('')).filter(
    ({ endpoints }) => endpoints.length > 0 && endpoints.every(({ health }) => health === 'unhealthy'),
  );
  const load: { service: string; connections: bigint }[] = [];
  for (const slot of dataplane.stats({ activeOnly: true })) {
    if (slot.kind !== SlotKind.service) continue;
    const connections = slot.counter(Counter.connectionsOpened) - slot.counter(Counter.connectionsClosed);
    if (connections > 0n) load.push({ service: slot.name, connections });
  }
  const { xdp, tc } = tiers();
  const counts = { xdp, tc, relay: services - xdp - tc };
  return boundedState({
    version: create(NodeVersionSchema, { agent: version, engine: engine?.running === true ? engine.version : '' }),
    health: create(NodeHealthSchema, {
      ready,
      draining,
      unmet: conditions.filter(({ status: met }) => !met).map(({ type }) => type),
      unhealthy: unhealthy.map(({ service, backend }) => ({ service, backend })),
      unhealthyCount: unhealthy.length,
    }),
    tiers: create(NodeTiersSchema, {
      tiers: Object.entries(counts).flatMap(([tier, count]) => (count > 0 ? [{ tier, services: count }] : [])),
    }),
    load: create(NodeLoadSchema, {
      connections: load.reduce((sum, { connections }) => sum + connections, 0n),
      services: load,
    }),
  });
}
