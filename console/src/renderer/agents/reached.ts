// SPDX-License-Identifier: Apache-2.0
/** Which nodes a page asks by itself, beside what is observed of them. */
import type { FannedNode, FleetState, Reach } from '@marcher/client/fleet';

/** Asked at the same time, at most: each costs a stream of the gateway. */
export const ASKED_MAX = 100;

/** Those that are live, the entry first. */
export function reached({ nodes }: FleetState, reach: Reach): readonly FannedNode[] {
  return [...nodes.values()]
    .filter(({ link }) => link.kind === 'live')
    .sort((a, b) => Number(b.isEntry) - Number(a.isEntry))
    .slice(0, ASKED_MAX)
    .map(({ key, isEntry }) => ({ key, calls: isEntry ? reach.entry : reach.node(key) }));
}

/** Changes when other nodes are to be asked. */
export function keyOfReached(nodes: readonly FannedNode[]): string {
  return nodes.map(({ key }) => key).join();
}
