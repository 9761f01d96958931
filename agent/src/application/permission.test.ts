// SPDX-License-Identifier: Apache-2.0
/** An owner's changes, where it is known what they make of the configuration. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { objectsOf, parseConfiguration } from '@marcher/model';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { InMemoryDataplane } from '../adapters/outbound/dataplane/in-memory.js';
import { type OpenedStore, openStore } from '../adapters/outbound/sqlite/open-store.js';
import { type Agent, createAgent } from '../agent.js';
import { authorize } from '../domain/access/authorize.js';
import type { Principal } from '../domain/access/principal.js';
import type { Caller, RequestedChange } from '../ports/use-cases.js';

const QUIET = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const ROOT: Caller = { author: 'root (uid 0)', origin: 'api' };
const principal: Principal = {
  name: 'user:alice',
  via: 'session',
  role: 'owner',
  scope: { clusters: ['eu'], services: ['web'] },
};
const ALICE: Caller = {
  author: principal.name,
  origin: 'api',
  permits: (touched) => authorize(principal, 'marcher.v1.ConfigService/Apply', touched),
};

let directory: string;
let opened: OpenedStore;
let agent: Agent;

const service = (name: string, port: number, cluster = '', weight = 1): string => {
  const of = cluster === '' ? '' : `, cluster: ${cluster}`;
  const backends = `[{ name: a, address: "10.0.0.1:80", weight: ${weight} }]`;
  return `  - { name: ${name}, listeners: [{ protocol: tcp, port: ${port} }], backends: ${backends}${of} }\n`;
};

function change(services: string, rest: Partial<RequestedChange> = {}, objects = ''): RequestedChange {
  const head = services === '' ? 'services: []\n' : 'services:\n';
  const { configuration, violations } = parseConfiguration(`apiVersion: marcher/v1\n${head}${services}${objects}`);
  if (configuration === undefined) throw new Error(JSON.stringify(violations));
  const upsertObjects = objectsOf(configuration);
  return { upsert: configuration.services, remove: [], replaceAll: false, upsertObjects, ...rest };
}

async function apply(what: RequestedChange, caller: Caller = ALICE): Promise<bigint> {
  const { version } = await agent.config.apply(what, { expectedVersion: 0n, message: '', omitDiff: false }, caller);
  return version;
}

/** make: each use of a change takes it over. */
async function denied(make: () => RequestedChange): Promise<string> {
  const before = agent.config.version;
  const refusals = await Promise.allSettled([apply(make()), agent.config.plan(make(), ALICE)]);
  const reasons = refusals.map((refusal) => {
    if (refusal.status === 'fulfilled') throw new Error('expected a refusal');
    expect(refusal.reason).toMatchObject({ code: 'denied' });
    return String(refusal.reason.message);
  });
  expect(agent.config.version).toBe(before);
  expect(reasons[1]).toBe(reasons[0]);
  return reasons[0] ?? '';
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-permission-'));
  opened = openStore(directory, 0);
  agent = createAgent({
    store: opened.store,
    dataplane: new InMemoryDataplane(),
    identity: { name: 'n1', region: '', country: '', geoipPath: '' },
    version: 'test',
    log: QUIET,
    reconcileMs: 3_600_000,
    collectMs: 3_600_000,
  });
  await agent.start();
  await apply(change(service('web', 5001) + service('mail', 5002, 'us') + service('shop', 5003, 'eu')), ROOT);
});

afterEach(async () => {
  await agent.stop();
  opened.close();
  rmSync(directory, { recursive: true, force: true });
});

test('an owner changes what is its own, by name and by cluster', async () => {
  expect(await apply(change(service('web', 5001, '', 2) + service('shop', 5003, 'eu', 2)))).toBe(2n);
  expect(await apply(change(service('cart', 5004, 'eu')))).toBe(3n);
  expect(await apply(change('', { remove: ['cart'] }))).toBe(4n);
  // What is the same as before is not changed, whoever sends it.
  expect(await apply(change(service('mail', 5002, 'us')))).toBe(4n);
});

test("what touches another's is not made, not even the part that is its own", async () => {
  expect(await denied(() => change(service('web', 5001, '', 2) + service('mail', 5002, 'us', 2)))).toMatch(
    /^Service "mail":/,
  );
  expect(await denied(() => change(service('mail', 5002, 'eu')))).toMatch(/^Service "mail":/);
  expect(await denied(() => change(service('shop', 5003, 'us')))).toMatch(/^Service "shop":/);
  expect(await denied(() => change(service('cart', 5004)))).toMatch(/^Service "cart":/);
  expect(await denied(() => change('', { remove: ['mail', 'web'] }))).toMatch(/^Service "mail":/);
  expect(await denied(() => change(service('web', 5001), { replaceAll: true }))).toMatch(/^Service "mail"/);
  const policy = 'trafficPolicies:\n  - { name: gold, connections: { rate: 5 } }\n';
  expect(await denied(() => change('', {}, policy))).toMatch(/^TrafficPolicy "gold":/);
});

test('after a denied change the ports are as before', async () => {
  await denied(() => change('', { remove: ['mail'] }));
  await expect(apply(change(service('cart', 5002, 'eu')))).rejects.toMatchObject({ code: 'invalid' });
});

test('a revert is a change of whatever differs', async () => {
  await apply(change(service('web', 5001, '', 2)));
  const options = { expectedVersion: 0n, message: '' };
  expect((await agent.config.revert(1n, options, ALICE)).version).toBe(3n);
  await apply(change(service('mail', 5002, 'us', 2)), ROOT);
  await expect(agent.config.revert(1n, options, ALICE)).rejects.toMatchObject({ code: 'denied' });
});

test('an owner drains backends of its own services, and no node', async () => {
  await agent.node.drain({ service: 'web', backend: 'a' }, ALICE);
  await agent.node.undrain({ service: 'shop', backend: 'a' }, ALICE);
  const mail = { service: 'mail', backend: 'a' };
  await expect(agent.node.drain(mail, ALICE)).rejects.toMatchObject({ code: 'denied' });
  await expect(agent.node.drain({ service: '', backend: '' }, ALICE)).rejects.toMatchObject({ code: 'denied' });
  expect(agent.node.status().draining).toBe(false);
});
