// SPDX-License-Identifier: Apache-2.0
/** Who has answered, in a sentence: nothing is shown as whole that is not. */
import { type Coverage, coverageText } from '@marcher/client/fleet';

/** "47 of 50 nodes; 3 stale for 12 s" */
export function coverageSentence(coverage: Coverage, nowMs: number): string {
  if (coverage.nodes === 0) return 'no node has answered yet';
  return isPartial(coverage) ? coverageText(coverage, nowMs) : `all of ${coverageText(coverage, nowMs)}`;
}

/** Whether what is shown may be other than it is. */
export function isPartial({ nodes, live }: Coverage): boolean {
  return nodes === 0 || live < nodes;
}
