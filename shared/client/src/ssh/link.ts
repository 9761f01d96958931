// SPDX-License-Identifier: Apache-2.0
/**
 * One SSH connection to one server, from key exchange to its end.
 *
 *   opening ──key is known──▶ login ──let in──▶ open ──error, silence, end()──▶ closed
 *      └─────────────┴── error, refusal, time is over, given up ──▶ closed
 *
 * Neither an agent nor anything else of this machine is forwarded, and what the server wants to open is refused (ssh2 does
 * so where nobody listens). Its banner is not shown.
 */
import type { Duplex } from 'node:stream';
import ssh2, { type ClientChannel, type HostVerifier, type Client as SshClient } from 'ssh2';
import { HostCheck } from './host-check.js';
import { identitiesOf } from './identities.js';
import { Login, where } from './login.js';
import { Patience } from './patience.js';
import type { DecryptedKeys } from './private-keys.js';
import type { Questions } from './questions.js';
import type { Hop } from './route.js';
import { plainText, sshError } from './ssh-error.js';

const { Client } = ssh2;

/** Shares of what connecting may take: keys are exchanged in several turns, and servers take their time with passwords. */
const EXCHANGE_SHARE = 2;
const LOGIN_SHARE = 6;

export interface LinkParts {
  readonly ask: Questions;
  readonly decrypted: DecryptedKeys;
  /** Passwords that were good, by "user@name". */
  readonly passwords: Map<string, string>;
  /** To connect; exchange of keys and login have a multiple. */
  readonly timeoutMs: number;
  /** Gives the connection up. */
  readonly signal: AbortSignal;
}

export class Link {
  readonly hop: Hop;
  private readonly client: SshClient;
  private readonly timeoutMs: number;
  private readonly whenClosed = new Set<(reason: Error) => void>();
  private reason: Error | undefined;
  private acknowledgement: NodeJS.Immediate | undefined;

  private constructor(hop: Hop, client: SshClient, timeoutMs: number) {
    this.hop = hop;
    this.client = client;
    this.timeoutMs = timeoutMs;
  }

  /** Over a stream to the server, which it ends with itself. Fails as AgentError, or with what a question threw. */
  static async open(hop: Hop, stream: Duplex, parts: LinkParts): Promise<Link> {
    const { timeoutMs, signal } = parts;
    const client = new Client();
    const link = new Link(hop, client, timeoutMs);
    let phase = 'has not agreed on keys';
    const patience = new Patience(timeoutMs * EXCHANGE_SHARE, () =>
      link.close(sshError('unreachable', `${where(hop)} ${phase} in time`)),
    );
    const ask = questionsWithin(patience, parts.ask, (error) => link.close(error));
    const account = `${hop.user}@${hop.hostKeyName}`;
    const login = new Login({
      hop,
      ask,
      identities: () => identitiesOf(hop, parts.decrypted, ask.passphrase),
      password: parts.passwords.get(account),
      fail: (error) => link.close(error),
    });
    const opened = new Promise<void>((resolve, reject) => {
      link.onClose(reject);
      client.once('ready', resolve);
    });
    const giveUp = (): void => link.close(sshError('unreachable', `${where(hop)} was given up`, signal.reason));
    signal.addEventListener('abort', giveUp);
    client.on('error', (error) => link.heard(error));
    client.on('close', () => link.close(closedByPeer(hop)));
    client.on('change password', () =>
      link.close(sshError('denied', `the password of ${hop.user} at ${where(hop)} is over: change it by ssh first`)),
    );
    client.once('handshake', () => {
      phase = 'has not let anybody in';
      patience.renew(timeoutMs * LOGIN_SHARE);
    });
    try {
      signal.throwIfAborted();
      const check = new HostCheck(hop, ask.confirmHostKey);
      client.once('handshake', () => closing(link, () => check.keep()));
      client.connect({
        sock: stream,
        username: hop.user,
        algorithms: check.algorithms,
        // An answer at once, or a later one by done(); ssh2's types know only one of them at a time.
        hostVerifier: ((key: Buffer, done: (isRight: boolean) => void) =>
          verified(link, check, key, done)) as HostVerifier,
        authHandler: login.handler,
        agentForward: false,
        // Others than OpenSSH forward to sockets, too.
        strictVendor: false,
        readyTimeout: 0,
        keepaliveInterval: hop.keepaliveMs,
        keepaliveCountMax: hop.keepaliveMax,
      });
      await opened;
    } catch (error) {
      link.close(error as Error);
      stream.destroy();
      throw error;
    } finally {
      patience.end();
      signal.removeEventListener('abort', giveUp);
    }
    if (login.password !== undefined) parts.passwords.set(account, login.password);
    return link;
  }

  get isClosed(): boolean {
    return this.reason !== undefined;
  }

  /** Called once, with why. At once where it is closed. Gives what takes the listener away. */
  onClose(listener: (reason: Error) => void): () => void {
    if (this.reason !== undefined) listener(this.reason);
    else this.whenClosed.add(listener);
    return () => this.whenClosed.delete(listener);
  }

  /** A stream to a Unix socket there. */
  async toSocket(path: string): Promise<ClientChannel> {
    return await this.channel(path, (done) => this.client.openssh_forwardOutStreamLocal(path, done));
  }

  /** A stream to another host, as this server sees it. */
  async toHost(host: string, port: number): Promise<ClientChannel> {
    return await this.channel(`${host}:${port}`, (done) => this.client.forwardOut('127.0.0.1', 0, host, port, done));
  }

  /** A command of the shell there, without a terminal. Not on one that streams are acknowledged on: it has said that there is none. */
  async command(text: string): Promise<ClientChannel> {
    return await this.channel('a shell', (done) => this.client.exec(text, done));
  }

  /**
   * What a stream has got is acknowledged at once: sshd leaves Nagle's algorithm on where nobody has a terminal, and would keep
   * the next piece of an answer until the kernel here does so by itself, after 40 ms. An ACK goes with whatever is sent; this
   * is a few bytes that want no answer, and true where they are sent: commands have connections of their own.
   */
  acknowledge(): void {
    if (this.acknowledgement !== undefined) return;
    this.acknowledgement = setImmediate(() => {
      this.acknowledgement = undefined;
      if (this.isClosed) return;
      try {
        // Its types demand a callback, with which it would ask for an answer.
        (this.client as unknown as { openssh_noMoreSessions(): void }).openssh_noMoreSessions();
      } catch {
        // The socket has ended, and 'close' is on its way.
      }
    });
  }

  /** Its streams fail with the reason. */
  close(reason: Error): void {
    if (this.reason !== undefined) return;
    this.reason = reason;
    for (const listener of this.whenClosed) listener(reason);
    this.whenClosed.clear();
    this.client.end();
    this.client.destroy();
  }

  private async channel(
    to: string,
    open: (done: (error: Error | undefined, channel: ClientChannel) => void) => void,
  ): Promise<ClientChannel> {
    let forget: (() => void) | undefined;
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise((resolve, reject) => {
        let isOver = false;
        const give = (error: Error): void => {
          isOver = true;
          reject(error);
        };
        forget = this.onClose(give);
        if (this.reason !== undefined) return;
        const late = sshError('unreachable', `${where(this.hop)} has not opened a stream to ${to} in time`);
        timer = setTimeout(() => give(late), this.timeoutMs);
        open((error, channel) => {
          if (isOver) channel?.destroy();
          else if (error) reject(notForwarded(this.hop, to, error));
          else resolve(channel);
        });
      });
    } catch (error) {
      throw this.reason ?? error;
    } finally {
      clearTimeout(timer);
      forget?.();
    }
  }

  /** ssh2 also reports keys that were of no use, which are the login's concern, and goes on. */
  private heard(error: Error & { readonly level?: string }): void {
    const { level, message } = error;
    if (level === 'agent' || level === 'client-authentication') return;
    const said = plainText(message);
    const why =
      level === 'client-timeout'
        ? 'has not answered for a while'
        : level === 'handshake' || level === 'protocol'
          ? `and this program don't agree: ${said}`
          : `has ended the connection: ${said}`;
    this.close(sshError('unreachable', `${where(this.hop)} ${why}`, error));
  }
}

/** undefined: done() says it later. */
function verified(link: Link, check: HostCheck, key: Buffer, done: (isRight: boolean) => void): boolean | undefined {
  try {
    if (check.isKnown(key)) return true;
  } catch (error) {
    link.close(error as Error);
    return false;
  }
  check.confirm(key).then(
    () => done(true),
    (error: Error) => {
      link.close(error);
      done(false);
    },
  );
  return undefined;
}

/** The same questions: while one waits no time passes, and what it throws ends the connection. */
function questionsWithin(patience: Patience, ask: Questions, fail: (error: Error) => void): Questions {
  const { confirmHostKey, passphrase, password, answers } = ask;
  const within =
    <A, T>(question: (about: A) => Promise<T>) =>
    async (about: A): Promise<T> => {
      try {
        return await patience.while(() => question(about));
      } catch (error) {
        fail(error as Error);
        throw error;
      }
    };
  return {
    ...(confirmHostKey === undefined ? {} : { confirmHostKey: within(confirmHostKey) }),
    ...(passphrase === undefined ? {} : { passphrase: within(passphrase) }),
    ...(password === undefined ? {} : { password: within(password) }),
    ...(answers === undefined ? {} : { answers: within(answers) }),
  };
}

function closing(link: Link, step: () => void): void {
  try {
    step();
  } catch (error) {
    link.close(error as Error);
  }
}

function closedByPeer(hop: Hop): Error {
  return sshError('unreachable', `${where(hop)} has closed the connection`);
}

/** RFC 4254, 5.1: 1 prohibited, 2 connect failed, 3 unknown type. OpenSSH says 2 of all that it does not do with sockets. */
function notForwarded(hop: Hop, to: string, error: Error & { readonly reason?: unknown }): Error {
  const there = `through ${where(hop)}`;
  if (error.reason === 1) {
    return sshError('denied', `${to} can't be reached ${there}: its sshd forwards nothing (AllowTcpForwarding)`, error);
  }
  if (error.reason === 3) {
    return sshError('unreachable', `${where(hop)} forwards nothing of that kind: OpenSSH 6.7 or newer does`, error);
  }
  const isSocket = to.startsWith('/');
  const why = isSocket
    ? `is marcherd running there with this --socket, is ${hop.user} root or in group marcher, does sshd allow it (AllowStreamLocalForwarding)?`
    : plainText(error.message);
  return sshError('unreachable', `${to} can't be reached ${there}: ${why}`, error);
}
