// SPDX-License-Identifier: Apache-2.0
/** A target of the address book, as `marcher target add` and `marcher login` make it: what is added here commands know, too. */
import {
  createAgentClient,
  fetchPinnedRoot,
  fingerprintOf,
  formatTarget,
  parseTarget,
  shownRoots,
  type Target,
} from '@marcher/client';
import { type NamedTarget, named, type StoredSession, withSession, withTarget } from '@marcher/client/address-book';
import type { AddressBookFile } from '@marcher/client/address-book-file';
import { chooseAgent } from '../../entry/chosen-agent.js';
import type { RootView } from '../../ipc/assistant-contract.js';
import { ConsoleError } from '../ipc-server.js';

const HANDSHAKE_MS = 10_000;
const LOGIN_MS = 10_000;

export async function rootsAt(url: string): Promise<RootView[]> {
  const target = targetOf(url);
  if (target.kind !== 'tls') return [];
  return (await shownRoots(target, HANDSHAKE_MS)).map((root) => ({
    fingerprint: fingerprintOf(root),
    subject: root.subject.replaceAll('\n', ', ').slice(0, 500),
    expires: new Date(root.validTo).toISOString(),
  }));
}

/** fingerprint: absent, public CAs have to know the agent. Fails as ConsoleError, AgentError or AddressBookError. */
export async function addMesh(
  book: AddressBookFile,
  {
    name,
    url,
    fingerprint,
  }: { readonly name: string; readonly url: string; readonly fingerprint?: string | undefined },
): Promise<void> {
  const target = targetOf(url);
  if (target.kind === 'tcp') {
    throw new ConsoleError(`${url} is an address without TLS, which is for this machine alone: use https://HOST:PORT`);
  }
  const entry: NamedTarget = { url: formatTarget(target) };
  // Before anybody is asked.
  withTarget(book.read(), name, entry);
  const ca =
    fingerprint === undefined || target.kind !== 'tls'
      ? undefined
      : await fetchPinnedRoot(target, fingerprint, HANDSHAKE_MS);
  await book.update((before) => withTarget(before, name, ca === undefined ? entry : { ...entry, ca }));
}

/** The password and the code go to an agent that has proven to be of the mesh, and are kept nowhere. */
export async function logIn(
  book: AddressBookFile,
  environment: Readonly<Record<string, string | undefined>>,
  { mesh, user, password, code }: { mesh: string; user: string; password: string; code: string },
): Promise<void> {
  const { url } = named(book.read(), mesh);
  if (targetOf(url).kind !== 'tls') {
    throw new ConsoleError(`${mesh} is reached as a user of its machine: it takes no login`);
  }
  const { target, credentials } = chooseAgent(mesh, {}, environment);
  // Not what was begun before: who logs in is who has the password.
  const { token: _before, ...shown } = credentials;
  const agent = createAgentClient(target, { credentials: shown });
  try {
    const { session } = await agent.access.login({ name: user, password, code: code.trim() }, { timeoutMs: LOGIN_MS });
    const [expires, ends] = [session?.expires?.seconds, session?.sessionEnds?.seconds];
    if (session === undefined || expires === undefined || ends === undefined) {
      throw new ConsoleError('the agent has answered without a session: is it as new as this program?');
    }
    const stored: StoredSession = {
      user,
      token: session.token,
      grantedMs: Date.now(),
      expiresMs: Number(expires) * 1_000,
      endsMs: Number(ends) * 1_000,
    };
    if (stored.expiresMs <= stored.grantedMs) {
      throw new ConsoleError(
        `the session ends ${new Date(stored.expiresMs).toISOString()}, which has been: compare the clocks`,
      );
    }
    await book.update((before) => withSession(before, mesh, stored));
  } finally {
    agent.close();
  }
}

function targetOf(url: string): Target {
  try {
    return parseTarget(url);
  } catch (error) {
    throw new ConsoleError((error as Error).message);
  }
}
