// SPDX-License-Identifier: Apache-2.0
export { type AgentClient, type AgentClientOptions, createAgentClient } from './agent-client.js';
export type { Credentials } from './credentials.js';
export { AgentError, type AgentErrorCode, toAgentError } from './errors.js';
export { DEFAULT_TARGET, formatTarget, parseHostPort, parseTarget, type Target } from './target.js';
