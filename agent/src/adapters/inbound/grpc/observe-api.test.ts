// SPDX-License-Identifier: Apache-2.0
/** ObserveService over a real server: what is observed is told by application/observe/observatory.test.ts. */
import { hash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { timestampMs } from '@bufbuild/protobuf/wkt';
import { type Client, Code, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import { MemberState } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { type ObserveResponse, ObserveService, Topic } from '@marcher/proto/marcher/v1/observe_service_pb';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Observatory } from '../../../application/observe/observatory.js';
import { FakeNode } from '../../../application/observe/testing/fake-node.js';
import { ManualClock } from '../../../application/observe/testing/manual-clock.js';
import { InMemoryUseCases } from '../testing/in-memory-use-cases.js';
import { type ApiServer, type ApiServerOptions, createApiServer } from './api-server.js';

/** The machine may be busy. */
const SOON = { timeout: 10_000 };

let directory: string;
let node: FakeNode;
let clock: ManualClock;
let observatory: Observatory;
let server: ApiServer;
let leaving: AbortController;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-observe-'));
  node = new FakeNode();
  clock = new ManualClock();
  leaving = new AbortController();
  observatory = new Observatory({
    ...{ sources: node, clock, newRun: () => 'run' },
    hash: (bytes) => hash('sha256', bytes, 'buffer'),
  });
});

afterEach(async () => {
  leaving.abort();
  await server.stop();
  rmSync(directory, { recursive: true, force: true });
});

async function serve(options: Partial<ApiServerOptions> = {}, kind = createGrpcTransport) {
  const { config, node: node_, traffic } = new InMemoryUseCases();
  const quiet = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
  server = createApiServer({
    useCases: { config, node: node_, traffic, observe: observatory },
    peerCredentials: () => ({ pid: 1, uid: 0, gid: 0, member: false }),
    logger: quiet,
    socketPath: join(directory, 'socket'),
    limits: { stopMs: 500 },
    ...options,
  });
  await server.start();
  return createClient(
    ObserveService,
    kind({
      baseUrl: 'http://localhost',
      nodeOptions: { createConnection: () => connect({ path: join(directory, 'socket') }) },
      // Of gRPC-Web's; the other one knows this option not.
      ...({ httpVersion: '2' } as object),
    }),
  );
}

type Request = Parameters<Client<typeof ObserveService>['observe']>[0];

function read(client: Client<typeof ObserveService>, request: Request = {}) {
  const got: ObserveResponse[] = [];
  const ended = (async () => {
    for await (const response of client.observe(request, { signal: leaving.signal })) got.push(response);
  })();
  const failure = ended.then(
    () => undefined,
    (error: unknown) => ConnectError.from(error),
  );
  return { got, failure };
}

async function refused(client: Client<typeof ObserveService>, request: Request): Promise<ConnectError | undefined> {
  return await read(client, request).failure;
}

test.each([
  ['gRPC', createGrpcTransport],
  ['gRPC-Web', createGrpcWebTransport],
] as const)('by %s: the state, synced, then what changes', async (_name, kind) => {
  node.apply('web');
  node.connect('web', '10.0.0.1:80', 3n);
  node.carry('web', 'relay');
  node.count('web', 10n);
  node.member('00000000000000b2', 'alive');
  node.availability = [];
  const client = await serve({}, kind as typeof createGrpcTransport);
  const { got } = read(client, { intervalMs: 200 });
  await expect.poll(() => got.length, SOON).toBe(1);
  expect(got[0]).toMatchObject({
    ...{ forget: true, synced: true, version: 1n, node: { name: 'north', run: 'run' }, status: { nodeName: 'north' } },
    objects: [{ kind: 'Service', name: 'web', generation: 1n, declared: { case: 'service' } }],
    backends: [{ service: 'web', backend: '10.0.0.1:80', connections: 3n }],
    tiers: [{ service: 'web', tier: 'relay' }],
    traffic: [{ service: 'web', counters: { bytesReceived: 10n } }],
    members: [{ nodeId: '00000000000000b2', state: MemberState.ALIVE }],
  });
  expect(got[0]?.time && timestampMs(got[0].time)).toBe(clock.nowMs());
  node.count('web', 11n);
  node.remove('web');
  node.backendList.clear();
  const news = () => got.slice(1);
  // Each is looked at in its own time: it may take more than one response.
  const told = () =>
    news().flatMap(({ traffic, goneObjects, goneBackends }) => [traffic, goneObjects, goneBackends].flat());
  await expect.poll(() => clock.pass(100).then(() => told().length), SOON).toBe(3);
  expect(news().flatMap(({ goneObjects }) => goneObjects)).toMatchObject([{ kind: 'Service', name: 'web' }]);
  expect(news().flatMap(({ goneBackends }) => goneBackends)).toMatchObject([
    { service: 'web', backend: '10.0.0.1:80' },
  ]);
  expect(news().flatMap(({ traffic }) => traffic)).toMatchObject([{ counters: { bytesReceived: 11n } }]);
  expect(news().some(({ forget, synced, node }) => forget || synced || node !== undefined)).toBe(false);
  expect(got.at(-1)?.version).toBe(2n);
});

test('topics are those that were asked for', async () => {
  node.apply('web');
  node.count('web', 10n);
  const { got } = read(await serve(), { topics: [Topic.TRAFFIC, Topic.TRAFFIC] });
  await expect.poll(() => got.length, SOON).toBe(1);
  expect(got[0]).toMatchObject({ synced: true, objects: [], traffic: [{ service: 'web' }] });
  expect(got[0]?.status).toBeUndefined();
});

test('a stream that broke goes on where it was', async () => {
  node.apply('same', 'web');
  const client = await serve();
  const first = new AbortController();
  for await (const { synced } of client.observe({}, { signal: first.signal })) if (synced) break;
  first.abort();
  await expect.poll(() => observatory.readers, SOON).toBe(0);
  await clock.pass(1_000);
  node.apply('web');
  const { got } = read(client, { resumeVersion: 1n, resumeRun: 'run', summaries: true });
  await expect.poll(() => got.length, SOON).toBe(1);
  expect(got[0]).toMatchObject({ forget: false, synced: true, version: 2n });
  expect(got[0]?.objects).toMatchObject([{ name: 'web', generation: 2n, declared: { case: undefined } }]);
});

test('what is not allowed is refused, and says what is', async () => {
  const client = await serve();
  for (const intervalMs of [1, 99, 60_001]) {
    const error = await refused(client, { intervalMs });
    expect(error?.code).toBe(Code.OutOfRange);
    expect(error?.rawMessage).toBe(`interval_ms is ${intervalMs}: expected 100 to 60000, or 0 for 1000`);
  }
  const unknown = await refused(client, { topics: [Topic.STATUS, 99 as Topic] });
  expect(unknown?.code).toBe(Code.InvalidArgument);
  expect(unknown?.rawMessage).toMatch(/^topics\[1\] is 99, .*expected some of status, configuration/);
  expect((await refused(client, { topics: [Topic.UNSPECIFIED] }))?.code).toBe(Code.InvalidArgument);
  expect((await refused(client, { topics: Array(33).fill(Topic.STATUS) }))?.code).toBe(Code.InvalidArgument);
  expect((await refused(client, { resumeRun: 'x'.repeat(65) }))?.code).toBe(Code.InvalidArgument);
  expect(observatory.readers).toBe(0);
});

test('an agent that is stopped ends it with UNAVAILABLE', async () => {
  const { got, failure } = read(await serve());
  await expect.poll(() => got.length, SOON).toBe(1);
  await server.stop();
  expect((await failure)?.code).toBe(Code.Unavailable);
  await expect.poll(() => observatory.readers, SOON).toBe(0);
});

test('nothing queues up for a reader that does not read', async () => {
  const names = Array.from({ length: 1_000 }, (_, i) => `service-${i}`);
  node.apply(...names);
  const client = await serve();
  const responses = client.observe({ intervalMs: 100 }, { signal: leaving.signal })[Symbol.asyncIterator]();
  await responses.next();
  for (let i = 0; i < 40; i++) {
    node.apply(...names);
    await clock.pass(100);
  }
  // What is on its way fills buffers; then none is made any more.
  const made = node.looks.declared;
  await clock.pass(20_000);
  expect(node.looks.declared).toBe(made);
  const versions: bigint[] = [];
  void (async () => {
    for (let next = await responses.next(); next.done !== true; next = await responses.next()) {
      versions.push(next.value.version);
    }
  })().catch(() => undefined);
  await expect.poll(() => clock.pass(100).then(() => versions.at(-1)), { ...SOON, interval: 5 }).toBe(41n);
  expect(new Set(versions).size).toBeLessThan(20);
});
