// SPDX-License-Identifier: Apache-2.0
/** One backend, as nodes find it, and in a word. */
import { type BackendStatus, Health } from '@marcher/proto/marcher/v1/node_service_pb';
import type { FreshNodes } from './agreement.js';
import type { BackendView, NodeKey } from './contract.js';
import { NodeDraft, type NodeSlots } from './node-map.js';
import { isSameBackend, sharedValue } from './shared-values.js';

export class BackendEntry {
  readonly key: string;
  readonly service: string;
  readonly backend: string;
  readonly nodes: NodeDraft<BackendStatus>;
  /** As of the last publication. */
  view: BackendView | undefined;

  constructor(slots: NodeSlots, key: string, service: string, backend: string) {
    this.nodes = new NodeDraft(slots);
    this.key = key;
    this.service = service;
    this.backend = backend;
  }

  /** Whether that is another one than before, and may be another word for all nodes ("turned"). */
  set(node: NodeKey, status: BackendStatus): 'same' | 'new' | 'changed' | 'turned' {
    const before = this.nodes.get(node);
    if (before !== undefined && isSameBackend(before, status)) return 'same';
    if (!this.nodes.set(node, sharedValue(status, this.nodes.cells, isSameBackend))) return 'same';
    if (before === undefined) return 'new';
    return before.draining !== status.draining || healthOf(before) !== healthOf(status) ? 'turned' : 'changed';
  }

  /** Live nodes find it otherwise in a word than was published. Of fifty that find it so one after the other, the first and the last say so. */
  isOtherwise(fresh: FreshNodes): boolean {
    if (this.view === undefined) return false;
    const { health, draining } = standOf(this.nodes.cells, fresh);
    return health !== this.view.health || draining !== this.view.draining;
  }

  /** undefined: no node has it any more. */
  publish(fresh: FreshNodes): BackendView | undefined {
    const before = this.view;
    const nodes = this.nodes.publish();
    const { connections, health, draining } = standOf(nodes.cells, fresh);
    if (nodes.size === 0) this.view = undefined;
    else if (
      before?.nodes !== nodes ||
      before.connections !== connections ||
      before.health !== health ||
      before.draining !== draining
    ) {
      const { key, service, backend } = this;
      this.view = { key, service, backend, nodes, connections, health, draining };
    }
    return this.view;
  }
}

/** As live nodes find it, together. */
function standOf(
  cells: readonly (BackendStatus | undefined)[],
  fresh: FreshNodes,
): Pick<BackendView, 'connections' | 'health' | 'draining'> {
  let connections = 0;
  let draining = 0;
  let healthy = 0;
  let unhealthy = 0;
  let heard = 0;
  let last: BackendStatus | undefined;
  let health: ReturnType<typeof healthOf> = 'unknown';
  let carried = 0;
  for (let slot = 0; slot < cells.length; slot++) {
    const status = cells[slot];
    if (status === undefined || !fresh.hasSlot(slot)) continue;
    heard++;
    // Most nodes say the same, which is one value.
    if (status !== last) {
      last = status;
      health = healthOf(status);
      carried = Number(status.connections);
    }
    connections += carried;
    if (status.draining) draining++;
    if (health === 'healthy') healthy++;
    else if (health === 'unhealthy') unhealthy++;
  }
  return {
    connections,
    health: healthy > 0 && unhealthy > 0 ? 'mixed' : healthy > 0 ? 'healthy' : unhealthy > 0 ? 'unhealthy' : 'unknown',
    draining: draining === 0 ? 'no' : draining === heard ? 'yes' : 'some',
  };
}

/** One address that answers is enough for a backend; an ejected one takes no connections, whatever probes say. */
export function healthOf({ endpoints }: BackendStatus): 'healthy' | 'unhealthy' | 'unknown' {
  let unhealthy = 0;
  for (const { health, ejected } of endpoints) {
    if (health === Health.HEALTHY && !ejected) return 'healthy';
    if (health === Health.UNHEALTHY || ejected) unhealthy++;
  }
  return unhealthy > 0 && unhealthy === endpoints.length ? 'unhealthy' : 'unknown';
}
