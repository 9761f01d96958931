// SPDX-License-Identifier: Apache-2.0
/** By what a caller from elsewhere knows an agent, and the agent knows it. */
export interface Credentials {
  /** PEM, one or more: who may have signed the agent's certificate. Absent: the public CAs that Node.js knows. */
  readonly ca?: string;
  /** PEM: its chain, and its key. */
  readonly certificate?: string;
  readonly privateKey?: string;
  /** A session's or an API key's. */
  readonly token?: string;
  /** 16 hex digits: the node of the mesh that has to answer. Absent: any. */
  readonly nodeId?: string;
}
