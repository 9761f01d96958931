// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, type OutgoingHttpHeaders, request } from 'node:http';
import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Connection } from '@marcher/client/connection';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AgentDoor } from '../entry/agent-door.js';
import { StreamChannel } from '../renderer/agents/channel.js';
import { Assets } from './assets.js';
import { type Gateway, startGateway } from './gateway.js';

const METHOD = '/marcher.v1.NodeService/Status';
let directory: string;
let agent: Http2Server;
let connection: Connection;
let gateway: Gateway;
let cookie: string;
let answer: (stream: ServerHttp2Stream, headers: Record<string, unknown>) => void;

beforeEach(async () => {
  directory = mkdtempSync(path.join(tmpdir(), 'marcher-gateway-'));
  writeFileSync(path.join(directory, 'index.html'), '<!doctype html><title>console</title>');
  agent = createServer();
  agent.on('stream', (stream, headers) => {
    stream.on('error', () => undefined);
    answer(stream, headers);
  });
  agent.on('sessionError', () => undefined);
  const socket = path.join(directory, 'agent.sock');
  await new Promise<void>((resolve) => agent.listen(socket, resolve));
  const target = { kind: 'unix', path: socket } as const;
  connection = new Connection(target, 5_000);
  const agents = new AgentDoor(connection, target);
  gateway = await startGateway({ agents, assets: new Assets(directory), port: 0 });
  const token = new URL(gateway.address).hash.slice('#token='.length);
  const { headers } = await ask('POST', '/session', {}, token);
  cookie = (headers['set-cookie']?.[0] ?? '').split(';')[0] ?? '';
});

afterEach(async () => {
  connection.close();
  agent.close();
  await gateway.close();
  rmSync(directory, { recursive: true });
});

interface Asked {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

function ask(method: string, url: string, headers: OutgoingHttpHeaders = {}, body = ''): Promise<Asked> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port: gateway.port, method, path: url, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece: string) => {
        text += piece;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }));
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

const base = (): string => `http://127.0.0.1:${gateway.port}`;
/** As a browser of the page's does. */
const fetchWithCookie: typeof fetch = (input, init) => {
  const headers = new Headers(init?.headers);
  headers.set('cookie', cookie);
  return fetch(input, { ...init, headers });
};

describe('the gateway', () => {
  test('says which port is taken and what to do, and leaves who has it alone', async () => {
    const { port } = gateway;
    const other = {
      agents: new AgentDoor(connection, { kind: 'unix', path: 'x' }),
      assets: new Assets(directory),
      port,
    };
    await expect(startGateway(other)).rejects.toThrow(
      `port ${port} of 127.0.0.1 is in use: choose another with --port`,
    );
    expect((await ask('GET', '/')).status).toBe(200);
  });

  test('serves pages that nothing foreign runs in', async () => {
    const { status, headers, body } = await ask('GET', '/');
    expect({ status, body }).toEqual({ status: 200, body: '<!doctype html><title>console</title>' });
    expect(headers['content-security-policy']).toContain("default-src 'none'");
    expect(headers['content-security-policy']).not.toContain('unsafe');
    expect((await ask('GET', '/../gateway.ts')).status).toBe(404);
    expect((await ask('GET', '/agent.sock')).status).toBe(404);
  });

  test('lets nobody call an agent without the cookie, nor from another page', async () => {
    answer = () => expect.unreachable('the agent was called');
    expect((await ask('POST', `/agent/entry${METHOD}`)).status).toBe(401);
    expect((await ask('POST', '/streams/00000000-0000-0000-0000-000000000000')).status).toBe(401);
    expect((await ask('POST', '/session', {}, 'guessed')).status).toBe(401);
    expect((await ask('POST', `/agent/entry${METHOD}`, { cookie, origin: 'https://evil.example' })).status).toBe(403);
    expect((await ask('POST', `/agent/entry${METHOD}`, { cookie, host: 'evil.example' })).status).toBe(421);
  });

  test('forwards a call as it is, names the node, and tells nothing of the page', async () => {
    let seen: Record<string, unknown> = {};
    answer = (stream, headers) => {
      seen = headers;
      stream.respond({ ':status': 200, 'content-type': 'application/grpc-web+proto', 'grpc-status': '0' });
      stream.pipe(stream);
    };
    const headers = { cookie, 'content-type': 'application/grpc-web+proto', 'marcher-node': 'ffffffffffffffff' };
    const { status, body } = await ask('POST', `/agent/00c0ffee00c0ffee${METHOD}`, headers, 'as it is');
    expect({ status, body }).toEqual({ status: 200, body: 'as it is' });
    expect(seen).toMatchObject({ ':path': METHOD, 'marcher-node': '00c0ffee00c0ffee' });
    expect(seen).not.toHaveProperty('cookie');
    expect((await ask('POST', '/agent/entry/../../x', { cookie })).status).toBe(404);
  });

  test('says why, in gRPC-Web, where there is no agent', async () => {
    connection.close();
    agent.close();
    const { status, headers } = await ask('POST', `/agent/entry${METHOD}`, { cookie });
    expect(status).toBe(200);
    expect(headers['grpc-status']).toBe('14');
    expect(decodeURIComponent(String(headers['grpc-message']))).toContain('is marcherd running');
  });

  test('gives streams piece by piece, many more than a browser has connections, down one response', async () => {
    const open: ServerHttp2Stream[] = [];
    answer = (stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc-web+proto' });
      stream.write(`first of ${open.push(stream)}`);
    };
    const channel = new StreamChannel(fetchWithCookie, base());
    const calls = await Promise.all(
      Array.from({ length: 20 }, () => channel.fetch(`${base()}/agent/entry${METHOD}`, { method: 'POST', body: '' })),
    );
    const readers = calls.map(({ body }) => body?.getReader());
    for (const reader of readers) {
      expect(new TextDecoder().decode((await reader?.read())?.value)).toContain('first of');
    }
    for (const stream of open) stream.end('last');
    for (const reader of readers) {
      expect(new TextDecoder().decode((await reader?.read())?.value)).toBe('last');
      expect((await reader?.read())?.done).toBe(true);
    }
    channel.close();
  });

  test('ends a stream at the agent when the page gives it up, and all of them when the page is gone', async () => {
    const ended: Promise<unknown>[] = [];
    answer = (stream) => {
      stream.respond({ ':status': 200 });
      stream.write('first');
      ended.push(new Promise((resolve) => stream.once('close', resolve)));
    };
    const channel = new StreamChannel(fetchWithCookie, base());
    const giveUp = new AbortController();
    const url = `${base()}/agent/entry${METHOD}`;
    const one = await channel.fetch(url, { method: 'POST', body: '', signal: giveUp.signal });
    const other = await channel.fetch(url, { method: 'POST', body: '' });
    const reader = one.body?.getReader();
    await reader?.read();
    giveUp.abort(new Error('enough'));
    await expect(reader?.read()).rejects.toThrow('enough');
    await ended[0];
    channel.close();
    await ended[1];
    await expect(other.text()).rejects.toThrow();
  });

  test('stops reading at the agent while the page does not read', async () => {
    let stream: ServerHttp2Stream | undefined;
    answer = (opened) => {
      stream = opened;
      opened.respond({ ':status': 200 });
    };
    const channel = new StreamChannel(fetchWithCookie, base());
    const { body } = await channel.fetch(`${base()}/agent/entry${METHOD}`, { method: 'POST', body: '' });
    // More than what all buffers on the way hold.
    const pieces = 64;
    let taken = 0;
    for (let i = 0; i < pieces; i++) stream?.write(Buffer.alloc(1 << 20, 1), () => taken++);
    let before = -1;
    while (before !== taken || taken === 0) {
      before = taken;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    expect(taken).toBeLessThan(pieces);
    const reader = body?.getReader();
    let bytes = 0;
    while (bytes < pieces << 20) bytes += (await reader?.read())?.value?.length ?? 0;
    channel.close();
  });
});
