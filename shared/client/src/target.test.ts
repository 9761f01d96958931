// SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createAgentClient } from './agent-client.js';
import { AgentError } from './errors.js';
import { formatTarget, parseTarget } from './target.js';

const socket = '/run/marcher/marcher.sock';

describe('targets', () => {
  test.each([
    ['unix:/run/marcher/marcher.sock', { kind: 'unix', path: '/run/marcher/marcher.sock' }],
    ['unix:///run/m.sock', { kind: 'unix', path: '/run/m.sock' }],
    ['unix:m.sock', { kind: 'unix', path: 'm.sock' }],
    ['/run/m.sock', { kind: 'unix', path: '/run/m.sock' }],
    ['127.0.0.1:7000', { kind: 'tcp', host: '127.0.0.1', port: 7000 }],
    ['[::1]:7000', { kind: 'tcp', host: '::1', port: 7000 }],
    ['agent.internal:7000', { kind: 'tcp', host: 'agent.internal', port: 7000 }],
    ['https://192.0.2.1:7443', { kind: 'tls', host: '192.0.2.1', port: 7443 }],
    ['https://[2001:db8::1]:7443/', { kind: 'tls', host: '2001:db8::1', port: 7443 }],
    ['https://node1.example.org:7443', { kind: 'tls', host: 'node1.example.org', port: 7443 }],
    ['ssh://node1', { kind: 'ssh', host: 'node1', path: socket }],
    ['ssh://node1/', { kind: 'ssh', host: 'node1', path: socket }],
    ['ssh://alice@[2001:db8::1]:2222', { kind: 'ssh', user: 'alice', host: '2001:db8::1', port: 2222, path: socket }],
    ['ssh://[fe80::1%eth0]', { kind: 'ssh', host: 'fe80::1%eth0', path: socket }],
    ['ssh://node1:22/tmp/a.sock', { kind: 'ssh', host: 'node1', port: 22, path: '/tmp/a.sock' }],
    ['ssh://al%40corp@node1/a%20b', { kind: 'ssh', user: 'al@corp', host: 'node1', path: '/a b' }],
    ['ssh://al@corp@node1', { kind: 'ssh', user: 'al@corp', host: 'node1', path: socket }],
  ])('%s', (text, target) => {
    expect(parseTarget(text)).toEqual(target);
    expect(parseTarget(formatTarget(parseTarget(text)))).toEqual(target);
  });

  test.each([
    '',
    'unix:',
    'host',
    'host:',
    'host:0',
    'host:65536',
    '::1:7000',
    'http://host:1',
    'https://host',
    'https://',
    'a b:1',
    'ssh://',
    'ssh://@node1',
    'ssh://node1:0',
    'ssh://node1:65536',
    'ssh://-oProxyCommand=x',
    'ssh://::1',
    'ssh://al%zz@node1',
    'ssh://al%0aice@node1',
    'ssh://node1/a%00b',
    `ssh://node1/${'x'.repeat(107)}`,
  ])('"%s" is refused with what was expected', (text) =>
    expect(() => parseTarget(text)).toThrow(/expected unix:PATH or HOST:PORT/),
  );

  test('a password in a target is refused without being repeated', () => {
    const error = (() => {
      try {
        return parseTarget('ssh://alice:hunter2@node1');
      } catch (reason) {
        return reason as Error;
      }
    })();
    expect(error).toBeInstanceOf(TypeError);
    expect((error as Error).message).toMatch(/no password in it/);
    expect((error as Error).message).not.toContain('hunter2');
  });
});

describe('an agent that is not there', () => {
  const failure = async (target: string): Promise<AgentError> => {
    const client = createAgentClient(parseTarget(target), { connectTimeoutMs: 300 });
    try {
      await client.node.status({}, { timeoutMs: 3000 });
    } catch (error) {
      expect(error).toBeInstanceOf(AgentError);
      return error as AgentError;
    } finally {
      client.close();
    }
    throw new Error('expected a failure');
  };

  test('no socket, nobody listening, and somebody who speaks something else', async () => {
    expect(await failure(`unix:${join(tmpdir(), 'no-such.sock')}`)).toMatchObject({ code: 'unreachable' });
    const refused = await failure('127.0.0.1:1');
    expect(refused.code).toBe('unreachable');
    expect(refused.message).toMatch(/nobody listens at 127\.0\.0\.1:1/);
    const server = createServer((socket) =>
      socket.on('error', () => undefined).end('HTTP/1.1 400 Bad Request\r\n\r\n'),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    expect((await failure(`127.0.0.1:${port}`)).code).toBe('unreachable');
    server.close();
  });

  test('somebody who accepts and never answers is given up in time', async () => {
    const server = createServer((socket) => socket.on('error', () => undefined).resume());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const started = performance.now();
    expect(await failure(`127.0.0.1:${port}`)).toMatchObject({ code: 'unreachable' });
    expect(performance.now() - started).toBeLessThan(2000);
    server.close();
  });

  test('streams fail in the same way', async () => {
    const client = createAgentClient(parseTarget('127.0.0.1:1'));
    const iterator = client.config.watch({})[Symbol.asyncIterator]();
    await expect(iterator.next()).rejects.toMatchObject({ name: 'AgentError', code: 'unreachable' });
    client.close();
  });
});
