// SPDX-License-Identifier: Apache-2.0
/** A user's session at an agent, begun and ended by whoever is at the console: password and code are kept nowhere. */
import type { SessionGrant } from '@marcher/proto/marcher/v1/access_service_pb';
import type { StoredSession } from './address-book.js';
import { AgentError } from './agent-error.js';
import type { AgentCalls } from './fleet/contract.js';

export interface Login {
  readonly user: string;
  /** SECRET */
  readonly password: string;
  /** SECRET: of the second factor, or a recovery code. Empty: none. */
  readonly code: string;
}

type AccessCalls = Pick<AgentCalls, 'access'>;

/** At an agent that has proven to be of the mesh. Fails as AgentError. */
export async function beginSession(
  { access }: AccessCalls,
  { user, password, code }: Login,
  timeoutMs: number,
  nowMs: () => number,
): Promise<StoredSession> {
  const { session } = await access.login({ name: user, password, code: code.trim() }, { timeoutMs });
  return grantedSession(user, session, nowMs());
}

/** By a call that shows its token. One that is no more, or whose user is gone, is ended. Fails as AgentError. */
export async function endSession({ access }: AccessCalls, timeoutMs: number): Promise<void> {
  try {
    await access.logout({}, { timeoutMs });
  } catch (error) {
    if (!(error instanceof AgentError && error.code === 'denied')) throw error;
  }
}

/** AgentError: what the agent has granted is no session, or one that is over. */
export function grantedSession(user: string, grant: SessionGrant | undefined, nowMs: number): StoredSession {
  const { expires, sessionEnds } = grant ?? {};
  if (grant === undefined || expires === undefined || sessionEnds === undefined) {
    throw failed('the agent has answered without a session: is it as new as this program?');
  }
  const [expiresMs, endsMs] = [wholeMs(expires), wholeMs(sessionEnds)];
  if (nowMs >= expiresMs) {
    const when = new Date(expiresMs).toISOString();
    throw failed(`the session that the agent has begun ends ${when}, which has been: compare the clocks`);
  }
  return { user, token: grant.token, grantedMs: nowMs, expiresMs, endsMs };
}

function wholeMs({ seconds, nanos }: { readonly seconds: bigint; readonly nanos: number }): number {
  return Number(seconds) * 1_000 + Math.floor(nanos / 1e6);
}

function failed(message: string): AgentError {
  return new AgentError('failed', message, [], undefined);
}
