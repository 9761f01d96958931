// SPDX-License-Identifier: Apache-2.0
/** A real sshd on loopback, as a process of a test's own: its own host keys, its own authorized_keys, nothing of the machine's. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';

const BINARY = '/usr/sbin/sshd';

export interface Sshd {
  readonly port: number;
  /** "ssh-ed25519 AAAA..." */
  readonly hostKey: string;
  /** Who can log in. */
  readonly user: string;
  /** What it has said. */
  log(): string;
  /** Emits 'data' when it says something. */
  readonly heard: NodeJS.EventEmitter;
  /** Processes of connections. */
  children(): number[];
  /** With its connections. */
  stop(): Promise<void>;
}

export interface SshdOptions {
  /** Of this sshd alone. It is made. */
  readonly directory: string;
  readonly authorizedKeys: readonly string[];
  readonly hostKeyType?: 'ed25519' | 'ecdsa' | 'rsa';
  /** Lines of sshd_config. */
  readonly config?: readonly string[];
  /** One that had to be there again. */
  readonly port?: number;
}

/** Without a passphrase unless one is given; the public key's line. */
export function makeKey(path: string, type: 'ed25519' | 'ecdsa' | 'rsa' = 'ed25519', passphrase = ''): string {
  // One round: what it costs to guess is no concern here.
  const args = ['-q', '-t', type, '-N', passphrase, '-C', 'test', '-f', path, '-a', '1'];
  execFileSync('ssh-keygen', type === 'rsa' ? [...args, '-b', '2048'] : args);
  return publicLine(path);
}

export async function startSshd(options: SshdOptions): Promise<Sshd> {
  const { directory, authorizedKeys, hostKeyType = 'ed25519', config = [] } = options;
  const hostKeyFile = join(directory, 'host_key');
  mkdirSync(directory, { recursive: true });
  const hostKey = existsSync(hostKeyFile) ? publicLine(hostKeyFile) : makeKey(hostKeyFile, hostKeyType);
  writeFileSync(join(directory, 'authorized_keys'), authorizedKeys.map((line) => `${line}\n`).join(''));
  // The one place that privilege separation needs, as the system's service makes it.
  if (process.geteuid?.() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
  const port = options.port ?? (await freePort());
  const lines = [
    `ListenAddress 127.0.0.1:${port}`,
    `HostKey ${hostKeyFile}`,
    `AuthorizedKeysFile ${join(directory, 'authorized_keys')}`,
    'PidFile none',
    'StrictModes no',
    'UsePAM no',
    'PermitRootLogin yes',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'MaxStartups 100',
    // Of each keyword the first counts.
    ...config,
    'LogLevel DEBUG1',
  ];
  const file = join(directory, 'sshd_config');
  writeFileSync(file, lines.map((line) => `${line}\n`).join(''));
  const child = spawn(BINARY, ['-D', '-e', '-f', file], { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  await listening(child, () => log);
  return {
    port,
    hostKey,
    user: userInfo().username,
    log: () => log,
    heard: child.stderr,
    children: () => childrenOf(child.pid as number),
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const connections = childrenOf(child.pid as number);
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      for (const pid of connections) process.kill(pid, 'SIGKILL');
      await exited;
    },
  };
}

export function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}

async function listening(child: ChildProcess, log: () => string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const look = (): void => {
      if (!log().includes('Server listening on')) return;
      child.stderr?.off('data', look);
      resolve();
    };
    child.stderr?.on('data', look);
    child.once('exit', () => reject(new Error(`sshd has not started: ${log()}`)));
    child.once('error', reject);
  });
}

function publicLine(path: string): string {
  return readFileSync(`${path}.pub`, 'utf8').trim().split(' ').slice(0, 2).join(' ');
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
