// SPDX-License-Identifier: Apache-2.0
import { connect, createServer } from 'node:http2';
import { Duplex, duplexPair } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { PacedStream } from './paced-stream.js';

/** RFC 9113, 4.1. */
function frame(type: number, flags: number, payload: string): Buffer {
  const header = Buffer.from([0, 0, payload.length, type, flags, 0, 0, 0, 1]);
  return Buffer.concat([header, Buffer.from(payload)]);
}

const END_HEADERS = 0x4;
const frames = [
  frame(0x4, 0, ''),
  frame(0x1, 0, 'headers that'),
  frame(0x9, END_HEADERS, ' go on'),
  frame(0x0, 0, 'data'),
  frame(0x1, END_HEADERS, 'trailers'),
];

test('what follows headers comes in a later turn, however it was cut on its way, and nothing is lost', async () => {
  const bytes = Buffer.concat(frames);
  for (let size = 1; size <= bytes.length; size++) {
    const [near, far] = duplexPair();
    const turns: Buffer[] = [];
    let turn = Buffer.alloc(0);
    const paced = new PacedStream(near);
    paced.on('data', (chunk: Buffer) => {
      turn = Buffer.concat([turn, chunk]);
    });
    for (let at = 0; at < bytes.length; at += size) far.write(bytes.subarray(at, at + size));
    far.end();
    while (!paced.readableEnded) {
      await setImmediate();
      if (turn.length > 0) turns.push(turn);
      turn = Buffer.alloc(0);
    }
    expect(Buffer.concat(turns)).toEqual(bytes);
    // Headers, then data and trailers, if not cut further.
    const headersEnd = bytes.indexOf(' go on') + ' go on'.length;
    let at = 0;
    for (const each of turns) {
      expect(at < headersEnd && at + each.length > headersEnd).toBe(false);
      at += each.length;
    }
  }
});

/** Gives what has come only when it is told to, all of it at once. */
class Held extends Duplex {
  private readonly source: Duplex;
  private held: Buffer[] | undefined;

  constructor(source: Duplex) {
    super();
    this.source = source;
    source.on('data', (chunk: Buffer) => {
      if (this.held === undefined) this.push(chunk);
      else this.held.push(chunk);
    });
  }

  hold(): void {
    this.held = [];
  }

  release(): void {
    this.push(Buffer.concat(this.held ?? []));
    this.held = undefined;
  }

  override _read(): void {}

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.source.write(chunk, encoding, done);
  }
}

test('node:http2 reads an answer to its end that has come in one piece', async () => {
  const [near, far] = duplexPair();
  const server = createServer();
  const answered = Promise.withResolvers<void>();
  server.on('stream', (stream) => {
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ last: 'yes' }));
    stream.on('close', answered.resolve);
    stream.end('hello');
  });
  server.emit('connection', far);
  const held = new Held(near);
  const session = connect('http://localhost', { createConnection: () => new PacedStream(held) });
  await new Promise((resolve) => session.once('remoteSettings', resolve));
  held.hold();
  const stream = session.request({ ':path': '/' });
  await answered.promise;
  await setImmediate();
  held.release();
  await new Promise((resolve) => stream.once('response', resolve));
  let text = '';
  for await (const chunk of stream) text += chunk;
  expect(text).toBe('hello');
  session.destroy();
});
