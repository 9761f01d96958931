// SPDX-License-Identifier: Apache-2.0
/** Callers from elsewhere, over real sockets: who is let in, who is not and what is said, and what many of them can do. */
import { once } from 'node:events';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import { Code, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { Health, HealthCheckResponse_ServingStatus as Serving } from '@marcher/proto/grpc/health/v1/health_pb';
import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { CertificateAuthority, NodeCredentials } from '../../../ports/identity.js';
import { closing } from '../../../testing/closing.js';
import { testClient } from '../../outbound/identity/testing/client.js';
import { NODE_A, NODE_B } from '../../outbound/identity/testing/directory.js';
import { testAuthority, testNode } from '../../outbound/identity/testing/mesh.js';
import { ownCertificate } from '../../outbound/identity/testing/own-certificate.js';
import { type RemoteApi, remoteApi, TOKEN } from './testing/remote.js';

const DAY = 86_400_000;
const NOW = Date.now();

type Issued = NodeCredentials & { readonly serial: string };
let authority: CertificateAuthority;
let node: Issued;
let alice: Issued;

beforeAll(async () => {
  authority = await testAuthority(NOW - 400 * DAY);
  [node, alice] = await Promise.all([testNode(authority, NODE_A, NOW), testClient(authority, 'alice', NOW)]);
});

const shown = ({ certificatePem, privateKeyPem }: NodeCredentials) => ({
  certificate: certificatePem,
  privateKey: privateKeyPem,
});

/** Until the end of the test, whatever becomes of it. */
function connected({ port }: RemoteApi, who?: Issued): ClientHttp2Session {
  const identity = who === undefined ? {} : { cert: who.certificatePem, key: who.privateKeyPem };
  const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false, ...identity });
  onTestFinished(() => session.destroy());
  session.on('error', () => undefined);
  return session;
}

/** What a call of these comes to. */
async function outcome(api: RemoteApi, credentials: Parameters<RemoteApi['client']>[0]): Promise<unknown> {
  const client = api.client(credentials);
  try {
    await client.node.status({}, { timeoutMs: 5_000 });
    return 'served';
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return { code, message };
  } finally {
    client.close();
  }
}

function revoked(serial: string) {
  return new Map([[serial, { serial, revokedAtMs: NOW, reason: 1 }]]);
}

/** A connection that has no more than been accepted. */
async function silent(port: number, localAddress = '127.0.0.1'): Promise<Socket> {
  const socket = connectTcp({ host: '127.0.0.1', port, localAddress });
  socket.on('error', () => undefined).resume();
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
  return socket;
}

async function greeted(port: number, localAddress = '127.0.0.1'): Promise<TLSSocket> {
  const from = { host: '127.0.0.1', port, localAddress };
  const socket = connect({ ...from, ALPNProtocols: ['h2'], rejectUnauthorized: false });
  socket.on('error', () => undefined).resume();
  onTestFinished(() => void socket.destroy());
  await once(socket, 'secureConnect');
  return socket;
}

describe('who is let in', () => {
  test('a client certificate names the user, who is the author of what it changes', async () => {
    const api = await remoteApi(authority, node);
    const client = api.client(shown(alice));
    await client.config.apply({ change: { upsert: [{ name: 'web', backends: [{ address: '10.0.0.1:80' }] }] } });
    expect(api.useCases.callers).toMatchObject([
      { author: 'user:alice', origin: 'api', via: 'certificate', source: '127.0.0.1' },
    ]);
    expect(api.listener.counts).toMatchObject({ http2: 1, known: 1 });
  });

  test('a bearer token does, too, and is neither logged nor handed on', async () => {
    const api = await remoteApi(authority, node);
    const client = api.client({ token: TOKEN });
    await client.config.apply({ change: { upsert: [{ name: 'web', backends: [{ address: '10.0.0.1:80' }] }] } });
    expect(api.useCases.callers).toMatchObject([
      { author: 'user:bob', origin: 'api', via: 'session', source: '127.0.0.1' },
    ]);
    expect(api.log.join('\n')).not.toContain(TOKEN);
  });

  test('where there are both, the token decides, also when it is wrong', async () => {
    const api = await remoteApi(authority, node);
    const client = api.client({ ...shown(alice), token: TOKEN });
    await client.config.apply({ change: { upsert: [{ name: 'web', backends: [{ address: '10.0.0.1:80' }] }] } });
    expect(api.useCases.callers[0]?.author).toBe('user:bob');
    expect(await outcome(api, { ...shown(alice), token: 'wrong' })).toMatchObject({ code: 'denied' });
  });

  test('nobody without credentials, but for health, and not to watch that', async () => {
    const api = await remoteApi(authority, node);
    expect(await outcome(api, {})).toEqual({
      code: 'denied',
      message:
        'say who you are: by a client certificate (--cert-file, --key-file), a bearer token (--token-file) or a session (marcher login)',
    });
    const transport = createGrpcTransport({
      baseUrl: `https://127.0.0.1:${api.port}`,
      nodeOptions: { ca: authority.pem, checkServerIdentity: () => undefined },
    });
    const health = createClient(Health, transport);
    expect(await health.check({})).toMatchObject({ status: Serving.SERVING });
    await expect(health.watch({})[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 16 });
  });

  test('of those who have not said who they are only little is read, and of few calls', async () => {
    const api = await remoteApi(authority, node);
    const transport = createGrpcTransport({
      baseUrl: `https://127.0.0.1:${api.port}`,
      nodeOptions: { ca: authority.pem, checkServerIdentity: () => undefined },
    });
    const health = createClient(Health, transport);
    await expect(health.check({ service: 'x'.repeat(20_000) })).rejects.toMatchObject({
      code: Code.ResourceExhausted,
      rawMessage: expect.stringContaining('larger than the 16384 bytes'),
    });
    const session = connectHttp2(`https://127.0.0.1:${api.port}`, { rejectUnauthorized: false });
    onTestFinished(() => session.destroy());
    const begun = () => {
      const headers = {
        ':method': 'POST',
        ':path': '/grpc.health.v1.Health/Check',
        'content-type': 'application/grpc',
      };
      const stream = session.request(headers);
      stream.on('error', () => undefined).resume();
      return stream;
    };
    for (let i = 0; i < 8; i++) begun();
    const [trailers] = (await once(begun(), 'trailers')) as [Record<string, string>];
    expect(trailers['grpc-status']).toBe(String(Code.ResourceExhausted));
  });

  test('no token that is wrong or no token at all', async () => {
    const api = await remoteApi(authority, node);
    expect(await outcome(api, { token: 'wrong' })).toEqual({ code: 'denied', message: 'the token is not valid' });
    expect(await outcome(api, { token: 'x'.repeat(5_000) })).toMatchObject({
      code: 'denied',
      message: expect.stringContaining('not "Bearer TOKEN"'),
    });
    expect(api.authenticator.asked).toEqual(['wrong']);
  });

  test('no node, although the same root has signed its certificate', async () => {
    const api = await remoteApi(authority, node);
    const other = await testNode(authority, NODE_B, NOW);
    expect(await outcome(api, shown(other))).toMatchObject({
      code: 'denied',
      message: expect.stringContaining("a node's certificate is no operator's"),
    });
  });

  test('no certificate of another mesh, or of a root of the same name', async () => {
    const api = await remoteApi(authority, node);
    const [elsewhere, twin] = await Promise.all([testAuthority(NOW, '2'), testAuthority(NOW)]);
    expect(await outcome(api, shown(await testClient(elsewhere, 'alice', NOW)))).toMatchObject({
      code: 'denied',
      message: expect.stringContaining('is of mesh 2222'),
    });
    expect(await outcome(api, shown(await testClient(twin, 'alice', NOW)))).toMatchObject({
      code: 'denied',
      message: expect.stringContaining('not signed by a root that this mesh trusts'),
    });
  });

  test('no certificate that has expired, is revoked, or whose user is gone', async () => {
    const api = await remoteApi(authority, node);
    const old = await testClient(authority, 'alice', NOW - 91 * DAY);
    expect(await outcome(api, shown(old))).toMatchObject({ message: expect.stringContaining('was valid until') });
    expect(await outcome(api, shown(alice))).toBe('served');
    api.authenticator.users.delete('alice');
    expect(await outcome(api, shown(alice))).toMatchObject({ message: 'there is no user alice' });
    api.authenticator.users.add('alice');
    api.tls.update(api.material({ revocations: revoked(alice.serial) }));
    expect(await outcome(api, shown(alice))).toMatchObject({
      code: 'denied',
      message: expect.stringContaining('was revoked'),
    });
  });
});

describe('what is open', () => {
  test('a watch ends, with the reason, when the certificate it was opened with is revoked', async () => {
    const api = await remoteApi(authority, node);
    const client = api.client(shown(alice));
    const watch = client.config.watch({})[Symbol.asyncIterator]();
    await watch.next();
    api.tls.update(api.material({ revocations: revoked(alice.serial) }));
    api.listener.judgeAgain();
    const ended = (async () => {
      for (;;) if ((await watch.next()).done === true) return;
    })();
    await expect(ended).rejects.toMatchObject({ code: 'denied', message: expect.stringContaining('was revoked') });
    expect(await outcome(api, shown(alice))).toMatchObject({ code: 'denied' });
  });

  test('a watch ends when the session behind its token has ended', async () => {
    const api = await remoteApi(authority, node, { reviewMs: 20 });
    const watch = api.client({ token: TOKEN }).config.watch({})[Symbol.asyncIterator]();
    await watch.next();
    api.authenticator.users.delete('bob');
    const ended = (async () => {
      for (;;) if ((await watch.next()).done === true) return;
    })();
    await expect(ended).rejects.toMatchObject({ code: 'denied', message: 'the token is not valid' });
  });

  test('it ends at once where users are known to have changed, and each token is looked at once', async () => {
    const api = await remoteApi(authority, node);
    const client = api.client({ token: TOKEN });
    const watches = await Promise.all(
      [1, 2, 3].map(async () => {
        const watch = client.config.watch({})[Symbol.asyncIterator]();
        await watch.next();
        return watch;
      }),
    );
    const ends = watches.map(async (watch) => {
      for (;;) if ((await watch.next()).done === true) return;
    });
    const asked = api.authenticator.asked.length;
    api.listener.reviewSoon();
    await vi.waitFor(() => expect(api.authenticator.asked).toHaveLength(asked + 1), 5_000);
    api.authenticator.users.delete('bob');
    // A second time: not before a second is over, and once.
    for (let i = 0; i < 10; i++) api.listener.reviewSoon();
    const outcomes = await Promise.allSettled(ends);
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { message: 'the token is not valid' } });
    }
    expect(api.authenticator.asked).toHaveLength(asked + 2);
  });

  test('goes on when the certificate that is shown is replaced; the next connection sees the new one', async () => {
    const api = await remoteApi(authority, node);
    const first = api.client({ ...shown(alice), nodeId: NODE_A });
    await first.node.status({});
    const credentials = await testNode(authority, NODE_B, NOW);
    api.tls.update(api.material({ credentials }));
    await first.node.status({});
    expect(await outcome(api, { ...shown(alice), nodeId: NODE_A })).toMatchObject({ code: 'untrusted' });
    expect(await outcome(api, { ...shown(alice), nodeId: NODE_B })).toBe('served');
  });

  test('what is reset while its token is looked at harms nobody', async () => {
    const api = await remoteApi(authority, node);
    let proceed = (): void => undefined;
    api.authenticator.pause = new Promise((resolve) => {
      proceed = resolve;
    });
    const session = connected(api);
    // As many as there may be of this call at a time: none of them keeps its place. Reset with an error.
    const streams = Array.from({ length: 8 }, () => {
      const stream = session.request({
        ':method': 'POST',
        ':path': '/marcher.v1.ConfigService/Plan',
        'content-type': 'application/grpc',
        authorization: `Bearer ${TOKEN}`,
      });
      return stream.on('error', () => undefined);
    });
    await vi.waitFor(() => expect(api.authenticator.asked).toHaveLength(1), 10_000);
    const closed = streams.map((stream) => new Promise((resolve) => stream.once('close', resolve)));
    for (const stream of streams) stream.close(2);
    await Promise.all(closed);
    session.destroy();
    await vi.waitFor(() => expect(api.listener.counts.http2).toBe(0), 10_000);
    proceed();
    await vi.waitFor(() => expect(api.authenticator.asked).toHaveLength(8), 10_000);
    await api.client({ token: TOKEN }).config.plan({ change: {} });
  });
});

describe('an agent that is called', () => {
  const called = async (served: NodeCredentials, ca: string): Promise<unknown> => {
    const api = await remoteApi(authority, served);
    const answer = await outcome(api, { ca, token: TOKEN });
    if (answer !== 'served') expect(api.authenticator.asked).toEqual([]);
    return answer;
  };

  test('is no node of the mesh because another CA that is trusted says so', async () => {
    const name = `spiffe://${authority.mesh.id}/node/${NODE_A}`;
    const impostor = await ownCertificate('localhost', undefined, name);
    expect(await called(impostor, authority.pem + impostor.certificatePem)).toMatchObject({ code: 'untrusted' });
  });

  test('is none with the certificate of an operator, with one that has expired, or of another mesh', async () => {
    const ca = authority.pem;
    expect(await called(alice, ca)).toMatchObject({ message: expect.stringContaining('not one for servers') });
    const old = await testNode(authority, NODE_A, NOW - 31 * DAY);
    expect(await called(old, ca)).toMatchObject({ message: expect.stringContaining('certificate has expired') });
    const elsewhere = await testAuthority(NOW, '2');
    const stranger = await testNode(elsewhere, NODE_A, NOW);
    expect(await called(stranger, ca)).toMatchObject({ message: expect.stringContaining('--ca-file') });
  });
});

describe('TLS', () => {
  test('1.2 is refused, and so is whoever does not offer HTTP/2', async () => {
    const api = await remoteApi(authority, node);
    const older = connect({ host: '127.0.0.1', port: api.port, maxVersion: 'TLSv1.2', rejectUnauthorized: false });
    const [error] = (await once(older, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION');
    const http1 = connect({
      host: '127.0.0.1',
      port: api.port,
      ALPNProtocols: ['http/1.1'],
      rejectUnauthorized: false,
    });
    await once(http1, 'error');
    await vi.waitFor(() => expect(api.listener.refusals.get('handshake')).toBe(2), 10_000);
    expect(await outcome(api, shown(alice))).toBe('served');
  });

  test('no session is resumed: whom it was with would not be verified again', async () => {
    const api = await remoteApi(authority, node);
    const options = { host: '127.0.0.1', port: api.port, ALPNProtocols: ['h2'], rejectUnauthorized: false };
    const first = connect(options);
    onTestFinished(() => void first.destroy());
    const [session] = (await once(first, 'session')) as [Buffer];
    const second = connect({ ...options, session });
    onTestFinished(() => void second.destroy());
    await once(second, 'secureConnect');
    expect(second.isSessionReused()).toBe(false);
  });
});

describe('many, or slow', () => {
  const plenty = { perSource: { burst: 10_000, everyMs: 1 }, total: { burst: 10_000, everyMs: 1 }, sourcesMax: 10 };

  test('a handshake that does not come ends', async () => {
    const api = await remoteApi(authority, node, { handshakeMs: 30 });
    const socket = await silent(api.port);
    await closing(socket);
    expect(api.listener.refusals.get('handshake')).toBe(1);
  });

  test('a thousand that say nothing are bounded, and an operator gets through', async () => {
    const api = await remoteApi(authority, node, { connects: plenty });
    const sockets = await Promise.all(Array.from({ length: 1_000 }, () => silent(api.port)));
    // All of them have come, and were counted.
    await vi.waitFor(() => expect(api.listener.refusals.get('too-many-handshakes')).toBeGreaterThan(900), 5_000);
    expect(api.listener.counts.open).toBeLessThanOrEqual(32);
    expect(await outcome(api, shown(alice))).toBe('served');
    for (const socket of sockets) socket.destroy();
  });

  test('of handshakes the oldest of all makes room, or of a source that has many its own', async () => {
    const api = await remoteApi(authority, node, { handshakesMax: 4, handshakesPerSourceMax: 2 });
    const oldest = await silent(api.port, '127.0.0.2');
    const [first, second] = [await silent(api.port, '127.0.0.3'), await silent(api.port, '127.0.0.3')];
    await vi.waitFor(() => expect(api.listener.counts.open).toBe(3));
    const ends = [closing(first), closing(oldest), closing(second)] as const;
    await silent(api.port, '127.0.0.3');
    await ends[0];
    expect([oldest.closed, second.closed]).toEqual([false, false]);
    await silent(api.port, '127.0.0.4');
    await silent(api.port, '127.0.0.5');
    await ends[1];
    expect(second.closed).toBe(false);
    await silent(api.port, '127.0.0.6');
    await ends[2];
    expect(api.listener.refusals.get('too-many-handshakes')).toBe(3);
  });

  test('of those that never say who they are, too', async () => {
    const api = await remoteApi(authority, node, { waitingMax: 2 });
    const oldest = await greeted(api.port, '127.0.0.2');
    await greeted(api.port, '127.0.0.3');
    await vi.waitFor(() => expect(api.listener.counts.http2).toBe(2));
    const gone = closing(oldest);
    await greeted(api.port, '127.0.0.4');
    await gone;
    expect(api.listener.refusals.get('too-many-waiting')).toBe(1);
  });

  test('in all there are only so many operators, and room again when one has gone', async () => {
    const api = await remoteApi(authority, node, { knownMax: 1 });
    const first = api.client(shown(alice));
    await first.node.status({});
    expect(await outcome(api, shown(alice))).toMatchObject({ code: expect.stringMatching(/unreachable|failed/) });
    expect(api.listener.refusals.get('too-many-known')).toBe(1);
    first.close();
    await vi.waitFor(() => expect(api.listener.counts.known).toBe(0));
    expect(await outcome(api, shown(alice))).toBe('served');
  });

  test('strangers from many addresses keep nobody out who comes from where an operator has been', async () => {
    const connects = { ...plenty, total: { burst: 3, everyMs: 60_000 } };
    const api = await remoteApi(authority, node, { connects, handshakesMax: 1, waitingMax: 1 });
    expect(await outcome(api, shown(alice))).toBe('served');
    const places = ['127.0.0.2', '127.0.0.3', '127.0.0.4'];
    const sockets = await Promise.all(places.map((address) => silent(api.port, address)));
    await vi.waitFor(() => expect(api.listener.refusals.get('too-many-connects')).toBe(1));
    expect(await outcome(api, shown(alice))).toBe('served');
    // It has taken no place of theirs, nor they one of its own.
    expect(api.listener.refusals.get('too-many-handshakes')).toBe(1);
    for (const socket of sockets) socket.destroy();
    await silent(api.port, '127.0.0.5');
    await vi.waitFor(() => expect(api.listener.refusals.get('too-many-connects')).toBe(2));
  });

  test('headers are bounded, in size and in number', async () => {
    const api = await remoteApi(authority, node);
    const asked = async (headers: Record<string, string>): Promise<string> => {
      const session = connected(api);
      // The bound on their size counts once the caller has heard of it; until then, 64 KiB.
      await once(session, 'remoteSettings');
      const type = { ':method': 'POST', ':path': '/grpc.health.v1.Health/Check', 'content-type': 'application/grpc' };
      const stream = session.request({ ...type, ...headers });
      stream.end(Buffer.alloc(5));
      return await new Promise((resolve) => {
        stream.once('response', () => resolve('answered')).once('error', () => resolve('refused'));
        stream.once('close', () => resolve('closed')).resume();
      });
    };
    const some = (count: number, size: number): Record<string, string> =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`x-${i}`, 'x'.repeat(size)]));
    expect(await asked(some(40, 10))).toBe('answered');
    expect(await asked(some(70, 10))).not.toBe('answered');
    expect(await asked(some(4, 3_000))).not.toBe('answered');
  });

  test('who has not said who it is has room for few calls, and an operator for those of a console', async () => {
    const api = await remoteApi(authority, node);
    const session = connected(api, alice);
    const rooms: (number | undefined)[] = [];
    session.on('remoteSettings', ({ maxConcurrentStreams }) => rooms.push(maxConcurrentStreams));
    await vi.waitFor(() => expect(rooms).toEqual([128]));
    const path = '/marcher.v1.NodeService/Status';
    session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc' }).end(Buffer.alloc(5));
    await vi.waitFor(() => expect(rooms).toEqual([128, 2_048]));
  });

  test('a request that does not come to its end is given up, and a connection without one is closed', async () => {
    const api = await remoteApi(authority, node, {}, undefined, { requestMs: 40, idleMs: 150 });
    const session = connected(api, alice);
    const headers = {
      ':method': 'POST',
      ':path': '/marcher.v1.NodeService/Status',
      'content-type': 'application/grpc',
    };
    const stream = session.request(headers);
    stream.on('error', () => undefined).resume();
    const over = closing(session);
    await closing(stream);
    expect(stream.rstCode).toBe(8);
    await over;
  });

  test('a source that connects too often waits, before any handshake', async () => {
    const connects = { ...plenty, perSource: { burst: 3, everyMs: 60_000 } };
    const api = await remoteApi(authority, node, { connects });
    // As a stranger, and then as often as one that an operator has come from.
    for (let i = 0; i < 1 + 3; i++) expect(await outcome(api, shown(alice))).toBe('served');
    expect(await outcome(api, shown(alice))).toMatchObject({ code: 'unreachable' });
    for (let i = 0; i < 4; i++) await silent(api.port, '127.0.0.2');
    await vi.waitFor(() => expect(api.listener.refusals.get('too-many-connects')).toBe(2));
  });

  test('those that never say who they are make room, the oldest first, and have their time', async () => {
    const api = await remoteApi(authority, node, { waitingPerSourceMax: 3 });
    const [oldest] = [await greeted(api.port), await greeted(api.port), await greeted(api.port)];
    await vi.waitFor(() => expect(api.listener.counts.http2).toBe(3), 10_000);
    const gone = closing(oldest as TLSSocket);
    expect(await outcome(api, shown(alice))).toBe('served');
    await gone;
    expect(api.listener.refusals.get('too-many-waiting')).toBe(1);
    const hasty = await remoteApi(authority, node, { waitingMs: 30 });
    await closing(await greeted(hasty.port));
    expect(hasty.listener.refusals.get('not-known-in-time')).toBe(1);
  });

  test('of operators, too, there are only so many connections of one address', async () => {
    const api = await remoteApi(authority, node, { knownPerSourceMax: 1 });
    await api.client(shown(alice)).node.status({});
    expect(await outcome(api, shown(alice))).toMatchObject({ code: expect.stringMatching(/unreachable|failed/) });
    expect(api.listener.counts.known).toBe(1);
  });

  test('who guesses tokens is not even looked at after a while, and certificates still are', async () => {
    const failures = { ...plenty, perSource: { burst: 3, everyMs: 60_000 } };
    const api = await remoteApi(authority, node, { failures });
    const guesser = api.client({ token: 'guess' });
    // All of them have come before the first is answered.
    api.authenticator.pause = new Promise((resolve) => setTimeout(resolve, 40));
    const answers = await Promise.allSettled(Array.from({ length: 10 }, () => guesser.node.status({})));
    expect(answers.every(({ status }) => status === 'rejected')).toBe(true);
    expect(api.authenticator.asked).toHaveLength(3);
    expect(await outcome(api, { token: TOKEN })).toMatchObject({
      message: expect.stringContaining('try again in 60 s'),
    });
    expect(await outcome(api, shown(alice))).toBe('served');
  });
});
