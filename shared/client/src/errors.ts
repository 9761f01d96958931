// SPDX-License-Identifier: Apache-2.0
/** What a call to an agent may fail with, in terms that a program decides by and a person reads. */
import { Code, ConnectError } from '@connectrpc/connect';
import { ValidationFailureSchema, type Violation } from '@marcher/proto/marcher/v1/config_service_pb';
import { untrustedServer } from './server-identity.js';
import { formatTarget, type Target } from './target.js';

export type AgentErrorCode =
  | 'unreachable' // nobody answers at the target
  | 'untrusted' // who answers can't prove to be the agent that was meant
  | 'denied' // the agent refuses this caller, or the system the use of its socket
  | 'invalid' // violations say why
  | 'conflict' // the version has moved
  | 'refused' // by the data plane; violations say why
  | 'not_found'
  | 'unavailable' // the agent answers, but can't serve that now
  | 'timeout'
  | 'unimplemented' // the agent is older, or was started without that
  | 'failed'; // everything else

export class AgentError extends Error {
  readonly code: AgentErrorCode;
  readonly violations: readonly Violation[];

  constructor(code: AgentErrorCode, message: string, violations: readonly Violation[], cause: unknown) {
    super(message, { cause });
    this.name = 'AgentError';
    this.code = code;
    this.violations = violations;
  }
}

const codes: Partial<Record<Code, AgentErrorCode>> = {
  [Code.PermissionDenied]: 'denied',
  [Code.Unauthenticated]: 'denied',
  [Code.InvalidArgument]: 'invalid',
  [Code.Aborted]: 'conflict',
  [Code.FailedPrecondition]: 'refused',
  [Code.NotFound]: 'not_found',
  [Code.Unavailable]: 'unavailable',
  [Code.ResourceExhausted]: 'unavailable',
  [Code.DeadlineExceeded]: 'timeout',
  [Code.Unimplemented]: 'unimplemented',
};

export function toAgentError(reason: unknown, target: Target): AgentError {
  const known = agentError(reason);
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
  const error = ConnectError.from(reason);
  const violations = error.findDetails(ValidationFailureSchema).flatMap((failure) => failure.violations);
  const code = codes[error.code] ?? 'failed';
  // An agent that has the call says why it does not serve it; "HTTP 404" is Connect's word for a path that is not there.
  const message =
    error.code === Code.Unimplemented && /^HTTP \d/.test(error.rawMessage)
      ? `${formatTarget(target)} does not know this call: is it an agent, and as new as this program?`
      : error.rawMessage;
  return new AgentError(code, message, violations, reason);
}

/** What was said before a call went out: transports wrap it. */
function agentError(reason: unknown): AgentError | undefined {
  for (let at: unknown = reason, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    if (at instanceof AgentError) return at;
  }
  return undefined;
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
