// SPDX-License-Identifier: Apache-2.0
/** What a stream of this node is made of, from its use cases. */
import type { MeshUseCases } from '../../ports/mesh.js';
import type { NodeUseCases, TrafficUseCases } from '../../ports/use-cases.js';
import type { ObservedConfiguration, ObservedSources } from './sources.js';

export interface NodeSourcesOptions {
  /** Of this node. */
  readonly name: string;
  readonly config: ObservedConfiguration;
  readonly node: NodeUseCases;
  readonly traffic: TrafficUseCases;
  readonly mesh: () => Pick<MeshUseCases, 'status' | 'members'> | undefined;
}

export function observedSources({ name, config, node, traffic, mesh }: NodeSourcesOptions): ObservedSources {
  const meshNow = () => {
    const known = mesh();
    return known === undefined || known.status().meshId === '' ? undefined : known;
  };
  return {
    configuration: config,
    node: () => {
      const { nodeId = '', meshId = '', meshName = '' } = meshNow()?.status() ?? {};
      return { nodeId, name, meshId, meshName };
    },
    status: (options) => node.status(options),
    backends: () => node.backends(''),
    tiers: () => node.tiers(''),
    traffic: () => traffic.stats('', false),
    members: () => meshNow()?.members() ?? [],
  };
}
