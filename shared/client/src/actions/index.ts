// SPDX-License-Identifier: Apache-2.0
/** What a console does to a mesh: planned, shown, confirmed, applied and undone. Knows no screen. Runs in browsers, too. */
export {
  ACCESS_ROLES,
  createApiKey,
  createUser,
  endSessions,
  type Grant,
  grantOf,
  grantText,
  type NewPassword,
  type RoleWord,
  removeUser,
  resetSecondFactor,
  revokeApiKey,
  roleWord,
  rotateApiKey,
  setPassword,
  setRole,
} from './access.js';
export {
  CERTIFICATE_USAGES,
  type CertificateUsageWord,
  deleteCertificate,
  type Import,
  type Issue,
  importCertificate,
  issueCertificate,
  REVOCATION_REASONS,
  type RevocationReasonWord,
  renewCertificate,
  revokeCertificate,
} from './certificate.js';
export { assignCluster, createCluster, deleteCluster, unassignCluster } from './cluster.js';
export { type CommandTarget, commandLine, shellWord, withInput } from './command.js';
export { type Confirmation, isConfirmed } from './confirmation.js';
export type { Deed, Done, NextDeed, ShownOnce } from './deed.js';
export { DrainDraft, type DrainedNode, type DrainOptions, type DrainResult } from './drain.js';
export { type Applied, type Edit, EditDraft, type EditPlan, nounOf, type WriteOptions } from './edit.js';
export {
  createJoinToken,
  type NewToken,
  removeMember,
  retireRoot,
  revokeClientCertificate,
  revokeJoinToken,
  rotateCa,
  rotateGossipKey,
} from './membership.js';
export { RemoveMemberDraft } from './remove-member.js';
export { RevertDraft, type RevertPlan } from './revert.js';
export { enrolSecondFactor, renewRecoveryCodes } from './second-factor.js';
export { UndoDraft, type UndoPlan } from './undo.js';
export { LockedError, WriteLock } from './write-lock.js';
