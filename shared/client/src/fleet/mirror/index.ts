// SPDX-License-Identifier: Apache-2.0
/** States of a fleet in another thread than the fleet: see patch.ts. */
export { StateDiffer } from './differ.js';
export { NOTHING_KNOWN, StateMirror } from './mirror.js';
export type { StatePatch } from './patch.js';
