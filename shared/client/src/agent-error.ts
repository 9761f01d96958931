// SPDX-License-Identifier: Apache-2.0
/** What a call to an agent may fail with, in terms that a program decides by and a person reads. Runs in browsers, too. */
import { Code, ConnectError } from '@connectrpc/connect';
import { ValidationFailureSchema, type Violation } from '@marcher/proto/marcher/v1/config_service_pb';

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

/** Of what the protocol says alone; where names the agent in messages. */
export function agentErrorOf(reason: unknown, where: string): AgentError {
  const known = carriedAgentError(reason);
  if (known !== undefined) return known;
  const error = ConnectError.from(reason);
  const violations = error.findDetails(ValidationFailureSchema).flatMap((failure) => failure.violations);
  // An agent that has the call says why it does not serve it; "HTTP 404" is Connect's word for a path that is not there.
  const message =
    error.code === Code.Unimplemented && /^HTTP \d/.test(error.rawMessage)
      ? `${where} does not know this call: is it an agent, and as new as this program?`
      : error.rawMessage;
  return new AgentError(codes[error.code] ?? 'failed', message, violations, reason);
}

/** What was said before a call went out: transports wrap it. */
export function carriedAgentError(reason: unknown): AgentError | undefined {
  for (let at: unknown = reason, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    if (at instanceof AgentError) return at;
  }
  return undefined;
}
