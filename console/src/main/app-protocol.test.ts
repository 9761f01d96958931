// SPDX-License-Identifier: Apache-2.0
/** Against a real HTTP/2 server in the agent's place. */
import { once } from 'node:events';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo } from 'node:net';
import { AgentError } from '@marcher/client';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Agents, answerApp } from './app-protocol.js';

let server: Http2Server;
let session: ClientHttp2Session;
let calls: { stream: ServerHttp2Stream; headers: IncomingHttpHeaders }[];
let meshes: string[];
let failure: Error | undefined;
let waiting: ((call: (typeof calls)[number]) => void) | undefined;

beforeAll(async () => {
  server = createServer();
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined);
    calls.push({ stream, headers });
    waiting?.({ stream, headers });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});
afterAll(() => {
  session.destroy();
  server.close();
});
beforeEach(() => {
  calls = [];
  meshes = [];
  failure = undefined;
});

const agents: Agents<ClientHttp2Stream> = {
  async open({ mesh, node, method }, headers) {
    meshes.push(mesh);
    if (failure !== undefined) throw failure;
    return session.request({ ...headers, ':method': 'POST', ':path': method, 'marcher-node': node });
  },
  async answer(stream) {
    const [{ ':status': status, ...headers }] = (await once(stream, 'response')) as [
      IncomingHttpHeaders & { ':status': number },
    ];
    return { status, headers, body: stream };
  },
  giveUp: (stream) => stream.close(8 /* CANCEL */),
};
const files = {
  find: (pathname: string) =>
    pathname === '/index.html' ? { body: Buffer.from('<!doctype html>'), type: 'text/html; charset=utf-8' } : undefined,
};
const handle = answerApp(files, agents);

const METHOD = '/marcher.v1.NodeService/Status';

function post(path = `/entry${METHOD}`, { headers, ...init }: RequestInit = {}): Request {
  const named = { 'marcher-mesh': 'prod', ...(headers as Record<string, string>) };
  return new Request(`app://agent${path}`, { method: 'POST', body: 'question', headers: named, ...init });
}

/** The next call that arrives at the agent. */
function arriving(): Promise<(typeof calls)[number]> {
  return new Promise((resolve) => {
    waiting = resolve;
  });
}

describe('files', () => {
  test('the page may run what came with it, and speak with its origin alone', async () => {
    const answer = await handle(new Request('app://agent/'));
    expect(await answer.text()).toBe('<!doctype html>');
    const policy = answer.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("connect-src 'self'");
    expect(policy).not.toMatch(/unsafe|\*|https?:/);
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
  });

  test.each([
    ['another file', 'GET', 'app://agent/main.js', 404],
    ['another host', 'GET', 'app://elsewhere/', 404],
    ['another method', 'PUT', 'app://agent/', 405],
    ['what is no call', 'POST', 'app://agent/entry', 404],
    ['a node that is none', 'POST', `app://agent/..%2f${METHOD}`, 404],
    ['more than a method', 'POST', `app://agent/entry${METHOD}/more`, 404],
  ])('%s is not there', async (_what, method, url, status) => {
    expect((await handle(new Request(url, { method }))).status).toBe(status);
    expect(calls).toEqual([]);
  });
});

describe('calls', () => {
  test('go to the agent with their body, and nothing of the page', async () => {
    const arrived = arriving();
    const headers = {
      'content-type': 'application/grpc-web-text',
      cookie: 'a=b',
      referer: 'app://agent/',
      'grpc-timeout': '50m',
    };
    const answering = handle(post(`/00112233445566aa${METHOD}`, { headers }));
    const { stream, headers: got } = await arrived;
    const body = await stream.setEncoding('utf8').toArray();
    stream.respond({ ':status': 200, 'content-type': 'application/grpc-web-text+proto', 'set-cookie': 'x=y' });
    stream.end('answer');
    const answer = await answering;
    expect(body.join('')).toBe('question');
    expect(got).toMatchObject({ ':path': METHOD, 'marcher-node': '00112233445566aa', 'grpc-timeout': '50m' });
    expect(meshes).toEqual(['prod']);
    expect(got).not.toHaveProperty('marcher-mesh');
    expect(got).not.toHaveProperty('cookie');
    expect(got).not.toHaveProperty('referer');
    expect(answer.headers.get('content-type')).toBe('application/grpc-web-text+proto');
    expect(answer.headers.get('set-cookie')).toBeNull();
    expect(await answer.text()).toBe('answer');
  });

  test.each(['', '../prod', 'https://192.0.2.1:7443'])('for the mesh %j go nowhere', async (mesh) => {
    const answer = await handle(post(undefined, { headers: { 'marcher-mesh': mesh } }));
    expect(answer.status).toBe(400);
    expect(meshes).toEqual([]);
  });

  test('are answered piece by piece, and end at the agent when the page stops reading', async () => {
    const arrived = arriving();
    const answering = handle(post());
    const { stream } = await arrived;
    stream.respond({ ':status': 200 });
    stream.write('first');
    const reader = (await answering).body?.getReader();
    expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe('first');
    stream.write('second');
    expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe('second');
    const closed = once(stream, 'close');
    await reader?.cancel();
    await closed;
  });

  test('end at the agent when the page gives them up', async () => {
    const abort = new AbortController();
    const arrived = arriving();
    const answering = handle(post(undefined, { signal: abort.signal }));
    const { stream } = await arrived;
    stream.respond({ ':status': 200 });
    stream.write('first');
    const answer = await answering;
    const closed = once(stream, 'close');
    abort.abort();
    await closed;
    await expect(answer.text()).rejects.toThrow();
  });

  test('an agent that can not be reached is a failed call, with why', async () => {
    failure = new Error('nobody listens at unix:/run/größe: is marcherd running?');
    const answer = await handle(post());
    expect(answer.status).toBe(200);
    expect(answer.headers.get('grpc-status')).toBe('14');
    expect(decodeURIComponent(answer.headers.get('grpc-message') ?? '')).toBe(failure.message);
  });

  test('one that the agent does not want is told as that', async () => {
    failure = new AgentError('denied', 'the session of alice is over', [], undefined);
    expect((await handle(post())).headers.get('grpc-status')).toBe('7');
  });

  test('an answer that breaks off is no whole one', async () => {
    const arrived = arriving();
    const answering = handle(post());
    const { stream } = await arrived;
    stream.respond({ ':status': 200 });
    stream.write('first');
    const answer = await answering;
    stream.destroy(new Error('the agent was killed'));
    await expect(answer.text()).rejects.toThrow();
  });
});
