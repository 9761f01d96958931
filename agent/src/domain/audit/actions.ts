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
  leaveMesh: 'marcher.v1.MeshService/LeaveMesh',
  rotateGossipKey: 'marcher.v1.MeshService/RotateGossipKey',
  issueCertificate: 'marcher.v1.MeshService/IssueClientCertificate',
  revokeCertificate: 'marcher.v1.MeshService/RevokeClientCertificate',
  join: 'marcher.mesh.v1.JoinService/Join',
  login: 'marcher.v1.AccessService/Login',
  logout: 'marcher.v1.AccessService/Logout',
  createUser: 'marcher.v1.AccessService/CreateUser',
  setRole: 'marcher.v1.AccessService/SetRole',
  setPassword: 'marcher.v1.AccessService/SetPassword',
  resetSecondFactor: 'marcher.v1.AccessService/ResetSecondFactor',
  confirmTotp: 'marcher.v1.AccessService/ConfirmTotp',
  createRecoveryCodes: 'marcher.v1.AccessService/CreateRecoveryCodes',
  removeUser: 'marcher.v1.AccessService/RemoveUser',
  revokeSessions: 'marcher.v1.AccessService/RevokeSessions',
  createApiKey: 'marcher.v1.AccessService/CreateApiKey',
  rotateApiKey: 'marcher.v1.AccessService/RotateApiKey',
  revokeApiKey: 'marcher.v1.AccessService/RevokeApiKey',
} as const;
