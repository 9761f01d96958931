// SPDX-License-Identifier: Apache-2.0
/** A stream of a whole agent over a real store and the data plane in memory: what its parts say comes together. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { type Object$, ObjectSchema, parseConfiguration, type Service } from '@marcher/model';
import { Health } from '@marcher/proto/marcher/v1/node_service_pb';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { InMemoryDataplane } from './adapters/outbound/dataplane/in-memory.js';
import { type OpenedStore, openStore } from './adapters/outbound/sqlite/open-store.js';
import { type Agent, createAgent } from './agent.js';
import { Counter, EventKind } from './ports/dataplane.js';
import { type ObservedBatch, TOPICS } from './ports/observe.js';

const CALLER = { author: 'tester', origin: 'api' } as const;
const QUIET = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** The machine may be busy. */
const SOON = { timeout: 10_000 };

let dir: string;
let opened: OpenedStore;
let dataplane: InMemoryDataplane;
let agent: Agent;
let leaving: AbortController;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'marcher-observe-'));
  opened = openStore(dir, 0);
  dataplane = new InMemoryDataplane();
  leaving = new AbortController();
  agent = createAgent({
    ...{ store: opened.store, dataplane, version: 'test', log: QUIET },
    identity: { name: 'north', region: '', country: '', geoipPath: '' },
    ...{ reconcileMs: 3_600_000, collectMs: 20 },
  });
  await agent.start();
});

afterEach(async () => {
  leaving.abort();
  await agent.stop();
  opened.close();
  rmSync(dir, { recursive: true, force: true });
});

function service(name: string, fields: object = {}): Service {
  const listeners = [{ protocol: 'tcp', port: 1_000 + name.charCodeAt(0) }];
  const file = { name, listeners, backends: [{ name: 'a', address: '10.0.0.1:80' }], ...fields };
  return parseConfiguration(JSON.stringify({ apiVersion: 'marcher/v1', services: [file] })).configuration
    ?.services[0] as Service;
}

async function apply(upsert: Service[], remove: string[] = [], objects: Object$[] = []): Promise<void> {
  await agent.config.apply(
    { upsert, remove, replaceAll: false, upsertObjects: objects },
    { expectedVersion: 0n, message: '', omitDiff: true },
    CALLER,
  );
}

function read(intervalMs = 100): ObservedBatch[] {
  const got: ObservedBatch[] = [];
  const query = { intervalMs, topics: new Set(TOPICS), summaries: false, resume: { version: 0n, run: '' } };
  void (async () => {
    for await (const batch of agent.observe.observe(query, leaving.signal)) got.push(batch);
  })();
  return got;
}

test('the state of a node, and each thing that changes of it', async () => {
  const gold = create(ObjectSchema, {
    object: { case: 'trafficPolicy', value: { name: 'gold', connections: { perSecond: 100n } } },
  });
  await apply([service('web', { trafficPolicy: 'gold' }), service('dns')], [], [gold]);
  dataplane.health.set('web/a', 'healthy');
  const got = read();
  await expect.poll(() => got.length, SOON).toBe(1);
  const [state] = got;
  expect(state).toMatchObject({ forget: true, synced: true, version: 1n, node: { name: 'north', meshId: '' } });
  expect(state?.status).toMatchObject({ nodeName: 'north', services: 2, ready: true });
  expect(state?.objects.map(({ kind, name }) => `${kind} ${name}`)).toEqual([
    ...['TrafficPolicy gold', 'Service dns', 'Service web'],
  ]);
  expect(state?.objects.find(({ name }) => name === 'web')?.declared).toMatchObject({
    ...{ case: 'service', value: { trafficPolicy: 'gold', backends: [{ name: 'a' }] } },
  });
  expect(state?.backends.map(({ service, backend }) => `${service}/${backend}`).sort()).toEqual(['dns/a', 'web/a']);
  expect(state?.tiers.map(({ service, tier }) => `${service} ${tier}`)).toEqual(['dns relay', 'web relay']);
  expect(state?.availability.map(({ tier }) => tier)).toEqual(['xdp', 'tc', 'relay', 'l7']);

  // Elsewhere in its mesh the policy goes: the service that names it stands otherwise, though nobody has changed it.
  const before = opened.store.object('TrafficPolicy', 'gold')?.body;
  await agent.config.follow(() => ({
    changes: [{ kind: 'TrafficPolicy', name: 'gold', before, after: undefined }],
    revision: { author: 'south', origin: 'mesh', message: '' },
  }));
  await expect
    .poll(() => got.flatMap(({ goneObjects }) => goneObjects), SOON)
    .toEqual([{ kind: 'TrafficPolicy', name: 'gold' }]);
  const web = got.slice(1).flatMap(({ objects }) => objects.filter(({ name }) => name === 'web'));
  expect(web.at(-1)?.unmet).toMatchObject([{ type: 'ResolvedRefs', reason: 'PolicyMissing' }]);

  await apply([], ['dns']);
  await expect
    .poll(() => got.flatMap(({ goneBackends }) => goneBackends), SOON)
    .toEqual([{ service: 'dns', backend: 'a' }]);
  expect(got.flatMap(({ goneObjects }) => goneObjects)).toContainEqual({ kind: 'Service', name: 'dns' });
  await expect.poll(() => got.at(-1)?.version, SOON).toBe(3n);
});

test('counters and backends are told when they have moved, and what they are then', async () => {
  await apply([service('web'), service('dns')]);
  const got = read();
  await expect.poll(() => got.length, SOON).toBe(1);
  expect(got[0]?.traffic).toEqual([]);
  dataplane.count('web', '', Counter.bytesReceived, 100n);
  dataplane.connected.set('dns/a', 7);
  await expect
    .poll(() => got.flatMap(({ traffic }) => traffic.map((stats) => stats.counters?.bytesReceived)), SOON)
    .toEqual([100n]);
  await expect
    .poll(() => got.slice(1).flatMap(({ backends }) => backends), SOON)
    .toMatchObject([{ service: 'dns', backend: 'a', connections: 7n }]);
  expect(got.slice(1).flatMap(({ traffic }) => traffic)).toEqual(agent.traffic.stats('', false));
  expect(got.flatMap(({ backends }) => backends).slice(-1)).toEqual((await agent.node.backends('dns')).slice(-1));
});

test('a backend that fails, and what is drained, are told before the interval is over', async () => {
  await apply([service('web')]);
  dataplane.health.set('web/a', 'healthy');
  const got = read(60_000);
  await expect.poll(() => got.length, SOON).toBe(1);
  dataplane.health.set('web/a', 'unhealthy');
  dataplane.log({ service: 'web', backend: 'a', kind: EventKind.healthChanged, reason: 0 });
  await expect
    .poll(() => got.slice(1).flatMap(({ backends }) => backends), SOON)
    .toMatchObject([{ backend: 'a', endpoints: [{ health: Health.UNHEALTHY }] }]);
  await agent.node.drain({ service: 'web', backend: 'a' }, CALLER);
  await expect
    .poll(() => got.slice(2).flatMap(({ backends }) => backends), SOON)
    .toMatchObject([{ backend: 'a', draining: true }]);
  await agent.node.drain({ service: '', backend: '' }, CALLER);
  await expect.poll(() => got.at(-1)?.status?.draining, SOON).toBe(true);
});

test('equal objects have equal digests at every node, whatever way they came', async () => {
  await apply([service('web', { labels: { b: '2', a: '1' } }), service('xeb', { labels: { a: '1' } })]);
  const got = read();
  await expect.poll(() => got.length, SOON).toBe(1);
  const digestOf = (name: string): string => {
    const last = got.flatMap(({ objects }) => objects.filter((object) => object.name === name)).at(-1);
    return Buffer.from(last?.digest ?? []).toString('hex');
  };
  const before = digestOf('web');
  expect(before).toMatch(/^[0-9a-f]{16}$/);
  await apply([service('web', { labels: { a: '1', b: '3' } })]);
  await expect.poll(() => digestOf('web'), SOON).not.toBe(before);
  await apply([service('web', { labels: { a: '1', b: '2' } })]);
  await expect.poll(() => digestOf('web'), SOON).toBe(before);
});
