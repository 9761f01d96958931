// SPDX-License-Identifier: Apache-2.0
/** One exchange with a port: connect, send, and wait until the answer is enough. */
import { createSocket } from 'node:dgram';
import { type AddressInfo, connect, createServer } from 'node:net';
import type { Endpoint } from './endpoint.js';

export interface Exchange {
  /** Microseconds until connected (TCP) and until the answer was enough. */
  readonly connectUs: number;
  readonly totalUs: number;
  readonly answer: Buffer;
  readonly local: string;
}

const answerMaxBytes = 64 * 1024;

class Timeout extends Error {
  readonly code = 'ETIMEDOUT';
}

/** Enough of an answer: called with what came so far and whether it is over. */
export type Enough = (answer: Buffer, ended: boolean) => boolean;

export function exchange(
  endpoint: Endpoint,
  payload: Buffer | undefined,
  enough: Enough,
  waitMs: number,
): Promise<Exchange> {
  return endpoint.transport === 'tcp'
    ? exchangeTcp(endpoint, payload, enough, waitMs)
    : exchangeUdp(endpoint, payload ?? Buffer.alloc(0), waitMs);
}

function exchangeTcp(
  endpoint: Endpoint,
  payload: Buffer | undefined,
  enough: Enough,
  waitMs: number,
): Promise<Exchange> {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const socket = connect({ host: endpoint.address, port: endpoint.port, family: endpoint.family, noDelay: true });
    const chunks: Buffer[] = [];
    let length = 0;
    let connectUs = 0;
    let local = '';
    const finish = (): void => {
      clearTimeout(timer);
      resolve({ connectUs, totalUs: (performance.now() - started) * 1000, answer: Buffer.concat(chunks), local });
      socket.destroy();
    };
    const timer = setTimeout(
      () => socket.destroy(new Timeout(connectUs === 0 ? 'no connection' : 'no answer')),
      waitMs,
    );
    socket.on('connect', () => {
      connectUs = (performance.now() - started) * 1000;
      local = `${socket.localAddress}:${socket.localPort}`;
      if (payload !== undefined) socket.write(payload);
      if (enough(Buffer.alloc(0), false)) finish();
    });
    socket.on('data', (chunk) => {
      chunks.push(chunk);
      length += chunk.length;
      if (length >= answerMaxBytes || enough(Buffer.concat(chunks), false)) finish();
    });
    socket.on('end', () => {
      if (enough(Buffer.concat(chunks), true)) finish();
      else socket.destroy(Object.assign(new Error('closed without an answer'), { code: 'closed-early' }));
    });
    socket.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
  });
}

/** A datagram and the first one that comes back. The socket is connected, so ICMP errors are heard. */
function exchangeUdp(endpoint: Endpoint, payload: Buffer, waitMs: number): Promise<Exchange> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(endpoint.family === 6 ? 'udp6' : 'udp4');
    let started = performance.now();
    const close = (): void => {
      clearTimeout(timer);
      socket.close();
    };
    const timer = setTimeout(() => {
      close();
      reject(new Timeout('no answer'));
    }, waitMs);
    socket.on('error', (error) => {
      close();
      reject(error);
    });
    socket.on('message', (answer) => {
      const { address, port } = socket.address();
      close();
      resolve({ connectUs: 0, totalUs: (performance.now() - started) * 1000, answer, local: `${address}:${port}` });
    });
    socket.connect(endpoint.port, endpoint.address, () => {
      started = performance.now();
      socket.send(payload);
    });
  });
}

/** One exchange with ourselves, so that the first time that is shown is not that of loading and compiling code. */
export async function warmUp(transport: 'tcp' | 'udp'): Promise<void> {
  const address = '127.0.0.1';
  try {
    if (transport === 'tcp') {
      const server = createServer((socket) => socket.on('error', () => undefined).end());
      await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, address, resolve));
      const { port } = server.address() as AddressInfo;
      await exchange({ address, port, family: 4, text: '', transport }, undefined, () => true, 1000).finally(() =>
        server.close(),
      );
    } else {
      const socket = createSocket('udp4');
      await new Promise<void>((resolve, reject) => socket.once('error', reject).bind(0, address, resolve));
      socket.on('message', (message, from) => socket.send(message, from.port, from.address));
      const { port } = socket.address();
      await exchange({ address, port, family: 4, text: '', transport }, Buffer.from('0'), () => true, 1000).finally(
        () => socket.close(),
      );
    }
  } catch {
    // Without IPv4 on loopback the first time is a little long, that is all.
  }
}
