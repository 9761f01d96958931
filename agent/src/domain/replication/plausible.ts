// SPDX-License-Identifier: Apache-2.0
/**
 * What a state that another member has sent can't be. Frames are signed, and checked one by one; states are not, and one
 * that is wrong would not go away again: a cell from the future beats all that is written, a horizon from the future makes
 * all that is written late, and a delete that nobody has written can be seen by nobody.
 */
import { compare, type Timestamp } from '@marcher/hlc';
import type { Cell, Horizon, VectorState } from './contract.js';
import type { Ledger } from './ledger.js';
import { covers, isForked } from './origin.js';

export interface GivenState {
  readonly cells: readonly Cell[];
  readonly vector: VectorState;
  readonly horizon: Horizon;
}

/** undefined: it may be. Receives its greatest time, so that what is written here from now on comes after it. */
export function faultOfState(ledger: Ledger, { cells, vector, horizon }: GivenState): string | undefined {
  let newest: Timestamp = horizon.stamp;
  for (const { stamp } of cells) if (compare(stamp, newest) > 0) newest = stamp;
  if (compare(newest, ledger.clock.last) > 0) {
    const received = ledger.clock.receive(newest);
    if (!received.accepted) return `something in it is from ${received.aheadMs} ms ahead of this node's clock`;
  }
  for (const [origin, sequence] of horizon.seen) {
    if (covers(vector, origin, sequence) || isForked(ledger.forks, origin, sequence)) continue;
    return `it has forgotten deletes that it has not seen, up to frame ${sequence} of ${origin}`;
  }
  return undefined;
}
