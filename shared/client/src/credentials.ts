// SPDX-License-Identifier: Apache-2.0
import type { KnownRevocations } from './revocations.js';

/** By what a caller from elsewhere knows an agent, and the agent knows it. */
export interface Credentials {
  /** PEM, one or more: who may have signed the agent's certificate. Absent: the public CAs that Node.js knows. */
  readonly ca?: string;
  /** PEM: its chain, and its key. */
  readonly certificate?: string;
  readonly privateKey?: string;
  /** A session's or an API key's; a function is asked for it with each call. */
  readonly token?: string | TokenSource;
  /** 16 hex digits: the node of the mesh that has to answer. Absent: any. */
  readonly nodeId?: string;
  /** What its roots have revoked, as far as that was heard. Absent: a node that was removed is not known. */
  readonly revocations?: readonly KnownRevocations[];
}

/** May fail as AgentError, and then nothing is sent. */
export type TokenSource = () => Promise<string>;
