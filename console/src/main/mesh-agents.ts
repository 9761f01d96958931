// SPDX-License-Identifier: Apache-2.0
/**
 * The entry agents of the meshes in the address book, each over a connection that is made with its first call. What the book says
 * counts with each call: a target that was changed or removed there, or a login as somebody else, is another connection.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { ClientHttp2Stream } from 'node:http2';
import type { SessionTokenSource, Tunnels } from '@marcher/client';
import { type AddressBook, LOCAL_NAME, named, type StoredSession } from '@marcher/client/address-book';
import { Connection } from '@marcher/client/connection';
import { AgentDoor, giveUp } from '../entry/agent-door.js';
import { chooseAgent } from '../entry/chosen-agent.js';
import type { Agents, MeshCall } from './app-protocol.js';

const CONNECT_TIMEOUT_MS = 5_000;

export interface MeshAgentsOptions {
  /** Of the person: where the address book is. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly book: { read(): AddressBook };
  /** For targets of ssh://. */
  readonly tunnels: Tunnels;
}

interface Entry {
  /** What of the book it was made by. */
  readonly by: string;
  readonly connection: Connection;
  readonly door: AgentDoor;
  /** That calls show. undefined: none. */
  readonly session: SessionTokenSource | undefined;
}

export class MeshAgents implements Agents<ClientHttp2Stream> {
  readonly #options: MeshAgentsOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #doors = new WeakMap<ClientHttp2Stream, AgentDoor>();

  constructor(options: MeshAgentsOptions) {
    this.#options = options;
  }

  async open({ mesh, ...call }: MeshCall, headers: IncomingHttpHeaders): Promise<ClientHttp2Stream> {
    const { door } = this.#entry(mesh);
    const stream = await door.open(call, headers);
    this.#doors.set(stream, door);
    return stream;
  }

  async answer(stream: ClientHttp2Stream) {
    const door = this.#doors.get(stream);
    if (door === undefined) throw new Error('this is no call of these agents');
    return await door.answer(stream);
  }

  giveUp(stream: ClientHttp2Stream): void {
    giveUp(stream);
  }

  /**
   * The session that calls show, renewed where that is due; undefined: they show none. Fails as AgentError where it is over. Streams
   * stay open without it, so that whoever only watches would be without one.
   */
  async renewedSession(mesh: string): Promise<StoredSession | undefined> {
    const { session } = this.#entry(mesh);
    await session?.();
    return session?.session();
  }

  /** The page shows that mesh from now on: connections to others have nobody left who would use them. */
  keepOnly(mesh: string): void {
    for (const name of [...this.#entries.keys()]) if (name !== mesh) this.#drop(name);
  }

  close(): void {
    for (const name of [...this.#entries.keys()]) this.#drop(name);
  }

  #entry(mesh: string): Entry {
    const by = this.#identityOf(mesh);
    const known = this.#entries.get(mesh);
    if (known?.by === by) return known;
    this.#drop(mesh);
    const { environment, tunnels } = this.#options;
    const { target, credentials, session } = chooseAgent(mesh, {}, environment);
    const connection = new Connection(target, CONNECT_TIMEOUT_MS, credentials, tunnels);
    const entry = { by, connection, door: new AgentDoor(connection, target), session };
    this.#entries.set(mesh, entry);
    return entry;
  }

  /** Without the token itself: it is renewed all along, which is nothing new. */
  #identityOf(mesh: string): string {
    if (mesh === LOCAL_NAME) return '';
    const { session, ...target } = named(this.#options.book.read(), mesh);
    return JSON.stringify([target, session?.user, session?.endsMs]);
  }

  #drop(mesh: string): void {
    this.#entries.get(mesh)?.connection.close();
    this.#entries.delete(mesh);
  }
}
