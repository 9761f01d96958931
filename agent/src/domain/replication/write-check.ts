// SPDX-License-Identifier: Apache-2.0
import type { Context } from './context.js';
import type { CellWrite, WriteRefusal } from './contract.js';
import { faultOfWrites } from './frame.js';
import { EXISTENCE, objectKey } from './object.js';
import type { Peers } from './peers.js';

/** Why this node must not write that now; undefined: it may. */
export function refusalOf(
  { ledger, settings }: Context,
  peers: Peers,
  writes: readonly CellWrite[],
): { code: WriteRefusal; reason: string } | undefined {
  if (!ledger.admitted) {
    return {
      code: 'not-admitted',
      reason: 'this node has not taken over the mesh’s state yet: try again when it has joined',
    };
  }
  const { clockOffMaxMs, frame } = settings;
  const fault = faultOfWrites(writes, frame) ?? contradiction(writes);
  if (fault !== undefined) return { code: 'invalid', reason: fault };
  const { medianMs, off } = peers.judgeClock(clockOffMaxMs);
  const aheadMs = ledger.clock.aheadMs();
  if (!off && aheadMs <= settings.aheadMaxMs) return undefined;
  const what = off
    ? `this machine's clock is ${Math.round(Math.abs(medianMs))} ms ${medianMs > 0 ? 'behind' : 'ahead of'} most members'`
    : `this machine's clock is ${aheadMs} ms behind the newest change`;
  return {
    code: 'clock-off',
    reason: `${what}, more than ${off ? clockOffMaxMs : settings.aheadMaxMs} ms: set it right`,
  };
}

/** Writing groups of what the same frame deletes. */
function contradiction(writes: readonly CellWrite[]): string | undefined {
  const deleted = new Set<string>();
  for (const { kind, id, group, value } of writes) {
    if (group === EXISTENCE && value === undefined) deleted.add(objectKey(kind, id));
  }
  if (deleted.size === 0) return undefined;
  for (const { kind, id, group } of writes) {
    if (group === EXISTENCE || !deleted.has(objectKey(kind, id))) continue;
    return `${kind} "${id}" is deleted, and its group "${group}" written: leave out one of the two`;
  }
  return undefined;
}
