// SPDX-License-Identifier: Apache-2.0
/** The session that `marcher login` has begun, as later commands show it: renewed while they run, and kept for the next. */
import type { Credentials } from '@marcher/client';
import { type StoredSession, withRenewed } from '@marcher/client/address-book';
import type { SessionGrant } from '@marcher/proto/marcher/v1/access_service_pb';
import { addressBook, type ChosenTarget } from './chosen-target.js';
import { ExitCode } from './exit-code.js';
import { Failure } from './failure.js';
import { timeMs } from './output/quantity.js';

const RENEW_MS = 10_000;

export async function withSessionToken(
  { target, name, credentials, session, onSession }: ChosenTarget,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<Credentials> {
  if (session === undefined || name === undefined) return credentials;
  const { createAgentClient, sessionToken } = await import('@marcher/client');
  const token = sessionToken({
    session,
    renew: async (token) => {
      const client = createAgentClient(target, { credentials: { ...credentials, token } });
      try {
        const { session: grant } = await client.access.renew({}, { timeoutMs: RENEW_MS });
        return storedSession(session.user, grant, Date.now());
      } finally {
        client.close();
      }
    },
    keep: async (before, renewed) => {
      await (await addressBook(environment)).update((book) => withRenewed(book, name, before, renewed));
    },
    nowMs: Date.now,
  });
  onSession?.(token);
  return { ...credentials, token };
}

export function storedSession(user: string, grant: SessionGrant | undefined, nowMs: number): StoredSession {
  const [expiresMs, endsMs] = [timeMs(grant?.expires), timeMs(grant?.sessionEnds)];
  if (grant === undefined || expiresMs === undefined || endsMs === undefined) {
    throw new Failure(ExitCode.error, 'the agent has answered without a session: is it as new as this program?');
  }
  const [expires, ends] = [Math.floor(expiresMs), Math.floor(endsMs)];
  if (nowMs >= expires) {
    const when = new Date(expires).toISOString();
    throw new Failure(
      ExitCode.error,
      `the session that the agent has begun ends ${when}, which has been: compare the clocks`,
    );
  }
  return { user, token: grant.token, grantedMs: nowMs, expiresMs: expires, endsMs: ends };
}
