// SPDX-License-Identifier: Apache-2.0
/** Whether a caller may make a change, by what the change makes of each object: its name and its cluster, before and after. */
import type { Touched } from '../domain/access/authorize.js';
import type { CommitChange } from '../ports/config-store.js';
import { ApplicationError, type Caller } from '../ports/use-cases.js';
import { clusterOf } from './cluster-of.js';

/** Throws ApplicationError "denied": the change is made whole or not at all. */
export function checkPermitted(caller: Pick<Caller, 'permits'> | undefined, changes: Iterable<CommitChange>): void {
  checkTouched(caller, touchedBy(changes));
}

export function checkTouched(caller: Pick<Caller, 'permits'> | undefined, touched: Iterable<Touched>): void {
  const verdict = caller?.permits?.(touched);
  if (verdict?.allowed === false) throw new ApplicationError('denied', verdict.reason);
}

/** Lazily: who may change everything is not asked what it is. */
function* touchedBy(changes: Iterable<CommitChange>): Iterable<Touched> {
  for (const { kind, name, before, after } of changes) {
    const bodies = [before, after].filter((body) => body !== undefined);
    yield { kind, name, clusters: bodies.map((body) => clusterOf(kind, body)) };
  }
}
