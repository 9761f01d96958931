// SPDX-License-Identifier: Apache-2.0
/**
 * The token of a session for as long as that may go on: renewed at half of its time when a call is made, by one caller
 * for all. What comes of a renewal that fails is the call's to say, as long as the token is good.
 */
import type { StoredSession } from './address-book.js';
import type { TokenSource } from './credentials.js';
import { AgentError } from './errors.js';

export interface SessionTokenOptions {
  /** undefined: nobody is logged in. */
  readonly session: StoredSession | undefined;
  /** Another token for the one of this. */
  readonly renew: (session: StoredSession) => Promise<StoredSession>;
  /** Keeps what was renewed; before: the token that it takes the place of. */
  readonly keep: (before: string, renewed: StoredSession) => Promise<unknown>;
  /** As it is kept now: another program may have renewed it, or begun another. What it fails with is not this one's to say. */
  readonly kept: () => Promise<StoredSession | undefined>;
  readonly nowMs: () => number;
}

/** Tokens that end at the session's end are not renewed: there is no later one. */
const END_MS = 1_000;

/** Between two looks at what is kept, by who has a session. */
const LOOK_MS = 2_000;

/** For whoever stays longer than a session does. */
export interface SessionTokenSource extends TokenSource {
  /** As it is now. undefined: nobody is logged in. */
  session(): StoredSession | undefined;
  /** Another login has begun it: from now on its token is shown. */
  begin(session: StoredSession): void;
}

export function sessionToken({ session, renew, keep, kept, nowMs }: SessionTokenOptions): SessionTokenSource {
  let current = session;
  let renewing: Promise<void> | undefined;
  const renewed = async (before: StoredSession): Promise<void> => {
    const next = await renew(before);
    // Another was begun meanwhile: this one is of the session before.
    if (current?.token !== before.token) return;
    current = next;
    await keep(before.token, next);
  };
  let lookedMs = Number.NEGATIVE_INFINITY;
  let looking: Promise<void> | undefined;
  const look = async (now: number): Promise<void> => {
    const before = current;
    const found = await kept().catch(() => undefined);
    if (found === undefined || current !== before || !isLater(found, before)) return;
    // Who calls is not another user all at once: only when the one before can't any more.
    if (before === undefined || before.user === found.user || isOver(before, now)) begin(found);
  };
  const begin = (begun: StoredSession): void => {
    current = begun;
    renewing = undefined;
  };
  const source = async (): Promise<string> => {
    const now = nowMs();
    // Who has none that is good looks each time.
    if (current === undefined || isOver(current, now) || now - lookedMs >= LOOK_MS) {
      lookedMs = now;
      looking = look(now);
    }
    await looking;
    const known = current;
    if (known === undefined || now >= known.expiresMs) throw ended(known);
    if (isDue(known, now)) {
      renewing ??= renewed(known);
      const mine = renewing;
      await mine.catch(() => undefined);
      if (renewing === mine) renewing = undefined;
    }
    return (current ?? known).token;
  };
  return Object.assign(source, {
    session: () => current,
    begin,
  });
}

function isLater(found: StoredSession, before: StoredSession | undefined): boolean {
  return before === undefined || (found.token !== before.token && found.grantedMs > before.grantedMs);
}

/** Whether it can't be used any more. */
export function isOver({ expiresMs }: StoredSession, nowMs: number): boolean {
  return nowMs >= expiresMs;
}

function isDue({ grantedMs, expiresMs, endsMs }: StoredSession, nowMs: number): boolean {
  return nowMs >= grantedMs + (expiresMs - grantedMs) / 2 && expiresMs + END_MS < endsMs;
}

function ended(session: StoredSession | undefined): AgentError {
  const reason =
    session === undefined
      ? 'nobody is logged in here: marcher login begins a session'
      : `the session of ${session.user} was good until ${new Date(session.expiresMs).toISOString()}: marcher login begins another`;
  return new AgentError('denied', reason, [], undefined);
}
