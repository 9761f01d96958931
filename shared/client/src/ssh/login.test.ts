// SPDX-License-Identifier: Apache-2.0
/**
 * What takes a server with passwords, several factors or old algorithms: ssh2's own, in this process. sshd would need the
 * machine's /etc/shadow or PAM for that; what it takes is in tunnels.test.ts.
 */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ssh2, { type AuthContext, type Connection, type ParsedKey, type Server, type ServerConfig } from 'ssh2';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { SshTarget } from '../target.js';
import { OneIdentity } from './identities.js';
import type { Questions } from './questions.js';
import { makeKey } from './testing/sshd.js';
import { SshTunnels } from './tunnels.js';

let home: string;
let server: Server;
let port: number;
let authenticate: (context: AuthContext) => void;
let connections: Connection[] = [];
let methods: string[] = [];
let open: SshTunnels[] = [];

async function serve(algorithms?: ServerConfig['algorithms']): Promise<void> {
  server?.close();
  const hostKeys = [readFileSync(join(home, 'host'))];
  server = new ssh2.Server({ hostKeys, ...(algorithms === undefined ? {} : { algorithms }) }, (connection) => {
    connections.push(connection);
    connection.on('error', () => undefined);
    connection.on('authentication', (context) => {
      methods.push(context.method);
      authenticate(context);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  port = (server.address() as { port: number }).port;
  const line = readFileSync(join(home, 'host.pub'), 'utf8').trim();
  writeFileSync(join(home, '.ssh/known_hosts'), `[127.0.0.1]:${port} ${line}\n`);
}

function tunnels(ask: Questions = {}, environment: Record<string, string> = {}): SshTunnels {
  const around = { home, systemDirectory: join(home, 'etc'), localUser: 'alice', environment };
  const made = new SshTunnels({ ask, timeoutMs: 5_000, idleMs: 0, surroundings: around });
  open.push(made);
  return made;
}

const target = (): SshTarget => ({ kind: 'ssh', user: 'alice', host: '127.0.0.1', port, path: '/run/a.sock' });

/** Of the connection that was made last. */
async function cut(): Promise<void> {
  const connection = connections.at(-1) as Connection;
  const closed = once(connection, 'close');
  connection.end();
  await closed;
}

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'marcher-login-'));
  mkdirSync(join(home, '.ssh'), { recursive: true });
  makeKey(join(home, 'host'));
  await serve();
});

afterEach(() => {
  for (const each of open) each.close();
  open = [];
  connections = [];
  methods = [];
  rmSync(join(home, '.ssh/id_ed25519'), { force: true });
  rmSync(join(home, '.ssh/id_rsa'), { force: true });
});

afterAll(() => {
  server.close();
  rmSync(home, { recursive: true, force: true });
});

describe('a password', () => {
  const takesPassword = (context: AuthContext): void => {
    if (context.method === 'password' && context.password === 'right') context.accept();
    else context.reject(['password']);
  };

  test('is asked for three times at most, and not again when the connection is made anew', async () => {
    authenticate = takesPassword;
    const asked: unknown[] = [];
    const answers = ['wrong', 'right', 'none', 'of', 'these', 'more'];
    const ask: Questions = {
      password: async (login) => {
        asked.push(login.again);
        return answers.shift();
      },
    };
    const made = tunnels(ask);
    await made.connect(target());
    expect(asked).toEqual([false, true]);
    await cut();
    await made.connect(target());
    expect(asked).toEqual([false, true]);
    const error: Error = await tunnels(ask)
      .connect(target())
      .then(
        () => new Error('let in'),
        (reason: Error) => reason,
      );
    expect(asked).toEqual([false, true, false, true, true]);
    expect(error).toMatchObject({ code: 'denied' });
    expect(error.message).toMatch(/tried: a password; a password; a password; it takes password/);
    // None of them is in what is said.
    expect(error.message).not.toMatch(/these|none of/);
  });

  test('that nobody gives, or can give, is a refusal', async () => {
    authenticate = takesPassword;
    const silent = tunnels({ password: async () => undefined }).connect(target());
    await expect(silent).rejects.toMatchObject({
      code: 'denied',
      message: expect.stringContaining('no password was given'),
    });
    await expect(tunnels().connect(target())).rejects.toMatchObject({
      code: 'denied',
      message: expect.stringContaining('there was nothing to try; it takes password'),
    });
  });
});

describe('what the server asks', () => {
  test('is put to a person without control characters, and answered', async () => {
    const heard: string[][] = [];
    authenticate = (context) => {
      if (context.method !== 'keyboard-interactive') return context.reject(['keyboard-interactive']);
      const prompts = [
        { prompt: 'Co\u001b[2Jde: ', echo: true },
        { prompt: 'PIN', echo: false },
      ];
      context.prompt(prompts, 'Second\u0007factor', (answers) => {
        heard.push(answers);
        if (answers[0] === '123456') context.accept();
        else context.reject(['keyboard-interactive']);
      });
    };
    const asked: unknown[] = [];
    const codes = ['000000', '123456'];
    await tunnels({
      answers: async (questions) => {
        asked.push(questions);
        return [codes.shift() ?? '', 'pin'];
      },
    }).connect(target());
    expect(heard).toEqual([
      ['000000', 'pin'],
      ['123456', 'pin'],
    ]);
    expect(asked[0]).toEqual({
      user: 'alice',
      host: '127.0.0.1',
      title: 'Second factor',
      instructions: '',
      questions: [
        { text: 'Co [2Jde:', echo: true },
        { text: 'PIN', echo: false },
      ],
    });
  });

  test('without an end is given up', async () => {
    authenticate = (context) => {
      if (context.method !== 'keyboard-interactive') return context.reject(['keyboard-interactive']);
      const again = (): void => context.prompt('More?', again);
      again();
    };
    const ask: Questions = { answers: async () => ['yes'] };
    await expect(tunnels(ask).connect(target())).rejects.toMatchObject({
      message: expect.stringContaining('more than 10 times'),
    });
  });
});

test('a key and then a code: the code is asked for once the key was taken, and other keys are not shown', async () => {
  const shown: string[] = [];
  const [first, second] = [join(home, '.ssh/id_rsa'), join(home, '.ssh/id_ed25519')];
  makeKey(first, 'rsa');
  makeKey(second);
  authenticate = (context) => {
    if (context.method === 'publickey') {
      shown.push(`${context.key.algo} ${context.signature === undefined ? 'shown' : context.hashAlgo}`);
      if (context.signature === undefined) context.accept();
      else context.reject(['keyboard-interactive'], true);
    } else if (context.method === 'keyboard-interactive') {
      context.prompt('Code', ([code]) => (code === '1' ? context.accept() : context.reject(['keyboard-interactive'])));
    } else {
      context.reject(['publickey']);
    }
  };
  await tunnels({ answers: async () => ['1'] }).connect(target());
  expect(shown).toEqual(['ssh-rsa shown', 'ssh-rsa sha256']);
  const alone = tunnels().connect(target());
  await expect(alone).rejects.toMatchObject({
    code: 'denied',
    message: expect.stringContaining('which was not enough'),
  });
});

describe('what is too old', () => {
  test('an RSA key signs nothing with SHA-1', async () => {
    const key = { type: 'ssh-rsa' } as ParsedKey;
    const sign = async (): Promise<Buffer> => Buffer.from('signature');
    const signed = (hash?: 'sha1' | 'sha256'): Promise<string> =>
      new Promise((resolve) => {
        const options = hash === undefined ? {} : { hash };
        const identity = new OneIdentity({ label: 'id_rsa', key, sign });
        identity.sign(key, Buffer.from('data'), options, (error, signature) =>
          resolve(String(error?.message ?? signature)),
        );
      });
    expect(await Promise.all([signed(), signed('sha1'), signed('sha256')])).toEqual([
      expect.stringContaining('SHA-1'),
      expect.stringContaining('SHA-1'),
      'signature',
    ]);
  });

  test.each<[string, NonNullable<ServerConfig['algorithms']>]>([
    ['keys exchanged by SHA-1', { kex: ['diffie-hellman-group14-sha1'] }],
    ['a group of 1,024 bits', { kex: ['diffie-hellman-group1-sha1'] }],
    ['CBC', { cipher: ['aes128-cbc'] }],
    ['MD5', { cipher: ['aes128-ctr'], hmac: ['hmac-md5'] }],
    ['a MAC with SHA-1', { cipher: ['aes128-ctr'], hmac: ['hmac-sha1'] }],
    ['compression alone', { compress: ['zlib'] }],
  ])('%s is not agreed on, and nobody logs in', async (_what, algorithms) => {
    authenticate = (context) => context.accept();
    await serve(algorithms);
    await expect(tunnels().connect(target())).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringMatching(/don't agree: .*no matching/i),
    });
    expect(methods).toEqual([]);
    await serve();
  });
});

test('a server that says nothing after the key was taken is given up in time', async () => {
  authenticate = () => undefined;
  const around = { home, systemDirectory: join(home, 'etc'), localUser: 'alice', environment: {} };
  const made = new SshTunnels({ timeoutMs: 100, surroundings: around });
  await expect(made.connect(target())).rejects.toMatchObject({
    code: 'unreachable',
    message: expect.stringContaining('has not let anybody in in time'),
  });
  made.close();
});
