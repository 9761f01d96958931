// SPDX-License-Identifier: Apache-2.0
/** What a node does with messages of another's replica, over real TLS on loopback. */
import { setImmediate as nextTurn, setTimeout as wait } from 'node:timers/promises';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { encodeMessage } from '../../../domain/replication/message-codec.js';
import type { CertificateAuthority } from '../../../ports/identity.js';
import { testAuthority } from '../../outbound/identity/testing/mesh.js';
import { MESSAGE_MAX_BYTES } from '../../outbound/mesh/replica-wire.js';
import { identity, idOf, openServer, soon, type TestIdentity } from '../../outbound/mesh/testing/live-mesh.js';
import { callReplica, QUESTION, type ReplicaCaller, written } from '../../outbound/mesh/testing/replica-caller.js';

let authority: CertificateAuthority;
let one: TestIdentity;
let two: TestIdentity;

beforeAll(async () => {
  authority = await testAuthority(Date.now());
  [one, two] = await Promise.all([identity(authority, 1n), identity(authority, 2n)]);
});

const BUSY = encodeMessage({ type: 'busy', id: 1 });
const call = (port: number): Promise<ReplicaCaller> => callReplica(port, two.mesh.dialOptions());

/** Takes so long for each message. */
function spin(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end; );
}

test('a message comes from whom the certificate names, whatever it says', async () => {
  const { port, received } = await openServer(one);
  const { socket } = await call(port);
  // A frame of another origin's, as everybody passes them on: it came from node 2 nevertheless.
  socket.write(written(encodeMessage({ type: 'push', frame: new TextEncoder().encode('of node 9') })));
  await soon(() => expect(received).toMatchObject([{ from: 2n, message: { type: 'push' } }]));
});

test('a frame that is kept does not keep what came with it', async () => {
  const { port, received } = await openServer(one);
  const { socket } = await call(port);
  const frame = new Uint8Array(10);
  const messages = [
    encodeMessage({ type: 'push', frame }),
    encodeMessage({ type: 'frames', id: 1, frames: [frame, frame], compacted: [] }),
    encodeMessage({ type: 'push', frame: new Uint8Array(5_000) }),
  ];
  socket.write(written(...messages));
  await soon(() => expect(received).toHaveLength(3));
  const kept = received.flatMap(({ message }) => {
    if (message.type === 'push') return [message.frame];
    return message.type === 'frames' ? message.frames : [];
  });
  expect(kept.map(({ buffer, length }) => buffer.byteLength - length)).toEqual([0, 0, 0, 0]);
});

test('what is no message is left aside, and the log says so once', async () => {
  const opened = await openServer(one);
  const { port, received, lines } = opened;
  const { socket } = await call(port);
  socket.write(written(...Array.from({ length: 100 }, () => new Uint8Array([0xff, 0xff])), BUSY));
  await soon(() => expect(received).toHaveLength(1));
  expect(opened.server.refusals.get('message')).toBe(100);
  expect(lines).toHaveLength(1);
  await opened.server.close();
  expect(lines).toMatchObject([{ count: 1 }, { refusal: 'message', count: 99 }]);
});

test('millions of nothings in one message are not unfolded', async () => {
  const { port, received, server, lines } = await openServer(one);
  const { socket } = await call(port);
  const nothings = new Uint8Array(4 * 1024 * 1024).map((_, at) => (at % 2 === 0 ? 0x0a : 0));
  socket.write(written(nothings, BUSY));
  await soon(() => expect(received).toHaveLength(1));
  expect(server.refusals.get('message')).toBe(1);
  expect(lines).toMatchObject([{ reason: expect.stringContaining('more than 1000000 fields'), from: idOf(2n) }]);
});

test('a message that is announced too large ends the connection, and nobody else is; the log says so', async () => {
  const { port, received, server, lines } = await openServer(one);
  const bad = await call(port);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(MESSAGE_MAX_BYTES + 1);
  bad.socket.write(length);
  await bad.closed;
  expect(server.refusals.get('protocol')).toBe(1);
  expect(lines).toMatchObject([{ reason: expect.stringMatching(/message of \d+ bytes is announced/), from: idOf(2n) }]);
  (await call(port)).socket.write(written(BUSY));
  await soon(() => expect(received).toHaveLength(1));
});

test('a message in crumbs is taken when it is whole', async () => {
  const { port, received } = await openServer(one);
  const { socket } = await call(port);
  const stream = written(encodeMessage({ type: 'push', frame: new Uint8Array(200) }));
  for (const byte of stream) {
    expect(received).toEqual([]);
    socket.write(Buffer.of(byte));
    await nextTurn();
  }
  await soon(() => expect(received).toMatchObject([{ message: { frame: { length: 200 } } }]));
});

test('each question is answered, once', async () => {
  const { port, received } = await openServer(one);
  const caller = await call(port);
  caller.socket.write(Buffer.concat([QUESTION, written(BUSY), QUESTION, QUESTION]));
  await soon(() => expect([caller.heard, received.length]).toEqual([16, 1]));
});

test('who asks without end and reads no answer is not read either, and closed after a while', async () => {
  const { port, server } = await openServer(one, { limits: { idleMs: 300 } });
  const { socket } = await call(port);
  socket.pause();
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  const flood = Buffer.alloc(1024 * 1024);
  let waiting = 0;
  const more = (): void => {
    waiting = 0;
    while (socket.writable && waiting++ < 64) if (!socket.write(flood)) break;
  };
  socket.on('drain', more);
  more();
  await soon(() => expect(server.peers).toBe(0));
  // What kernels hold on the way, and no more.
  expect(socket.bytesWritten).toBeLessThan(64 * 1024 * 1024);
  socket.destroy();
  await closed;
});

test('others have their turn while many messages are taken, and all of them are, though the caller has gone', async () => {
  let taken = 0;
  let turns = 0;
  const longest = { messages: 0, since: 0 };
  const turn = (): void => {
    longest.messages = Math.max(longest.messages, taken - longest.since);
    longest.since = taken;
    turns += 1;
    immediate = setImmediate(turn);
  };
  let immediate = setImmediate(turn);
  onTestFinished(() => clearImmediate(immediate));
  const receive = (): void => {
    taken += 1;
    spin(2);
  };
  const { port, server } = await openServer(one, { receive });
  const { socket } = await call(port);
  const before = turns;
  socket.end(written(...Array.from({ length: 60 }, () => BUSY)));
  await soon(() => expect(server.peers).toBe(0));
  await soon(() => expect(taken).toBe(60));
  expect(turns - before).toBeGreaterThan(10);
  expect(longest.messages).toBeLessThan(10);
});

test.each([
  ['by a message of its own', (cut: () => void) => cut()],
  ['while others have their turn', (cut: () => void) => void setImmediate(cut)],
])('of a node that is cut off %s no more is taken', async (_, at) => {
  let taken = 0;
  const receive = (): void => {
    taken += 1;
    spin(2);
    if (taken !== 3) return;
    at(() => {
      server.keep(new Set());
      whenCut = taken;
    });
  };
  let whenCut = 0;
  const { port, server } = await openServer(one, { receive });
  server.keep(new Set([2n]));
  const caller = await call(port);
  caller.socket.write(written(...Array.from({ length: 60 }, () => BUSY)));
  await caller.closed;
  await wait(20);
  expect(whenCut).toBeLessThan(10);
  expect(taken).toBe(whenCut);
});

test('a message that can not be taken ends the connection, and the log says why', async () => {
  const errors: object[] = [];
  const logger = {
    ...{ debug: () => {}, info: () => {}, warn: () => {} },
    error: (fields: object) => void errors.push(fields),
  };
  const receive = (): void => {
    throw new Error('the disk is on fire');
  };
  const { port } = await openServer(one, { receive, logger });
  const caller = await call(port);
  caller.socket.write(written(BUSY, BUSY));
  await caller.closed;
  expect(errors).toMatchObject([{ peer: idOf(2n), error: expect.stringContaining('on fire') }]);
});

test('who says nothing is closed after a while, who asks stays', async () => {
  const { port, server } = await openServer(one, { limits: { idleMs: 200 } });
  const silent = await call(port);
  const alive = await callReplica(port, (await identity(authority, 3n)).mesh.dialOptions());
  const questions = setInterval(() => alive.socket.write(QUESTION), 50);
  onTestFinished(() => clearInterval(questions));
  await silent.closed;
  await wait(300);
  expect(server.peers).toBe(1);
  expect(alive.socket.destroyed).toBe(false);
});
