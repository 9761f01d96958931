// SPDX-License-Identifier: Apache-2.0
/** The session of a target in the address book, as it is shown with each call: renewed while it is used, and kept for the next program. */
import { type AddressBook, type StoredSession, withRenewed } from './address-book.js';
import { createAgentClient } from './agent-client.js';
import type { Credentials } from './credentials.js';
import { grantedSession } from './session-grant.js';
import { type SessionTokenSource, sessionToken } from './session-token.js';
import type { Target } from './target.js';

const RENEW_MS = 10_000;

export interface BookSessionOptions {
  /** In the book. */
  readonly name: string;
  readonly target: Target;
  /** Beside the session's token. */
  readonly credentials: Credentials;
  /** undefined: nobody is logged in, and calls fail until begin(). */
  readonly session: StoredSession | undefined;
  readonly read: () => Promise<AddressBook>;
  readonly update: (change: (book: AddressBook) => AddressBook) => Promise<unknown>;
}

export function bookSession(options: BookSessionOptions): SessionTokenSource {
  const { name, target, credentials, session, read, update } = options;
  return sessionToken({
    session,
    renew: async ({ user, token }) => {
      const client = createAgentClient(target, { credentials: { ...credentials, token } });
      try {
        const { session: grant } = await client.access.renew({}, { timeoutMs: RENEW_MS });
        return grantedSession(user, grant, Date.now());
      } finally {
        client.close();
      }
    },
    kept: async () => (await read()).targets.get(name)?.session,
    keep: (before, renewed) => update((book) => withRenewed(book, name, before, renewed)),
    nowMs: () => Date.now(),
  });
}
