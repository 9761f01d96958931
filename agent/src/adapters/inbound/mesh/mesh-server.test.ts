// SPDX-License-Identifier: Apache-2.0
/** Who comes to the mesh port, and what each of them may do there. */
import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { create, toBinary } from '@bufbuild/protobuf';
import { Code, createClient } from '@connectrpc/connect';
import { JoinService, PeerService, RenewRequestSchema } from '@marcher/proto/marcher/mesh/v1/peer_pb';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { NO_REVOCATIONS } from '../../../domain/identity/revocation.js';
import { encodeMessage } from '../../../domain/replication/message-codec.js';
import type { CertificateAuthority } from '../../../ports/identity.js';
import type { Admit } from '../../../ports/mesh.js';
import { closing } from '../../../testing/closing.js';
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
import { callReplica, type ReplicaCaller, written } from '../../outbound/mesh/testing/replica-caller.js';
import { createMeshServer } from './mesh-server.js';

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

const asReplica = (port: number): Promise<ReplicaCaller> => callReplica(port, two.mesh.dialOptions());

/** A message of node 2's comes to its replica. */
async function expectTaken({ port, received }: TestServer): Promise<void> {
  const before = received.length;
  const { socket } = await asReplica(port);
  socket.write(written(BUSY));
  await soon(() => expect(received).toHaveLength(before + 1));
}

const CALL = { ':method': 'POST', te: 'trailers', 'content-type': 'application/grpc' };
const RENEW = { ...CALL, ':path': '/marcher.mesh.v1.PeerService/Renew' };

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
  test('can not join, and is told why', async () => {
    const { port } = await openServer(one, { admit: no });
    await expect(joining(await asPeer(port))).rejects.toMatchObject({
      code: Code.FailedPrecondition,
      rawMessage: expect.stringContaining('in the mesh already'),
    });
  });

  test('that asks with too much is refused, and nobody else is; the log says so', async () => {
    const opened = await openServer(one);
    const { port, server, lines } = opened;
    const peer = createClient(PeerService, (await asPeer(port)).transport(1_024));
    const call = peer.renew({ certificateRequest: new Uint8Array(100_000) });
    await expect(call).rejects.toMatchObject({ code: Code.ResourceExhausted });
    expect(server.refusals.get('protocol')).toBe(1);
    expect(lines).toMatchObject([
      { reason: expect.stringMatching(/message of \d+ bytes is announced/), from: idOf(2n) },
    ]);
    await expectTaken(opened);
  });

  test('that asks with thousands of nothings is refused before they are unfolded', async () => {
    const { port, server } = await openServer(one);
    const { http2 } = await asPeer(port);
    const request = http2.request(RENEW);
    const trailers = once(request, 'trailers');
    const bytes = 60_000;
    const nothings = Buffer.alloc(5 + bytes);
    nothings.writeUInt32BE(bytes, 1);
    for (let at = 5; at < nothings.length; at += 2) nothings[at] = 0x0a;
    request.end(nothings);
    expect((await trailers)[0]).toMatchObject({ 'grpc-status': String(Code.ResourceExhausted) });
    expect(server.refusals.get('protocol')).toBe(1);
  });

  test('that asks in crumbs is refused', async () => {
    const { port } = await openServer(one, { limits: { chunksMax: 20 } });
    const { http2 } = await asPeer(port);
    const request = http2.request(RENEW);
    const trailers = once(request, 'trailers');
    const message = toBinary(
      RenewRequestSchema,
      create(RenewRequestSchema, { certificateRequest: new Uint8Array(100) }),
    );
    request.write(Buffer.from([0, 0, 0, 0, message.length]));
    let sent = 0;
    const crumbs = setInterval(() => request.write(message.subarray(sent, ++sent)), 1);
    onTestFinished(() => clearInterval(crumbs));
    expect((await trailers)[0]).toMatchObject({ 'grpc-status': String(Code.ResourceExhausted) });
  });

  test('has two connections at most, of whatever kind: the oldest makes room for a third', async () => {
    const { port, server } = await openServer(one);
    const [first, call] = [await asReplica(port), await asPeer(port)];
    const third = await asReplica(port);
    await first.closed;
    expect([server.peers, server.refusals.get('replaced')]).toEqual([1, 1]);
    const closed = closing(call.http2);
    await asReplica(port);
    await closed;
    expect([server.peers, server.refusals.get('replaced')]).toEqual([1, 2]);
    expect(third.socket.destroyed).toBe(false);
  });

  test('that is revoked is cut off when it is judged again, and not let in any more', async () => {
    const host = await identity(authority, 5n);
    const { port, server } = await openServer(host);
    const [call, replica] = [await asPeer(port), await asReplica(port)];
    server.judgeAgain();
    expect(server.peers).toBe(1);
    const closed = Promise.all([closing(call.http2), replica.closed]);
    host.revoke(new Map([[two.serial, { serial: two.serial, revokedAtMs: 0, reason: 0 }]]));
    expect(server.peers).toBe(1);
    server.judgeAgain();
    await closed;
    await soon(() => expect(server.peers).toBe(0));
    await expect(asPeer(port)).rejects.toThrow();
    await expect(asReplica(port)).rejects.toThrow();
    expect(server.refusals.get('revoked')).toBe(4);
    host.revoke(NO_REVOCATIONS);
    await asPeer(port);
    await asReplica(port);
  });

  test('that was removed is cut off, one that nobody has told of yet is not', async () => {
    const { port, server } = await openServer(one);
    const [call, replica] = [await asPeer(port), await asReplica(port)];
    server.keep(new Set([1n]));
    expect(server.peers).toBe(1);
    server.keep(new Set([1n, 2n]));
    const closed = Promise.all([closing(call.http2), replica.closed]);
    server.keep(new Set([1n]));
    await closed;
    expect(server.refusals.get('removed')).toBe(2);
  });

  test('that says nothing is closed after a while, one that sends PINGs stays', async () => {
    const { port, server } = await openServer(one, { limits: { idleMs: 200 } });
    const silent = await asPeer(port);
    const alive = await dial(port, (await identity(authority, 3n)).mesh.dialOptions());
    const pings = setInterval(() => alive.http2.destroyed || alive.http2.ping(() => {}), 50);
    onTestFinished(() => clearInterval(pings));
    await closing(silent.http2);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(server.peers).toBe(1);
    expect(alive.http2.closed).toBe(false);
  });

  test('that opens and resets streams without end is cut off', async () => {
    const { port, server } = await openServer(one);
    const { http2 } = await asPeer(port);
    const closed = closing(http2);
    for (let resets = 0; resets < 200 && !http2.destroyed; resets++) {
      const request = http2.request(RENEW);
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
    const opened = await openServer(one, { admit: no });
    const { port, received, lines } = opened;
    await expect(callReplica(port, STRANGER)).rejects.toThrow('closed');
    expect(lines).toMatchObject([
      { refusal: 'no-certificate', reason: expect.stringContaining('join with a token'), from: '127.0.0.1' },
    ]);
    const session = await dial(port, STRANGER);
    for (const path of ['/marcher.mesh.v1.PeerService/GossipKeys', '/marcher.v1.ConfigService/Apply']) {
      const other = session.http2.request({ ...CALL, ':path': path });
      const [headers] = await once(other, 'response');
      expect(headers).toMatchObject({ ':status': 404 });
    }
    expect(received).toEqual([]);
    expect(opened.server.peers).toBe(0);
  });

  test('is refused where nobody joins', async () => {
    const opened = await openServer(one);
    await expect(dial(opened.port, STRANGER)).rejects.toThrow();
    await expect(callReplica(opened.port, STRANGER)).rejects.toThrow();
    expect(kinds(opened)).toEqual(['no-certificate']);
    expect(opened.server.refusals.get('no-certificate')).toBe(2);
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

  test('closes what is not TLS, and what is no protocol of the mesh in it, and takes nodes as before', async () => {
    const opened = await openServer(one, { admit: no });
    const { port } = opened;
    const noise = Buffer.from(Array.from({ length: 4_096 }, (_, at) => (at * 31) % 256));
    const sockets = [
      raw(port),
      raw(port, { ...two.mesh.dialOptions(), ALPNProtocols: ['h2'] }),
      raw(port, two.mesh.dialOptions()),
      raw(port, { ...STRANGER, ALPNProtocols: ['h2'] }),
    ];
    const closed = Promise.all(sockets.map((socket) => closing(socket)));
    for (const socket of sockets) {
      socket.resume();
      socket.write(noise);
    }
    await closed;
    expect(kinds(opened).sort()).toEqual(['handshake', 'protocol']);
    await expectTaken(opened);
  });

  test.each([
    // RFC 9113, 6.5 and 6.7: each is to be answered.
    ['SETTINGS', Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])],
    ['PING', Buffer.from([0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8])],
  ])('cuts off a flood of %s', async (_, frame) => {
    const { port, server } = await openServer(one);
    const socket = raw(port, { ...two.mesh.dialOptions(), ALPNProtocols: ['h2'] });
    const closed = closing(socket);
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
    const { port } = opened;
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
    await expectTaken(opened);
  });

  test('takes nodes while a thousand connections say nothing', async () => {
    const opened = await openServer(one, { admit: no });
    const { port, lines } = opened;
    const silent = Array.from({ length: 1_000 }, () => raw(port));
    await soon(() => expect(silent.every(({ connecting }) => !connecting)).toBe(true));
    await expectTaken(opened);
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
