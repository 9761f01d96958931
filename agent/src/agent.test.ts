// SPDX-License-Identifier: Apache-2.0
/** The use cases over a real store and the data plane in memory. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { parseConfiguration, type Service } from '@marcher/model';
import { ConnectionSchema } from '@marcher/proto/marcher/engine/v1/control_pb';
import { type Change, ChangeSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { InMemoryDataplane } from './adapters/outbound/dataplane/in-memory.js';
import { createLastGoodCopy, type LastGoodCopy } from './adapters/outbound/sqlite/last-good-copy.js';
import { type OpenedStore, openStore } from './adapters/outbound/sqlite/open-store.js';
import { type Agent, type AgentOptions, createAgent } from './agent.js';
import { packService } from './application/service-codec.js';
import { StoreError } from './ports/config-store.js';
import { DataplaneError } from './ports/dataplane.js';
import type { ApplicationError, WatchEvent } from './ports/use-cases.js';

const CALLER = { author: 'tester', origin: 'api' } as const;
const QUIET = { info: () => undefined, warn: () => undefined, error: () => undefined };
let dir: string;
let opened: OpenedStore;
let dataplane: InMemoryDataplane;
let agent: Agent;

async function start(options: Partial<AgentOptions> = {}): Promise<void> {
  opened = openStore(dir, 0);
  agent = createAgent({
    store: opened.store,
    dataplane,
    identity: { name: 'n', region: '', country: '', geoipPath: '' },
    version: 'test',
    log: QUIET,
    reconcileMs: 3_600_000,
    collectMs: 3_600_000,
    ...options,
  });
  await agent.start();
}

async function stop(): Promise<void> {
  await agent.stop();
  opened.close();
}

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'marcher-agent-'));
  dataplane = new InMemoryDataplane();
  await start();
});

afterEach(async () => {
  vi.restoreAllMocks();
  await stop().catch(() => undefined);
  rmSync(dir, { recursive: true, force: true });
});

function service(name: string, port: number, fields: object = {}): Service {
  const file = { name, listeners: [{ protocol: 'tcp', port }], backends: [{ address: '10.0.0.1:80' }], ...fields };
  return parseConfiguration(JSON.stringify({ apiVersion: 'marcher/v1', services: [file] })).configuration
    ?.services[0] as Service;
}

function change(upsert: Service[], remove: string[] = [], replaceAll = false): Change {
  return create(ChangeSchema, { upsert, remove, replaceAll });
}

function apply(what: Change, expectedVersion = 0n) {
  return agent.config.apply(what, { expectedVersion, message: '', omitDiff: false }, CALLER);
}

async function failure(work: Promise<unknown>): Promise<ApplicationError> {
  return work.then(
    () => {
      throw new Error('did not fail');
    },
    (error: unknown) => error as ApplicationError,
  );
}

/** What store, ports and engine agree on. */
function expectState(names: string[], version: bigint): void {
  expect([...opened.store.names()]).toEqual(names);
  expect([...dataplane.services.keys()].sort()).toEqual(names);
  expect(agent.config.version).toBe(version);
  expect(agent.config.inventory.services).toBe(names.length);
}

describe('apply', () => {
  test('stores, programs and answers with the diff', async () => {
    const result = await apply(change([service('a', 80), service('b', 81)]));
    expect(result).toMatchObject({ version: 1n, changed: true });
    expect(result.diffs.map(({ name }) => name)).toEqual(['a', 'b']);
    expectState(['a', 'b'], 1n);
  });

  test('sends only what differs, on the base that the engine runs', async () => {
    await apply(change([service('a', 80), service('b', 81)]));
    const base = dataplane.status().generation;
    await apply(change([service('a', 80), service('b', 82)]));
    const { snapshot } = dataplane.applied.at(-1) ?? {};
    expect(snapshot?.baseGeneration).toBe(base);
    expect(snapshot?.services.map(({ name }) => name)).toEqual(['b']);
  });

  test('takes packed services as it takes messages', async () => {
    const packed = [service('a', 80), service('b', 81)].map((message) => packService(message));
    const ask = (upsert: Uint8Array[]) =>
      agent.config.apply(
        { upsert, remove: [], replaceAll: true },
        { expectedVersion: 0n, message: '', omitDiff: true },
        CALLER,
      );
    expect((await ask([...packed])).changed).toBe(true);
    expect((await ask([...packed])).changed).toBe(false);
    expectState(['a', 'b'], 1n);
    expect((await failure(ask([...packed, ...packed]))).violations).toHaveLength(2);
    expect((await failure(ask([packService(service('', 80))]))).violations.map(({ path }) => path)).toEqual([
      'services[0].name',
    ]);
  });

  test('makes no version when nothing differs', async () => {
    await apply(change([service('a', 80)]));
    const sent = dataplane.applied.length;
    expect(await apply(change([service('a', 80)]))).toMatchObject({ version: 1n, changed: false });
    expect(dataplane.applied.length).toBe(sent);
  });

  test('replaceAll removes the rest, and ports may change hands in it', async () => {
    await apply(change([service('a', 80), service('b', 81), service('c', 82)]));
    await apply(change([service('a', 81), service('b', 80)], [], true));
    expectState(['a', 'b'], 2n);
  });

  test('refuses a port that another service owns, with both names', async () => {
    await apply(change([service('a', 80)]));
    const error = await failure(apply(change([service('b', 80), service('c', 80)])));
    expect(error.code).toBe('invalid');
    expect(error.violations.map(({ path, reason }) => `${path}: ${reason}`)).toEqual([
      'services[0].listeners[0]: tcp port 80 is the port of service "a"',
      'services[1].listeners[0]: tcp port 80 is the port of service "a"',
    ]);
    expectState(['a'], 1n);
    // Nothing of the refused change is left in the index.
    await apply(change([service('b', 81)], ['a']));
    await apply(change([service('c', 80)]));
    expectState(['b', 'c'], 3n);
  });

  test('reports every mistake at once', async () => {
    const wrong = change([service('A', 0), service('b', 80), service('b', 81)], ['x']);
    const error = await failure(apply(wrong));
    expect(error.violations.map(({ path }) => path)).toEqual([
      'services[0].name',
      'services[0].listeners[0].ports',
      'services[2].name',
      'remove[0]',
    ]);
  });

  test('answers with a conflict when the version has moved', async () => {
    await apply(change([service('a', 80)]), 0n);
    await apply(change([service('a', 81)]), 1n);
    expect((await failure(apply(change([service('a', 82)]), 1n))).code).toBe('conflict');
    expectState(['a'], 2n);
  });

  test('takes a version back that the data plane refuses', async () => {
    await apply(change([service('a', 80)]));
    dataplane.refuse = () => 'address already in use';
    const error = await failure(apply(change([service('a', 81), service('b', 82)])));
    expect(error.code).toBe('refused');
    expect(error.violations[0]?.fix).toContain('another process has the port');
    dataplane.refuse = () => undefined;
    expectState(['a'], 1n);
    expect(agent.config.get('a')?.service?.listeners[0]?.ports[0]?.first).toBe(80);
    expect(agent.config.history({ limit: 0, beforeVersion: 0n, withDiff: false })).toHaveLength(1);
    await apply(change([service('b', 81)]));
    expectState(['a', 'b'], 2n);
  });

  test('changes nothing when the data plane does not answer, and repairs what it may have done', async () => {
    await apply(change([service('a', 80)]));
    dataplane.beforeReply = () => {
      throw new DataplaneError('timeout', 'no answer');
    };
    expect((await failure(apply(change([service('b', 81)])))).code).toBe('unavailable');
    expect(agent.node.unreadiness().map(({ type }) => type)).toEqual(['Programmed']);
    dataplane.beforeReply = undefined;
    dataplane.lose();
    await agent.config.reconcile();
    expectState(['a'], 1n);
    expect(agent.node.unreadiness()).toEqual([]);
  });

  test('readers see the old configuration until the engine runs the new one', async () => {
    await apply(change([service('a', 80)]));
    let seen: unknown;
    dataplane.beforeReply = () => {
      seen = [
        agent.config.version,
        agent.config.get('b'),
        agent.config.list({ pageSize: 0, pageToken: '', labels: {} }).total,
      ];
    };
    await apply(change([service('b', 81)]));
    expect(seen).toEqual([1n, undefined, 1]);
  });

  test('falls back to a complete snapshot when the engine has started anew', async () => {
    await apply(change([service('a', 80)]));
    dataplane.lose();
    await apply(change([service('b', 81)]));
    expectState(['a', 'b'], 2n);
  });

  test('also when the engine starts anew between looking at it and sending the change', async () => {
    await apply(change([service('a', 80)]));
    dataplane.beforeReply = () => {
      dataplane.beforeReply = undefined;
      dataplane.lose();
    };
    await apply(change([service('b', 81)]));
    expectState(['a', 'b'], 2n);
    expect(dataplane.applied.slice(-2).map(({ snapshot }) => snapshot.baseGeneration === 0n)).toEqual([false, true]);
  });

  test('a listener of the change that can not be bound is a refusal also in a complete snapshot', async () => {
    await apply(change([service('a', 80)]));
    dataplane.lose();
    dataplane.occupied.add('tcp/81');
    expect((await failure(apply(change([service('b', 81)])))).code).toBe('refused');
    expectState(['a'], 1n);
  });

  test('is refused from elsewhere when a file owns the configuration', async () => {
    await stop();
    await start({ owner: '/etc/marcher.yaml' });
    const error = await failure(apply(change([service('a', 80)])));
    expect([error.code, error.message]).toEqual(['refused', expect.stringContaining('/etc/marcher.yaml')]);
  });
});

describe('a new agent', () => {
  test('adopts an engine that runs the stored configuration without programming it again', async () => {
    await apply(change([service('a', 80)]));
    await stop();
    const before = dataplane.applied.length;
    await start();
    const sent = dataplane.applied
      .slice(before)
      .map(({ snapshot }) => [snapshot.baseGeneration !== 0n, snapshot.services.length]);
    expect(sent).toEqual([[true, 0]]);
    expectState(['a'], 1n);
  });

  test('has prefixes served once sk_lookup is there, and says before what is missing', async () => {
    await apply(change([service('a', 80, { listeners: [{ address: '192.0.2.0/24', port: 80 }] })]));
    expect(dataplane.applied.at(-1)?.snapshot.services[0]?.listeners).toEqual([]);
    expect(agent.config.get('a')?.conditions.at(-1)).toMatchObject({
      status: false,
      reason: 'PrefixNotSteered',
      message: expect.stringMatching(/serves 192\.0\.2\.0\/24 by sk_lookup alone/),
    });
    await stop();
    dataplane.steering = { on: true };
    await start();
    expect(dataplane.applied.at(-1)?.snapshot.services[0]?.listeners).toMatchObject([
      { steered: true, prefixLength: 24 },
    ]);
    expect(agent.config.get('a')?.conditions.at(-1)).toMatchObject({ status: true, reason: 'Programmed' });
  });

  test('programs everything, tolerantly, into an engine that runs something else', async () => {
    await apply(change([service('a', 80)]));
    await stop();
    dataplane.lose();
    dataplane.occupied.add('tcp/80');
    await start();
    expectState(['a'], 1n);
    expect(agent.config.get('a')?.conditions.at(-1)).toMatchObject({
      type: 'Programmed',
      status: false,
      reason: 'ListenerNotBound',
    });
    expect(agent.node.unreadiness()).toEqual([]);
  });

  test('rolls a version forward that was stored but not programmed when the agent died', async () => {
    await apply(change([service('a', 80)]));
    const body = opened.store.get('a')?.body;
    opened.store.commit({ timeMs: 0, author: '', origin: 'api', message: '' }, [
      { kind: 'Service', name: 'a', before: body, after: undefined },
    ]);
    await stop();
    await start();
    expectState([], 2n);
    expect(opened.store.pendingVersion).toBe(0n);
  });

  test('takes such a version back when the engine refuses it', async () => {
    await apply(change([service('a', 80)]));
    const body = opened.store.get('a')?.body;
    opened.store.commit({ timeMs: 0, author: '', origin: 'api', message: '' }, [
      { kind: 'Service', name: 'a', before: body, after: undefined },
    ]);
    await stop();
    dataplane.refuse = (snapshot) =>
      snapshot.services.length === 0 && snapshot.baseGeneration === 0n ? 'no' : undefined;
    await start();
    expectState(['a'], 1n);
  });

  test('a second agent on the same directory is refused with the reason', () => {
    expect(() => openStore(dir, 0)).toThrow(/another agent \(pid \d+\) uses .*--state DIR/);
  });

  test('a damaged database is set aside and the copy recovered', async () => {
    await stop();
    let copy: LastGoodCopy | undefined;
    await start({ onDrained: () => copy?.schedule() });
    copy = createLastGoodCopy(dir, opened.store, {
      delayMs: 3_600_000,
      onFailure: (error) => expect(error).toBeUndefined(),
    });
    await apply(change([service('a', 80), service('b', 81)]));
    await agent.node.drain({ service: 'b', backend: '10.0.0.1:80' }, CALLER);
    await agent.node.drain({ service: '', backend: '' }, CALLER);
    await copy.flush();
    await stop();
    dataplane.lose();
    for (const suffix of ['-wal', '-shm']) rmSync(join(dir, `marcher.db${suffix}`), { force: true });
    writeFileSync(join(dir, 'marcher.db'), Buffer.alloc(8_192, 'x'));
    await start();
    expect(opened.recovery).toContain('2 services were recovered');
    expectState(['a', 'b'], 1n);
    expect(opened.recovery).toMatch(/without their history$/);
    expect(dataplane.node?.draining).toBe(true);
    expect(['a', 'b'].map((name) => dataplane.services.get(name)?.backends[0]?.drain)).toEqual([false, true]);
    // The copy of an earlier version had no such file.
    await stop();
    for (const name of ['marcher.db-wal', 'marcher.db-shm', 'last-good.drains'])
      rmSync(join(dir, name), { force: true });
    writeFileSync(join(dir, 'marcher.db'), Buffer.alloc(8_192, 'x'));
    await start();
    expect(opened.recovery).toMatch(/without their history and what was drained$/);
  });

  test('damage is told until what was put aside is removed, over restarts too', async () => {
    expect(opened.damage()).toBeUndefined();
    await stop();
    for (const suffix of ['-wal', '-shm']) rmSync(join(dir, `marcher.db${suffix}`), { force: true });
    writeFileSync(join(dir, 'marcher.db'), Buffer.alloc(8_192, 'x'));
    await start();
    const aside = readdirSync(dir).filter((name) => name.startsWith('marcher.db.damaged-'));
    expect(aside).toHaveLength(1);
    const path = join(dir, aside[0] as string);
    expect(opened.damage()).toContain(opened.recovery);
    expect(opened.damage()).toContain(`remove ${path}`);
    await stop();
    await start();
    expect(opened.recovery).toBeUndefined();
    expect(opened.damage()).toContain(`remove ${path}`);
    rmSync(path);
    expect(opened.damage()).toBeUndefined();
  });

  test('a service whose stored bytes have changed on the disk is damage too', async () => {
    await apply(change([service('a', 80, { labels: { note: 'unmistakable' } })]));
    await stop();
    const path = join(dir, 'marcher.db');
    const bytes = readFileSync(path);
    const at = bytes.indexOf('unmistakable');
    expect(at).toBeGreaterThan(0);
    for (let i = at; i !== -1; i = bytes.indexOf('unmistakable', i + 1)) bytes[i] = 0x55;
    writeFileSync(path, bytes);
    await start();
    expect(opened.recovery).toContain('service "a"');
  });
});

describe('an agent whose store lost everything', () => {
  const lose = () => rmSync(join(dir, 'marcher.db'), { force: true });

  beforeEach(async () => {
    await apply(change([service('a', 80), service('b', 81)]));
    await stop();
    for (const suffix of ['-wal', '-shm']) rmSync(join(dir, `marcher.db${suffix}`), { force: true });
    lose();
    dataplane.applied.length = 0;
    await start();
  });

  test('leaves the engine as it is, and says so', () => {
    expect(dataplane.applied).toEqual([]);
    expect([...dataplane.services.keys()]).toEqual(['a', 'b']);
    expect(agent.node.unreadiness()).toEqual([]);
    expect(agent.node.status().conditions).toMatchObject([{ type: 'ConfigurationStored', status: false }]);
  });

  test('still does after another restart', async () => {
    await stop();
    await start();
    expect([...dataplane.services.keys()]).toEqual(['a', 'b']);
  });

  test('does not wipe it by draining the node', async () => {
    const error = await failure(agent.node.drain({ service: '', backend: '' }, CALLER));
    expect([error.code, error.message]).toEqual(['unavailable', expect.stringContaining('applied again')]);
    expect([...dataplane.services.keys()]).toEqual(['a', 'b']);
  });

  test('replaces everything by what is applied next', async () => {
    await apply(change([service('b', 81), service('c', 82)]));
    expectState(['b', 'c'], 1n);
    expect(agent.node.status().conditions).toEqual([]);
  });
});

describe('a configuration that keeps ending the engine', () => {
  beforeEach(async () => {
    await apply(change([service('a', 80)]));
    const good = dataplane.status().generation;
    await apply(change([service('b', 81)]));
    dataplane.setAsideFor(good, ['a']);
    dataplane.applied.length = 0;
    await agent.config.reconcile();
  });

  test('is not programmed again, and the node says so and serves on', () => {
    expect(dataplane.applied).toEqual([]);
    expect(agent.node.unreadiness()).toEqual([]);
    expect(agent.node.status().conditions).toMatchObject([{ type: 'Programmed', status: false, reason: 'SetAside' }]);
    expect(agent.config.get('a')?.conditions.at(-1)).toMatchObject({ type: 'Programmed', status: false });
  });

  test('is not programmed by a drain either, which is kept for the next', async () => {
    const error = await failure(agent.node.drain({ service: 'a', backend: '10.0.0.1:80' }, CALLER));
    expect([error.code, error.message]).toEqual(['unavailable', expect.stringContaining('is kept')]);
    await agent.config.reconcile();
    expect(dataplane.applied).toEqual([]);
    await apply(change([], ['b']));
    expect(dataplane.services.get('a')?.backends[0]?.drain).toBe(true);
  });

  test('is replaced by the next', async () => {
    await apply(change([service('c', 82)], ['b']));
    expectState(['a', 'c'], 3n);
    expect(agent.node.status().conditions).toEqual([]);
  });
});

describe('the engine of another build', () => {
  test('is replaced when an agent starts, and left alone otherwise', async () => {
    await apply(change([service('a', 80)]));
    await stop();
    await start();
    await agent.upgradeEngine();
    expect(dataplane.upgrades).toEqual([]);
    await stop();
    dataplane.installed = 'new';
    await start();
    await apply(change([service('b', 81)]));
    expect(dataplane.upgrades).toEqual([{ drainMs: 3_600_000 }]);
    expect(dataplane.status().buildId).toBe('new');
  });

  test('stays when the new one can not take over, which is said and tried again', async () => {
    await stop();
    dataplane.installed = 'new';
    dataplane.refuseUpgrade = () => 'the new engine ended with code 1';
    await start({ upgradeRetryMs: 1 });
    await agent.upgradeEngine();
    expect(agent.node.unreadiness()).toEqual([]);
    expect(agent.node.status().conditions).toMatchObject([
      { type: 'EngineCurrent', status: false, message: expect.stringContaining('ended with code 1') },
    ]);
    dataplane.refuseUpgrade = () => undefined;
    await expect.poll(() => dataplane.status().buildId).toBe('new');
    await expect.poll(() => agent.node.status().conditions).toEqual([]);
  });
});

describe('history', () => {
  test('shows who changed what, and reverts to any version', async () => {
    await apply(change([service('a', 80)]));
    await apply(change([service('a', 81), service('b', 82)]));
    await apply(change([], ['a']));
    const [last, middle] = agent.config.history({ limit: 10, beforeVersion: 0n, withDiff: true });
    expect(last).toMatchObject({ version: 3n, author: 'tester', origin: 'api', deleted: 1 });
    expect(middle?.diffs.map(({ name, fields }) => [name, fields.map(({ path }) => path)[0]])).toEqual([
      ['a', 'listeners[0].port'],
      ['b', 'name'],
    ]);
    const reverted = await agent.config.revert(1n, { expectedVersion: 0n, message: '' }, CALLER);
    expect(reverted.version).toBe(4n);
    expectState(['a'], 4n);
    expect(agent.config.get('a')?.service?.listeners[0]?.ports[0]?.first).toBe(80);
    await agent.config.revert(3n, { expectedVersion: 4n, message: '' }, CALLER);
    expectState(['b'], 5n);
    await agent.config.revert(0n, { expectedVersion: 0n, message: '' }, CALLER);
    expectState([], 6n);
    expect((await failure(agent.config.revert(99n, { expectedVersion: 0n, message: '' }, CALLER))).code).toBe(
      'not_found',
    );
  });
});

describe('watch', () => {
  async function take(stream: AsyncIterable<WatchEvent>, until: (event: WatchEvent) => boolean): Promise<string[]> {
    const out: string[] = [];
    for await (const event of stream) {
      const what = event.kind === 'upsert' ? event.resource.service?.name : event.kind === 'remove' ? event.name : '';
      out.push(`${event.kind}${what === '' ? '' : ` ${what}`}`);
      if (until(event)) break;
    }
    return out;
  }
  const synced = (event: WatchEvent) => event.kind === 'synced';

  test('begins with a snapshot and goes on with changes, coalesced by name', async () => {
    await apply(change([service('a', 80), service('b', 81)]));
    const control = new AbortController();
    const stream = agent.config.watch(0n, control.signal)[Symbol.asyncIterator]();
    const events: (string | undefined)[] = [];
    for (let i = 0; i < 3; i++) events.push((await stream.next()).value?.kind);
    expect(events).toEqual(['upsert', 'upsert', 'synced']);
    await apply(change([service('a', 82)]));
    await apply(change([service('a', 83)], ['b']));
    expect((await stream.next()).value).toMatchObject({ kind: 'upsert', resource: { generation: 3n } });
    expect((await stream.next()).value).toMatchObject({ kind: 'remove', name: 'b' });
    control.abort();
    expect((await stream.next()).done).toBe(true);
  });

  test('resumes with what has changed since', async () => {
    await apply(change([service('a', 80), service('b', 81)]));
    await apply(change([service('c', 82)], ['b']));
    const signal = new AbortController().signal;
    expect(await take(agent.config.watch(1n, signal), synced)).toEqual(['remove b', 'upsert c', 'synced']);
    expect(await take(agent.config.watch(99n, signal), synced)).toEqual(['resync', 'upsert a', 'upsert c', 'synced']);
  });

  test('a reader that is too slow is told to begin anew', async () => {
    await stop();
    await start({ watch: { queueMax: 2 } });
    const stream = agent.config.watch(0n, new AbortController().signal)[Symbol.asyncIterator]();
    expect((await stream.next()).value?.kind).toBe('synced');
    await apply(change([service('a', 80), service('b', 81), service('c', 82)]));
    const kinds: (string | undefined)[] = [];
    for (let i = 0; i < 5; i++) kinds.push((await stream.next()).value?.kind);
    expect(kinds).toEqual(['resync', 'upsert', 'upsert', 'upsert', 'synced']);
    await stream.return?.();
  });

  test('heartbeats when nothing changes', async () => {
    await stop();
    await start({ watch: { heartbeatMs: 5 } });
    const until = (event: WatchEvent) => event.kind === 'heartbeat';
    expect(await take(agent.config.watch(0n, new AbortController().signal), until)).toEqual(['synced', 'heartbeat']);
  });
});

describe('drain', () => {
  test('of a backend and of the node reach the engine and outlive the agent', async () => {
    await apply(change([service('a', 80)]));
    dataplane.open = ['1', '2', '3'].map((client) => create(ConnectionSchema, { client }));
    expect(await agent.node.drain({ service: '', backend: '' }, CALLER)).toBe(3);
    await agent.node.drain({ service: 'a', backend: '10.0.0.1:80' }, CALLER);
    expect(dataplane.node?.draining).toBe(true);
    expect(dataplane.services.get('a')?.backends[0]?.drain).toBe(true);
    await stop();
    dataplane.lose();
    await start();
    expect(dataplane.node?.draining).toBe(true);
    expect(dataplane.services.get('a')?.backends[0]?.drain).toBe(true);
    await agent.node.undrain({ service: 'a', backend: '10.0.0.1:80' }, CALLER);
    await agent.node.undrain({ service: '', backend: '' }, CALLER);
    expect(dataplane.node?.draining).toBe(false);
    expect(dataplane.services.get('a')?.backends[0]?.drain).toBe(false);
  });

  test('that the engine did not hear of takes effect when it answers again', async () => {
    await apply(change([service('a', 80)]));
    const backend = { service: 'a', backend: '10.0.0.1:80' };
    for (const drained of [true, false]) {
      dataplane.beforeReply = () => {
        throw new DataplaneError('timeout', 'no answer');
      };
      const error = await failure(drained ? agent.node.drain(backend, CALLER) : agent.node.undrain(backend, CALLER));
      expect([error.code, error.message]).toEqual(['unavailable', expect.stringContaining('is kept')]);
      dataplane.beforeReply = undefined;
      if (drained) await agent.config.reconcile();
      else {
        await stop();
        await start();
      }
      expect(dataplane.services.get('a')?.backends[0]?.drain).toBe(drained);
    }
  });

  test('that the engine refuses does not pass for done', async () => {
    await apply(change([service('a', 80)]));
    dataplane.refuse = () => 'out of memory';
    const error = await failure(agent.node.drain({ service: '', backend: '' }, CALLER));
    expect([error.code, error.message]).toEqual(['unavailable', expect.stringContaining('out of memory')]);
    dataplane.refuse = () => undefined;
    await agent.config.reconcile();
    expect(dataplane.node?.draining).toBe(true);
  });

  test('confirms a version that it has brought to the engine', async () => {
    await apply(change([service('a', 80)]));
    opened.store.commit({ timeMs: 0, author: '', origin: 'api', message: '' }, [
      { kind: 'Service', name: 'b', before: undefined, after: packService(service('b', 81)) },
    ]);
    await stop();
    dataplane.lose();
    dataplane.beforeReply = () => {
      throw new DataplaneError('timeout', 'no answer');
    };
    await start();
    dataplane.beforeReply = undefined;
    await agent.node.drain({ service: '', backend: '' }, CALLER);
    await agent.config.reconcile();
    await apply(change([service('c', 82)]));
    expectState(['a', 'b', 'c'], 3n);
  });

  test('that the store can not keep is refused with what to do', async () => {
    await apply(change([service('a', 80)]));
    vi.spyOn(opened.store, 'setDrained').mockImplementation(() => {
      throw new StoreError('full', 'database or disk is full; free some space');
    });
    const error = await failure(agent.node.drain({ service: '', backend: '' }, CALLER));
    expect([error.code, error.message]).toEqual(['unavailable', expect.stringContaining('free some space')]);
    expect(agent.node.status().draining).toBe(false);
  });

  test('of what does not exist says what exists', async () => {
    await apply(change([service('a', 80)]));
    const error = await failure(agent.node.drain({ service: 'a', backend: 'x' }, CALLER));
    expect([error.code, error.message]).toEqual(['not_found', expect.stringContaining('it has 10.0.0.1:80')]);
  });
});

describe('when things go wrong', () => {
  const corrupt = (): never => {
    throw new StoreError('corrupt', 'database disk image is malformed; restart the agent');
  };

  test('a change that is in force is not called failed because a drain could not be forgotten', async () => {
    await apply(change([service('a', 80)]));
    await agent.node.drain({ service: 'a', backend: '10.0.0.1:80' }, CALLER);
    const setDrained = vi.spyOn(opened.store, 'setDrained').mockImplementation(corrupt);
    const other = service('a', 80, { backends: [{ address: '10.0.0.2:80' }] });
    const versions: number[] = [];
    await stop();
    await start({ onVersion: (changed) => versions.push(changed) });
    setDrained.mockRestore();
    vi.spyOn(opened.store, 'setDrained').mockImplementation(corrupt);
    expect(await apply(change([other]))).toMatchObject({ changed: true });
    expect(versions).toEqual([1]);
    vi.restoreAllMocks();
    // Forgotten with the next change of the service.
    await apply(change([service('a', 81, { backends: [{ address: '10.0.0.2:80' }] })]));
    expect(opened.store.drainedBackends()).toEqual([]);
  });

  test('a status is given also when the store can not be read', async () => {
    await apply(change([service('a', 80)]));
    vi.spyOn(opened.store, 'hash').mockImplementation(corrupt);
    const status = agent.node.status();
    expect(status).toMatchObject({ configHash: '', services: 1, ready: true });
    expect(status.conditions).toMatchObject([{ type: 'StoreIntact', status: false, reason: 'Unreadable' }]);
    expect(status.conditions[0]?.message).toContain('malformed');
  });

  test.each<[string, () => unknown]>([
    ['list', () => agent.config.list({ pageSize: 0, pageToken: '', labels: {} })],
    ['tiers', () => agent.node.tiers('')],
    ['backends', () => agent.node.backends('a')],
    ['watch', () => agent.config.watch(0n, new AbortController().signal)[Symbol.asyncIterator]().next()],
  ])('%s of a store that can not be read says so', async (_what, ask) => {
    await apply(change([service('a', 80)]));
    for (const method of ['scan', 'names', 'get'] as const) vi.spyOn(opened.store, method).mockImplementation(corrupt);
    const error = await failure(Promise.resolve().then(ask));
    expect([error.code, error.message]).toEqual(['unavailable', expect.stringContaining('malformed')]);
  });

  test('a stored configuration that the engine refuses is logged once, and again when the reason changes', async () => {
    await apply(change([service('a', 80)]));
    await stop();
    dataplane.lose();
    let reason = 'first';
    dataplane.refuse = () => reason;
    const logged: unknown[] = [];
    await start({ log: { ...QUIET, error: (fields) => logged.push((fields as { reason: string }).reason) } });
    await agent.config.reconcile();
    reason = 'second';
    await agent.config.reconcile();
    await agent.config.reconcile();
    expect(logged).toEqual([expect.stringContaining('first'), expect.stringContaining('second')]);
    expect(agent.node.unreadiness().map(({ type }) => type)).toEqual(['Programmed']);
  });

  test('a port that was lost with a crash of the engine shows, and shows when it is back', async () => {
    await apply(change([service('a', 80), service('b', 81)]));
    dataplane.crash();
    dataplane.occupied.add('tcp/81');
    await agent.config.reconcile();
    expect(agent.node.status().conditions).toMatchObject([{ type: 'ListenersBound', status: false }]);
    expect(agent.config.get('b')?.conditions.at(-1)).toMatchObject({ type: 'Programmed', reason: 'ListenerNotBound' });
    const sent = dataplane.applied.length;
    await agent.config.reconcile();
    expect(dataplane.applied.length).toBe(sent);
    dataplane.occupied.clear();
    dataplane.crash();
    await agent.config.reconcile();
    expect(agent.node.status().conditions).toEqual([]);
  });
});

test('list pages through everything, and filters by label', async () => {
  const all = Array.from({ length: 25 }, (_, i) =>
    service(`s${String(i).padStart(2, '0')}`, 100 + i, { labels: { odd: String(i % 2) } }),
  );
  await apply(change(all));
  const seen: string[] = [];
  let pageToken = '';
  do {
    const page = agent.config.list({ pageSize: 4, pageToken, labels: { odd: '1' } });
    seen.push(...page.resources.map((resource) => resource.service?.name ?? ''));
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  expect(seen).toEqual(Array.from({ length: 12 }, (_, i) => `s${String(i * 2 + 1).padStart(2, '0')}`));
});
