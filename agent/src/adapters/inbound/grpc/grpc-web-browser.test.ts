// SPDX-License-Identifier: Apache-2.0
/** The official gRPC-Web client in a real Chromium (Debian's) against the API server. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { ServiceResourceSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { type Browser, chromium, type Page } from 'playwright-core';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Calls } from '../testing/grpc-web-page.js';
import { InMemoryUseCases } from '../testing/in-memory-use-cases.js';
import { serveWebOrigin, type WebOrigin } from '../testing/web-origin.js';
import { type ApiServer, createApiServer } from './api-server.js';

const directory = mkdtempSync(join(tmpdir(), 'marcher-web-'));
const socketPath = join(directory, 'marcher.sock');
let script: string;
let useCases: InMemoryUseCases;
let server: ApiServer;
let origin: WebOrigin;
let browser: Browser;
let page: Page;

async function bundle(): Promise<string> {
  const input = join(import.meta.dirname, '../testing/grpc-web-page.ts');
  const build = await rolldown({ input, platform: 'browser' });
  const { output } = await build.generate({ format: 'esm', minify: true });
  await build.close();
  return output[0].code;
}

beforeAll(async () => {
  useCases = new InMemoryUseCases();
  server = createApiServer({
    useCases,
    peerCredentials: () => ({ pid: 1, uid: 0, gid: 0, member: false }),
    logger: { debug() {}, info() {}, warn() {}, error() {} },
    socketPath,
    limits: { stopMs: 100 },
  });
  await server.start();
  script = await bundle();
  origin = await serveWebOrigin(script, socketPath);
  browser = await chromium.launch({ executablePath: '/usr/bin/chromium', chromiumSandbox: process.getuid?.() !== 0 });
  page = await browser.newPage();
}, 60_000);

afterAll(async () => {
  await browser?.close();
  await origin?.close();
  await server?.stop();
  rmSync(directory, { recursive: true, force: true });
});

beforeEach(async () => {
  useCases.applyDelay = Promise.resolve();
  // Another page, so that no call of the test before goes on.
  await page.goto(origin.url);
  await soon(() => expect(useCases.openStreams).toBe(0));
});

/** Runs one of the page's calls there. */
async function call<Name extends keyof Calls>(
  name: Name,
  ...parameters: Parameters<Calls[Name]>
): Promise<Awaited<ReturnType<Calls[Name]>>> {
  const answer = await page.evaluate(
    ([wanted, given]) =>
      (globalThis as unknown as { calls: Record<string, (...each: unknown[]) => unknown> }).calls[wanted]?.(...given),
    [name, parameters] as [string, unknown[]],
  );
  return answer as Awaited<ReturnType<Calls[Name]>>;
}

/** On a machine that has much else to do, too. */
const soon = (holds: () => unknown): Promise<unknown> => vi.waitFor(holds, { timeout: 15_000, interval: 20 });

const whats = (heard: { what: string }[]): string[] => heard.map(({ what }) => what);

describe('unary calls', () => {
  test('are answered, with headers and trailers', async () => {
    const { version, header, trailer } = await call('apply', 'web');
    expect(version).toBe(String(useCases.version));
    expect(useCases.resources.has('web')).toBe(true);
    expect(header).toContain('date');
    expect(trailer).toEqual([]);
  });

  test('an answer of 10 MB comes whole', async () => {
    const labels = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`l${i}`, 'é'.repeat(50_000)]));
    useCases.resources.set('large', create(ServiceResourceSchema, { service: { name: 'large', labels } }));
    expect(await call('large', 'large')).toEqual({ labels: 100, characters: 5_000_290 });
    useCases.resources.delete('large');
  });

  test('what is wrong is told with its violations', async () => {
    expect(await call('invalid')).toMatchObject({
      code: 'InvalidArgument',
      message: 'the change is not valid',
      paths: ['services[0].name'],
    });
  });

  test('a message that is not ASCII comes as it was', async () => {
    expect(await call('missing', 'größe 100% ✓')).toMatchObject({
      code: 'NotFound',
      message: 'there is no service "größe 100% ✓": see marcher get services',
    });
  });

  test('end at their deadline, and when they are aborted', async () => {
    useCases.applyDelay = new Promise(() => undefined);
    expect(await call('late', 50)).toMatchObject({ code: 'DeadlineExceeded' });
    expect(await call('aborted')).toMatchObject({ code: 'Canceled' });
  });

  test('of a path that is not there the status of HTTP is told, whatever its page looks like', async () => {
    expect(await call('unserved')).toMatchObject({ code: 'Unimplemented', message: 'HTTP 404' });
  });
});

describe('streams', () => {
  test('arrive message by message while they go on, and stop at the agent when they are aborted', async () => {
    useCases.resources.clear();
    const watch = await call('startWatch');
    await soon(async () => expect(whats(await call('heard', watch))).toEqual(['synced']));
    for (const name of ['first', 'second']) {
      await call('apply', name);
      await soon(async () => expect(whats(await call('heard', watch)).at(-1)).toBe(name));
      expect(useCases.openStreams).toBe(1);
    }
    const heard = await call('abortWatch', watch);
    expect(whats(heard).slice(0, 3)).toEqual(['synced', 'first', 'second']);
    expect(whats(heard).at(-1)).toMatch(/^Canceled: /);
    const times = heard.map(({ atMs }) => atMs);
    expect(new Set(times).size).toBe(times.length);
    await soon(() => expect(useCases.openStreams).toBe(0));
  });

  test('that have brought more than a browser should keep are ended, and open anew', async () => {
    useCases.resources.clear();
    useCases.resources.set(
      'long',
      create(ServiceResourceSchema, { service: { name: 'long', labels: { text: 'x'.repeat(2_000) } } }),
    );
    const heard = whats(await call('ended', await call('startBriefWatch')));
    expect(heard).toEqual(['long', expect.stringMatching(/^Unavailable: .*which a browser keeps until it ends/)]);
    await soon(() => expect(useCases.openStreams).toBe(0));
    useCases.resources.clear();
  });

  test('an agent that goes away in the midst is told from a good end', async () => {
    const watch = await call('startWatch');
    await soon(async () => expect(whats(await call('heard', watch))).toContain('synced'));
    await origin.close();
    expect(whats(await call('ended', watch)).at(-1)).toMatch(/^Unavailable: the connection broke off/);
    origin = await serveWebOrigin(script, socketPath);
  });
});

describe('without a browser', () => {
  interface Answer {
    readonly headers: Record<string, unknown>;
    readonly body: Buffer;
  }

  async function ask(headers: Record<string, string>, body: string): Promise<Answer> {
    const agent = connectHttp2('http://localhost', { createConnection: () => connect({ path: socketPath }) });
    try {
      const asked = agent.request({ ':method': 'POST', ':path': '/marcher.v1.ConfigService/Get', ...headers });
      const chunks: Buffer[] = [];
      asked.on('data', (chunk: Buffer) => chunks.push(chunk));
      const answered = new Promise<Record<string, unknown>>((resolve) => asked.once('response', resolve));
      const ended = new Promise((resolve) => asked.once('end', resolve));
      asked.end(body);
      const answer = await answered;
      await ended;
      return { headers: answer, body: Buffer.concat(chunks) };
    } finally {
      agent.close();
    }
  }

  const text = { 'content-type': 'application/grpc-web-text' };

  test('what is not base64 is refused as a call is, with a reason', async () => {
    const { headers, body } = await ask(text, 'AAAA!AAA');
    expect(headers).toMatchObject({ ':status': 200, 'content-type': 'application/grpc-web-text+proto' });
    const trailer = decodeURIComponent(Buffer.from(body.toString(), 'base64').subarray(5).toString());
    expect(trailer).toMatch(/grpc-status: 3\r\n/);
    expect(trailer).toMatch(
      /grpc-message: the request has "!" at character 4, which can't stand there: expected base64/,
    );
  });

  test('text is bounded by what it says, as everything is', async () => {
    const frame = Buffer.alloc(5 + (1 << 20) + 1);
    frame.writeUInt32BE(frame.length - 5, 1);
    const { body } = await ask(text, frame.toString('base64'));
    expect(Buffer.from(body.toString(), 'base64').toString()).toMatch(/grpc-status: 8\r\n/);
  });

  test('pages of other origins are let in nowhere: no answer has a header of CORS', async () => {
    const { headers } = await ask(
      {
        ':method': 'OPTIONS',
        origin: 'https://elsewhere.example',
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'content-type,x-grpc-web',
      },
      '',
    );
    expect(headers[':status']).toBe(405);
    expect(Object.keys(headers).filter((name) => name.startsWith('access-control-'))).toEqual([]);
  });
});
