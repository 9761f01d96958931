// SPDX-License-Identifier: Apache-2.0
/** What is lost with the last node of a cluster, and with the cluster, for questions before it is. */
import type { Cluster } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { plural } from '../output/quantity.js';

/** What goes with a node, as it is the last one of it: "It is the last node of cluster eu: 3 objects are gone then."; or empty. */
export function lastOf(clusters: readonly Cluster[], nodeId: string): string {
  const last = clusters.filter(({ nodes }) => nodes.length === 1 && nodes[0]?.nodeId === nodeId);
  return last.map((cluster) => `It is the last node of cluster ${cluster.name}: ${whatGoes(cluster)}`).join(' ');
}

export function whatGoes({ objects, nodes }: Cluster): string {
  if (objects === undefined) return nodes.length === 0 ? 'Nothing is in it.' : 'What is in it is gone then.';
  return objects === 0n ? 'Nothing is in it.' : `${plural(Number(objects), 'object')} in it are gone then.`;
}
