// SPDX-License-Identifier: Apache-2.0
/** What the audit log calls what is done: a call by its method, what nobody has called for by "marcherd/". */
export const ACTION = {
  apply: 'marcher.v1.ConfigService/Apply',
  revert: 'marcher.v1.ConfigService/Revert',
  /** A watched file has changed. */
  applyFile: 'marcherd/ApplyFile',
  /** A version that an earlier agent had not finished. */
  takeBack: 'marcherd/TakeBack',
  /** From the copy beside a damaged database. */
  recover: 'marcherd/Recover',
  dropAudit: 'marcherd/DropAudit',
  drain: 'marcher.v1.NodeService/Drain',
  undrain: 'marcher.v1.NodeService/Undrain',
  initMesh: 'marcher.v1.MeshService/InitMesh',
  createJoinToken: 'marcher.v1.MeshService/CreateJoinToken',
  revokeJoinToken: 'marcher.v1.MeshService/RevokeJoinToken',
  removeMember: 'marcher.v1.MeshService/RemoveMember',
  join: 'marcher.mesh.v1.JoinService/Join',
} as const;
