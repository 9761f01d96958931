// SPDX-License-Identifier: Apache-2.0
/**
 * Who is logged in at a mesh of the address book, where `marcher login` keeps it: what is begun here commands know, and the reverse.
 * Passwords and codes go to an agent that has proven to be of the mesh, and are kept nowhere.
 */
import { beginSession, createAgentClient, endSession, type Login, parseTarget } from '@marcher/client';
import { LOCAL_NAME, type NamedTarget, named, type StoredSession, withSession } from '@marcher/client/address-book';
import type { AddressBookFile } from '@marcher/client/address-book-file';
import { chooseAgent } from '../entry/chosen-agent.js';
import type { Handlers } from '../ipc/contract.js';
import type { SessionMethod, SessionView } from '../ipc/session-contract.js';
import { ConsoleError } from './ipc-server.js';
import { told } from './told.js';

const CALL_MS = 10_000;

export interface SessionParts {
  readonly book: AddressBookFile;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Has the session that calls to the mesh show renewed, where that is due; undefined: they show none. Fails where it is over. */
  renewed(mesh: string): Promise<StoredSession | undefined>;
}

export function sessionHandlers(parts: SessionParts): Pick<Handlers, SessionMethod> {
  const { book } = parts;
  return {
    session: (mesh) => told(() => viewOf(entryOf(book, mesh))),
    keepSession: (mesh) => told(() => kept(parts, mesh)),
    logIn: ({ mesh, ...login }) => told(() => logIn(parts, mesh, login)),
    logOut: (mesh) => told(() => logOut(parts, mesh)),
  };
}

/** undefined: this machine's agent. */
function entryOf(book: AddressBookFile, mesh: string): NamedTarget | undefined {
  return mesh === LOCAL_NAME ? undefined : named(book.read(), mesh);
}

function viewOf(entry: NamedTarget | undefined, session = entry?.session): SessionView {
  if (entry === undefined || parseTarget(entry.url).kind !== 'tls') return { by: 'machine' };
  if (session === undefined) return { by: entry.certFile === undefined ? 'session' : 'certificate' };
  const { user, expiresMs, endsMs } = session;
  return { by: 'session', user, expiresMs, endsMs };
}

async function kept(parts: SessionParts, mesh: string): Promise<SessionView> {
  const entry = entryOf(parts.book, mesh);
  return viewOf(entry, entry?.session === undefined ? undefined : await renewedOrNot(parts, mesh));
}

/** undefined: there is none, or its times say that it is over; what else stands in its way calls to agents say. */
async function renewedOrNot({ renewed }: SessionParts, mesh: string): Promise<StoredSession | undefined> {
  try {
    return await renewed(mesh);
  } catch {
    return undefined;
  }
}

async function logIn(parts: SessionParts, mesh: string, login: Login): Promise<SessionView> {
  const { book, environment } = parts;
  const agent = agentFor(book, environment, mesh, undefined);
  try {
    const session = await beginSession(agent, login, CALL_MS, Date.now);
    await book.update((before) => withSession(before, mesh, session));
  } finally {
    agent.close();
  }
  return await kept(parts, mesh);
}

async function logOut(parts: SessionParts, mesh: string): Promise<SessionView> {
  const { book, environment } = parts;
  const session = entryOf(book, mesh)?.session;
  if (session === undefined) return viewOf(entryOf(book, mesh));
  // First: whatever becomes of the call, this machine has it no more.
  await book.update((before) => withSession(before, mesh, undefined));
  // What is open by it ends now.
  await renewedOrNot(parts, mesh);
  if (session.expiresMs > Date.now()) {
    const agent = agentFor(book, environment, mesh, session.token);
    try {
      await endSession(agent, CALL_MS);
    } catch (error) {
      const until = new Date(session.expiresMs).toISOString();
      throw new ConsoleError(
        `The session is forgotten here, but the mesh was not told, and its token is good until ${until}: ${(error as Error).message}`,
      );
    } finally {
      agent.close();
    }
  }
  return viewOf(entryOf(book, mesh));
}

/** That is shown this token and no other: who logs in is who has the password. */
function agentFor(
  book: AddressBookFile,
  environment: SessionParts['environment'],
  mesh: string,
  token: string | undefined,
) {
  if (viewOf(entryOf(book, mesh)).by === 'machine') {
    throw new ConsoleError(`${mesh} is reached as a user of its machine: it takes no login`);
  }
  const { target, credentials } = chooseAgent(mesh, {}, environment);
  const { token: _other, ...shown } = credentials;
  return createAgentClient(target, { credentials: token === undefined ? shown : { ...shown, token } });
}
