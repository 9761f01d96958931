// SPDX-License-Identifier: Apache-2.0
import { execFile, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect as http2Connect } from 'node:http2';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { create } from '@bufbuild/protobuf';
import { type Client, Code, ConnectError, createClient, type Transport } from '@connectrpc/connect';
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import { Health, HealthCheckResponse_ServingStatus as Serving } from '@marcher/proto/grpc/health/v1/health_pb';
import { ServerReflection } from '@marcher/proto/grpc/reflection/v1/reflection_pb';
import { ServerReflection as ServerReflectionAlpha } from '@marcher/proto/grpc/reflection/v1alpha/reflection_pb';
import {
  ConditionSchema,
  ConfigService,
  ObjectResourceSchema,
  Operation,
  ValidationFailureSchema,
  ViolationSchema,
} from '@marcher/proto/marcher/v1/config_service_pb';
import { ObjectSchema } from '@marcher/proto/marcher/v1/model_pb';
import { NodeService } from '@marcher/proto/marcher/v1/node_service_pb';
import { LogKind, TrafficService } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ApplicationError } from '../../../ports/use-cases.js';
import { InMemoryUseCases } from '../testing/in-memory-use-cases.js';
import { type ApiServer, type ApiServerOptions, createApiServer } from './api-server.js';
import type { PeerCredentials } from './peer.js';

const root: PeerCredentials = { pid: 1, uid: 0, gid: 0, member: false };
const run = promisify(execFile);
const buf = join(import.meta.dirname, '../../../../../node_modules/.bin/buf');

let directory: string;
let socketPath: string;
let useCases: InMemoryUseCases;
let logged: { level: string; message: string; fields: Record<string, unknown> }[];
const closers: (() => unknown)[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-api-'));
  socketPath = join(directory, 'marcher.sock');
  useCases = new InMemoryUseCases();
  logged = [];
});

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
  rmSync(directory, { recursive: true, force: true });
});

async function serve(options: Partial<ApiServerOptions> = {}): Promise<ApiServer> {
  const log = (level: string) => (fields: object, message: string) => {
    logged.push({ level, message, fields: fields as Record<string, unknown> });
  };
  const server = createApiServer({
    useCases,
    peerCredentials: () => root,
    logger: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
    socketPath,
    limits: { stopMs: 500 },
    ...options,
  });
  await server.start();
  closers.push(() => server.stop());
  return server;
}

function unixTransport(kind = createGrpcTransport, path = socketPath): Transport {
  return kind({
    baseUrl: 'http://localhost',
    // Node's client refuses an early answer while more than this (MiB) waits to be sent.
    nodeOptions: { createConnection: () => connect({ path }), maxSessionMemory: 256 },
    // The Connect transport speaks HTTP/1.1 unless it is told; the others know this option not.
    ...({ httpVersion: '2' } as object),
  });
}

const config = (transport: Transport = unixTransport()): Client<typeof ConfigService> =>
  createClient(ConfigService, transport);
const web = { name: 'web', backends: [{ address: '10.0.0.1:80' }], labels: { team: 'edge' } };

async function failure(promise: Promise<unknown>): Promise<ConnectError> {
  return await promise.then(
    () => {
      throw new Error('expected a failure');
    },
    (error: unknown) => ConnectError.from(error),
  );
}

describe('every protocol on both listeners', () => {
  test.each([
    ['gRPC', createGrpcTransport],
    ['gRPC-Web', createGrpcWebTransport],
    ['Connect', createConnectTransport],
  ] as const)('%s over the Unix socket', async (_name, kind) => {
    await serve();
    const client = config(unixTransport(kind as typeof createGrpcTransport));
    expect((await client.apply({ change: { upsert: [web] } })).version).toBe(1n);
    expect((await client.get({ name: 'web' })).resource?.service?.name).toBe('web');
  });

  test.each([
    ['gRPC', createGrpcTransport],
    ['gRPC-Web', createGrpcWebTransport],
    ['Connect', createConnectTransport],
  ] as const)('%s with messages in JSON', async (_name, kind) => {
    await serve();
    const client = config(
      unixTransport((options) => (kind as typeof createGrpcTransport)({ ...options, useBinaryFormat: false })),
    );
    expect((await client.plan({ change: { upsert: [web] } })).diffs[0]?.name).toBe('web');
    expect((await client.apply({ change: { upsert: [web] } })).version).toBe(1n);
    expect((await client.get({ name: 'web' })).resource?.service?.backends[0]?.address).toBe('10.0.0.1:80');
    const connections = { perSecond: 1n << 60n };
    const object = create(ObjectSchema, { object: { case: 'trafficPolicy', value: { name: 'gold', connections } } });
    useCases.objects.push(create(ObjectResourceSchema, { object, generation: 1n }));
    const { resources } = await client.listObjects({ kind: 'TrafficPolicy' });
    expect(resources.map((resource) => resource.object)).toEqual([object]);
    expect((await client.listObjects({ kind: 'Guard' })).resources).toEqual([]);
  });

  test.each([
    ['127.0.0.1', '127.0.0.1'],
    ['::1', '[::1]'],
    ['localhost', '127.0.0.1'],
  ])('gRPC over loopback TCP, on %s, names the caller by its address', async (host, shown) => {
    const server = await serve({ tcp: { host, port: 0 } });
    const transport = createGrpcTransport({ baseUrl: `http://${shown}:${server.tcpAddress?.port}` });
    await config(transport).apply({ change: { upsert: [web] } });
    expect(useCases.callers[0]?.author.replace(/:\d+$/, '')).toBe(`tcp:${shown}`);
  });

  test.each(['0.0.0.0', '192.0.2.1', '::', 'example.com'])('refuses to listen on %s', async (host) => {
    await expect(serve({ tcp: { host, port: 0 } })).rejects.toThrow(/expected a loopback address/);
    expect(existsSync(socketPath)).toBe(false);
  });
});

describe('ConfigService', () => {
  test('plans, applies, lists in pages, filters by label, shows history and reverts', async () => {
    await serve();
    const client = config();
    const change = { upsert: [web, { name: 'dns' }, { name: 'ssh' }] };
    const plan = await client.plan({ change });
    expect(plan.diffs.map((diff) => diff.operation)).toEqual([Operation.CREATE, Operation.CREATE, Operation.CREATE]);
    const applied = await client.apply({ change, expectedVersion: plan.version, message: 'first' });
    expect(applied).toMatchObject({ version: 1n, changed: true });
    expect(applied.timing?.programMs).toBe(4);
    expect((await client.apply({ change })).changed).toBe(false);

    const page = await client.list({ pageSize: 2 });
    expect(page.resources.map(({ service }) => service?.name)).toEqual(['web', 'dns']);
    expect(page.total).toBe(3n);
    const rest = await client.list({ pageSize: 2, pageToken: page.nextPageToken });
    expect(rest.resources.map(({ service }) => service?.name)).toEqual(['ssh']);
    expect(rest.nextPageToken).toBe('');
    expect((await client.list({ labels: { team: 'edge' } })).total).toBe(1n);

    await client.apply({ change: { remove: ['dns'] } });
    const { revisions } = await client.history({ withDiff: true });
    expect(revisions.map(({ version }) => version)).toEqual([2n, 1n]);
    expect(revisions[1]).toMatchObject({ message: 'first', created: 3, origin: 'api' });
    expect(revisions[1]?.author).toMatch(/root \(uid 0\)/);
    const reverted = await client.revert({ version: 1n, message: 'back' });
    expect(reverted.version).toBe(3n);
    expect((await client.list({})).total).toBe(3n);
  });

  test('errors carry their code, and violations as detail', async () => {
    await serve();
    const client = config();
    const invalid = await failure(client.apply({ change: { upsert: [{ name: 'BAD NAME' }] } }));
    expect(invalid.code).toBe(Code.InvalidArgument);
    expect(invalid.findDetails(ValidationFailureSchema)[0]?.violations[0]).toMatchObject({
      path: 'services[0].name',
      fix: 'use a-z, 0-9 and -',
    });
    useCases.refusal = 'port 80 is in use';
    const refused = await failure(client.apply({ change: { upsert: [web] } }));
    expect(refused.code).toBe(Code.FailedPrecondition);
    expect(refused.findDetails(ValidationFailureSchema)[0]?.violations[0]?.reason).toBe('port 80 is in use');
    expect((await failure(client.apply({ change: {}, expectedVersion: 9n }))).code).toBe(Code.Aborted);
    expect((await failure(client.get({ name: 'none' }))).code).toBe(Code.NotFound);
    expect((await failure(client.get({}))).code).toBe(Code.InvalidArgument);
    expect((await failure(client.revert({}))).code).toBe(Code.InvalidArgument);
    expect((await failure(client.apply({ message: 'x'.repeat(5000) }))).code).toBe(Code.InvalidArgument);
  });

  test('ten thousand violations still fit what clients accept as trailers', async () => {
    await serve();
    useCases.config.apply = async () => {
      const violations = Array.from({ length: 10_000 }, (_, i) =>
        create(ViolationSchema, { path: `services[${i}].name`, reason: 'wrong', fix: 'right' }),
      );
      throw new ApplicationError('invalid', 'the change is not valid', violations);
    };
    const error = await failure(config().apply({}));
    expect(error.code).toBe(Code.InvalidArgument);
    expect(error.rawMessage).toMatch(/10000 violations, the first \d+ are listed/);
    expect(error.findDetails(ValidationFailureSchema)[0]?.violations.length).toBeGreaterThan(50);
  });

  test('an unexpected failure is logged with its stack and told without it', async () => {
    await serve();
    useCases.config.plan = async () => {
      throw new TypeError('secret detail');
    };
    const error = await failure(config().plan({}));
    expect(error.code).toBe(Code.Internal);
    expect(error.rawMessage).not.toContain('secret');
    expect(logged.find(({ level }) => level === 'error')?.fields['cause']).toContain('secret detail');
  });

  test('watch: snapshot, synced, changes; and its source ends when the client leaves', async () => {
    await serve();
    const client = config();
    await client.apply({ change: { upsert: [web] } });
    const leave = new AbortController();
    const seen: string[] = [];
    const watching = (async () => {
      for await (const { event } of client.watch({}, { signal: leave.signal })) {
        seen.push(event.case === 'upsert' ? `upsert ${event.value.service?.name}` : `${event.case}`);
        if (event.case === 'synced') void client.apply({ change: { upsert: [{ name: 'dns' }], remove: ['web'] } });
        if (seen.length === 4) leave.abort();
      }
    })();
    expect((await failure(watching)).code).toBe(Code.Canceled);
    expect(seen.slice(0, 2)).toEqual(['upsert web', 'synced']);
    expect(seen.slice(2).sort()).toEqual(['remove', 'upsert dns']);
    await expect.poll(() => useCases.openStreams).toBe(0);
  });

  test('a watch whose reader has stopped reading ends with its connection', async () => {
    await serve();
    const many = Array.from({ length: 2000 }, (_, i) => ({ name: `s${i}`, labels: { filler: 'x'.repeat(1000) } }));
    await config().apply({ change: { upsert: many } });
    let socket: Socket | undefined;
    const transport = createGrpcTransport({
      baseUrl: 'http://localhost',
      nodeOptions: {
        createConnection: () => {
          socket = connect({ path: socketPath });
          return socket;
        },
      },
    });
    const iterator = config(transport).watch({})[Symbol.asyncIterator]();
    await iterator.next();
    await sleep(200);
    expect(useCases.openStreams).toBe(1);
    socket?.destroy();
    await expect.poll(() => useCases.openStreams).toBe(0);
  });
});

describe('limits', () => {
  test('a change of 24 MiB is taken, one above the limit refused before it is read whole', async () => {
    await serve({ limits: { changeMaxBytes: 32 << 20, stopMs: 500 } });
    const service = (mebibytes: number) => ({ name: 'big', labels: { filler: 'x'.repeat(mebibytes << 20) } });
    expect((await config().apply({ change: { upsert: [service(24)] }, omitDiff: true })).version).toBe(1n);
    const error = await failure(config().apply({ change: { upsert: [service(33)] } }));
    expect(error.code).toBe(Code.ResourceExhausted);
    expect((await failure(config().get({ name: 'x'.repeat(2 << 20) }))).code).toBe(Code.ResourceExhausted);
  });

  test('a deadline is kept while the work behind it hangs', async () => {
    await serve();
    useCases.applyDelay = sleep(3000);
    const started = performance.now();
    const error = await failure(config().apply({ change: { upsert: [web] } }, { timeoutMs: 200 }));
    expect(error.code).toBe(Code.DeadlineExceeded);
    expect(performance.now() - started).toBeLessThan(2000);
  });

  test('streams beyond the limit are refused and freed places taken again', async () => {
    await serve({ limits: { openStreams: 2, stopMs: 500 } });
    const open = async (signal: AbortSignal): Promise<void> => {
      for await (const { event } of config().watch({}, { signal })) if (event.case === 'synced') return;
    };
    const hold = new AbortController();
    const held = [1, 2].map(() => config().watch({}, { signal: hold.signal })[Symbol.asyncIterator]());
    for (const each of held) await each.next();
    expect((await failure(open(new AbortController().signal))).code).toBe(Code.ResourceExhausted);
    hold.abort();
    await expect
      .poll(() =>
        open(new AbortController().signal).then(
          () => 'open',
          () => 'full',
        ),
      )
      .toBe('open');
  });

  test('a connection has room for a call about each of a thousand members', async () => {
    await serve({ limits: { openStreams: 2_000, stopMs: 500 } });
    const hold = new AbortController();
    const one = config();
    const held = Array.from({ length: 1_100 }, () => one.watch({}, { signal: hold.signal })[Symbol.asyncIterator]());
    await Promise.all(held.map((each) => each.next()));
    expect(useCases.openStreams).toBe(1_100);
    hold.abort();
    await expect.poll(() => useCases.openStreams).toBe(0);
  });

  test('a request that does not arrive in time is cut off', async () => {
    await serve({ limits: { requestMs: 150, stopMs: 500 } });
    const session = http2Connect('http://localhost', { createConnection: () => connect({ path: socketPath }) });
    closers.push(() => session.destroy());
    const stream = session.request({
      ':method': 'POST',
      ':path': '/marcher.v1.ConfigService/Apply',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    stream.on('error', () => undefined);
    stream.write(Buffer.from([0, 0, 0, 1, 0, 1]));
    await new Promise((resolve) => stream.once('close', resolve));
    expect(stream.rstCode).toBe(8);
  });

  test.each(['[', '%2Frun%2Fmarcher.sock'])(
    'an authority that is no URL (%s) is served all the same',
    async (authority) => {
      await serve();
      const session = http2Connect('http://localhost', { createConnection: () => connect({ path: socketPath }) });
      closers.push(() => session.destroy());
      const stream = session.request({
        ':method': 'POST',
        ':authority': authority,
        ':path': '/marcher.v1.NodeService/Status',
        'content-type': 'application/json',
      });
      stream.on('error', () => undefined);
      stream.end('{}');
      const status = await new Promise((resolve) => {
        stream.once('response', (headers) => resolve(headers[':status']));
        stream.once('close', () => resolve('closed'));
      });
      expect(status).toBe(200);
      expect((await createClient(NodeService, unixTransport()).status({})).nodeName).toBe('north');
    },
  );

  test('what is not HTTP/2 leaves the server standing', async () => {
    await serve();
    const socket = connect({ path: socketPath });
    socket.on('error', () => undefined);
    socket.resume();
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await new Promise((resolve) => socket.once('close', resolve));
    expect((await createClient(NodeService, unixTransport()).status({})).ready).toBe(true);
  });
});

describe('NodeService and TrafficService', () => {
  test('status, tiers, backends, drain and undrain', async () => {
    await serve();
    await config().apply({ change: { upsert: [web] } });
    const node = createClient(NodeService, unixTransport());
    expect((await node.status({})).engine?.pid).toBe(4242);
    expect((await node.tiers({ service: 'web' })).services[0]?.tier).toBe('relay');
    expect((await node.drain({ service: 'web', backend: '10.0.0.1:80' })).connections).toBe(7n);
    expect((await node.backends({ service: 'web' })).backends[0]?.draining).toBe(true);
    await node.undrain({ service: 'web', backend: '10.0.0.1:80' });
    expect((await node.backends({})).backends[0]?.draining).toBe(false);
    expect((await failure(node.drain({ service: 'web' }))).code).toBe(Code.InvalidArgument);
    expect((await failure(node.drain({ service: 'no', backend: 'x' }))).code).toBe(Code.NotFound);
  });

  test('stats once and again, connections, logs followed, connection events alone', async () => {
    await serve();
    await config().apply({ change: { upsert: [web] } });
    const traffic = createClient(TrafficService, unixTransport());
    const once = [];
    for await (const response of traffic.stats({ backends: true })) once.push(response);
    expect(once).toHaveLength(1);
    expect(once[0]?.services[0]?.backends[0]?.backend).toBe('10.0.0.1:80');
    expect(once[0]?.eventsDropped).toBe(5n);
    let answers = 0;
    const began = performance.now();
    for await (const _ of traffic.stats({ intervalMs: 100 })) if (++answers === 3) break;
    expect(performance.now() - began).toBeGreaterThan(150);
    const early = traffic.stats({ intervalMs: 5 })[Symbol.asyncIterator]().next();
    expect((await failure(early)).code).toBe(Code.InvalidArgument);

    const { connections, total } = await traffic.listConnections({ service: 'web', limit: 2 });
    expect(connections).toHaveLength(2);
    expect(total).toBe(3n);

    for (let i = 0; i < 150; i++) useCases.log({ service: 'web', message: `m${i}`, kind: LogKind.HEALTH_CHANGED });
    const past = [];
    for await (const { entry } of traffic.logs({ service: 'web' })) past.push(entry?.message);
    expect(past).toHaveLength(100);
    expect(past.at(-1)).toBe('m149');
    const leave = new AbortController();
    const live = traffic.watchConnections({ service: 'web' }, { signal: leave.signal })[Symbol.asyncIterator]();
    const first = live.next();
    await expect.poll(() => useCases.openStreams).toBe(1);
    useCases.log({ service: 'web', message: 'not a connection', kind: LogKind.ENGINE });
    useCases.log({ service: 'web', message: 'a connection', kind: LogKind.CONNECTION_OPENED });
    expect((await first).value?.entry?.message).toBe('a connection');
    leave.abort();
    await expect.poll(() => useCases.openStreams).toBe(0);
  });
});

describe('health', () => {
  test('check, list and watch follow readiness', async () => {
    await serve();
    const health = createClient(Health, unixTransport());
    expect((await health.check({})).status).toBe(Serving.SERVING);
    expect((await health.check({ service: 'marcher.v1.ConfigService' })).status).toBe(Serving.SERVING);
    expect((await health.check({ service: 'marcher.v1.MeshService' })).status).toBe(Serving.SERVING);
    expect((await failure(health.check({ service: 'nope' }))).code).toBe(Code.NotFound);
    const watch = health.watch({})[Symbol.asyncIterator]();
    expect((await watch.next()).value?.status).toBe(Serving.SERVING);
    useCases.unready = [create(ConditionSchema, { type: 'Ready', reason: 'NoEngine' })];
    expect((await watch.next()).value?.status).toBe(Serving.NOT_SERVING);
    expect((await health.list({})).statuses['']?.status).toBe(Serving.NOT_SERVING);
    await watch.return?.();
  });
});

describe('reflection', () => {
  test.each([
    ['v1', ServerReflection],
    ['v1alpha', ServerReflectionAlpha],
  ] as const)('%s answers every question, in order, on one stream', async (_version, service) => {
    await serve();
    const client = createClient(service as typeof ServerReflection, unixTransport());
    async function* ask() {
      yield { messageRequest: { case: 'listServices', value: '' } } as const;
      yield { messageRequest: { case: 'fileContainingSymbol', value: 'marcher.v1.ConfigService.Apply' } } as const;
      yield { messageRequest: { case: 'fileContainingSymbol', value: 'marcher.v1.Backend.address' } } as const;
      yield { messageRequest: { case: 'fileContainingSymbol', value: 'marcher.v1.PROTOCOL_TCP' } } as const;
      yield { messageRequest: { case: 'fileByFilename', value: 'marcher/v1/model.proto' } } as const;
      yield { messageRequest: { case: 'fileContainingSymbol', value: 'no.such.Thing' } } as const;
      yield { messageRequest: { case: 'allExtensionNumbersOfType', value: 'marcher.v1.Backend' } } as const;
    }
    const answers = [];
    for await (const { messageResponse } of client.serverReflectionInfo(ask())) answers.push(messageResponse);
    expect(answers.map((answer) => answer.case)).toEqual([
      'listServicesResponse',
      'fileDescriptorResponse',
      'fileDescriptorResponse',
      'fileDescriptorResponse',
      'fileDescriptorResponse',
      'errorResponse',
      'allExtensionNumbersResponse',
    ]);
    const services =
      answers[0]?.case === 'listServicesResponse' ? answers[0].value.service.map(({ name }) => name) : [];
    expect(services).toEqual([
      'grpc.health.v1.Health',
      'grpc.reflection.v1.ServerReflection',
      'grpc.reflection.v1alpha.ServerReflection',
      'marcher.v1.AccessService',
      'marcher.v1.AuditService',
      'marcher.v1.CertificateService',
      'marcher.v1.ConfigService',
      'marcher.v1.MeshService',
      'marcher.v1.NodeService',
      'marcher.v1.ObserveService',
      'marcher.v1.TrafficService',
    ]);
    // config_service.proto, model.proto and timestamp.proto
    expect(answers[1]?.case === 'fileDescriptorResponse' && answers[1].value.fileDescriptorProto).toHaveLength(3);
    expect(answers[5]?.case === 'errorResponse' && answers[5].value.errorCode).toBe(Code.NotFound);
  });

  test.skipIf(!existsSync(buf)).each(['grpc-v1', 'grpc-v1alpha'])('buf curl lists and calls by %s', async (version) => {
    const server = await serve({ tcp: { host: '127.0.0.1', port: 0 } });
    const base = `http://127.0.0.1:${server.tcpAddress?.port}`;
    const common = ['curl', '--http2-prior-knowledge', '--protocol', 'grpc', '--reflect-protocol', version];
    const list = await run(buf, [...common, '--list-methods', base]);
    expect(list.stdout).toContain('marcher.v1.TrafficService/Logs');
    const status = await run(buf, [...common, `${base}/marcher.v1.NodeService/Status`]);
    expect(JSON.parse(status.stdout)).toMatchObject({ nodeName: 'north' });
  });
});

describe('the Unix socket', () => {
  test('has mode 0660 and is removed on stop', async () => {
    const server = await serve();
    expect(statSync(socketPath).mode & 0o777).toBe(0o660);
    await server.stop();
    expect(existsSync(socketPath)).toBe(false);
  });

  test('replaces one that a dead agent left behind', async () => {
    const script = `require('net').createServer().listen(${JSON.stringify(socketPath)}, () => process.kill(process.pid, 'SIGKILL'))`;
    await new Promise((resolve) => spawn(process.execPath, ['-e', script]).once('exit', resolve));
    expect(existsSync(socketPath)).toBe(true);
    await serve();
    expect((await config().list({})).total).toBe(0n);
  });

  test('refuses to take the place of one that answers, and leaves it alone', async () => {
    const other: Server = createServer();
    await new Promise<void>((resolve) => other.listen(socketPath, resolve));
    closers.push(() => other.close());
    await expect(serve()).rejects.toThrow(/another process already serves/);
    expect(existsSync(socketPath)).toBe(true);
  });

  test('does not overwrite a file that is no socket', async () => {
    writeFileSync(socketPath, 'precious');
    await expect(serve()).rejects.toThrow(/not a socket/);
    expect(statSync(socketPath).size).toBe(8);
  });

  test('a path too long for the kernel is refused with the reason', async () => {
    await expect(serve({ socketPath: `/tmp/${'x'.repeat(120)}` })).rejects.toThrow(/expected at most/);
  });

  test('stop ends watches with UNAVAILABLE', async () => {
    const server = await serve();
    const watch = config().watch({})[Symbol.asyncIterator]();
    await watch.next();
    const ended = failure(watch.next());
    await server.stop();
    const error = await ended;
    expect(error.code).toBe(Code.Unavailable);
    expect(error.rawMessage).toContain('stopping');
  });
});

describe('peer credentials', () => {
  const call = () => createClient(NodeService, unixTransport()).status({});

  test('are asked for the very socket that connected', async () => {
    const asked: number[] = [];
    await serve({
      peerCredentials: (fd) => {
        asked.push(fd);
        return root;
      },
    });
    await call();
    expect(asked).toHaveLength(1);
    expect(asked[0]).toBeGreaterThan(2);
  });

  test.each([
    ['root', { ...root, uid: 0 }, true],
    ["the agent's user", { ...root, uid: process.getuid?.() ?? 0 }, true],
    ['a member of the group', { ...root, uid: 4711, member: true }, true],
    ['anybody else', { ...root, uid: 4711, member: false }, false],
  ] as const)('%s', async (_who, credentials, allowed) => {
    await serve({ peerCredentials: () => credentials });
    if (allowed) {
      expect((await call()).nodeName).toBe('north');
      return;
    }
    const error = await failure(call());
    expect(error.code).toBe(Code.PermissionDenied);
    expect(error.rawMessage).toMatch(/uid 4711.*usermod -aG marcher/);
    // Health and reflection are no way around.
    expect((await failure(createClient(Health, unixTransport()).check({}))).code).toBe(Code.PermissionDenied);
    const refusals = logged.filter(({ fields }) => fields['audit'] === 'api-refused');
    expect(refusals).toHaveLength(1);
    expect(refusals[0]?.level).toBe('warn');
  });

  test('a peer that the kernel does not name is refused', async () => {
    await serve({
      peerCredentials: () => {
        throw new Error('getsockopt: Bad file descriptor');
      },
    });
    const error = await failure(call());
    expect(error.code).toBe(Code.PermissionDenied);
    expect(error.rawMessage).toContain('Bad file descriptor');
  });

  test.skipIf(process.getuid?.() !== 0)('another user who gets past the mode is refused by identity', async () => {
    // The peer's uid as the kernel tells it (/proc/net/unix does not): read by a child with SO_PEERCRED's equivalent,
    // so here the port looks the owner of the connecting process up.
    let peerPid = 0;
    await serve({
      peerCredentials: () => {
        const { uid, gid } = statSync(`/proc/${peerPid}`);
        return { pid: peerPid, uid, gid, member: false };
      },
    });
    chmodSync(directory, 0o755);
    chmodSync(socketPath, 0o666);
    const script = `
      const { connect } = require('net');
      const http2 = require('http2');
      process.stdin.once('data', () => {
        const session = http2.connect('http://localhost', { createConnection: () => connect(${JSON.stringify(socketPath)}) });
        const request = session.request({ ':method': 'POST', ':path': '/marcher.v1.NodeService/Status', 'content-type': 'application/json' });
        request.on('response', (headers) => process.stdout.write(String(headers[':status'])));
        request.on('data', (data) => process.stdout.write(' ' + data));
        request.on('end', () => process.exit(0));
        request.end('{}');
      });`;
    const child = spawn('setpriv', [
      '--reuid=65534',
      '--regid=65534',
      '--clear-groups',
      process.execPath,
      '-e',
      script,
    ]);
    peerPid = child.pid ?? 0;
    let output = '';
    child.stdout.on('data', (data) => {
      output += data;
    });
    await expect.poll(() => statSync(`/proc/${peerPid}`).uid, { timeout: 5000 }).toBe(65534);
    child.stdin.write('go\n');
    await new Promise((resolve) => child.once('close', resolve));
    expect(output).toMatch(/^403 .*permission_denied.*uid 65534/);
  });
});
