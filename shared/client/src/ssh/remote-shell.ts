// SPDX-License-Identifier: Apache-2.0
/**
 * Commands on a machine by SSH, one after the other or at the same time, on a connection of their own: made when first needed, made
 * anew with the next command after it broke, ended by close(). Host keys, logins and jump hosts are as for tunnels.
 */
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ClientChannel } from 'ssh2';
import { AgentError } from '../errors.js';
import type { Machine, Ran, RunOptions } from '../provision/machine.js';
import type { SshTarget } from '../target.js';
import { type Surroundings, surroundings } from './files.js';
import type { Link } from './link.js';
import { DecryptedKeys } from './private-keys.js';
import type { Questions } from './questions.js';
import { plainText, sshError } from './ssh-error.js';
import { connectWay } from './way.js';

const TIMEOUT_MS = 10_000;
const RUN_MS = 60_000;
/** Of each of a command's outputs the end is kept. */
const OUTPUT_MAX = 64 << 10;

export interface RemoteShellOptions {
  readonly ask?: Questions;
  /** Absolute: the one key to log in by. Absent: those that ssh would show. */
  readonly identityFile?: string;
  /** To connect, as for SshTunnels. Default 10,000. */
  readonly timeoutMs?: number;
  readonly surroundings?: Surroundings;
}

export class RemoteShell implements Machine {
  readonly target: SshTarget;
  private readonly options: RemoteShellOptions;
  private readonly decrypted = new DecryptedKeys();
  private readonly passwords = new Map<string, string>();
  private way: { readonly links: Promise<readonly Link[]>; readonly abort: AbortController } | undefined;

  /** The socket of the target is of no concern here. */
  constructor(target: SshTarget, options: RemoteShellOptions = {}) {
    this.target = target;
    this.options = options;
  }

  async run(script: string, options: RunOptions = {}): Promise<Ran> {
    const { signal, timeoutMs = RUN_MS } = options;
    signal?.throwIfAborted();
    const link = await this.link(signal);
    // What the login shell makes of it is one word, whichever shell that is.
    const channel = await link.command(`/bin/sh -c '${script.replaceAll("'", "'\\''")}'`);
    const over = AbortSignal.any([AbortSignal.timeout(timeoutMs), ...(signal === undefined ? [] : [signal])]);
    const lost = new AbortController();
    const forget = link.onClose((reason) => lost.abort(reason));
    try {
      return await output(channel, options, AbortSignal.any([over, lost.signal]));
    } catch (error) {
      if (lost.signal.aborted) throw lost.signal.reason;
      if (signal?.aborted) throw sshError('unreachable', 'it was stopped', signal.reason);
      if (over.aborted)
        throw sshError('unreachable', `a command at ${this.target.host} took more than ${timeoutMs} ms`);
      throw error;
    } finally {
      forget();
      channel.destroy();
    }
  }

  /** Forgets passphrases and passwords. */
  close(): void {
    this.way?.abort.abort(new Error('closed here'));
    this.way = undefined;
    this.decrypted.clear();
    this.passwords.clear();
  }

  private async link(signal: AbortSignal | undefined): Promise<Link> {
    this.way ??= this.connected();
    const { way } = this;
    const stop = (): void => way.abort.abort(signal?.reason);
    try {
      signal?.addEventListener('abort', stop);
      const link = (await way.links).at(-1) as Link;
      if (!link.isClosed) return link;
    } catch (error) {
      if (this.way === way) this.way = undefined;
      throw error;
    } finally {
      signal?.removeEventListener('abort', stop);
    }
    this.way = this.connected();
    return (await this.way.links).at(-1) as Link;
  }

  private connected() {
    const {
      ask = {},
      timeoutMs = TIMEOUT_MS,
      surroundings: around = surroundings(process.env),
      identityFile,
    } = this.options;
    const abort = new AbortController();
    const { decrypted, passwords, target } = this;
    const parts = { ask, decrypted, passwords, timeoutMs, signal: abort.signal };
    return { links: connectWay(target, parts, around, identityFile), abort };
  }
}

async function output(channel: ClientChannel, options: RunOptions, signal: AbortSignal): Promise<Ran> {
  const { input, heard } = options;
  const stdout = new Tail();
  const stderr = new Tail();
  channel.on('data', (chunk: Buffer) => stdout.take(chunk));
  channel.stderr.on('data', (chunk: Buffer) => stderr.take(chunk));
  if (heard !== undefined) {
    const say = (chunk: Buffer): void => heard(chunk.toString());
    channel.on('data', say);
    channel.stderr.on('data', say);
  }
  const ended = new Promise<Ran>((resolve, reject) => {
    let code: number | undefined;
    let signalName: string | undefined;
    channel.once('exit', (status: number | null, name?: string) => {
      code = status ?? undefined;
      signalName = name;
    });
    channel.once('close', () => {
      if (code !== undefined) resolve({ code, stdout: stdout.text, stderr: stderr.text });
      else if (signalName !== undefined)
        reject(sshError('failed', `the command was ended by ${plainText(signalName)} there`));
      else reject(sshError('unreachable', 'the connection ended while a command ran'));
    });
    channel.once('error', reject);
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    if (signal.aborted) reject(signal.reason as Error);
  });
  ended.catch(() => undefined);
  try {
    if (input === undefined || typeof input === 'string') channel.end(input);
    else await pipeline(input as Readable, channel, { signal });
  } catch (error) {
    // A command that ends before it has read everything says why by itself.
    if (signal.aborted || !(await settled(ended))) throw error;
  }
  return await ended;
}

const SETTLE_MS = 1_000;

async function settled(ended: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  try {
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), SETTLE_MS);
    });
    return await Promise.race([
      ended.then(
        () => true,
        (error: Error) => !(error instanceof AgentError),
      ),
      late,
    ]);
  } finally {
    clearTimeout(timer);
  }
}

/** The end of what was said. */
class Tail {
  private chunks: Buffer[] = [];
  private length = 0;

  take(chunk: Buffer): void {
    this.chunks.push(chunk);
    this.length += chunk.length;
    if (this.length <= 2 * OUTPUT_MAX) return;
    const end = Buffer.concat(this.chunks).subarray(-OUTPUT_MAX);
    this.chunks = [Buffer.from(end)];
    this.length = end.length;
  }

  get text(): string {
    return Buffer.concat(this.chunks).subarray(-OUTPUT_MAX).toString();
  }
}
