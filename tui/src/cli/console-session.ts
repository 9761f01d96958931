// SPDX-License-Identifier: Apache-2.0
/** The session of a console that stays open: renewed meanwhile, and begun anew when it is over. */
import { beginSession, type SessionTokenSource } from '@marcher/client';
import { withSession } from '@marcher/client/address-book';
import type { ConsoleSession } from '../ui/ports.js';
import { addressBook, type ChosenTarget } from './chosen-target.js';
import { openAgent } from './opened-agent.js';

const CONNECT_MS = 5_000;
const LOGIN_MS = 20_000;

export function consoleSession(
  chosen: ChosenTarget,
  source: SessionTokenSource,
  environment: Readonly<Record<string, string | undefined>>,
): ConsoleSession {
  return {
    user: () => source.session()?.user ?? chosen.entry?.session?.user,
    endsMs: () => source.session()?.endsMs ?? 0,
    expiresMs: () => source.session()?.expiresMs ?? 0,
    keep: async () => void (await source()),
    login: async (login) => {
      // What the session before has shown is not shown now, nor what a variable names: who logs in is who has the password.
      const { session: _session, onSession: _onSession, ...rest } = chosen;
      const { token: _token, ...credentials } = chosen.credentials;
      const agent = await openAgent({ ...rest, credentials }, environment, CONNECT_MS, false, false);
      try {
        const stored = await beginSession(agent, login, LOGIN_MS, Date.now);
        source.begin(stored);
        const { name } = chosen;
        if (name !== undefined)
          await (await addressBook(environment)).update((book) => withSession(book, name, stored));
      } finally {
        agent.close();
      }
    },
  };
}
