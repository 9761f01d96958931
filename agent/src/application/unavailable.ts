// SPDX-License-Identifier: Apache-2.0
/** Failures of the store and the data plane, which are expected, as the answer that a caller gets. */
import { StoreError } from '../ports/config-store.js';
import { DataplaneError } from '../ports/dataplane.js';
import { ApplicationError } from '../ports/use-cases.js';

export function unavailable(error: unknown): unknown {
  if (error instanceof StoreError || error instanceof DataplaneError) {
    return new ApplicationError('unavailable', error.message);
  }
  return error;
}

export function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw unavailable(error);
  }
}
