// SPDX-License-Identifier: Apache-2.0
/** Guards from the store to the packet tier: the agent over a real store, the data plane and the tier in memory. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { objectsOf, parseConfiguration } from '@marcher/model';
import { InterfaceSchema } from '@marcher/proto/marcher/packet/v1/packet_pb';
import { ChangeSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { InMemoryDataplane } from './adapters/outbound/dataplane/in-memory.js';
import { InMemoryPacketTier } from './adapters/outbound/packet/in-memory.js';
import { type OpenedStore, openStore } from './adapters/outbound/sqlite/open-store.js';
import { type Agent, createAgent } from './agent.js';

const CALLER = { author: 'tester', origin: 'api' } as const;
const web = {
  name: 'web',
  listeners: [{ address: '192.0.2.1', port: 80 }],
  backends: [{ address: '10.0.0.1' }],
  forwarding: { mode: 'ipip' },
};
const edge = { name: 'edge', rules: [{ action: 'deny', sources: ['203.0.113.0/24'] }] };
let dir: string;
let opened: OpenedStore;
let tier: InMemoryPacketTier;
let agent: Agent;

async function start(): Promise<void> {
  opened = openStore(dir, 0);
  const note = () => undefined;
  agent = createAgent({
    store: opened.store,
    dataplane: new InMemoryDataplane(),
    packetTier: tier,
    identity: { name: 'n', region: '', country: '', geoipPath: '' },
    version: 'test',
    log: { info: note, warn: note, error: note },
    reconcileMs: 3_600_000,
    collectMs: 3_600_000,
    packetRetryMs: 0,
  });
  await agent.start();
}

async function stop(): Promise<void> {
  await agent.stop();
  opened.close();
}

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'marcher-guards-'));
  tier = new InMemoryPacketTier();
});

afterEach(async () => {
  await stop();
  rmSync(dir, { recursive: true, force: true });
});

async function apply(file: { services?: object[]; guards?: object[] }, remove: string[] = []): Promise<void> {
  const { configuration, violations } = parseConfiguration(JSON.stringify({ apiVersion: 'marcher/v1', ...file }));
  if (configuration === undefined) throw new Error(JSON.stringify(violations));
  const change = create(ChangeSchema, {
    upsert: configuration.services,
    upsertObjects: objectsOf(configuration),
    removeObjects: remove.map((name) => ({ kind: 'Guard', name })),
  });
  await agent.config.apply(change, { expectedVersion: 0n, message: '', omitDiff: false }, CALLER);
}

const programmed = (name: string) =>
  agent.config.listObjects({ kind: 'Guard', name }).resources[0]?.conditions.find(({ type }) => type === 'Programmed');
const problems = () => agent.node.status().conditions.map(({ reason, message }) => `${reason}: ${message}`);

test('a guard is in the table when the change is applied, with services or without, and goes with its removal', async () => {
  await start();
  await apply({ guards: [edge] });
  expect(tier.table?.guard?.rules).toMatchObject([{ guard: 'edge', position: 0 }]);
  expect(programmed('edge')).toMatchObject({ status: true, reason: 'Programmed' });
  await apply({
    services: [web],
    guards: [{ name: 'operator', rules: [{ action: 'allow', sources: ['203.0.113.9'] }] }],
  });
  expect(tier.table?.guard?.rules.map(({ guard }) => guard)).toEqual(['edge', 'operator']);
  expect(tier.table?.services).toHaveLength(1);
  expect(problems()).toEqual([]);
  // What says the same in other words is in force, too.
  const { length } = tier.applied;
  await apply({ guards: [{ ...edge, default: 'allow' }] });
  expect(tier.applied).toHaveLength(length);
  expect(programmed('edge')).toMatchObject({ status: true });
  await apply({ services: [] }, ['edge', 'operator']);
  expect(tier.table?.guard).toBeUndefined();
});

test('guards are in the table of an agent that starts anew', async () => {
  await start();
  await apply({ guards: [edge] });
  await stop();
  tier = new InMemoryPacketTier();
  await start();
  expect(tier.table?.guard?.rules).toHaveLength(1);
});

test('a refused guard says why, the one before stays, and services change all the same', async () => {
  await start();
  await apply({ guards: [edge] });
  tier.refuse = ({ guard }) =>
    (guard?.rules.length ?? 0) > 2 ? { path: 'guard.rules[2].sources[0]', reason: 'too much' } : undefined;
  const more = {
    name: 'more',
    rules: [
      { action: 'deny', protocol: 'udp' },
      { action: 'deny', protocol: 'tcp' },
    ],
  };
  await apply({ services: [web], guards: [more] });
  expect(tier.table?.guard?.rules.map(({ guard }) => guard)).toEqual(['edge']);
  expect(tier.table?.services).toHaveLength(1);
  expect(programmed('edge')).toMatchObject({ status: true });
  expect(programmed('more')).toMatchObject({
    status: false,
    reason: 'Refused',
    message: 'guard more: rules[1].sources[0]: too much; the guards before stay in force',
  });
  expect(problems()).toEqual([
    'GuardRefused: the guards before stay in force: guard more: rules[1].sources[0]: too much',
  ]);
  await apply({ services: [{ ...web, name: 'mail', listeners: [{ address: '192.0.2.1', port: 25 }] }] });
  expect(tier.table?.services).toHaveLength(2);
  // Another one is tried.
  await apply({ guards: [{ ...more, rules: more.rules.slice(1) }] });
  expect(tier.table?.guard?.rules.map(({ guard }) => guard)).toEqual(['edge', 'more']);
  expect(programmed('more')).toMatchObject({ status: true });
  expect(problems()).toEqual([]);
});

test('what each rule has decided about is in the status of the node', async () => {
  await start();
  expect(agent.node.status({ withTraffic: true }).guard).toBeUndefined();
  await apply({ guards: [edge, { name: 'more', rules: [{ action: 'deny', protocol: 'udp' }] }] });
  tier.count('more[0]', '', 3n, 180n);
  expect(agent.node.status({ withTraffic: true }).guard?.rules).toMatchObject([
    { guard: 'edge', position: 0, packets: 0n, problem: '' },
    { guard: 'more', position: 0, packets: 3n, bytes: 180n },
  ]);
  expect(agent.node.status().guard).toBeUndefined();
});

test('a node that cannot guard says so, with what to do', async () => {
  tier.state = { kind: 'off', reason: 'no --interfaces' };
  await start();
  expect(problems()).toEqual([]);
  await apply({ guards: [edge] });
  expect(programmed('edge')).toMatchObject({
    status: false,
    reason: 'NotAttached',
    message: 'nothing is guarded on this node: no --interfaces',
  });
  expect(problems()).toEqual(['Off: nothing is guarded: no --interfaces']);
});

test("guards are XDP's: a node where only tc is attached guards nothing", async () => {
  const reason = 'XDP was left out (--xdp off)';
  tier.interfaces = [create(InterfaceSchema, { name: 'eth0', index: 2, mode: '', reason, tc: 'tcx' })];
  await start();
  await apply({ guards: [edge] });
  expect(programmed('edge')).toMatchObject({
    status: false,
    reason: 'NotAttached',
    message: `nothing is guarded on this node: eth0: ${reason}`,
  });
});

test('a node whose XDP is off guards nothing, though the tier is open for tc', async () => {
  tier.interfaces = [create(InterfaceSchema, { name: 'eth0', index: 2, mode: 'off', tc: 'tcx' })];
  await start();
  await apply({ guards: [edge] });
  const why = 'eth0: XDP is off: marcherd --xdp auto';
  const message = `nothing is guarded on this node: ${why}`;
  expect(programmed('edge')).toMatchObject({ status: false, reason: 'NotAttached', message });
  expect(problems()).toContainEqual(`NothingGuarded: ${why}`);
});

test('a rule that cannot be obeyed is in the status of the node', async () => {
  await start();
  tier.problem = ({ redirectDevice }) => (redirectDevice === '' ? '' : `there is no device ${redirectDevice}`);
  await apply({ guards: [{ name: 'edge', rules: [{ action: 'redirect', redirect: { device: 'trap0' } }] }] });
  expect(problems()).toEqual(['GuardObstructed: edge, rules[0]: there is no device trap0']);
});
