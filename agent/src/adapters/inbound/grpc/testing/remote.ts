// SPDX-License-Identifier: Apache-2.0
/** An agent's API on loopback as callers from elsewhere reach it: real TLS, an authenticator that knows a few. */
import { type AgentClient, type Credentials, createAgentClient } from '@marcher/client';
import { onTestFinished } from 'vitest';
import { NO_REVOCATIONS } from '../../../../domain/identity/revocation.js';
import type { AccessUseCases, Authenticator, NotAuthenticated, Principal } from '../../../../ports/access.js';
import type { CertificateAuthority, NodeCredentials } from '../../../../ports/identity.js';
import type { Relay } from '../../../../ports/relay.js';
import type { MeshTlsMaterial } from '../../../outbound/identity/mesh-tls.js';
import { OperatorTls } from '../../../outbound/identity/operator-tls.js';
import { rootsOf } from '../../../outbound/identity/testing/mesh.js';
import { InMemoryMesh } from '../../testing/in-memory-mesh.js';
import { InMemoryUseCases } from '../../testing/in-memory-use-cases.js';
import { type ApiLimits, type ApiServer, createApiServer } from '../api-server.js';
import { type RemoteLimits, RemoteListener } from '../remote-listener.js';

export const TOKEN = 'token-of-bob';

/** alice by certificate, bob by token, until they are taken out of `users`. */
export class TestAuthenticator implements Authenticator {
  readonly users = new Set(['alice', 'bob']);
  /** Tokens that were looked at. */
  readonly asked: string[] = [];
  /** Until when a token is looked at. */
  pause: Promise<void> = Promise.resolve();

  async bearer(token: string): Promise<Principal | NotAuthenticated> {
    this.asked.push(token);
    await this.pause;
    return token === TOKEN && this.users.has('bob') ? operator('bob', 'session') : { reason: 'the token is not valid' };
  }

  certificate(user: string): Principal | NotAuthenticated {
    return this.users.has(user) ? operator(user, 'certificate') : { reason: `there is no user ${user}` };
  }
}

function operator(user: string, via: Principal['via']): Principal {
  return { name: `user:${user}`, via, role: 'administrator', scope: 'all' };
}

export interface RemoteApi {
  readonly port: number;
  readonly tls: OperatorTls;
  readonly listener: RemoteListener;
  readonly authenticator: TestAuthenticator;
  readonly useCases: InMemoryUseCases;
  readonly mesh: InMemoryMesh;
  readonly server: ApiServer;
  /** Lines of the log, with their fields. */
  readonly log: string[];
  material(changed: Partial<MeshTlsMaterial>): MeshTlsMaterial;
  client(credentials: Credentials): AgentClient;
}

/** served: what it shows; access: real users, in the place of alice and bob; relay: to other members. */
export async function remoteApi(
  authority: CertificateAuthority,
  served: NodeCredentials,
  limits: Partial<RemoteLimits> = {},
  access?: AccessUseCases,
  apiLimits: Partial<ApiLimits> = {},
  relay?: Relay,
): Promise<RemoteApi> {
  const log: string[] = [];
  const say = (fields: object, message: string): void => void log.push(`${message} ${JSON.stringify(fields)}`);
  const logger = { debug: say, info: say, warn: say, error: say };
  const material = (changed: Partial<MeshTlsMaterial>): MeshTlsMaterial => ({
    meshId: authority.mesh.id,
    credentials: served,
    roots: rootsOf(authority),
    revocations: NO_REVOCATIONS,
    ...changed,
  });
  const tls = new OperatorTls(material({}), Date.now);
  const authenticator = new TestAuthenticator();
  const useCases = new InMemoryUseCases();
  const mesh = new InMemoryMesh();
  const listener = new RemoteListener({
    address: { host: '127.0.0.1', port: 0 },
    authenticator: access ?? authenticator,
    logger,
    limits,
  });
  listener.use(tls);
  const server = createApiServer({
    useCases: {
      config: useCases.config,
      node: useCases.node,
      traffic: useCases.traffic,
      mesh,
      ...(access === undefined ? {} : { access }),
    },
    peerCredentials: () => ({ pid: 1, uid: 0, gid: 0, member: false }),
    logger,
    remote: listener,
    relay,
    limits: { stopMs: 500, ...apiLimits },
  });
  await server.start();
  onTestFinished(() => server.stop());
  const port = listener.address?.port ?? 0;
  const client = (credentials: Credentials): AgentClient => {
    const target = { kind: 'tls', host: '127.0.0.1', port } as const;
    const made = createAgentClient(target, { credentials: { ca: authority.pem, ...credentials } });
    onTestFinished(() => made.close());
    return made;
  };
  return { port, tls, listener, authenticator, useCases, mesh, server, log, material, client };
}
