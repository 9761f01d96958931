// SPDX-License-Identifier: Apache-2.0
/** What a console does to a mesh: planned, shown, confirmed, applied and undone. Knows no screen. Runs in browsers, too. */
export { type CommandTarget, commandLine, shellWord, withInput } from './command.js';
export { type Confirmation, isConfirmed } from './confirmation.js';
export { DrainDraft, type DrainedNode, type DrainOptions, type DrainResult } from './drain.js';
export { type Applied, type Edit, EditDraft, type EditPlan, nounOf, type WriteOptions } from './edit.js';
export { RemoveMemberDraft } from './remove-member.js';
export { RevertDraft, type RevertPlan } from './revert.js';
export { UndoDraft, type UndoPlan } from './undo.js';
export { LockedError, WriteLock } from './write-lock.js';
