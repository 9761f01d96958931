// SPDX-License-Identifier: Apache-2.0
/**
 * Sessions: a login, then tokens of 15 minutes that follow each other for at most 12 hours. What a session may do is read
 * from the user's record with each call, so only who it is, and since when, stands in a token.
 */
import type { SessionFacts } from './principal.js';
import type { UserRecord } from './user-record.js';

export const SESSION = {
  tokenMs: 15 * 60_000,
  longestMs: 12 * 3_600_000,
  /** Clocks of nodes that take changes are at most about so far apart: a revocation reaches as much further. */
  clockMarginMs: 5_000,
  /** Sessions of a user that were ended one by one; when there are more, all of the user's are. */
  endedMax: 256,
} as const;

export function sessionEndsMs({ startedMs }: SessionFacts): number {
  return startedMs + SESSION.longestMs;
}

/** Of a login now, which knows of the revocations before it. */
export function sessionStart(user: UserRecord, nowMs: number): number {
  return Math.max(nowMs, user.sessionsBeforeMs);
}

export function tokenExpiresMs(session: SessionFacts, nowMs: number): number {
  return Math.min(nowMs + SESSION.tokenMs, sessionEndsMs(session));
}

/** For the user's record: all sessions so far. */
export function endOfAll(user: UserRecord, nowMs: number): number {
  return Math.max(nowMs + SESSION.clockMarginMs, user.sessionsBeforeMs);
}

/** Of a token that was signed by a node and has not expired. */
export function isLive(session: SessionFacts, user: UserRecord, nowMs: number): boolean {
  return (
    session.startedMs >= user.sessionsBeforeMs && !user.endedSessions.has(session.id) && nowMs < sessionEndsMs(session)
  );
}
