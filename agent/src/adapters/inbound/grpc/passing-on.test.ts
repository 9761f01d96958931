// SPDX-License-Identifier: Apache-2.0
/** Calls about another member, by way of the one that is connected. */
import { once } from 'node:events';
import { type ClientHttp2Session, connect as connectHttp2, type Http2ServerRequest } from 'node:http2';
import { connect } from 'node:net';
import { Code, ConnectError, createClient, type Transport } from '@connectrpc/connect';
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import { ConfigService } from '@marcher/proto/marcher/v1/config_service_pb';
import { NodeService } from '@marcher/proto/marcher/v1/node_service_pb';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { CertificateAuthority } from '../../../ports/identity.js';
import { testClient } from '../../outbound/identity/testing/client.js';
import { NODE_A } from '../../outbound/identity/testing/directory.js';
import { testAuthority, testNode } from '../../outbound/identity/testing/mesh.js';
import { soon } from '../../outbound/mesh/testing/live-mesh.js';
import { A, B, relayedPair, type TestAgent, testAgent, UNKNOWN } from './testing/relayed.js';
import { remoteApi } from './testing/remote.js';

let authority: CertificateAuthority;

beforeAll(async () => {
  authority = await testAuthority(Date.now());
});

const PROTOCOLS = [
  ['gRPC', createGrpcTransport],
  ['gRPC-Web', createGrpcWebTransport],
  ['Connect', createConnectTransport],
] as const;
const web = { name: 'web', backends: [{ name: 'b1', address: '10.0.0.1:80' }] };

function transportTo({ socketPath }: TestAgent, kind: unknown = createGrpcTransport, binary = true): Transport {
  return (kind as typeof createGrpcTransport)({
    baseUrl: 'http://localhost',
    useBinaryFormat: binary,
    nodeOptions: { createConnection: () => connect({ path: socketPath }) },
    ...({ httpVersion: '2' } as object),
  });
}

function rawTo({ socketPath }: TestAgent): ClientHttp2Session {
  const session = connectHttp2('http://localhost', { createConnection: () => connect({ path: socketPath }) });
  onTestFinished(() => session.destroy());
  session.on('error', () => undefined);
  return session;
}

const at = (nodeId: string) => ({ headers: { 'marcher-node': nodeId } });
const failure = async (work: Promise<unknown>): Promise<ConnectError> =>
  await work.then(
    () => Promise.reject(new Error('expected a failure')),
    (error: unknown) => ConnectError.from(error),
  );

describe('a call that names a member', () => {
  test.each(PROTOCOLS)('is answered by that member, by %s, in bytes and in JSON', async (_name, kind) => {
    const { entry, other, links } = await relayedPair(authority);
    await createClient(ConfigService, transportTo(other)).apply({ change: { upsert: [web] } });
    for (const binary of [true, false]) {
      const transport = transportTo(entry, kind, binary);
      const [config, node] = [createClient(ConfigService, transport), createClient(NodeService, transport)];
      const there = await config.get({ name: 'web' }, at(B));
      expect(there.resource?.service?.backends[0]?.address).toBe('10.0.0.1:80');
      expect((await node.drain({ service: 'web', backend: 'b1' }, at(B))).connections).toBe(7n);
      const missing = await failure(config.get({ name: 'none' }, at(B)));
      expect([missing.code, missing.rawMessage]).toEqual([
        Code.NotFound,
        'there is no service "none": see marcher get services',
      ]);
      // Of this node: without the header, or with its own id.
      expect((await failure(config.get({ name: 'web' }))).code).toBe(Code.NotFound);
      expect((await failure(config.get({ name: 'web' }, at(A)))).code).toBe(Code.NotFound);
      const unknown = await failure(config.get({ name: 'web' }, at(UNKNOWN)));
      expect([unknown.code, unknown.rawMessage]).toEqual([
        Code.NotFound,
        expect.stringContaining('mesh members lists'),
      ]);
    }
    expect([...other.useCases.drained]).toEqual(['web/b1']);
    expect(entry.useCases.drained.size).toBe(0);
    expect(links.counts).toEqual({ calls: 0, connections: 1 });
    expect(other.log.filter((line) => line.includes('NodeService/Drain'))[0]).toContain(
      '"caller":"root (uid 0) via node-a"',
    );
  });

  test.each(PROTOCOLS)('goes on while it is a stream, by %s, and ends where its reader leaves', async (_name, kind) => {
    const { entry, other, links } = await relayedPair(authority);
    const config = createClient(ConfigService, transportTo(entry, kind));
    const there = createClient(ConfigService, transportTo(other));
    const leave = new AbortController();
    const seen: string[] = [];
    for await (const { event } of config.watch({}, { ...at(B), signal: leave.signal })) {
      seen.push(event.case === 'upsert' ? `upsert ${event.value.service?.name}` : `${event.case}`);
      if (event.case === 'synced') await there.apply({ change: { upsert: [web] } });
      if (seen.length === 2) break;
    }
    leave.abort();
    expect(seen).toEqual(['synced', 'upsert web']);
    await soon(() => {
      expect(other.useCases.openStreams).toBe(0);
      expect(links.counts.calls).toBe(0);
    });
    expect(entry.useCases.openStreams).toBe(0);
  });

  test('makes the member wait while it is not read, and nothing of it is lost', async () => {
    const { entry, other } = await relayedPair(authority);
    const filler = 'x'.repeat(60_000);
    let given = 0;
    const total = 400;
    other.useCases.config.watch = async function* () {
      for (; given < total; given++) {
        const service = { name: `s${given}`, labels: { filler } };
        yield { kind: 'remove', name: `${service.name}${filler}`, version: 1n };
      }
    };
    const session = rawTo(entry);
    const stream = session.request({
      ':method': 'POST',
      ':path': '/marcher.v1.ConfigService/Watch',
      'content-type': 'application/grpc',
      te: 'trailers',
      'marcher-node': B,
    });
    stream.end(Buffer.alloc(5));
    await once(stream, 'response');
    let before = -1;
    // Until it stands still.
    await soon(() => {
      const stood = before === given;
      before = given;
      expect(stood).toBe(true);
    });
    // 24 MB in all; what is on its way are windows and buffers.
    expect(given * filler.length).toBeLessThan(2 << 20);
    let bytes = 0;
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    const [trailers] = await once(stream, 'trailers');
    expect(trailers).toMatchObject({ 'grpc-status': '0' });
    expect(bytes).toBeGreaterThan(total * filler.length);
  });

  test('is not made, and it is said why', async () => {
    const { entry, other, members } = await relayedPair(authority);
    const config = createClient(ConfigService, transportTo(entry));
    const said = async (work: Promise<unknown>) => {
      const { code, rawMessage } = await failure(work);
      return [code, rawMessage];
    };
    for (const wrong of ['node-b', '', '0'.repeat(16), B.toUpperCase().replace('0', 'F'), `${B}, ${B}`]) {
      expect(await said(config.get({ name: 'web' }, at(wrong)))).toEqual([
        Code.InvalidArgument,
        expect.stringContaining('16 hex digits'),
      ]);
    }
    const change = { upsert: [web] };
    for (const work of [
      config.apply({ change }, at(B)),
      config.plan({ change }, at(B)),
      config.revert({ version: 1n }, at(B)),
      entry.client.mesh.removeMember({ node: 'x' }, at(B)),
      entry.client.access.createUser({ name: 'eve' }, at(B)),
      entry.client.access.login({ name: 'eve' }, at(B)),
    ]) {
      expect((await said(work))[1]).toContain('is not passed on to other nodes');
    }
    expect([entry, other].map(({ useCases }) => useCases.callers)).toEqual([[], []]);
    const alone = await testAgent();
    const none = await said(createClient(ConfigService, transportTo(alone)).get({ name: 'web' }, at(B)));
    expect(none).toEqual([Code.FailedPrecondition, expect.stringContaining('marcher mesh init')]);
    members.delete(B);
    expect((await said(config.get({ name: 'web' }, at(B))))[0]).toBe(Code.NotFound);
  });

  test('to a member that is not there, or too old for it, is answered so', async () => {
    const { entry, port, wire } = await relayedPair(authority);
    const get = () => failure(createClient(NodeService, transportTo(entry)).status({}, at(B)));
    await port.server.close();
    const gone = await get();
    expect(gone.code).toBe(Code.Unavailable);
    expect(gone.rawMessage).toContain(`node node-b (127.0.0.1:${wire.port}) can't be reached from here: `);
    const old = await relayedPair(authority, { tooOld: true });
    const refused = await failure(createClient(NodeService, transportTo(old.entry)).status({}, at(B)));
    expect([refused.code, refused.rawMessage]).toEqual([Code.Unimplemented, expect.stringContaining('upgrade it')]);
    // Whom the other does not believe.
    const revoked = await relayedPair(authority);
    const { serial } = revoked.entryIdentity;
    revoked.otherIdentity.revoke(new Map([[serial, { serial, revokedAtMs: 0, reason: 0 }]]));
    const closed = await failure(createClient(NodeService, transportTo(revoked.entry)).status({}, at(B)));
    expect([closed.code, closed.rawMessage]).toEqual([Code.Unavailable, expect.stringContaining('its log says why')]);
  });

  test('that breaks off in the midst says so, and the next one goes out again', async () => {
    const { entry, other, wire, links } = await relayedPair(authority);
    const watching = async (kind: unknown) => {
      for await (const { event } of createClient(ConfigService, transportTo(entry, kind)).watch({}, at(B))) {
        if (event.case === 'synced') wire.cut();
      }
    };
    const lost = await failure(watching(createGrpcTransport));
    expect(lost.code).toBe(Code.Unavailable);
    expect(lost.rawMessage).toContain('node node-b has not answered to the end');
    // There are no trailers to say it in.
    await failure(watching(createGrpcWebTransport));
    await failure(watching(createConnectTransport));
    await soon(() => expect([links.counts, other.useCases.openStreams]).toEqual([{ calls: 0, connections: 0 }, 0]));
    expect((await createClient(NodeService, transportTo(entry)).status({}, at(B))).nodeName).toBe('north');
  });

  test('ends with the agent that passes it on, and with its deadline', async () => {
    const { entry, other } = await relayedPair(authority);
    const config = createClient(ConfigService, transportTo(entry));
    const late = await failure(
      (async () => {
        for await (const _ of config.watch({}, { ...at(B), timeoutMs: 100 }));
      })(),
    );
    expect(late.code).toBe(Code.DeadlineExceeded);
    const stopped = failure(
      (async () => {
        for await (const { event } of config.watch({}, at(B))) if (event.case === 'synced') void entry.api.stop();
      })(),
    );
    expect((await stopped).rawMessage).toContain('the agent is stopping');
    await soon(() => expect(other.useCases.openStreams).toBe(0));
  });

  test('that is too large is refused, also where the other node takes all that comes', async () => {
    const apiLimits = { messageMaxBytes: 100_000 };
    const large = { name: 'x'.repeat(150_000) };
    const { entry } = await relayedPair(authority, { apiLimits });
    const refused = await failure(createClient(ConfigService, transportTo(entry)).get(large, at(B)));
    expect([refused.code, refused.rawMessage]).toEqual([
      Code.ResourceExhausted,
      expect.stringContaining('message size'),
    ]);
    let taken = 0;
    const answer = (request: Http2ServerRequest) => {
      request.on('data', (chunk: Buffer) => {
        taken += chunk.length;
      });
    };
    const { entry: other, links } = await relayedPair(authority, { apiLimits, answer });
    const longer = { name: 'x'.repeat(2_000_000) };
    const cut = await failure(createClient(ConfigService, transportTo(other)).get(longer, at(B)));
    expect([cut.code, cut.rawMessage]).toEqual([
      Code.ResourceExhausted,
      'this message is larger than the 200000 bytes that are read of calls that are passed on',
    ]);
    expect(taken).toBeLessThanOrEqual(200_000);
    await soon(() => expect(links.counts.calls).toBe(0));
  });

  test('is refused when so many are open, and takes a place that becomes free', async () => {
    const { entry, links } = await relayedPair(authority, { relayLimits: { callsPerNodeMax: 2 } });
    const config = createClient(ConfigService, transportTo(entry));
    const leave = new AbortController();
    for (let held = 0; held < 2; held++) {
      await config
        .watch({}, { ...at(B), signal: leave.signal })
        [Symbol.asyncIterator]()
        .next();
    }
    const third = await failure(config.get({ name: 'web' }, at(B)));
    expect([third.code, third.rawMessage]).toEqual([
      Code.ResourceExhausted,
      '2 calls are being passed on to node node-b: close some, or try again later',
    ]);
    leave.abort();
    await soon(() => expect(links.counts.calls).toBe(0));
    expect((await failure(config.get({ name: 'web' }, at(B)))).code).toBe(Code.NotFound);
  });
});

describe('a connection to a member', () => {
  test('is one for all calls, and closed when there was none for a while', async () => {
    const { entry, links, wire, port } = await relayedPair(authority, { relayLimits: { idleMs: 50 } });
    const node = createClient(NodeService, transportTo(entry));
    await Promise.all(Array.from({ length: 20 }, () => node.status({}, at(B))));
    expect([wire.opened, port.server.peers, port.server.relays]).toEqual([1, 0, 1]);
    await soon(() => expect([links.counts.connections, port.server.relays]).toEqual([0, 0]));
    await node.status({}, at(B));
    expect(wire.opened).toBe(2);
  });

  test('to one that is not there any more is noticed while calls are open', async () => {
    const { entry, wire } = await relayedPair(authority, { relayLimits: { pingMs: 50 } });
    const config = createClient(ConfigService, transportTo(entry));
    const watching = async () => {
      for await (const { event } of config.watch({}, at(B))) if (event.case === 'synced') wire.freeze();
    };
    const lost = await failure(watching());
    expect([lost.code, lost.rawMessage]).toEqual([
      Code.Unavailable,
      expect.stringContaining('does not answer any more'),
    ]);
  });

  test('ends at once with all of its calls when the member is removed, or its certificate taken back', async () => {
    const { entry, links, entryIdentity, otherIdentity, members } = await relayedPair(authority);
    const config = createClient(ConfigService, transportTo(entry));
    const watching = async (end: () => void) => {
      for await (const { event } of config.watch({}, at(B))) if (event.case === 'synced') end();
    };
    links.keep(new Set([A, B]));
    links.judgeAgain();
    const removed = await failure(watching(() => links.keep(new Set([A]))));
    expect(removed.rawMessage).toContain('it is not in the mesh any more');
    const { serial } = otherIdentity;
    const revoked = await failure(
      watching(() => {
        entryIdentity.revoke(new Map([[serial, { serial, revokedAtMs: 0, reason: 0 }]]));
        links.judgeAgain();
      }),
    );
    expect(revoked.rawMessage).toMatch(/revoked|removed/);
    members.delete(B);
    expect((await failure(config.get({ name: 'x' }, at(B)))).code).toBe(Code.NotFound);
  });

  test('gives its place to another member when there is no room, if no call is on it', async () => {
    const { entry, links, members } = await relayedPair(authority, { relayLimits: { connectionsMax: 1 } });
    members.set(UNKNOWN, 'node-c');
    const [node, config] = [
      createClient(NodeService, transportTo(entry)),
      createClient(ConfigService, transportTo(entry)),
    ];
    const leave = new AbortController();
    await config
      .watch({}, { ...at(B), signal: leave.signal })
      [Symbol.asyncIterator]()
      .next();
    expect((await failure(node.status({}, at(UNKNOWN)))).code).toBe(Code.ResourceExhausted);
    leave.abort();
    await soon(() => expect(links.counts.calls).toBe(0));
    // Another node answers at that address than was called.
    const other = await failure(node.status({}, at(UNKNOWN)));
    expect([other.code, other.rawMessage]).toEqual([Code.Unavailable, expect.stringContaining('node-c')]);
  });
});

test('who calls from elsewhere is asked here who that is, and what it may not do goes nowhere', async () => {
  const now = Date.now();
  const [node, alice] = await Promise.all([testNode(authority, NODE_A, now), testClient(authority, 'alice', now)]);
  const pair = await relayedPair(authority);
  const api = await remoteApi(
    authority,
    node,
    { reviewMs: 20 },
    undefined,
    {},
    {
      self: A,
      nameOf: () => 'node-b',
      call: (nodeId, headers, signal) => pair.links.call(nodeId, headers, signal),
    },
  );
  const { certificatePem: certificate, privateKeyPem: privateKey } = alice;
  const [known, nobody] = [api.client({ certificate, privateKey }), api.client({})];
  await expect(nobody.node.status({}, at(B))).rejects.toMatchObject({ code: 'denied' });
  await expect(nobody.access.login({ name: 'alice' }, at(B))).rejects.toMatchObject({ code: 'denied' });
  const wrong = api.client({ token: 'none' });
  await expect(wrong.access.login({ name: 'alice' }, at(B))).rejects.toMatchObject({ code: 'denied' });
  expect(pair.wire.opened).toBe(0);
  await known.node.drain({}, at(B));
  expect(pair.other.log.join('\n')).toContain('"caller":"user:alice via node-a"');
  // What it says of itself beside that is of no account.
  const told = {
    headers: { ...at(B).headers, 'marcher-relayed': 'v=1&name=root+%28uid+0%29&via=socket&role=administrator&source=' },
  };
  await known.node.undrain({}, told);
  expect(pair.other.log.join('\n')).not.toContain('root (uid 0) via');
  // Streams end when whoever began them would not be let in any more.
  const watching = async () => {
    for await (const { event } of known.config.watch({}, at(B))) {
      if (event.case === 'synced') api.authenticator.users.delete('alice');
    }
  };
  await expect(watching()).rejects.toMatchObject({ code: 'denied', message: expect.stringContaining('no user alice') });
  await soon(() => expect(pair.other.useCases.openStreams).toBe(0));
});

describe('throughNode', () => {
  test('asks the member, once it is known that calls are passed on', async () => {
    const { entry, other } = await relayedPair(authority);
    const there = entry.client.throughNode(B);
    expect(entry.client.throughNode(B)).toBe(there);
    await there.node.drain({});
    expect([entry, other].map(({ useCases }) => useCases.drained.has('/'))).toEqual([false, true]);
    expect((await there.mesh.getMesh({})).mesh?.nodeId).toBe(B);
    expect((await entry.client.throughNode(A).mesh.getMesh({})).mesh?.nodeId).toBe(A);
    await expect(entry.client.throughNode(UNKNOWN).node.status({})).rejects.toMatchObject({ code: 'not_found' });
  });

  test('drains nobody where an agent takes no notice of the header, and asks again later', async () => {
    const { entry, other } = await relayedPair(authority);
    const answered = entry.mesh;
    // As one of before has it: it answers for itself.
    Object.assign(other.mesh, { nodeId: A });
    const there = entry.client.throughNode(B);
    await expect(there.node.drain({})).rejects.toMatchObject({
      code: 'unimplemented',
      message: expect.stringContaining('earlier version'),
    });
    expect([answered.callers, entry.useCases.drained.size, other.useCases.drained.size]).toEqual([[], 0, 0]);
    Object.assign(other.mesh, { nodeId: B });
    await there.node.drain({});
    expect(other.useCases.drained.size).toBe(1);
  });
});
