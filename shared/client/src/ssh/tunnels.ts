// SPDX-License-Identifier: Apache-2.0
/**
 * Streams to agents' Unix sockets through SSH connections: one connection for each server and user, whatever streams go
 * through it, made when first needed, made anew when it has ended, and ended when nothing goes through it any more.
 */
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { formatTarget, type SshTarget } from '../target.js';
import type { Tunnels } from '../tunnels.js';
import { configFiles, type Surroundings, surroundings } from './files.js';
import { ForwardedStream } from './forwarded-stream.js';
import { Link, type LinkParts } from './link.js';
import { where } from './login.js';
import { DecryptedKeys } from './private-keys.js';
import type { Questions } from './questions.js';
import { type Hop, routeTo } from './route.js';
import { plainText, sshError } from './ssh-error.js';

const TIMEOUT_MS = 10_000;
const IDLE_MS = 10_000;

export interface SshTunnelsOptions {
  /** Absent: nobody is asked. */
  readonly ask?: Questions;
  /** To connect to a server; it has twice as long for the exchange of keys, and six times for the login. Default 10,000. */
  readonly timeoutMs?: number;
  /** How long a connection stays that nothing goes through. Default 10,000. */
  readonly idleMs?: number;
  /** Where ~/.ssh and /etc/ssh are. Default: those of who runs this. */
  readonly surroundings?: Surroundings;
}

/** The servers on the way to a target, connected; the last is the target's. */
interface Way {
  readonly links: Promise<readonly Link[]>;
  readonly abort: AbortController;
  streams: number;
  isOver: boolean;
  idle: NodeJS.Timeout | undefined;
}

export class SshTunnels implements Tunnels {
  private readonly ways = new Map<string, Way>();
  private readonly decrypted = new DecryptedKeys();
  private readonly passwords = new Map<string, string>();
  private readonly ask: Questions;
  private readonly timeoutMs: number;
  private readonly idleMs: number;
  private readonly around: Surroundings;

  constructor(options: SshTunnelsOptions = {}) {
    this.ask = options.ask ?? {};
    this.timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    this.idleMs = options.idleMs ?? IDLE_MS;
    this.around = options.surroundings ?? surroundings(process.env);
  }

  /** As open(), without a stream: what has to be asked is asked now. */
  async connect(target: SshTarget, signal?: AbortSignal): Promise<void> {
    await this.through(target, signal, async () => undefined);
  }

  /** Fails as AgentError, or with what a question threw. signal: gives it up. */
  async open(target: SshTarget, signal?: AbortSignal): Promise<Duplex> {
    return await this.through(target, signal, async (link, way) => {
      const stream = new ForwardedStream(await link.toSocket(target.path), link);
      way.streams++;
      stream.once('close', () => this.left(way));
      return stream;
    });
  }

  /** Ends what there is, and forgets passphrases and passwords. */
  close(): void {
    for (const { abort } of this.ways.values()) abort.abort(new Error('closed here'));
    this.ways.clear();
    this.decrypted.clear();
    this.passwords.clear();
  }

  private async through<T>(
    target: SshTarget,
    signal: AbortSignal | undefined,
    use: (link: Link, way: Way) => Promise<T>,
  ): Promise<T> {
    signal?.throwIfAborted();
    const way = this.wayTo(target);
    // Who is on the way keeps it.
    way.streams++;
    try {
      const links = await given(way.links, signal);
      return await use(links.at(-1) as Link, way);
    } finally {
      this.left(way);
    }
  }

  private wayTo(target: SshTarget): Way {
    const { path: _path, ...server } = target;
    const key = formatTarget({ ...server, path: '/' });
    const before = this.ways.get(key);
    if (before !== undefined) {
      clearTimeout(before.idle);
      return before;
    }
    const abort = new AbortController();
    const way: Way = { links: this.connected(target, abort.signal), abort, streams: 0, isOver: false, idle: undefined };
    this.ways.set(key, way);
    const forget = (): void => {
      way.isOver = true;
      clearTimeout(way.idle);
      if (this.ways.get(key) === way) this.ways.delete(key);
    };
    way.links.then((links) => links.at(-1)?.onClose(forget), forget);
    return way;
  }

  /** Given up by those who wait for it, or by the last stream, it ends after a while. */
  private left(way: Way): void {
    if (--way.streams > 0 || way.isOver) return;
    clearTimeout(way.idle);
    way.idle = setTimeout(() => way.abort.abort(new Error('nothing goes through it')), this.idleMs);
  }

  private async connected(target: SshTarget, signal: AbortSignal): Promise<readonly Link[]> {
    const links: Link[] = [];
    const parts: LinkParts = {
      ask: this.ask,
      decrypted: this.decrypted,
      passwords: this.passwords,
      timeoutMs: this.timeoutMs,
      signal,
    };
    const end = (): void => {
      const reason = sshError('unreachable', `the connection to ${target.host} was closed here`, signal.reason);
      for (const link of links.toReversed()) link.close(reason);
    };
    signal.addEventListener('abort', end);
    try {
      for (const hop of routeTo(target, configFiles, this.around)) {
        const before = links.at(-1);
        const stream =
          before === undefined ? await connectTo(hop, this.timeoutMs, signal) : await before.toHost(hop.host, hop.port);
        const link = await Link.open(hop, stream, parts);
        links.push(link);
        // What was before on the way has no use without what comes after, nor this without that.
        link.onClose((reason) => before?.close(reason));
        before?.onClose((reason) => link.close(reason));
      }
      signal.throwIfAborted();
      return links;
    } catch (error) {
      end();
      throw error;
    }
  }
}

async function connectTo(hop: Hop, timeoutMs: number, signal: AbortSignal): Promise<Socket> {
  const socket = connect({ host: hop.host, port: hop.port, noDelay: true });
  let timer: NodeJS.Timeout | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', (error) => reject(unreachable(hop, error)));
      timer = setTimeout(() => reject(sshError('unreachable', `${where(hop)} does not answer`)), timeoutMs);
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    });
    return socket;
  } catch (error) {
    socket.on('error', () => undefined).destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function unreachable(hop: Hop, error: NodeJS.ErrnoException): Error {
  const why =
    error.code === 'ECONNREFUSED'
      ? 'nobody listens there: is that the port of its SSH server?'
      : error.code === 'ENOTFOUND' || error.code === 'EAI_AGAIN'
        ? 'the host name does not resolve'
        : plainText(error.message);
  return sshError('unreachable', `${where(hop)} can't be reached by SSH: ${why}`, error);
}

/** Whoever waits may go; what is waited for goes on for others. */
async function given<T>(value: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await value;
  let stop: (() => void) | undefined;
  try {
    return await Promise.race([
      value,
      new Promise<never>((_resolve, reject) => {
        stop = () => reject(sshError('unreachable', 'it was given up', signal.reason));
        signal.addEventListener('abort', stop);
      }),
    ]);
  } finally {
    if (stop !== undefined) signal.removeEventListener('abort', stop);
  }
}
