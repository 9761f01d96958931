// SPDX-License-Identifier: Apache-2.0
/** One backend, as nodes find it, and in a word. */
import { type BackendStatus, Health } from '@marcher/proto/marcher/v1/node_service_pb';
import type { FreshNodes } from './agreement.js';
import type { BackendView, NodeKey } from './contract.js';
import { DraftMap } from './draft-map.js';
import { isSameBackend, sharedValue } from './shared-values.js';

export class BackendEntry {
  readonly key: string;
  readonly service: string;
  readonly backend: string;
  readonly nodes = new DraftMap<NodeKey, BackendStatus>();
  view: BackendView | undefined;
  /** Whether at least one live node finds it healthy. As of the last publication. */
  isFoundHealthy = false;

  constructor(key: string, service: string, backend: string) {
    this.key = key;
    this.service = service;
    this.backend = backend;
  }

  /** Whether that is news. */
  set(node: NodeKey, status: BackendStatus): boolean {
    const before = this.nodes.get(node);
    if (before !== undefined && isSameBackend(before, status)) return false;
    return this.nodes.set(node, sharedValue(status, this.nodes.now.values(), isSameBackend));
  }

  /** undefined: no node has it any more. */
  publish(fresh: FreshNodes): BackendView | undefined {
    const before = this.view;
    const nodes = this.nodes.publish();
    let connections = 0;
    let draining = 0;
    let healthy = 0;
    let unhealthy = 0;
    let heard = 0;
    for (const [node, status] of nodes) {
      if (!fresh.has(node)) continue;
      heard++;
      connections += Number(status.connections);
      if (status.draining) draining++;
      const health = healthOf(status);
      if (health === 'healthy') healthy++;
      else if (health === 'unhealthy') unhealthy++;
    }
    this.isFoundHealthy = healthy > 0;
    const health =
      healthy > 0 && unhealthy > 0 ? 'mixed' : healthy > 0 ? 'healthy' : unhealthy > 0 ? 'unhealthy' : 'unknown';
    const drained = draining === 0 ? 'no' : draining === heard ? 'yes' : 'some';
    if (nodes.size === 0) this.view = undefined;
    else if (
      before?.nodes !== nodes ||
      before.connections !== connections ||
      before.health !== health ||
      before.draining !== drained
    ) {
      const { key, service, backend } = this;
      this.view = { key, service, backend, nodes, connections, health, draining: drained };
    }
    return this.view;
  }
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
