// SPDX-License-Identifier: Apache-2.0
/** What a call from Node.js may fail with before an agent has said a word: the system's errors, and TLS's. */
import { AgentError, agentErrorOf, carriedAgentError } from './agent-error.js';
import { untrustedServer } from './server-identity.js';
import { formatTarget, type Target } from './target.js';

export { AgentError, type AgentErrorCode } from './agent-error.js';

export function toAgentError(reason: unknown, target: Target): AgentError {
  const known = carriedAgentError(reason);
  if (known !== undefined) return known;
  const untrusted = untrustedServer(reason);
  if (untrusted !== undefined) {
    const message = `${formatTarget(target)} is not trusted: ${untrusted}; nothing was sent to it`;
    return new AgentError('untrusted', message, [], reason);
  }
  const system = systemError(reason);
  if (system !== undefined) {
    const denied = system.code === 'EACCES' || system.code === 'EPERM';
    return new AgentError(denied ? 'denied' : 'unreachable', unreachable(system, target), [], reason);
  }
  return agentErrorOf(reason, formatTarget(target));
}

/** The system's error that stopped a connection from being made or kept, wherever in the chain of causes it is. */
function systemError(reason: unknown): NodeJS.ErrnoException | undefined {
  for (let at: unknown = reason, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const { code, syscall } = at as NodeJS.ErrnoException;
    if (typeof code === 'string' && (syscall !== undefined || code === 'ETIMEDOUT' || code === 'ECONNRESET')) return at;
    if (code === 'ERR_HTTP2_ERROR' || code === 'ERR_HTTP2_SESSION_ERROR') return at;
  }
  return undefined;
}

function unreachable(error: NodeJS.ErrnoException, target: Target): string {
  const where = formatTarget(target);
  switch (error.code) {
    case 'ENOENT':
      return target.kind === 'unix'
        ? `there is no socket at ${where}: is marcherd running, with this --socket? Choose another with --target`
        : `the host of ${where} is not known`;
    case 'EACCES':
    case 'EPERM':
      return `permission to use ${where} is denied: be root or a member of group "marcher" (usermod -aG marcher USER)`;
    case 'ECONNREFUSED':
      return `nobody listens at ${where}: is marcherd running? Choose another agent with --target`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `the host name of ${where} does not resolve`;
    case 'ETIMEDOUT':
      return `${where} does not answer`;
    case 'ERR_HTTP2_ERROR':
    case 'ERR_HTTP2_SESSION_ERROR':
      return `${where} does not speak HTTP/2: is it the port of an agent's API?`;
    default:
      return `the connection to ${where} failed: ${error.message}`;
  }
}
