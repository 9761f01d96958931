// SPDX-License-Identifier: Apache-2.0
/** The session that `marcher login` has begun, as later commands show it: renewed while they run, and kept for the next. */
import type { Credentials } from '@marcher/client';
import { addressBook, type ChosenTarget } from './chosen-target.js';

type Environment = Readonly<Record<string, string | undefined>>;

export async function withSessionToken(chosen: ChosenTarget, environment: Environment): Promise<Credentials> {
  const { target, name, credentials, session, onSession } = chosen;
  // Whoever stays may log in later, where nothing else is shown.
  const isAwaited = onSession !== undefined && takesLogin(chosen);
  if (name === undefined || (session === undefined && !isAwaited)) return credentials;
  const { bookSession } = await import('@marcher/client');
  const token = bookSession({
    ...{ name, target, credentials, session },
    read: async () => (await addressBook(environment)).read(),
    update: async (change) => await (await addressBook(environment)).update(change),
  });
  onSession?.(token);
  return { ...credentials, token };
}

/** Whether it is a session that lets somebody in there, or would. */
export function takesLogin({ target, name, credentials, session }: ChosenTarget): boolean {
  const { token, certificate } = credentials;
  const isOther = token !== undefined || certificate !== undefined;
  return target.kind === 'tls' && name !== undefined && (session !== undefined || !isOther);
}
