// SPDX-License-Identifier: Apache-2.0
/** What a stream of this node is made of, from the parts of an agent. */
import { fromBinary } from '@bufbuild/protobuf';
import { BackendStateSchema } from '@marcher/proto/marcher/engine/v1/control_pb';
import type { PackedBackend } from '../../ports/dataplane.js';
import type { MeshUseCases } from '../../ports/mesh.js';
import type { Configuration } from '../configuration.js';
import { backendStatus, type Node } from '../node.js';
import type { Traffic } from '../traffic.js';
import type { ObservedBackend, ObservedSources } from './sources.js';

export interface NodeSourcesOptions {
  /** Of this node. */
  readonly name: string;
  readonly config: Configuration;
  readonly node: Node;
  readonly traffic: Traffic;
  readonly mesh: () => Pick<MeshUseCases, 'status' | 'members'> | undefined;
}

export function observedSources({ name, config, node, traffic, mesh }: NodeSourcesOptions): ObservedSources {
  const meshNow = () => {
    const known = mesh();
    return known === undefined || known.status().meshId === '' ? undefined : known;
  };
  return {
    configuration: config.observed,
    tiers: {
      basis: () => node.tierBasis(),
      availability: () => node.availability(),
      restless: () => config.packetServices,
      of: (services) => node.tiersOf(services),
    },
    node: () => {
      const { nodeId = '', meshId = '', meshName = '' } = meshNow()?.status() ?? {};
      return { nodeId, name, meshId, meshName };
    },
    status: (options) => node.status(options),
    backends: async () => observedBackends(await node.packedBackends(), config.meshLoadServices),
    backendStatus: ({ packed, mesh }) => backendStatus(fromBinary(BackendStateSchema, packed), mesh),
    traffic: (before) => traffic.counted(before),
    members: () => meshNow()?.members() ?? [],
  };
}

function* observedBackends(
  backends: Iterable<PackedBackend>,
  balancedByMesh: ReadonlySet<string>,
): Iterable<ObservedBackend> {
  for (const backend of backends) yield { ...backend, mesh: balancedByMesh.has(backend.service) };
}
