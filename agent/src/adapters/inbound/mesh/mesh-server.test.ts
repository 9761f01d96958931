// SPDX-License-Identifier: Apache-2.0
/** Who comes to the mesh port, and what each of them may do there. */
import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { create, toBinary } from '@bufbuild/protobuf';
import { Code, createClient } from '@connectrpc/connect';
import { JoinService, PeerService, ReplicateRequestSchema } from '@marcher/proto/marcher/mesh/v1/peer_pb';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { NO_REVOCATIONS } from '../../../domain/identity/revocation.js';
import { encodeMessage } from '../../../domain/replication/message-codec.js';
import type { CertificateAuthority } from '../../../ports/identity.js';
import type { Admit } from '../../../ports/mesh.js';
import { PROTOCOL } from '../../outbound/identity/mesh-tls.js';
import { testAuthority } from '../../outbound/identity/testing/mesh.js';
import { type MeshSession, openMeshSession } from '../../outbound/mesh/mesh-session.js';
import {
  identity,
  idOf,
  openServer,
  SILENT,
  soon,
  type TestIdentity,
  type TestServer,
} from '../../outbound/mesh/testing/live-mesh.js';
import { createMeshServer } from './mesh-server.js';
import { MESSAGE_MAX_BYTES } from './peer-service.js';

let authority: CertificateAuthority;
let one: TestIdentity;
let two: TestIdentity;

beforeAll(async () => {
  authority = await testAuthority(Date.now());
  [one, two] = await Promise.all([identity(authority, 1n), identity(authority, 2n)]);
});

const STRANGER: ConnectionOptions = { ...PROTOCOL, rejectUnauthorized: false };
const BUSY = encodeMessage({ type: 'busy', id: 1 });

async function dial(port: number, tls: ConnectionOptions): Promise<MeshSession> {
  const session = await openMeshSession({ host: '127.0.0.1', port }, { tls, timeoutMs: 10_000 });
  onTestFinished(() => session.http2.destroy());
  return session;
}

const asPeer = (port: number): Promise<MeshSession> => dial(port, two.mesh.dialOptions());

/** Sends these requests on one stream, and leaves it open. */
function stream(session: MeshSession, ...requests: { messages: Uint8Array[] }[]): Promise<unknown> {
  const over = new AbortController();
  session.http2.once('close', () => over.abort(new Error('closed')));
  async function* all(): AsyncGenerator<{ messages: Uint8Array[] }> {
    yield* requests;
    await new Promise(() => {});
  }
  const call = createClient(PeerService, session.transport(1_024)).replicate(all(), { signal: over.signal });
  call.catch(() => {});
  return call;
}

async function joining(session: MeshSession, token = 'marcher1x'): Promise<unknown> {
  const keys = { frameKey: new Uint8Array(32), frameKeySignature: new Uint8Array(96) };
  const addresses = { meshAddress: '', gossipAddress: '' };
  const request = { token, certificateRequest: new Uint8Array(10), name: 'new', ...addresses, ...keys };
  const { answer } = await createClient(JoinService, session.transport(65_536)).join(request);
  return answer;
}

const kinds = ({ server }: TestServer): string[] => [...server.refusals.keys()];
const no: Admit = async () => ({ kind: 'refused', reason: 'not today' });

describe('a node of the mesh', () => {
  test('is whom its certificate names, whatever its messages say', async () => {
    const { port, received } = await openServer(one);
    const session = await asPeer(port);
    // A frame of another origin's, as everybody passes them on: it came from node 2 nevertheless.
    void stream(session, { messages: [encodeMessage({ type: 'push', frame: new TextEncoder().encode('of node 9') })] });
    await soon(() => expect(received).toMatchObject([{ from: 2n, message: { type: 'push' } }]));
  });

  test('can not join, and is told why', async () => {
    const { port } = await openServer(one, { admit: no });
    await expect(joining(await asPeer(port))).rejects.toMatchObject({
      code: Code.FailedPrecondition,
      rawMessage: expect.stringContaining('in the mesh already'),
    });
  });

  test('that sends what is no message goes on, and the log says so once', async () => {
    const opened = await openServer(one);
    const { port, received, lines } = opened;
    const junk = Array.from({ length: 100 }, () => new Uint8Array([0xff, 0xff]));
    void stream(await asPeer(port), { messages: [...junk, BUSY] });
    await soon(() => expect(received).toHaveLength(1));
    expect(opened.server.refusals.get('message')).toBe(100);
    expect(lines).toHaveLength(1);
    await opened.server.close();
    expect(lines).toMatchObject([{ count: 1 }, { refusal: 'message', count: 99 }]);
  });

  test('that sends a message that is too large has its stream ended, and nobody else does; the log says so', async () => {
    const { port, received, server, lines } = await openServer(one);
    const bad = stream(await asPeer(port), { messages: [new Uint8Array(MESSAGE_MAX_BYTES + 1)] });
    await expect(bad).rejects.toMatchObject({ code: Code.ResourceExhausted });
    expect(server.refusals.get('protocol')).toBe(1);
    expect(lines).toMatchObject([
      { reason: expect.stringMatching(/message of \d+ bytes is announced/), from: idOf(2n) },
    ]);
    void stream(await asPeer(port), { messages: [BUSY] });
    await soon(() => expect(received).toHaveLength(1));
  });

  test('that sends millions of nothings in one message has its stream ended before they are unfolded', async () => {
    const { port, received, server } = await openServer(one);
    const { http2 } = await asPeer(port);
    const headers = { ':method': 'POST', ':path': '/marcher.mesh.v1.PeerService/Replicate', te: 'trailers' };
    const request = http2.request({ ...headers, 'content-type': 'application/grpc' });
    const trailers = once(request, 'trailers');
    const bytes = 4 * 1024 * 1024;
    const nothings = Buffer.alloc(5 + bytes);
    nothings.writeUInt32BE(bytes, 1);
    for (let at = 5; at < nothings.length; at += 2) nothings[at] = 0x0a;
    request.end(nothings);
    expect((await trailers)[0]).toMatchObject({ 'grpc-status': String(Code.ResourceExhausted) });
    expect(received).toEqual([]);
    expect(server.refusals.get('protocol')).toBe(1);
  });

  test('that sends a message in crumbs has its stream ended, many small messages are none', async () => {
    const { port, received } = await openServer(one, { limits: { chunksMax: 20 } });
    const { http2 } = await asPeer(port);
    const headers = { ':method': 'POST', ':path': '/marcher.mesh.v1.PeerService/Replicate', te: 'trailers' };
    const request = http2.request({ ...headers, 'content-type': 'application/grpc' });
    const trailers = once(request, 'trailers');
    const message = toBinary(ReplicateRequestSchema, create(ReplicateRequestSchema, { messages: [BUSY] }));
    const envelope = Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]);
    for (let sent = 1; sent <= 30; sent++) {
      request.write(envelope);
      await soon(() => expect(received.length).toBe(sent));
    }
    request.write(Buffer.from([0, 0, 0, 1, 0]));
    const crumbs = setInterval(() => request.write(Buffer.from([0])), 1);
    onTestFinished(() => clearInterval(crumbs));
    expect((await trailers)[0]).toMatchObject({ 'grpc-status': String(Code.ResourceExhausted) });
    expect(received).toHaveLength(30);
  });

  test('has one stream per connection, and its oldest connection makes room for a third', async () => {
    const { port, server } = await openServer(one);
    const first = await asPeer(port);
    void stream(first);
    await expect(stream(first)).rejects.toMatchObject({ code: Code.ResourceExhausted });
    const closed = once(first.http2, 'close');
    await asPeer(port);
    await asPeer(port);
    await closed;
    expect(server.peers).toBe(1);
    expect(server.refusals.get('replaced')).toBe(1);
  });

  test('that is revoked is cut off when it is judged again, and not let in any more', async () => {
    const host = await identity(authority, 5n);
    const { port, server } = await openServer(host);
    const session = await asPeer(port);
    server.judgeAgain();
    expect(server.peers).toBe(1);
    const closed = once(session.http2, 'close');
    host.revoke(new Map([[two.serial, { serial: two.serial, revokedAtMs: 0, reason: 0 }]]));
    expect(server.peers).toBe(1);
    server.judgeAgain();
    await closed;
    await soon(() => expect(server.peers).toBe(0));
    await expect(asPeer(port)).rejects.toThrow();
    expect(server.refusals.get('revoked')).toBe(2);
    host.revoke(NO_REVOCATIONS);
    await asPeer(port);
  });

  test('that was removed is cut off, one that nobody has told of yet is not', async () => {
    const { port, server } = await openServer(one);
    const session = await asPeer(port);
    server.keep(new Set([1n]));
    expect(server.peers).toBe(1);
    server.keep(new Set([1n, 2n]));
    const closed = once(session.http2, 'close');
    server.keep(new Set([1n]));
    await closed;
    expect(server.refusals.get('removed')).toBe(1);
  });

  test('that says nothing is closed after a while, one that sends PINGs stays', async () => {
    const { port, server } = await openServer(one, { limits: { idleMs: 200 } });
    const silent = await asPeer(port);
    const alive = await dial(port, (await identity(authority, 3n)).mesh.dialOptions());
    const pings = setInterval(() => alive.http2.destroyed || alive.http2.ping(() => {}), 50);
    onTestFinished(() => clearInterval(pings));
    await once(silent.http2, 'close');
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(server.peers).toBe(1);
    expect(alive.http2.closed).toBe(false);
  });

  test('that opens and resets streams without end is cut off', async () => {
    const { port, server } = await openServer(one);
    const { http2 } = await asPeer(port);
    const closed = once(http2, 'close');
    const headers = { ':method': 'POST', ':path': '/marcher.mesh.v1.PeerService/Replicate' };
    for (let resets = 0; resets < 200 && !http2.destroyed; resets++) {
      const request = http2.request({ ...headers, 'content-type': 'application/grpc' });
      request.on('error', () => {});
      if (request.pending) await Promise.race([once(request, 'ready'), closed]);
      request.close(8);
      await new Promise(setImmediate);
    }
    await soon(() => expect(server.peers).toBe(0));
    expect(server.refusals.get('protocol')).toBe(1);
  });
});

describe('a stranger', () => {
  test('may ask to join, and gets the answer', async () => {
    const asked: unknown[] = [];
    const opened = await openServer(one, {
      admit: async (request, source) => {
        asked.push([request.token, source]);
        return { kind: 'refused', reason: 'used', retryAfterMs: 1_500 };
      },
    });
    const answer = await joining(await dial(opened.port, STRANGER));
    expect(answer).toMatchObject({ case: 'refused', value: { reason: 'used', retryAfterMs: 1_500 } });
    expect(asked).toEqual([['marcher1x', '127.0.0.1']]);
    expect(opened.lines).toMatchObject([{ refusal: 'join', reason: 'used', from: '127.0.0.1' }]);
  });

  test('can not replicate, nor call anything else', async () => {
    const { port, received } = await openServer(one, { admit: no });
    const session = await dial(port, STRANGER);
    await expect(stream(session, { messages: [BUSY] })).rejects.toMatchObject({ code: Code.Unauthenticated });
    const other = session.http2.request({ ':method': 'POST', ':path': '/marcher.v1.ConfigService/Apply' });
    const [headers] = await once(other, 'response');
    expect(headers).toMatchObject({ ':status': 404 });
    expect(received).toEqual([]);
  });

  test('is refused where nobody joins', async () => {
    const opened = await openServer(one);
    await expect(dial(opened.port, STRANGER)).rejects.toThrow();
    expect(kinds(opened)).toEqual(['no-certificate']);
  });

  test('is refused when it asks with too much, and when too many ask at once', async () => {
    const waiting: (() => void)[] = [];
    const admit: Admit = () => {
      return new Promise((resolve) => waiting.push(() => resolve({ kind: 'refused', reason: 'late' })));
    };
    const { port } = await openServer(one, { admit, limits: { joinsMax: 1 } });
    const session = await dial(port, STRANGER);
    await expect(joining(session, 'x'.repeat(100_000))).rejects.toMatchObject({ code: Code.ResourceExhausted });
    expect(await joining(session, 'x'.repeat(2_000))).toMatchObject({ case: 'refused' });
    expect(waiting).toEqual([]);
    const first = joining(session);
    await soon(() => expect(waiting).toHaveLength(1));
    const second = await joining(await dial(port, STRANGER));
    expect(second).toMatchObject({ value: { reason: expect.stringContaining('try again'), retryAfterMs: 2_000 } });
    waiting[0]?.();
    expect(await first).toMatchObject({ value: { reason: 'late' } });
  });

  test('learns nothing of a failure within', async () => {
    const admit: Admit = () => Promise.reject(new Error('the secret is 42'));
    const { port } = await openServer(one, { admit });
    await expect(joining(await dial(port, STRANGER))).rejects.toMatchObject({
      code: Code.Internal,
      message: expect.not.stringContaining('42'),
    });
  });
});

describe('the mesh port', () => {
  const raw = (port: number, tls?: ConnectionOptions): Socket => {
    const target = { host: '127.0.0.1', port };
    const socket = tls === undefined ? connectTcp(target) : connectTls({ ...tls, ...target });
    socket.on('error', () => {});
    onTestFinished(() => void socket.destroy());
    return socket;
  };

  test('closes what is not TLS, and what is not HTTP/2 in it, and takes nodes as before', async () => {
    const opened = await openServer(one, { admit: no });
    const { port, received } = opened;
    const noise = Buffer.from(Array.from({ length: 4_096 }, (_, at) => (at * 31) % 256));
    const sockets = [
      raw(port),
      raw(port, { ...two.mesh.dialOptions(), ALPNProtocols: ['h2'] }),
      raw(port, two.mesh.dialOptions()),
      raw(port, { ...STRANGER, ALPNProtocols: ['h2'] }),
    ];
    const closed = Promise.all(sockets.map((socket) => once(socket, 'close')));
    for (const socket of sockets) {
      socket.resume();
      socket.write(noise);
    }
    await closed;
    expect(kinds(opened).sort()).toEqual(['handshake', 'protocol']);
    void stream(await asPeer(port), { messages: [BUSY] });
    await soon(() => expect(received).toHaveLength(1));
  });

  test.each([
    // RFC 9113, 6.5 and 6.7: each is to be answered.
    ['SETTINGS', Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])],
    ['PING', Buffer.from([0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8])],
  ])('cuts off a flood of %s', async (_, frame) => {
    const { port, server } = await openServer(one);
    const socket = raw(port, { ...two.mesh.dialOptions(), ALPNProtocols: ['h2'] });
    const closed = once(socket, 'close');
    const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    socket.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), settings]));
    for (let at = 0; at < 20; at++) socket.write(Buffer.concat(Array.from({ length: 1_000 }, () => frame)));
    socket.resume();
    await closed;
    expect(server.refusals.get('protocol')).toBe(1);
  });

  /** RFC 9113, section 4.1. */
  const frame = (type: number, flags: number, stream: number, payload: Buffer): Buffer => {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head.writeUInt8(type, 3);
    head.writeUInt8(flags, 4);
    head.writeUInt32BE(stream, 5);
    return Buffer.concat([head, payload]);
  };
  /** RFC 7541, section 6.2: into the table, and not. */
  const field = (first: number, value: string): Buffer =>
    Buffer.concat([Buffer.from([first, 1]), Buffer.from('x'), Buffer.from([value.length]), Buffer.from(value)]);
  const HEADERS = 1;
  const CONTINUATION = 9;
  const END_HEADERS = 4;

  type Flood = (turn: number) => Buffer;
  const floods: readonly (readonly [string, Flood])[] = [
    // CVE-2024-28182.
    ['headers without end', (turn) => frame(turn === 0 ? HEADERS : CONTINUATION, 0, 1, field(0, 'v'))],
    [
      'headers that unfold',
      // One field of 100 bytes in the table, and then each byte stands for it.
      (turn) => {
        const bomb = Buffer.concat([field(0x40, 'v'.repeat(100)), Buffer.alloc(15_000, 0x80 | 62)]);
        return frame(HEADERS, END_HEADERS, 1 + 2 * turn, bomb);
      },
    ],
    [
      'requests that are made to be reset',
      // CVE-2025-8671: POST https / and then a window that grows by nothing.
      (turn) => {
        const request = frame(HEADERS, END_HEADERS, 1 + 2 * turn, Buffer.from([0x83, 0x87, 0x84]));
        return Buffer.concat([request, frame(8, 0, 1 + 2 * turn, Buffer.alloc(4))]);
      },
    ],
    ['windows that grow beyond all', () => frame(8, 0, 0, Buffer.from([0x7f, 0xff, 0xff, 0xff]))],
    ['frames of no bytes', () => frame(0, 0, 1, Buffer.alloc(0))],
    ['resets of streams that were never opened', (turn) => frame(3, 0, 1 + 2 * turn, Buffer.alloc(4))],
  ];

  test.each(floods)('cuts off %s, of strangers too, and takes nodes as before', async (_, flood) => {
    const opened = await openServer(one, { admit: no, limits: { idleMs: 400 } });
    const { port, received } = opened;
    const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    const sockets = [two.mesh.dialOptions(), STRANGER].map((tls) => raw(port, { ...tls, ALPNProtocols: ['h2'] }));
    // A write may fail before that.
    const closed = Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve))));
    for (const socket of sockets) {
      socket.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), settings]));
      let turn = 0;
      const more = setInterval(() => {
        const frames = Array.from({ length: 20 }, () => flood(turn++));
        if (socket.writable) socket.write(Buffer.concat(frames));
      }, 1);
      socket.once('close', () => clearInterval(more));
      socket.resume();
    }
    await closed;
    expect(opened.server.refusals.get('protocol')).toBe(2);
    void stream(await asPeer(port), { messages: [BUSY] });
    await soon(() => expect(received).toHaveLength(1));
  });

  test('takes nodes while a thousand connections say nothing', async () => {
    const opened = await openServer(one, { admit: no });
    const { port, received, lines } = opened;
    const silent = Array.from({ length: 1_000 }, () => raw(port));
    await soon(() => expect(silent.every(({ connecting }) => !connecting)).toBe(true));
    void stream(await asPeer(port), { messages: [BUSY] });
    await soon(() => expect(received).toHaveLength(1));
    await soon(() => expect(silent.filter(({ destroyed }) => !destroyed).length).toBeLessThanOrEqual(64));
    expect(opened.server.refusals.get('too-many-handshakes')).toBeGreaterThan(900);
    // A line per kind and second, and two kinds: each of them is a failed handshake as well.
    expect(lines.length).toBeLessThan(20);
  });

  test('says which address it can not have', async () => {
    const { port } = await openServer(one);
    const second = createMeshServer({ mesh: two.mesh, receive: () => {}, logger: SILENT });
    await expect(second.listen('127.0.0.1', port)).rejects.toThrow(`127.0.0.1:${port}: another process has the port`);
    await second.close();
  });
});
