// SPDX-License-Identifier: Apache-2.0
/**
 * The adapter with the library inside Node, against the C tests' fake engine and the real one. MARCHER_LIBRARY,
 * MARCHER_FAKE_ENGINE and MARCHER_TEST_ENGINE name other builds than dataplane-c/build.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { create } from '@bufbuild/protobuf';
import { parseConfiguration } from '@marcher/model';
import { ServiceLoadElsewhereSchema } from '@marcher/proto/marcher/engine/v1/control_pb';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SnapshotWriter } from '../../../domain/compile.js';
import { Counter, EventKind } from '../../../ports/dataplane.js';
import { fileDescriptor } from '../../inbound/grpc/peer.js';
import { Library } from './binding.js';
import { dataplaneCompliance, type Harness, snapshot } from './compliance.js';
import { type LibmarcherDataplane, type OpenedDataplane, openDataplane } from './dataplane.js';
import { enginePath, libraryPath } from './library.js';

const library = libraryPath();
const fake =
  process.env['MARCHER_FAKE_ENGINE'] ??
  fileURLToPath(new URL('../../../../../dataplane-c/build/tests/fake-engine', import.meta.url));
const real =
  process.env['MARCHER_TEST_ENGINE'] ??
  fileURLToPath(new URL('../../../../../dataplane-c/build/src/marcher-engine', import.meta.url));
for (const file of [library, fake, real])
  if (!existsSync(file)) throw new Error(`${file} is not built: run scripts/setup test`);
const strict = { tolerateBindErrors: false };

function listening(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
}

async function freePorts(): Promise<[number, number]> {
  const servers = [createServer(), createServer()];
  const ports = await Promise.all(servers.map(listening));
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return [ports[0] ?? 0, ports[1] ?? 0];
}

interface Rig extends Harness, OpenedDataplane {
  readonly dataplane: LibmarcherDataplane;
  readonly runDir: string;
}

async function rig(engine: string): Promise<Rig> {
  const runDir = await mkdtemp(join(tmpdir(), 'marcher-agent-'));
  const ports = await freePorts();
  const options = {
    runDir,
    libraryPath: library,
    enginePath: engine,
    heartbeatMs: 200,
    requestTimeoutMs: 5000,
    workers: 1,
  };
  const opened = await openDataplane(options);
  return {
    ...opened,
    ports,
    runDir,
    dispose: async () => {
      await opened.dataplane.stop(0).catch(() => undefined);
      await opened.dataplane.close();
      await rm(runDir, { recursive: true, force: true });
    },
  };
}

/** What the fake engine says to a client: its pid and generation. */
function ask(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(port, '127.0.0.1');
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => {
      text += chunk;
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(text));
  });
}

async function eventually(check: () => boolean, withinMs = 5000): Promise<void> {
  const until = performance.now() + withinMs;
  while (!check()) {
    if (performance.now() > until) throw new Error(`not true within ${withinMs} ms: ${check}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('with libmarcher and the fake engine', () => {
  dataplaneCompliance('libmarcher', () => rig(fake));

  let opened: Rig;
  beforeEach(async () => {
    opened = await rig(fake);
  });
  afterEach(async () => opened.dispose());

  it('reads statistics and events, summed over workers, with names', async () => {
    const { dataplane, ports } = opened;
    await dataplane.apply(snapshot(1n, 0n, { web: ports[0], idle: ports[1] }), strict);
    await ask(ports[0]);
    await ask(ports[0]);
    const active = [...dataplane.stats({ activeOnly: true })];
    expect(active.map(({ service }) => service)).toEqual(['web']);
    expect(active[0]?.counter(Counter.connectionsOpened)).toBe(6n); // 2 workers and the main thread count
    expect(active[0]?.connectUs(3)).toBe(6n);
    const events = dataplane.events();
    expect(events.length).toBe(6);
    expect(events.at(0)).toMatchObject({ kind: EventKind.connectionClosed, transport: 'tcp', connectionId: 1n });
    expect(dataplane.slotName(events.at(5).serviceSlot)?.service).toBe('web');
    expect(dataplane.events().length).toBe(0);
  });

  it('delivers the events of an engine that was killed, under their names, before those of its successor', async () => {
    const { dataplane, ports } = opened;
    await dataplane.apply(snapshot(1n, 0n, { before: ports[0] }), strict);
    await ask(ports[0]);
    await eventually(() => dataplane.status().bankedSockets === 1);
    process.kill(dataplane.status().pid, 'SIGKILL');
    await eventually(() => dataplane.status().restarts === 1);
    await dataplane.apply(snapshot(2n, 0n, { after: ports[0] }), strict);
    await ask(ports[0]);
    const events = dataplane.events();
    const names = Array.from(
      { length: events.length },
      (_, i) => dataplane.slotName(events.at(i).serviceSlot)?.service,
    );
    expect(names).toEqual(['before', 'before', 'before', 'after', 'after', 'after']);
    expect([...dataplane.stats({ activeOnly: true })].map(({ service }) => service)).toEqual(['after']);
  });

  it('counts events that found a full ring', async () => {
    const { dataplane, ports } = opened;
    await dataplane.apply(snapshot(1n, 0n, { web: ports[0] }), strict);
    for (let i = 0; i < 70; i++) await ask(ports[0]);
    const events = dataplane.events(1000);
    expect(events.length).toBe(3 * 64);
    expect(events.dropped).toBe(3n * 6n);
  });

  it('lists more connections than fit into a packet', async () => {
    const list = await opened.dataplane.connections('many', 10_000);
    expect(list.connections.length).toBe(10_000);
    expect(list.connections[9_999]?.id).toBe(10_000n);
    expect(list.total).toBe(100_000n);
  });

  it('keeps the JavaScript thread free while the engine takes its time', async () => {
    const { dataplane } = opened;
    let longest = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 5);
    await dataplane.apply(snapshot(1n, 0n, { slow: opened.ports[0] }), strict);
    clearInterval(timer);
    expect(longest).toBeLessThan(300);
  });

  it('tells a second agent that the directory is taken', async () => {
    await expect(
      openDataplane({ runDir: opened.runDir, libraryPath: library, enginePath: fake }),
    ).rejects.toMatchObject({
      code: 'busy',
      message: expect.stringContaining(String(process.pid)),
    });
  });

  it('passes a refusal on with its reasons', async () => {
    const reply = await opened.dataplane.apply(snapshot(1n, 0n, { refuse: opened.ports[0] }), strict);
    expect(reply).toMatchObject({ accepted: false, reasons: [{ path: 'services[0]', reason: 'told to refuse' }] });
  });

  it('says who is at the other end of a Unix socket', async () => {
    const path = join(opened.runDir, 'api.sock');
    const server = createServer();
    const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const client = connect(path);
    const socket = await accepted;
    const credentials = opened.peerCredentials(fileDescriptor(socket) ?? -1);
    expect(credentials).toMatchObject({ pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() });
    client.destroy();
    socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });

  it('resolves every symbol inside Node to the library that it was linked with', () => {
    const { ok, libraries, forbidden } = opened.dataplane.selfCheck();
    expect({ ok, forbidden }).toEqual({ ok: true, forbidden: [] });
    const unpack = libraries.find(({ symbol }) => symbol === 'protobuf_c_message_unpack');
    expect(unpack?.resolved).toMatch(/libprotobuf-c\.so\.1/);
    expect(libraries.length).toBeGreaterThan(20);
  });
});

describe('the binding', () => {
  it('names a library that is not there, or is another one', () => {
    expect(() => new Library('/nonexistent/libmarcher.so')).toThrow(/\/nonexistent\/libmarcher\.so/);
    expect(() => new Library('libc.so.6')).toThrow(/is not libmarcher/);
  });
});

describe('the places', () => {
  it('are the option, then the environment, then the tree or the system', () => {
    expect(libraryPath('/a', { MARCHER_LIBRARY: '/b' })).toBe('/a');
    expect(libraryPath(undefined, { MARCHER_LIBRARY: '/b' })).toBe('/b');
    expect(libraryPath(undefined, {})).toMatch(/libmarcher\.so/);
    expect(enginePath('', { MARCHER_ENGINE: '/c' })).toBe('/c');
    expect(enginePath(undefined, {})).toMatch(/marcher-engine$/);
  });
});

describe('with libmarcher and the real engine', () => {
  dataplaneCompliance('libmarcher and marcher-engine', () => rig(real));

  it('probes the backends of a service without listeners, which another tier carries', async () => {
    const { dataplane, dispose } = await rig(real);
    const server = createServer((socket) => socket.destroy());
    try {
      const port = await listening(server);
      const writer = new SnapshotWriter();
      writer.begin(1n, 0n, { name: 'n', region: '', country: '', geoipPath: '', draining: false });
      const text = `{"apiVersion":"marcher/v1","services":[{"name":"web",
        "listeners":[{"address":"192.0.2.1","port":80}],"forwarding":{"mode":"ipip"},
        "backends":[{"name":"up","address":"127.0.0.1"},{"name":"down","address":"127.0.0.2"}],
        "health":{"port":${port},"interval":"100ms","fall":1}}]}`;
      for (const service of parseConfiguration(text).configuration?.services ?? []) {
        writer.service(service, undefined, undefined, false);
      }
      expect(await dataplane.apply(writer.bytes().slice(), strict)).toMatchObject({ accepted: true, reasons: [] });
      await expect
        .poll(async () => (await dataplane.backends('web')).map(({ endpoints }) => endpoints[0]?.health))
        .toEqual(['healthy', 'unhealthy']);
      expect(dataplane.status().listeningSockets).toBe(0);
      const events = dataplane.events();
      const kinds = Array.from({ length: events.length }, (_, i) => events.kind(i));
      expect(kinds).toContain(EventKind.healthChanged);
    } finally {
      await dispose();
      server.close();
    }
  });

  it('is told what is open elsewhere, in as many packets as it takes, and without another generation', async () => {
    const { dataplane, dispose } = await rig(real);
    try {
      const writer = new SnapshotWriter();
      writer.begin(1n, 0n, { name: 'n', region: '', country: '', geoipPath: '', draining: false });
      const backends = Array.from({ length: 256 }, (_, i) => ({
        name: `b${i}`.padEnd(120, 'x'),
        address: '127.0.0.1:9',
      }));
      const services = ['a', 'b', 'c'].map((name) => ({ name, listeners: [], backends }));
      const text = JSON.stringify({ apiVersion: 'marcher/v1', services });
      for (const service of parseConfiguration(text).configuration?.services ?? []) {
        writer.service(service, undefined, undefined, false);
      }
      expect(await dataplane.apply(writer.bytes().slice(), strict)).toMatchObject({ accepted: true });
      const load = (service: string, more = 0) =>
        create(ServiceLoadElsewhereSchema, {
          service,
          backends: backends.map(({ name }, i) => ({ backend: name, connections: i + more })),
        });
      await dataplane.loadElsewhere([load('a'), load('nobody'), load('b', 1_000), load('c', 70_000)], 60_000);
      const elsewhere = async (service: string) =>
        (await dataplane.backends(service)).map(({ elsewhere: count }) => Number(count)).sort((x, y) => x - y);
      expect((await elsewhere('a')).at(-1)).toBe(255);
      expect((await elsewhere('b')).at(0)).toBe(1_000);
      expect((await elsewhere('c')).at(0)).toBe(70_000);
      await dataplane.loadElsewhere([create(ServiceLoadElsewhereSchema, { service: 'a' })], 60_000);
      expect((await elsewhere('a')).at(-1)).toBe(0);
      expect(dataplane.status().generation).toBe(1n);
      await expect(dataplane.loadElsewhere([load('a')], 0)).rejects.toMatchObject({ code: 'protocol' });
    } finally {
      await dispose();
    }
  });

  it('runs the build that is installed', async () => {
    const { dataplane, dispose } = await rig(real);
    try {
      expect(dataplane.status().buildId).toBe(await dataplane.installedBuildId());
    } finally {
      await dispose();
    }
  });
});
