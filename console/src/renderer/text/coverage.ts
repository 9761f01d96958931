// SPDX-License-Identifier: Apache-2.0
/** Who has answered, in a sentence: nothing is shown as whole that is not. */
import { type Coverage, coverageText, type FleetState } from '@marcher/client/fleet';
import { said } from './said.js';

/** "47 of 50 nodes; 3 stale for 12 s" */
export function coverageSentence(coverage: Coverage, nowMs: number): string {
  if (coverage.nodes === 0) return 'no node has answered yet';
  return isPartial(coverage) ? coverageText(coverage, nowMs) : `all of ${coverageText(coverage, nowMs)}`;
}

/** Which mesh this is, once a node has said so. */
export function meshTitle(mesh: FleetState['mesh'], { nodes, connecting }: Coverage): string {
  if (mesh !== undefined) return said(mesh.name);
  return nodes === connecting ? 'Connecting' : 'One node, in no mesh';
}

/** Whether what is shown may be other than it is. */
export function isPartial({ nodes, live }: Coverage): boolean {
  return nodes === 0 || live < nodes;
}
