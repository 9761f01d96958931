// SPDX-License-Identifier: Apache-2.0
/** Two nodes for tests of calls that one passes on to the other: real TLS between them, applications in memory. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AgentClient, createAgentClient } from '@marcher/client';
import { onTestFinished } from 'vitest';
import type { CertificateAuthority } from '../../../../ports/identity.js';
import type { Relay } from '../../../../ports/relay.js';
import { type RelayLimits, RelayLinks } from '../../../outbound/mesh/relay-links.js';
import {
  identity,
  idOf,
  openServer,
  type TestIdentity,
  type TestServer,
  Wire,
} from '../../../outbound/mesh/testing/live-mesh.js';
import type { Http2DoorLimits } from '../../mesh/http2-door.js';
import { InMemoryMesh } from '../../testing/in-memory-mesh.js';
import { InMemoryUseCases } from '../../testing/in-memory-use-cases.js';
import { type ApiLimits, type ApiServer, createApiServer, type Handler } from '../api-server.js';

export const A = idOf(1n);
export const B = idOf(2n);
export const UNKNOWN = idOf(9n);

export interface TestAgent {
  readonly useCases: InMemoryUseCases;
  readonly mesh: InMemoryMesh;
  readonly api: ApiServer;
  readonly socketPath: string;
  /** Lines of its log. */
  readonly log: string[];
  readonly client: AgentClient;
}

/** An agent in memory, at a Unix socket where everybody is root. */
export async function testAgent(relay?: Relay, limits: Partial<ApiLimits> = {}): Promise<TestAgent> {
  const directory = mkdtempSync(join(tmpdir(), 'marcher-relay-'));
  const socketPath = join(directory, 'api.sock');
  const log: string[] = [];
  const say = (fields: object, message: string): void => void log.push(`${message} ${JSON.stringify(fields)}`);
  const useCases = new InMemoryUseCases();
  const mesh = new InMemoryMesh();
  const { config, node, traffic } = useCases;
  const api = createApiServer({
    useCases: { config, node, traffic, mesh },
    peerCredentials: () => ({ pid: 1, uid: 0, gid: 0, member: false }),
    logger: { debug: say, info: say, warn: say, error: say },
    socketPath,
    relay,
    limits: { stopMs: 500, ...limits },
  });
  await api.start();
  const client = createAgentClient({ kind: 'unix', path: socketPath });
  onTestFinished(async () => {
    client.close();
    await api.stop();
    rmSync(directory, { recursive: true, force: true });
  });
  return { useCases, mesh, api, socketPath, log, client };
}

export interface RelayedPair {
  /** node-a, where clients are connected. */
  readonly entry: TestAgent;
  /** node-b. */
  readonly other: TestAgent;
  readonly links: RelayLinks;
  /** Of node-b. */
  readonly port: TestServer;
  /** Between them. */
  readonly wire: Wire;
  readonly entryIdentity: TestIdentity;
  readonly otherIdentity: TestIdentity;
  /** Who is a member, by name; for both. */
  readonly members: Map<string, string>;
}

export interface PairOptions {
  readonly relayLimits?: Partial<RelayLimits>;
  readonly apiLimits?: Partial<ApiLimits>;
  /** Of node-b's. */
  readonly doorLimits?: Partial<Http2DoorLimits>;
  /** In the place of node-b's API. */
  readonly answer?: Handler;
  /** node-b's agent is of a version that takes no such calls. */
  readonly tooOld?: boolean;
}

export async function relayedPair(authority: CertificateAuthority, options: PairOptions = {}): Promise<RelayedPair> {
  const [entryIdentity, otherIdentity] = await Promise.all([identity(authority, 1n), identity(authority, 2n)]);
  const members = new Map([
    [A, 'node-a'],
    [B, 'node-b'],
  ]);
  const memberName = (nodeId: string): string | undefined => members.get(nodeId);
  const other = await testAgent(undefined, options.apiLimits);
  other.mesh.meshName = 'prod';
  Object.assign(other.mesh, { nodeId: B });
  const relayed = { answer: options.answer ?? other.api.handle, memberName, limits: options.doorLimits };
  const port = await openServer(otherIdentity, options.tooOld === true ? {} : { relayed });
  const wire = await Wire.open();
  wire.to = port.port;
  const links = new RelayLinks({
    mesh: entryIdentity.mesh,
    addressOf: (nodeId) => (members.has(nodeId) ? wire.target : undefined),
    nameOf: (nodeId) => memberName(nodeId) ?? nodeId,
    logger: { debug: () => {}, info: () => {} },
    limits: options.relayLimits,
  });
  onTestFinished(() => links.close());
  const relay: Relay = {
    self: A,
    nameOf: (nodeId) => memberName(nodeId) ?? nodeId,
    call: (nodeId, headers, signal) => links.call(nodeId, headers, signal),
  };
  const entry = await testAgent(relay, options.apiLimits);
  entry.mesh.meshName = 'prod';
  Object.assign(entry.mesh, { nodeId: A });
  entry.mesh.member(B, 'node-b', 'alive');
  return { entry, other, links, port, wire, entryIdentity, otherIdentity, members };
}
