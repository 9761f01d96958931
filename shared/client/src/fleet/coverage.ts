// SPDX-License-Identifier: Apache-2.0
/** How much of the mesh is known, and how well: as numbers, and in words. */
import type { Coverage, NodeView } from './contract.js';

export function coverageOf(nodes: Iterable<NodeView>): Coverage {
  const counts = { live: 0, stale: 0, refused: 0, connecting: 0 };
  let all = 0;
  let oldestMs: number | undefined;
  for (const { link, heardMs } of nodes) {
    all++;
    counts[link.kind]++;
    if (link.kind !== 'live' && heardMs !== undefined) oldestMs = Math.min(oldestMs ?? heardMs, heardMs);
  }
  return { nodes: all, ...counts, oldestMs };
}

export function isSameCoverage(a: Coverage, b: Coverage): boolean {
  return (
    a.nodes === b.nodes &&
    a.live === b.live &&
    a.stale === b.stale &&
    a.refused === b.refused &&
    a.connecting === b.connecting &&
    a.oldestMs === b.oldestMs
  );
}

/** "50 nodes", "47 of 50 nodes; 3 stale for 12 s", "1 of 3 nodes; 1 stale, 1 refused" */
export function coverageText(coverage: Coverage, nowMs: number): string {
  const { nodes, live, stale, refused, connecting, oldestMs } = coverage;
  const noun = nodes === 1 ? 'node' : 'nodes';
  if (live === nodes) return `${nodes} ${noun}`;
  // The age is that of the oldest: where others beside stale ones are away, it could be one of theirs.
  const age = oldestMs === undefined || stale === 0 || refused > 0 ? '' : ` for ${ageText(nowMs - oldestMs)}`;
  const parts = [
    ...(stale > 0 ? [`${stale} stale${age}`] : []),
    ...(refused > 0 ? [`${refused} refused`] : []),
    ...(connecting > 0 ? [`${connecting} connecting`] : []),
  ];
  return `${live} of ${nodes} ${noun}; ${parts.join(', ')}`;
}

/** "0 s", "12 s", "3 min", "2 h", "5 d": whole ones, as many as have passed. */
export function ageText(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}
