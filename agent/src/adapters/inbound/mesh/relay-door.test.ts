// SPDX-License-Identifier: Apache-2.0
/** What another member, and who is none, may do by calls that it passes on: whatever they say of who calls. */
import { once } from 'node:events';
import type { ClientHttp2Session } from 'node:http2';
import type { ConnectionOptions } from 'node:tls';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { Health } from '@marcher/proto/grpc/health/v1/health_pb';
import { AccessService } from '@marcher/proto/marcher/v1/access_service_pb';
import { CertificateService } from '@marcher/proto/marcher/v1/certificate_service_pb';
import { ConfigService } from '@marcher/proto/marcher/v1/config_service_pb';
import { MeshService } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { NodeService } from '@marcher/proto/marcher/v1/node_service_pb';
import { TrafficService } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { isRelayable } from '../../../domain/access/relayed.js';
import type { CertificateAuthority } from '../../../ports/identity.js';
import { closing } from '../../../testing/closing.js';
import { PROTOCOL } from '../../outbound/identity/mesh-tls.js';
import { testAuthority } from '../../outbound/identity/testing/mesh.js';
import { openMeshSession } from '../../outbound/mesh/mesh-session.js';
import { RELAY_PROTOCOL, RELAY_STREAMS } from '../../outbound/mesh/relay-wire.js';
import { identity, soon } from '../../outbound/mesh/testing/live-mesh.js';
import { callReplica } from '../../outbound/mesh/testing/replica-caller.js';
import { A, B, type RelayedPair, relayedPair } from '../grpc/testing/relayed.js';

let authority: CertificateAuthority;

beforeAll(async () => {
  authority = await testAuthority(Date.now());
});

const ROOT = 'v=1&name=root+%28uid+0%29&via=socket&role=administrator&source=';
const OWNER = 'v=1&name=user%3Abob&via=session&role=owner&source=192.0.2.9&service=web';
const VIEWER = 'v=1&name=user%3Aeve&via=session&role=viewer&source=192.0.2.9';

async function dial(port: number, tls: ConnectionOptions): Promise<ClientHttp2Session> {
  const shape = { name: RELAY_PROTOCOL, memoryMib: 64, headerBytes: 32_768, windowBytes: 65_535 };
  const { http2 } = await openMeshSession({ host: '127.0.0.1', port }, { tls, timeoutMs: 10_000 }, shape);
  onTestFinished(() => http2.destroy());
  return http2;
}

/** node-a, as it can be made to say anything. */
const asMember = ({ port, entryIdentity }: RelayedPair): Promise<ClientHttp2Session> =>
  dial(port.port, entryIdentity.mesh.dialOptions());

function transportOn(http2: ClientHttp2Session, said: Record<string, string>) {
  return createGrpcTransport({
    baseUrl: 'https://mesh.invalid',
    sessionManager: {
      authority: 'https://mesh.invalid',
      request: async (method, path, headers, options) =>
        http2.request({ ...headers, ...said, ':method': method, ':path': path }, options),
      notifyResponseByteRead: () => {},
    },
  });
}

const as = (who: string) => ({ 'marcher-relayed': who });
const failure = async (work: Promise<unknown>): Promise<ConnectError> =>
  await work.then(
    () => Promise.reject(new Error('expected a failure')),
    (error: unknown) => ConnectError.from(error),
  );

describe('a member', () => {
  test('that says root calls gets no further than what is passed on', async () => {
    const pair = await relayedPair(authority);
    const { other } = pair;
    const transport = transportOn(await asMember(pair), as(ROOT));
    await createClient(NodeService, transport).drain({});
    expect(other.useCases.drained.has('/')).toBe(true);
    const answers: string[] = [];
    for (const service of [ConfigService, MeshService, AccessService, CertificateService, Health]) {
      const client = createClient(service, transport) as unknown as Record<
        string,
        (message: object) => Promise<unknown>
      >;
      for (const { localName, name, methodKind } of service.methods) {
        if (isRelayable(`${service.typeName}/${name}`) || methodKind !== 'unary') continue;
        const { code, rawMessage } = await failure(client[localName]?.({}) as Promise<unknown>);
        expect([name, code]).toEqual([name, Code.PermissionDenied]);
        expect(rawMessage).toContain('is not for calls that another node passes on');
        answers.push(name);
      }
    }
    expect(answers).toEqual(
      expect.arrayContaining(['Apply', 'Revert', 'RemoveMember', 'CreateUser', 'Login', 'Check']),
    );
    expect(answers.length).toBeGreaterThan(40);
    expect([other.useCases.callers, other.mesh.callers]).toEqual([[], []]);
  });

  test('is believed what role its caller has, and nothing more than that is allowed', async () => {
    const pair = await relayedPair(authority);
    const { other } = pair;
    await other.client.config.apply({ change: { upsert: [{ name: 'web' }] } });
    const http2 = await asMember(pair);
    const viewer = createClient(NodeService, transportOn(http2, as(VIEWER)));
    const owner = createClient(NodeService, transportOn(http2, as(OWNER)));
    expect((await viewer.status({})).nodeName).toBe('north');
    const denied = await failure(viewer.drain({}));
    expect([denied.code, denied.rawMessage]).toEqual([
      Code.PermissionDenied,
      expect.stringContaining('user:eve is a viewer'),
    ]);
    await owner.drain({ service: 'web', backend: 'b1' });
    expect(other.log.join('\n')).toContain('"caller":"user:bob via node-a"');
    await expect(createClient(AccessService, transportOn(http2, as(OWNER))).whoAmI({})).resolves.toMatchObject({
      name: 'user:bob',
      via: 'session',
      scope: { services: ['web'] },
    });
  });

  test('that does not say who calls, or says it in another way, is refused, and that is in the log', async () => {
    const pair = await relayedPair(authority);
    const http2 = await asMember(pair);
    const status = (said: Record<string, string>) =>
      failure(createClient(NodeService, transportOn(http2, said)).status({}));
    for (const said of [{}, as(''), as('root'), as(`${ROOT}&role=viewer`), { authorization: 'Bearer mk_0_0' }]) {
      expect((await status(said as Record<string, string>)).code).toBe(Code.InvalidArgument);
    }
    expect(pair.port.server.refusals.get('relayed')).toBe(5);
    expect(JSON.stringify(pair.port.lines)).not.toContain('mk_0_0');
    // More than a header may have: the stream is refused, or the connection with it.
    await failure(createClient(NodeService, transportOn(http2, as(`${ROOT}${'x'.repeat(60_000)}`))).status({}));
  });

  test('can not have a call passed on once more', async () => {
    const pair = await relayedPair(authority);
    const transport = transportOn(await asMember(pair), { ...as(ROOT), 'marcher-node': B });
    const { code, rawMessage } = await failure(createClient(NodeService, transport).status({}));
    expect([code, rawMessage]).toEqual([
      Code.InvalidArgument,
      'a call that a node has passed on is not passed on again',
    ]);
  });

  test('has one connection for this, which takes no place of its replica', async () => {
    const pair = await relayedPair(authority);
    const { port, entryIdentity } = pair;
    const replica = await callReplica(port.port, entryIdentity.mesh.dialOptions());
    const second = await callReplica(port.port, entryIdentity.mesh.dialOptions());
    const first = await asMember(pair);
    const closed = closing(first);
    const later = await asMember(pair);
    await closed;
    expect([replica, second].map(({ socket }) => socket.destroyed)).toEqual([false, false]);
    expect([port.server.peers, port.server.relays]).toEqual([1, 1]);
    expect((await createClient(NodeService, transportOn(later, as(ROOT))).status({})).nodeName).toBe('north');
  });

  test('has so many calls at a time, and all members together keep no local caller out', async () => {
    const pair = await relayedPair(authority, { apiLimits: { openStreams: 3 } });
    const http2 = await asMember(pair);
    expect(http2.remoteSettings.maxConcurrentStreams).toBe(RELAY_STREAMS);
    const traffic = createClient(TrafficService, transportOn(http2, as(ROOT)));
    const leave = new AbortController();
    for (let held = 0; held < 3; held++) {
      const stream = traffic.logs({ follow: true }, { signal: leave.signal })[Symbol.asyncIterator]();
      stream.next().catch(() => undefined);
    }
    await soon(() => expect(pair.other.useCases.openStreams).toBe(3));
    const fourth = await failure(
      (async () => {
        for await (const _ of traffic.logs({ follow: true }));
      })(),
    );
    expect(fourth.code).toBe(Code.ResourceExhausted);
    for await (const { event } of pair.other.client.config.watch({})) if (event.case === 'synced') break;
    leave.abort();
  });

  test('that is silent is closed, one that opens streams without end, too', async () => {
    const pair = await relayedPair(authority, { doorLimits: { idleMs: 100, streamsPerSecond: 20 } });
    const silent = await asMember(pair);
    await closing(silent);
    const busy = await asMember(pair);
    const closed = closing(busy);
    const node = createClient(NodeService, transportOn(busy, as(ROOT)));
    for (let calls = 0; calls < 2_000 && !busy.destroyed; calls++) await node.status({}).catch(() => undefined);
    await closed;
    expect(pair.port.server.refusals.get('relayed')).toBe(1);
  });

  test('that opens calls and resets them does no harm, and is cut off when it does so without end', async () => {
    const pair = await relayedPair(authority, { doorLimits: { resets: { burst: 100, rate: 1 } } });
    const http2 = await asMember(pair);
    const closed = closing(http2);
    const headers = { ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers', ...as(ROOT) };
    const reset = async (): Promise<void> => {
      const request = http2.request({ ...headers, ':path': '/marcher.v1.TrafficService/Logs' });
      request.on('error', () => {});
      if (request.pending) await Promise.race([once(request, 'ready'), closed]);
      request.close(8);
      await new Promise(setImmediate);
    };
    for (let resets = 0; resets < 50; resets++) await reset();
    expect((await createClient(NodeService, transportOn(http2, as(ROOT))).status({})).nodeName).toBe('north');
    for (let resets = 0; resets < 200 && !http2.destroyed; resets++) await reset();
    await soon(() => expect([pair.port.server.relays, pair.other.useCases.openStreams]).toEqual([0, 0]));
    expect(pair.port.server.refusals.get('relayed')).toBe(1);
  });

  test('that was removed is cut off in the midst of a call, and let in no more', async () => {
    const pair = await relayedPair(authority);
    const { port, other, members } = pair;
    const traffic = createClient(TrafficService, transportOn(await asMember(pair), as(ROOT)));
    const held = failure(
      (async () => {
        for await (const _ of traffic.logs({ follow: true }));
      })(),
    );
    await soon(() => expect(other.useCases.openStreams).toBe(1));
    port.server.keepRelays(new Set([1n, 2n]));
    expect(port.server.relays).toBe(1);
    members.delete(A);
    port.server.keepRelays(new Set([2n]));
    await held;
    await soon(() => expect([other.useCases.openStreams, port.server.relays]).toEqual([0, 0]));
    // Its certificate is still good: nobody has heard of the list that takes it back.
    const again = createClient(NodeService, transportOn(await asMember(pair), as(ROOT)));
    const refused = await failure(again.status({}));
    expect([refused.code, refused.rawMessage]).toEqual([Code.Unavailable, expect.stringContaining('as a member')]);
  });

  test('whose certificate is taken back is cut off when it is judged again', async () => {
    const pair = await relayedPair(authority);
    const { port, entryIdentity, otherIdentity } = pair;
    const http2 = await asMember(pair);
    const closed = closing(http2);
    const { serial } = entryIdentity;
    otherIdentity.revoke(new Map([[serial, { serial, revokedAtMs: 0, reason: 0 }]]));
    port.server.judgeAgain();
    await closed;
    expect(port.server.refusals.get('revoked')).toBe(1);
    await expect(asMember(pair)).rejects.toThrow();
  });

  test('of another mesh, or none, is not let in', async () => {
    const pair = await relayedPair(authority);
    const stranger = await identity(await testAuthority(Date.now(), '2'), 1n);
    const ways: ConnectionOptions[] = [
      { ...stranger.mesh.context, rejectUnauthorized: false },
      { ...PROTOCOL, rejectUnauthorized: false },
    ];
    for (const tls of ways) await expect(dial(pair.port.port, tls)).rejects.toThrow();
    expect(pair.port.server.relays).toBe(0);
  });
});

test('the API itself is no door for this: it takes nobody for whom a header names', async () => {
  const { entry } = await relayedPair(authority);
  await entry.client.config.apply(
    { change: { upsert: [{ name: 'web' }] } },
    { headers: as('v=1&name=user%3Aeve&via=session&role=administrator&source=') },
  );
  expect(entry.useCases.callers[0]?.author).toBe('root (uid 0)');
});
