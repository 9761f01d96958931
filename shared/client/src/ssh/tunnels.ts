// SPDX-License-Identifier: Apache-2.0
/**
 * Streams to agents' Unix sockets through SSH connections: one connection for each server and user, whatever streams go
 * through it, made when first needed, made anew when it has ended, and ended when nothing goes through it any more.
 */
import type { Duplex } from 'node:stream';
import { formatTarget, type SshTarget } from '../target.js';
import type { Tunnels } from '../tunnels.js';
import { type Surroundings, surroundings } from './files.js';
import { ForwardedStream } from './forwarded-stream.js';
import type { Link, LinkParts } from './link.js';
import { DecryptedKeys } from './private-keys.js';
import type { Questions } from './questions.js';
import { sshError } from './ssh-error.js';
import { connectWay } from './way.js';

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

  private parts(signal: AbortSignal): LinkParts {
    const { ask, decrypted, passwords, timeoutMs } = this;
    return { ask, decrypted, passwords, timeoutMs, signal };
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
    const way: Way = {
      links: connectWay(target, this.parts(abort.signal), this.around),
      abort,
      streams: 0,
      isOver: false,
      idle: undefined,
    };
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
