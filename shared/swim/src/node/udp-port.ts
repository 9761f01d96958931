// SPDX-License-Identifier: Apache-2.0
import { createSocket, type Socket } from 'node:dgram';
import { isIPv4, isIPv6 } from 'node:net';
import type { Address } from '../wire/message.js';

/** As memberlist asks for (net_transport.go); the kernel may give less. */
const RECEIVE_BUFFER_BYTES = 2 * 1024 * 1024;
/** What waits to be sent is lost beyond that, as a full socket would lose it. */
const SEND_QUEUE_BYTES = 1024 * 1024;

/** A host as the protocol names it: an IPv4 address is one, also where the socket is dual-stack. */
export function plainHost(host: string): string {
  const [address = ''] = host.split('%');
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  return mapped ?? address;
}

/** Datagrams, sent and received; errors of sending are counted, for a datagram may be lost anyway. */
export class UdpPort {
  readonly #socket: Socket;
  #unsent = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Rejects when the address is taken, or not this machine's. */
  static open(bind: Address, received: (from: Address, bytes: Uint8Array) => void): Promise<UdpPort> {
    const { promise, resolve, reject } = Promise.withResolvers<UdpPort>();
    const socket = createSocket({
      type: isIPv6(bind.host) ? 'udp6' : 'udp4',
      // Addresses come from the network: never anything to be looked up.
      lookup: (host, _options, done) => done(null, host, isIPv6(host) ? 6 : 4),
    });
    const port = new UdpPort(socket);
    socket.once('error', reject);
    socket.bind({ address: bind.host, port: bind.port, exclusive: true }, () => {
      socket.off('error', reject);
      socket.on('error', () => port.#unsent++);
      try {
        socket.setRecvBufferSize(RECEIVE_BUFFER_BYTES);
      } catch {
        // The system's own size will do.
      }
      resolve(port);
    });
    socket.on('message', (bytes, { address, port: from }) => received({ host: plainHost(address), port: from }, bytes));
    return promise;
  }

  get address(): Address {
    const { address, port } = this.#socket.address();
    return { host: plainHost(address), port };
  }

  /** Datagrams that could not be sent. */
  get unsent(): number {
    return this.#unsent;
  }

  send(to: Address, bytes: Uint8Array): void {
    if (to.port === 0 || this.#socket.getSendQueueSize() > SEND_QUEUE_BYTES) {
      this.#unsent++;
      return;
    }
    const dual = this.#socket.address().family === 'IPv6' && isIPv4(to.host);
    this.#socket.send(bytes, to.port, dual ? `::ffff:${to.host}` : to.host, (error) => {
      if (error) this.#unsent++;
    });
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.#socket.close(() => resolve()));
  }
}
