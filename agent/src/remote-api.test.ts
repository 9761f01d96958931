// SPDX-License-Identifier: Apache-2.0
/** The API for operators elsewhere as main.ts has it, with a certificate of the operator's own in files. */
import { writeFileSync } from 'node:fs';
import { createAgentClient } from '@marcher/client';
import { expect, onTestFinished, test, vi } from 'vitest';
import { createApiServer } from './adapters/inbound/grpc/api-server.js';
import { TestAuthenticator, TOKEN } from './adapters/inbound/grpc/testing/remote.js';
import { InMemoryUseCases } from './adapters/inbound/testing/in-memory-use-cases.js';
import { NODE_A, testDirectory } from './adapters/outbound/identity/testing/directory.js';
import { rootOf, testAuthority, testNode } from './adapters/outbound/identity/testing/mesh.js';
import { ownCertificate, writeCertificate } from './adapters/outbound/identity/testing/own-certificate.js';
import { NO_REVOCATIONS } from './domain/identity/revocation.js';
import { RemoteApi } from './remote-api.js';

const quiet = (): void => undefined;
const log = { debug: quiet, info: quiet, warn: quiet, error: quiet };

test("the operator's own certificate is shown once the node is in a mesh, and replaced under open connections", async () => {
  const directory = testDirectory();
  const [first, second, authority] = await Promise.all([
    ownCertificate('localhost'),
    ownCertificate('localhost'),
    testAuthority(Date.now()),
  ]);
  const certificate = writeCertificate(directory, first);
  const settings = { address: { host: '127.0.0.1', port: 0 }, certificate };
  const remote = new RemoteApi({ settings, authenticator: new TestAuthenticator(), log });
  const server = createApiServer({
    useCases: new InMemoryUseCases(),
    peerCredentials: () => ({ pid: 1, uid: 0, gid: 0, member: false }),
    logger: log,
    remote: remote.listener,
    limits: { stopMs: 500 },
  });
  await server.start();
  onTestFinished(async () => {
    remote.stop();
    await server.stop();
  });
  expect(remote.listener.address).toBeUndefined();
  expect(remote.conditions()).toMatchObject([{ type: 'RemoteApi', status: false, reason: 'NoMesh' }]);

  const credentials = await testNode(authority, NODE_A, Date.now());
  const roots = [rootOf(authority)];
  remote.take({ meshId: authority.mesh.id, credentials, roots, revocations: NO_REVOCATIONS });
  await vi.waitFor(() => expect(remote.listener.address).toBeDefined(), 10_000);
  expect(remote.conditions()).toEqual([]);
  const { port = 0 } = remote.listener.address ?? {};
  const client = (ca: string, host = 'localhost') => {
    const made = createAgentClient({ kind: 'tls', host, port }, { credentials: { ca, token: TOKEN } });
    onTestFinished(() => made.close());
    return made;
  };
  const open = client(first.certificatePem);
  const watch = open.config.watch({})[Symbol.asyncIterator]();
  await watch.next();
  await expect(client(first.certificatePem, '127.0.0.1').node.status({})).rejects.toMatchObject({
    code: 'untrusted',
    message: expect.stringContaining('is for another name'),
  });

  writeCertificate(directory, second);
  remote.look();
  await open.config.apply({ change: { upsert: [{ name: 'web', backends: [{ address: '10.0.0.1:80' }] }] } });
  expect((await watch.next()).done).toBe(false);
  await client(second.certificatePem).node.status({});
  await expect(client(first.certificatePem).node.status({})).rejects.toMatchObject({
    code: 'untrusted',
    message: expect.stringContaining('--ca-file'),
  });

  writeFileSync(certificate.certificate, 'nothing');
  remote.look();
  remote.look();
  expect(remote.conditions()).toMatchObject([{ reason: 'CertificateNotReplaced' }]);
  await client(second.certificatePem).node.status({});
});
