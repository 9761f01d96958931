// SPDX-License-Identifier: Apache-2.0
export { type AgentClient, type AgentClientOptions, createAgentClient } from './agent-client.js';
export { type BookSessionOptions, bookSession } from './book-session.js';
export type { Credentials, TokenSource } from './credentials.js';
export { AgentError, type AgentErrorCode, toAgentError } from './errors.js';
export {
  type HeardRevocations,
  hearRevocations,
  isHearingDue,
  knownRevocations,
  type RevocationStore,
} from './heard-revocations.js';
export { fetchPinnedRoot, fingerprintOf, parseFingerprint, shownRoots } from './pinned-root.js';
export type { KnownRevocations } from './revocations.js';
export { meshRoots } from './server-identity.js';
export { beginSession, endSession, grantedSession, type Login } from './session-grant.js';
export { isOver, type SessionTokenOptions, type SessionTokenSource, sessionToken } from './session-token.js';
export { DEFAULT_TARGET, formatTarget, parseHostPort, parseTarget, type SshTarget, type Target } from './target.js';
export type { Tunnels } from './tunnels.js';
