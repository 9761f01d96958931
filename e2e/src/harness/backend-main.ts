// SPDX-License-Identifier: Apache-2.0
/**
 * A backend to relay to. One line of text per request, over TCP, Unix socket or UDP:
 *   request  "<id> <bytes>\n"   reply  "<id> <backend> <client seen> <bytes>\n" and so many bytes of 'x'
 * HTTP answers 200 on /health. Its behaviour changes at the parent's word.
 */
import dgram from 'node:dgram';
import http from 'node:http';
import net from 'node:net';

export interface BackendSettings {
  readonly name: string;
  readonly host: string;
  /** Where UDP is served, so that answers come from there; default: host. */
  readonly udpHosts?: readonly string[];
  /** Ports; 0 takes a free one. Absent: not served. */
  readonly tcp?: number;
  readonly udp?: number;
  readonly http?: number;
  readonly unix?: string;
  /** A PROXY protocol header comes first, and its source is the client seen. */
  readonly proxyProtocol?: boolean;
  /** Lives on when its parent has gone. */
  readonly standing?: boolean;
}

export type Behaviour =
  | { readonly mode: 'normal' }
  | { readonly mode: 'slow'; readonly delayMs: number }
  | { readonly mode: 'reset' }
  | { readonly mode: 'refuse' }
  | { readonly mode: 'unhealthy' };

export interface BackendReady {
  readonly tcp: number;
  readonly udp: number;
  readonly http: number;
}

const V2_SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

/** Length and source of the PROXY header that the data begins with; undefined while it is incomplete. */
const readProxyHeader = (data: Buffer): { length: number; source: string } | undefined => {
  if (data.subarray(0, 12).equals(V2_SIGNATURE)) {
    if (data.length < 16) return undefined;
    const length = 16 + data.readUInt16BE(14);
    if (data.length < length) return undefined;
    const family = data.readUInt8(13) >> 4;
    if ((data.readUInt8(12) & 0xf) === 0) return { length, source: 'v2:local' };
    if (family === 1) {
      return { length, source: `v2:${[...data.subarray(16, 20)].join('.')}:${data.readUInt16BE(24)}` };
    }
    if (family === 2) {
      const groups = Array.from({ length: 8 }, (_, i) => data.readUInt16BE(16 + 2 * i).toString(16)).join(':');
      return { length, source: `v2:[${groups}]:${data.readUInt16BE(48)}` };
    }
    return { length, source: 'v2:unspec' };
  }
  const end = data.indexOf('\r\n');
  if (end < 0) return undefined;
  const words = data.subarray(0, end).toString('latin1').split(' ');
  const source = words[2]?.includes(':') ? `[${words[2]}]:${words[4]}` : `${words[2]}:${words[4]}`;
  return { length: end + 2, source: `v1:${source}` };
};

const main = (settings: BackendSettings): void => {
  let behaviour: Behaviour = { mode: 'normal' };
  const chunk = Buffer.alloc(65_536, 'x');

  const serve = (socket: net.Socket): void => {
    let pending: Buffer = Buffer.alloc(0);
    let header = settings.proxyProtocol === true;
    let seen = socket.remoteAddress === undefined ? 'unix' : `${socket.remoteAddress}:${socket.remotePort}`;
    socket.setNoDelay(true);
    // Resets come with the trade: the client's accounting says what was lost.
    socket.on('error', () => socket.destroy());
    const reply = (id: string, bytes: number): void => {
      socket.write(`${id} ${settings.name} ${seen} ${bytes}\n`);
      for (let left = bytes; left > 0; left -= chunk.length)
        socket.write(chunk.subarray(0, Math.min(left, chunk.length)));
    };
    if (behaviour.mode === 'reset') {
      socket.resetAndDestroy();
      return;
    }
    socket.on('data', (data: Buffer) => {
      pending = pending.length === 0 ? data : Buffer.concat([pending, data]);
      if (header) {
        const found = readProxyHeader(pending);
        if (found === undefined) return;
        header = false;
        seen = found.source;
        pending = pending.subarray(found.length);
      }
      for (let end = pending.indexOf(10); end >= 0; end = pending.indexOf(10)) {
        const [id = '', bytes = '0'] = pending.subarray(0, end).toString('latin1').split(' ');
        pending = pending.subarray(end + 1);
        if (behaviour.mode === 'reset') {
          socket.resetAndDestroy();
          return;
        }
        if (behaviour.mode === 'slow') setTimeout(() => reply(id, Number(bytes)), behaviour.delayMs);
        else reply(id, Number(bytes));
      }
    });
    socket.on('end', () => {
      // Half-close: what was asked before the end is still answered, then this direction ends too.
      const wait = behaviour.mode === 'slow' ? behaviour.delayMs + 5 : 0;
      setTimeout(() => socket.end(), wait);
    });
  };

  const tcp = net.createServer({ allowHalfOpen: true }, serve);
  const unix = net.createServer({ allowHalfOpen: true }, serve);
  const web = http.createServer((request, response) => {
    const healthy = behaviour.mode === 'normal' || behaviour.mode === 'slow';
    response.writeHead(healthy ? 200 : 503, { 'content-type': 'text/plain' });
    response.end(
      request.url === '/health' ? `${settings.name} is ${healthy ? 'healthy' : 'ill'}\n` : `${settings.name}\n`,
    );
  });
  let datagrams: dgram.Socket[] = [];
  let ports: BackendReady = { tcp: settings.tcp ?? 0, udp: settings.udp ?? 0, http: settings.http ?? 0 };

  const openUdpAt = async (host: string): Promise<number> => {
    const socket = dgram.createSocket(net.isIPv6(host) ? 'udp6' : 'udp4');
    socket.on('message', (data, peer) => {
      const [id = ''] = data.toString('latin1').split(' ');
      const size = data.length;
      const text = `${id} ${settings.name} ${peer.address}:${peer.port} `;
      const answer = (): void => socket.send(text.padEnd(size, 'x'), peer.port, peer.address);
      if (behaviour.mode === 'slow') setTimeout(answer, behaviour.delayMs);
      else answer();
    });
    socket.on('error', () => {});
    await new Promise<void>((resolve) => socket.bind(ports.udp, host, resolve));
    datagrams.push(socket);
    return socket.address().port;
  };
  const openUdp = async (): Promise<number> => {
    const opened = await Promise.all((settings.udpHosts ?? [settings.host]).map(openUdpAt));
    return opened[0] ?? 0;
  };
  const listen = (server: net.Server, options: net.ListenOptions): Promise<number> =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(options, () => {
        const address = server.address();
        resolve(typeof address === 'object' && address !== null ? address.port : 0);
      });
    });
  const openTcp = (): Promise<number> => listen(tcp, { host: settings.host, port: ports.tcp, backlog: 4096 });

  const start = async (): Promise<void> => {
    ports = {
      tcp: settings.tcp === undefined ? 0 : await openTcp(),
      udp: settings.udp === undefined ? 0 : await openUdp(),
      http: settings.http === undefined ? 0 : await listen(web, { host: settings.host, port: settings.http }),
    };
    if (settings.unix !== undefined) await listen(unix, { path: settings.unix });
    process.send?.({ ready: ports });
  };

  const behave = async (next: Behaviour): Promise<void> => {
    if (next.mode === 'refuse' && behaviour.mode !== 'refuse') {
      tcp.close();
      for (const socket of datagrams) socket.close();
      datagrams = [];
    }
    if (next.mode !== 'refuse' && behaviour.mode === 'refuse') {
      if (settings.tcp !== undefined) await openTcp();
      if (settings.udp !== undefined) await openUdp();
    }
    behaviour = next;
    process.send?.({ behaving: next.mode });
  };

  process.on('message', (next: Behaviour) => {
    void behave(next);
  });
  // Nobody needs a backend whose test is gone.
  process.on('disconnect', () => {
    if (settings.standing !== true) process.exit(0);
  });
  start().catch((error: unknown) => {
    console.error(error);
    process.exit(1);
  });
};

if (process.argv[1] === import.meta.filename) main(JSON.parse(process.argv[2] ?? '{}') as BackendSettings);
