// SPDX-License-Identifier: Apache-2.0
/**
 * Bytes as fast as they go, and how many came: what rates are measured with. A server has a TCP port that swallows, one
 * that floods, and a UDP port that swallows and can be told to flood those that it has heard of; a client opens
 * connections to either, or sends datagrams at a given rate.
 */
import dgram from 'node:dgram';
import net from 'node:net';

export interface FlowServer {
  readonly sink: number;
  readonly source: number;
  readonly udp: number;
}

export interface FlowClient {
  readonly host: string;
  readonly port: number;
  /** send: floods the server; receive: swallows what it floods. */
  readonly kind: 'tcp-send' | 'tcp-receive' | 'udp';
  /** Connections, or UDP sockets. */
  readonly count: number;
  /** UDP: payload bits per second of all sockets together; 0: one datagram each, to be heard of. */
  readonly bitsPerSecond?: number;
  /** UDP: payload bytes of a datagram; several: of one socket after the other. */
  readonly datagram?: number | readonly number[];
}

export type FlowSettings = { readonly name: string } & (
  | { readonly server: FlowServer }
  | { readonly client: FlowClient }
);

export type FlowCommand =
  | { readonly kind: 'count' }
  /** A server's UDP port: payload bits per second, to all clients together. */
  | { readonly kind: 'flood'; readonly bitsPerSecond: number; readonly datagram: number };

export interface FlowCount {
  /** Of this process's clock, ms. */
  readonly atMs: number;
  /** Payload that came, over all, and by connection of a TCP port. */
  readonly bytes: number;
  readonly each: readonly number[];
  readonly failures: number;
}

const block = Buffer.alloc(256 * 1024);

const main = (settings: FlowSettings): void => {
  let bytes = 0;
  let failures = 0;
  const each: number[] = [];

  const flood = (socket: net.Socket): void => {
    const more = (): void => {
      while (!socket.destroyed && socket.write(block));
    };
    socket.on('drain', more);
    more();
  };
  const swallow = (socket: net.Socket): void => {
    const index = each.push(0) - 1;
    socket.on('data', (data) => {
      bytes += data.length;
      each[index] = (each[index] ?? 0) + data.length;
    });
  };
  const guard = (socket: net.Socket): void => {
    socket.on('error', () => {
      failures += 1;
    });
  };
  const pour = (
    bitsPerSecond: number,
    sizes: readonly number[],
    send: (datagram: Buffer, turn: number) => void,
  ): void => {
    const datagrams = sizes.map((size) => block.subarray(0, size));
    const mean = sizes.reduce((sum, size) => sum + size, 0) / sizes.length;
    const began = performance.now();
    let sent = 0;
    setInterval(() => {
      const due = ((performance.now() - began) / 1_000) * (bitsPerSecond / 8 / mean);
      for (; sent < due; sent++) send(datagrams[sent % datagrams.length] as Buffer, sent);
    }, 1);
  };
  const ready = (): void => {
    process.send?.({ ready: true });
  };

  let answer: ((command: FlowCommand & { kind: 'flood' }) => void) | undefined;
  if ('server' in settings) {
    const { sink, source, udp } = settings.server;
    const peers = new Map<string, dgram.RemoteInfo>();
    const socket = dgram.createSocket({ type: 'udp6', recvBufferSize: 4 << 20, sendBufferSize: 4 << 20 });
    socket.on('message', (message, peer) => {
      bytes += message.length;
      if (peers.size < 1_000) peers.set(`${peer.address} ${peer.port}`, peer);
    });
    answer = ({ bitsPerSecond, datagram }) => {
      const all = [...peers.values()];
      pour(bitsPerSecond, [datagram], (data, turn) => {
        const peer = all[turn % all.length];
        if (peer !== undefined) socket.send(data, peer.port, peer.address, () => {});
      });
    };
    const sinkServer = net.createServer((connection) => {
      guard(connection);
      swallow(connection);
    });
    const sourceServer = net.createServer((connection) => {
      guard(connection);
      connection.resume();
      flood(connection);
    });
    sinkServer.listen(sink, '::', () => sourceServer.listen(source, '::', () => socket.bind(udp, ready)));
  } else {
    const { host, port, kind, count, bitsPerSecond = 0, datagram = 1_200 } = settings.client;
    if (kind === 'udp') {
      const sockets = Array.from({ length: count }, () => {
        const socket = dgram.createSocket({ type: net.isIPv6(host) ? 'udp6' : 'udp4', recvBufferSize: 4 << 20 });
        socket.on('message', (message) => {
          bytes += message.length;
        });
        socket.on('error', () => {
          failures += 1;
        });
        return socket;
      });
      let connected = 0;
      for (const socket of sockets) {
        socket.connect(port, host, () => {
          socket.send('hello');
          connected += 1;
          if (connected < count) return;
          if (bitsPerSecond > 0) {
            const sizes = typeof datagram === 'number' ? [datagram] : datagram;
            pour(bitsPerSecond, sizes, (data, turn) => sockets[turn % count]?.send(data, () => {}));
          }
          ready();
        });
      }
    } else {
      let connected = 0;
      for (let i = 0; i < count; i++) {
        const socket = net.connect({ host, port }, () => {
          connected += 1;
          if (connected === count) ready();
          if (kind === 'tcp-send') flood(socket);
        });
        guard(socket);
        swallow(socket);
      }
    }
  }
  process.on('message', (command: FlowCommand) => {
    if (command.kind === 'flood') answer?.(command);
    const report: FlowCount = { atMs: performance.now(), bytes, each: [...each], failures };
    process.send?.(report);
  });
  process.on('disconnect', () => process.exit(0));
};

main(JSON.parse(process.argv[2] as string) as FlowSettings);
