// SPDX-License-Identifier: Apache-2.0
/**
 * A load client with exact accounting: every request is sent once, never retried, and ends as answered or failed (with
 * the reason); what is still open at the end is waited for. Open loop: requests leave on schedule whatever became of
 * the ones before.
 */
import dgram from 'node:dgram';
import net from 'node:net';
import { PACE } from './pace.js';

export interface LoadSettings {
  readonly name: string;
  /** short: a connection per request. keepalive: requests in turn on standing connections. */
  readonly kind: 'tcp-short' | 'tcp-keepalive' | 'udp';
  readonly host: string;
  readonly port: number;
  readonly path?: string;
  /** Requests per second, over all connections. */
  readonly rate: number;
  /** Standing connections or UDP sockets. tcp-short: ignored. */
  readonly connections?: number;
  /** Bytes asked for in each reply (TCP) or sent in each datagram (UDP). */
  readonly bytes?: number;
  readonly timeoutMs?: number;
  /** Source addresses, used in turn. */
  readonly sources?: readonly string[];
}

/** One request: when it left, when it ended (both wall-clock ms), the backend that answered, or why it failed. */
export interface Exchange {
  readonly sent: number;
  readonly done: number;
  readonly backend: string;
  readonly failure: string;
}

export type LoadCommand = 'snapshot' | 'stop';
export interface LoadReport {
  readonly sent: number;
  readonly open: number;
  readonly exchanges: readonly Exchange[];
}

const now = (): number => performance.timeOrigin + performance.now();

const main = (settings: LoadSettings): void => {
  const timeoutMs = settings.timeoutMs ?? 5_000;
  const bytes = settings.bytes ?? 0;
  const exchanges: Exchange[] = [];
  let sent = 0;
  let open = 0;
  let stopping = false;
  let serial = 0;

  const source = (): string | undefined => settings.sources?.[serial % settings.sources.length];

  /** Opens the books for one request; the returned function closes them, once. */
  const begin = (): ((backend: string, failure: string) => void) => {
    const at = now();
    let ended = false;
    sent += 1;
    open += 1;
    return (backend, failure) => {
      if (ended) return;
      ended = true;
      open -= 1;
      exchanges.push({ sent: at, done: now(), backend, failure });
    };
  };

  const reason = (error: Error & { code?: string }): string => error.code ?? error.message;
  const target = (localAddress: string | undefined): net.NetConnectOpts =>
    settings.path === undefined
      ? { host: settings.host, port: settings.port, ...(localAddress === undefined ? {} : { localAddress }) }
      : { path: settings.path };

  /** Reads replies of the backend's protocol from a stream: calls back with id and backend when one is complete. */
  const replies = (socket: net.Socket, complete: (id: string, backend: string, bytes: number) => void): void => {
    let head = '';
    let left = 0;
    let current: [string, string, number] | undefined;
    socket.on('data', (data: Buffer) => {
      let at = 0;
      while (at < data.length) {
        if (current === undefined) {
          const end = data.indexOf(10, at);
          if (end < 0) {
            head += data.toString('latin1', at);
            return;
          }
          const words = (head + data.toString('latin1', at, end)).split(' ');
          head = '';
          at = end + 1;
          left = Number(words[3] ?? 0);
          current = [words[0] ?? '', words[1] ?? '', left];
        }
        const taken = Math.min(left, data.length - at);
        left -= taken;
        at += taken;
        if (left === 0) {
          const reply = current;
          current = undefined;
          complete(...reply);
        }
      }
      if (current !== undefined && left === 0) {
        const reply = current;
        current = undefined;
        complete(...reply);
      }
    });
  };

  const short = (): void => {
    const id = String(serial);
    const end = begin();
    const socket = net.connect(target(source()));
    const timer = setTimeout(() => {
      end('', socket.connecting ? 'timeout while connecting' : 'timeout waiting for the reply');
      socket.destroy();
    }, timeoutMs);
    socket.setNoDelay(true);
    socket.on('connect', () => socket.write(`${id} ${bytes}\n`));
    replies(socket, (got, backend, size) => {
      end(backend, got === id && size === bytes ? '' : `wrong reply: ${got}`);
      socket.end();
    });
    socket.on('error', (error) => end('', reason(error)));
    socket.on('close', () => {
      clearTimeout(timer);
      end('', 'closed without a reply');
    });
  };

  interface Standing {
    readonly send: () => void;
  }
  const standing = (): Standing => {
    let socket: net.Socket | undefined;
    const waiting = new Map<string, { end: (backend: string, failure: string) => void; timer: NodeJS.Timeout }>();
    const fail = (why: string): void => {
      for (const { end, timer } of waiting.values()) {
        clearTimeout(timer);
        end('', why);
      }
      waiting.clear();
      socket?.destroy();
      socket = undefined;
    };
    const connect = (): net.Socket => {
      const made = net.connect(target(source()));
      made.setNoDelay(true);
      replies(made, (id, backend, size) => {
        const request = waiting.get(id);
        if (request === undefined) return;
        waiting.delete(id);
        clearTimeout(request.timer);
        request.end(backend, size === bytes ? '' : 'reply of wrong length');
      });
      made.on('error', (error) => socket === made && fail(reason(error)));
      made.on('close', () => socket === made && fail('connection closed'));
      return made;
    };
    return {
      send: () => {
        const id = String(serial);
        const end = begin();
        socket ??= connect();
        const timer = setTimeout(() => {
          waiting.delete(id);
          end('', 'timeout waiting for the reply');
        }, timeoutMs);
        waiting.set(id, { end, timer });
        socket.write(`${id} ${bytes}\n`);
      },
    };
  };

  const datagrams = (): Standing => {
    const socket = dgram.createSocket(net.isIPv6(settings.host) ? 'udp6' : 'udp4');
    const waiting = new Map<string, { end: (backend: string, failure: string) => void; timer: NodeJS.Timeout }>();
    const from = source();
    if (from !== undefined) socket.bind(0, from);
    socket.on('message', (data) => {
      const [id = '', backend = ''] = data.toString('latin1').split(' ');
      const request = waiting.get(id);
      if (request === undefined) return;
      waiting.delete(id);
      clearTimeout(request.timer);
      request.end(backend, '');
    });
    socket.on('error', () => {});
    return {
      send: () => {
        const id = String(serial);
        const end = begin();
        const timer = setTimeout(() => {
          waiting.delete(id);
          end('', 'no reply');
        }, timeoutMs);
        waiting.set(id, { end, timer });
        socket.send(`${id} `.padEnd(Math.max(bytes, 32), 'q'), settings.port, settings.host, (error) => {
          if (error === null) return;
          clearTimeout(timer);
          waiting.delete(id);
          end('', reason(error));
        });
      },
    };
  };

  const lanes: Standing[] = [];
  if (settings.kind !== 'tcp-short') {
    for (let i = 0; i < (settings.connections ?? 1); i++) {
      serial += 1;
      lanes.push(settings.kind === 'udp' ? datagrams() : standing());
    }
  }
  const one = (): void => {
    serial += 1;
    if (settings.kind === 'tcp-short') short();
    else lanes[serial % lanes.length]?.send();
  };

  const start = now();
  let scheduled = 0;
  const ticker = setInterval(() => {
    const due = Math.floor(((now() - start) / 1_000) * settings.rate);
    // After a stall of this process the missed requests are not made up for in one burst.
    if (due - scheduled > (settings.rate * PACE) / 10 + 5) scheduled = due - 1;
    for (; scheduled < due; scheduled++) one();
  }, 2 * PACE);

  const report = (): LoadReport => ({ sent, open, exchanges });
  process.on('message', (command: LoadCommand) => {
    if (command === 'snapshot') {
      process.send?.(report());
      return;
    }
    if (stopping) return;
    stopping = true;
    clearInterval(ticker);
    const settle = setInterval(() => {
      if (open > 0) return;
      clearInterval(settle);
      process.send?.(report(), () => process.exit(0));
    }, 5);
  });
  process.on('disconnect', () => process.exit(0));
  process.send?.({ started: true });
};

if (process.argv[1] === import.meta.filename) main(JSON.parse(process.argv[2] ?? '{}') as LoadSettings);
