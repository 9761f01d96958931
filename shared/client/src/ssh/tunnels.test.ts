// SPDX-License-Identifier: Apache-2.0
/** Against real sshds on loopback; what needs passwords is in login.test.ts. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttp2Server, type ServerHttp2Session } from 'node:http2';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { NodeService } from '@marcher/proto/marcher/v1/node_service_pb';
import { TrafficService } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type AgentClient, createAgentClient } from '../agent-client.js';
import { parseTarget, type SshTarget } from '../target.js';
import type { Surroundings } from './files.js';
import type { Questions, UnknownServer } from './questions.js';
import { childrenOf, makeKey, type Sshd, type SshdOptions, startSshd } from './testing/sshd.js';
import { SshTunnels } from './tunnels.js';

let directory: string;
let home: string;
let socket: string;
let agent: { close(): Promise<void> };
let sshd: Sshd;
let jump: Sshd;
let sshAgent: ChildProcess;
let authSocket: string;
let open: SshTunnels[] = [];
const started: Sshd[] = [];

const ssh = (name: string): string => join(home, '.ssh', name);
const knownHosts = (...lines: string[]): void =>
  writeFileSync(ssh('known_hosts'), lines.map((line) => `${line}\n`).join(''));
const known = ({ port, hostKey }: Sshd): string => `[127.0.0.1]:${port} ${hostKey}`;
const config = (...lines: string[]): void => writeFileSync(ssh('config'), lines.join('\n'), { mode: 0o600 });

function surroundings(environment: Record<string, string> = {}): Surroundings {
  return { home, systemDirectory: join(directory, 'etc'), localUser: sshd.user, environment };
}

function tunnels(ask: Questions = {}, environment: Record<string, string> = {}, idleMs = 0): SshTunnels {
  const made = new SshTunnels({ ask, idleMs, timeoutMs: 5_000, surroundings: surroundings(environment) });
  open.push(made);
  return made;
}

const targetOf = ({ user, port }: Sshd, path = socket): SshTarget =>
  parseTarget(`ssh://${user}@127.0.0.1:${port}${path}`) as SshTarget;

async function nodeName(client: AgentClient): Promise<string> {
  return (await client.node.status({}, { timeoutMs: 10_000 })).nodeName;
}

async function asked(made: SshTunnels, target = targetOf(sshd)): Promise<string> {
  const client = createAgentClient(target, { tunnels: made });
  try {
    return await nodeName(client);
  } finally {
    client.close();
  }
}

/** Stopped after the last test, whatever happens in them. */
async function start(options: SshdOptions): Promise<Sshd> {
  const made = await startSshd(options);
  started.push(made);
  return made;
}

async function refusal(call: Promise<unknown>): Promise<Error> {
  try {
    await call;
  } catch (error) {
    return error as Error;
  }
  throw new Error('it was expected to fail');
}

/** An agent as far as a tunnel is concerned: one call, and one stream that goes on until it is left. */
async function startAgent(path: string): Promise<{ close(): Promise<void> }> {
  const sessions = new Set<ServerHttp2Session>();
  const server = createHttp2Server(
    connectNodeAdapter({
      routes(router) {
        router.service(NodeService, { status: () => ({ nodeName: 'north' }) });
        router.service(TrafficService, {
          async *stats(_request, { signal }) {
            yield { services: [] };
            await once(signal, 'abort');
          },
        });
      },
    }),
  );
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
  });
  server.listen(path);
  await once(server, 'listening');
  return {
    async close() {
      for (const session of sessions) session.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-ssh-'));
  home = join(directory, 'home');
  socket = join(directory, 'agent.sock');
  mkdirSync(join(home, '.ssh'), { recursive: true });
  const keys = [
    makeKey(ssh('id_ed25519')),
    makeKey(ssh('locked'), 'ed25519', 'open sesame'),
    makeKey(ssh('held'), 'ecdsa'),
    makeKey(ssh('rsa'), 'rsa'),
  ];
  authSocket = join(directory, 'ssh-agent.sock');
  sshAgent = spawn('ssh-agent', ['-D', '-a', authSocket], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(sshAgent.stdout as NonNullable<ChildProcess['stdout']>, 'data');
  execFileSync('ssh-add', ['-q', ssh('held'), ssh('rsa')], { env: { ...process.env, SSH_AUTH_SOCK: authSocket } });
  agent = await startAgent(socket);
  [sshd, jump] = await Promise.all([
    start({ directory: join(directory, 'sshd'), authorizedKeys: keys, config: ['RekeyLimit 1M'] }),
    start({ directory: join(directory, 'jump'), authorizedKeys: keys }),
  ]);
});

afterEach(() => {
  for (const each of open) each.close();
  open = [];
  rmSync(ssh('config'), { force: true });
});

afterAll(async () => {
  await Promise.all([agent?.close(), ...started.map((each) => each.stop())]);
  sshAgent?.kill('SIGKILL');
  rmSync(directory, { recursive: true, force: true });
});

describe('the way in', () => {
  test('a key in a file', async () => {
    knownHosts(known(sshd));
    expect(await asked(tunnels())).toBe('north');
  });

  test('an encrypted key: its passphrase is asked for once the server takes it, and again where it was wrong', async () => {
    knownHosts(known(sshd));
    config('Host *', `  IdentityFile ${ssh('locked')}`);
    const questions: unknown[] = [];
    const answers = ['wrong', 'open sesame'];
    const made = tunnels({
      passphrase: async (key) => {
        questions.push(key);
        return answers.shift();
      },
    });
    expect(await asked(made)).toBe('north');
    // Another connection of the same console asks nobody.
    expect(await asked(made)).toBe('north');
    expect(questions).toEqual([
      { path: ssh('locked'), again: false },
      { path: ssh('locked'), again: true },
    ]);
  });

  test('ssh-agent, and of its keys only those that files name where the configuration says so', async () => {
    knownHosts(known(sshd));
    config('IdentityFile none');
    expect(await asked(tunnels({}, { SSH_AUTH_SOCK: authSocket }))).toBe('north');
    expect(sshd.log()).toMatch(/Accepted publickey for \S+ from .* ECDSA/);
    config('IdentitiesOnly yes', `IdentityFile ${ssh('rsa')}`, `IdentityAgent ${authSocket}`);
    expect(await asked(tunnels())).toBe('north');
    expect(sshd.log()).toMatch(
      /Accepted key RSA .*\n(?:.*\n)*?.*userauth-request .*publickey|Accepted publickey .* RSA/,
    );
    // Where it is gone, that is said, and keys in files are tried.
    config(`IdentityFile ${ssh('nowhere')}`);
    const failing = asked(tunnels({}, { SSH_AUTH_SOCK: join(directory, 'nobody') }));
    await expect(failing).rejects.toMatchObject({
      code: 'denied',
      message: expect.stringMatching(/ssh-agent at .*nobody/),
    });
  });

  test('nobody is let in: what was tried is said, and what the server takes', async () => {
    knownHosts(known(sshd));
    const stranger = ssh('stranger');
    makeKey(stranger);
    config(`IdentityFile ${stranger}`);
    const error = await refusal(asked(tunnels()));
    expect(error).toMatchObject({ name: 'AgentError', code: 'denied' });
    expect(error.message).toContain(`tried: ${stranger}; it takes publickey`);
  });

  test('a jump host, whose key is checked as well, and which sees nothing but where to', async () => {
    const through = `ProxyJump ${jump.user}@127.0.0.1:${jump.port}`;
    config('Host inner', '  HostName 127.0.0.1', `  Port ${sshd.port}`, `  ${through}`);
    const target = parseTarget(`ssh://${sshd.user}@inner${socket}`) as SshTarget;
    knownHosts(known(sshd), known(jump));
    const made = tunnels();
    expect(await asked(made, target)).toBe('north');
    made.close();
    knownHosts(known(sshd));
    const failure = asked(tunnels(), target);
    await expect(failure).rejects.toMatchObject({
      code: 'untrusted',
      message: expect.stringContaining(`:${jump.port}`),
    });
    knownHosts(known(jump));
    await expect(asked(tunnels(), target)).rejects.toMatchObject({
      code: 'untrusted',
      message: expect.stringContaining(`inner (127.0.0.1:${sshd.port})`),
    });
  });

  test('what is not there is said: server, socket, permission to forward', async () => {
    knownHosts(known(sshd), known(jump));
    const nobody = parseTarget(`ssh://alice@127.0.0.1:1${socket}`) as SshTarget;
    await expect(asked(tunnels(), nobody)).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringMatching(/nobody listens there/),
    });
    const nothing = targetOf(sshd, join(directory, 'nothing.sock'));
    await expect(asked(tunnels(), nothing)).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringMatching(/nothing\.sock can't be reached through .*is marcherd running there/),
    });
    const silent = createServer((each) => each.on('error', () => undefined).resume()).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as { port: number };
    const made = new SshTunnels({ timeoutMs: 50, surroundings: surroundings() });
    await expect(asked(made, parseTarget(`ssh://a@127.0.0.1:${port}`) as SshTarget)).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringContaining('has not agreed on keys in time'),
    });
    made.close();
    silent.close();
  });
});

describe('the key of the server', () => {
  /** What the server has heard since. */
  const attempts = (log: string): boolean => /userauth-request/.test(log);

  test('another one than is known is refused, before anything is said of who logs in', async () => {
    const other = ssh('other_host');
    knownHosts('# known', `[127.0.0.1]:${sshd.port} ${makeKey(other)}`);
    const before = sshd.log().length;
    const asking = { confirmHostKey: async () => true };
    const error = await refusal(asked(tunnels(asking)));
    expect(error).toMatchObject({ name: 'AgentError', code: 'untrusted' });
    expect(error.message).toContain('THE KEY OF THIS SERVER HAS CHANGED');
    expect(error.message).toContain(`${ssh('known_hosts')}:2 (ssh-ed25519 SHA256:`);
    expect(error.message).toContain('ssh-keygen -R');
    expect(attempts(sshd.log().slice(before))).toBe(false);
    // As above, the server does say so of one that it knows.
    knownHosts(known(sshd));
    await asked(tunnels());
    expect(attempts(sshd.log().slice(before))).toBe(true);
  });

  test('one of another type than is known is no better, and a revoked one is refused though it is known', async () => {
    const other = ssh('other_type');
    knownHosts(`[127.0.0.1]:${sshd.port} ${makeKey(other, 'ecdsa')}`);
    await expect(asked(tunnels())).rejects.toMatchObject({
      code: 'untrusted',
      message: expect.stringMatching(/HAS CHANGED.*ecdsa/),
    });
    knownHosts(known(sshd), `@revoked * ${sshd.hostKey}`);
    await expect(asked(tunnels())).rejects.toMatchObject({
      code: 'untrusted',
      message: expect.stringMatching(/REVOKED.*:2/),
    });
  });

  test('an unknown one is refused with its fingerprint, unless somebody confirms it, who is asked once', async () => {
    const fingerprint = execFileSync('ssh-keygen', ['-lf', join(directory, 'sshd/host_key')], {
      encoding: 'utf8',
    }).split(' ')[1];
    rmSync(ssh('known_hosts'), { force: true });
    const error = await refusal(asked(tunnels()));
    expect(error).toMatchObject({ code: 'untrusted' });
    expect(error.message).toContain(`ssh-ed25519 ${fingerprint}`);
    expect(error.message).toContain(`ssh-keyscan -t ed25519 -p ${sshd.port} 127.0.0.1 >> ${ssh('known_hosts')}`);
    const before = sshd.log().length;
    await expect(asked(tunnels({ confirmHostKey: async () => false }))).rejects.toMatchObject({ code: 'untrusted' });
    expect(attempts(sshd.log().slice(before))).toBe(false);
    config('HashKnownHosts yes');
    const questions: UnknownServer[] = [];
    const ask: Questions = {
      confirmHostKey: async (server) => {
        questions.push(server);
        return true;
      },
    };
    expect(await asked(tunnels(ask))).toBe('north');
    expect(questions).toEqual([
      {
        name: `[127.0.0.1]:${sshd.port}`,
        host: '127.0.0.1',
        port: sshd.port,
        keyType: 'ssh-ed25519',
        fingerprint,
        path: ssh('known_hosts'),
      },
    ]);
    // OpenSSH finds what was written, and so does the next connection.
    const found = execFileSync('ssh-keygen', ['-F', `[127.0.0.1]:${sshd.port}`, '-f', ssh('known_hosts')], {
      encoding: 'utf8',
    });
    expect(found).toContain('|1|');
    expect(await asked(tunnels())).toBe('north');
  });
});

describe('a connection', () => {
  test('carries several calls and streams, also while its keys are exchanged anew', async () => {
    knownHosts(known(sshd));
    const before = sshd.log().length;
    const echo = createServer((each) => each.pipe(each)).listen(join(directory, 'echo.sock'));
    const made = tunnels({}, {}, 60_000);
    const client = createAgentClient(targetOf(sshd), { tunnels: made });
    const watching = client.traffic.stats({})[Symbol.asyncIterator]();
    expect((await watching.next()).done).toBe(false);
    // RekeyLimit there is 1 MiB.
    const stream = await made.open(targetOf(sshd, join(directory, 'echo.sock')));
    const sent = Buffer.alloc(3 << 20, 'marcher');
    let received = 0;
    let differs = false;
    stream.on('data', (chunk: Buffer) => {
      differs ||= !chunk.equals(sent.subarray(received, received + chunk.length));
      received += chunk.length;
    });
    stream.end(sent);
    await once(stream, 'close');
    expect({ received, differs }).toEqual({ received: sent.length, differs: false });
    expect(await Promise.all([nodeName(client), asked(made), asked(made)])).toEqual(['north', 'north', 'north']);
    const log = sshd.log().slice(before);
    expect(log.match(/Accepted publickey for/g)).toHaveLength(1);
    expect(log.match(/SSH2_MSG_KEXINIT received/g)?.length).toBeGreaterThan(2);
    // What acknowledges what has come, so that sshd does not wait with the rest.
    expect(log).toContain('rtype no-more-sessions@openssh.com want_reply 0');
    client.close();
    echo.close();
  });

  test('that breaks fails what goes through it as unreachable, and the next call makes another, checked anew', async () => {
    knownHosts(known(sshd));
    const before = new Set(sshd.children());
    const client = createAgentClient(targetOf(sshd), { tunnels: tunnels() });
    const watching = client.traffic.stats({})[Symbol.asyncIterator]();
    await watching.next();
    const pending = watching.next();
    for (const pid of sshd.children()) if (!before.has(pid)) process.kill(pid, 'SIGKILL');
    await expect(pending).rejects.toMatchObject({ name: 'AgentError', code: 'unreachable' });
    expect(await nodeName(client)).toBe('north');
    client.close();
    // Another sshd in its place, which has another key.
    const port = jump.port;
    const second = createAgentClient(targetOf(jump), { tunnels: tunnels() });
    knownHosts(known(jump));
    expect(await nodeName(second)).toBe('north');
    await jump.stop();
    const keys = [readFileSync(`${ssh('id_ed25519')}.pub`, 'utf8').trim()];
    const impostor = await start({ directory: join(directory, 'impostor'), authorizedKeys: keys, port });
    await expect(nodeName(second)).rejects.toMatchObject({ code: 'untrusted' });
    expect(impostor.log()).not.toMatch(/userauth-request/);
    second.close();
    await impostor.stop();
    jump = await start({ directory: join(directory, 'jump'), authorizedKeys: keys, port });
  });

  test('is given up by close(), also while a person is asked', async () => {
    knownHosts(known(sshd));
    config(`IdentityFile ${ssh('locked')}`);
    const asking = Promise.withResolvers<void>();
    const made = tunnels({
      passphrase: () => {
        asking.resolve();
        return new Promise(() => undefined);
      },
    });
    const failing = asked(made);
    await asking.promise;
    made.close();
    await expect(failing).rejects.toMatchObject({ code: 'unreachable' });
  });

  test('what a question throws reaches who asked', async () => {
    rmSync(ssh('known_hosts'), { force: true });
    const interrupted = new Error('Ctrl-C');
    const made = tunnels({ confirmHostKey: () => Promise.reject(interrupted) });
    await expect(made.connect(targetOf(sshd))).rejects.toBe(interrupted);
  });

  test('ends when nothing goes through it any more', async () => {
    knownHosts(known(sshd));
    const before = sshd.log().length;
    await asked(tunnels({}, {}, 0));
    while (!/Received disconnect from/.test(sshd.log().slice(before))) await once(sshd.heard, 'data');
  });

  test('8 hours of streams, one each 10 s, leave nothing behind', async () => {
    const keys = [readFileSync(`${ssh('id_ed25519')}.pub`, 'utf8').trim()];
    const quiet = await start({
      directory: join(directory, 'quiet'),
      authorizedKeys: keys,
      config: ['LogLevel INFO', 'RekeyLimit 1M'],
    });
    knownHosts(known(quiet));
    const path = join(directory, 'short.sock');
    const echo: Server = createServer((each) => each.pipe(each)).listen(path);
    const made = tunnels({}, {}, 60_000);
    await made.connect(targetOf(quiet));
    const streams = async (count: number): Promise<void> => {
      for (let each = 0; each < count; each += 60) {
        await Promise.all(
          Array.from({ length: 60 }, async (_, nth) => {
            const stream = await made.open(targetOf(quiet, path));
            const closed = once(stream, 'close');
            // Ended by both sides, or left by this one, as HTTP/2 does.
            if (nth % 2 === 0) stream.resume().end('marcher');
            else stream.once('data', () => stream.destroy()).write('marcher');
            await closed;
          }),
        );
      }
    };
    await streams(480);
    // What logs in has ended by now.
    const pids = quiet.children();
    const processes = [process.pid, ...pids, ...pids.flatMap(childrenOf)];
    const files = (): number[] => processes.map((pid) => readdirSync(`/proc/${pid}/fd`).length);
    const [filesBefore, heapBefore] = [files(), heapBytes()];
    await streams(2_400);
    const growth = heapBytes() - heapBefore;
    // At that moment sshd may have closed the last ones, or not yet.
    expect(files().every((count, each) => count <= (filesBefore[each] ?? 0) + 60)).toBe(true);
    // Less than 200 B for a stream: one that was kept has 4 KiB and more.
    expect(growth).toBeLessThan(2_400 * 200);
    echo.close();
    await quiet.stop();
  });
});

/** After a full collection. */
function heapBytes(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  collect();
  return process.memoryUsage().heapUsed;
}
