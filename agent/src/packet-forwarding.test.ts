// SPDX-License-Identifier: Apache-2.0
/** The agent over a real store, with the data plane and the packet tiers in memory. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { ObjectSchema, parseConfiguration, type Service } from '@marcher/model';
import { InterfaceSchema } from '@marcher/proto/marcher/packet/v1/packet_pb';
import { ChangeSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { InMemoryDataplane } from './adapters/outbound/dataplane/in-memory.js';
import { InMemoryPacketTier } from './adapters/outbound/packet/in-memory.js';
import { type OpenedStore, openStore } from './adapters/outbound/sqlite/open-store.js';
import { type Agent, type AgentOptions, createAgent } from './agent.js';
import { kindOf, NO_PROOF } from './domain/packet-proof.js';
import { EventKind } from './ports/dataplane.js';
import { PacketTierError } from './ports/packet-tier.js';
import type { ApplicationError } from './ports/use-cases.js';

const CALLER = { author: 'tester', origin: 'api' } as const;
let dir: string;
let opened: OpenedStore;
let dataplane: InMemoryDataplane;
let tier: InMemoryPacketTier;
let agent: Agent;
let logged: string[];

async function start(options: Partial<AgentOptions> = {}): Promise<void> {
  opened = openStore(dir, 0);
  logged = [];
  const note = (_: object, message: string): void => {
    logged.push(message);
  };
  agent = createAgent({
    store: opened.store,
    dataplane,
    packetTier: tier,
    identity: { name: 'n', region: '', country: '', geoipPath: '' },
    version: 'test',
    log: { info: note, warn: note, error: note },
    reconcileMs: 3_600_000,
    collectMs: 3_600_000,
    packetRetryMs: 0,
    ...options,
  });
  await agent.start();
}

async function stop(): Promise<void> {
  await agent.stop();
  opened.close();
}

async function restart(options: Partial<AgentOptions> = {}): Promise<void> {
  await stop();
  await start(options);
}

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'marcher-packet-'));
  dataplane = new InMemoryDataplane();
  tier = new InMemoryPacketTier();
});

afterEach(async () => {
  vi.restoreAllMocks();
  await stop().catch(() => undefined);
  rmSync(dir, { recursive: true, force: true });
});

function service(fields: object = {}): Service {
  const file = {
    name: 'web',
    listeners: [{ address: '192.0.2.1', port: 80 }],
    backends: ['a', 'b', 'c'].map((name, i) => ({ name, address: `10.0.0.${i + 1}` })),
    forwarding: { mode: 'ipip' },
    ...fields,
  };
  const parsed = parseConfiguration(JSON.stringify({ apiVersion: 'marcher/v1', services: [file] }));
  if (parsed.configuration === undefined) throw new Error(JSON.stringify(parsed.violations));
  return parsed.configuration.services[0] as Service;
}

function apply(upsert: Service[], remove: string[] = []) {
  const change = create(ChangeSchema, { upsert, remove });
  return agent.config.apply(change, { expectedVersion: 0n, message: '', omitDiff: false }, CALLER);
}

const listens = (name: string): boolean => (dataplane.services.get(name)?.listeners.length ?? 0) > 0;
const programmed = (name: string) => agent.config.get(name)?.conditions.find(({ type }) => type === 'Programmed');
const problems = () => agent.node.status().conditions.map(({ type, reason }) => `${type} ${reason}`);

/** "a b! (c)": usable, dead, neither. */
function backends(name = 'web'): string {
  const found = tier.table?.services.find((one) => one.name === name)?.backends ?? [];
  return found.map(({ name, usable, dead }) => (dead ? `${name}!` : usable ? name : `(${name})`)).join(' ');
}

describe('a service that asks for a packet tier', () => {
  test('is in its table when the change is applied, and the engine only probes its backends', async () => {
    await start();
    await apply([service(), service({ name: 'old', listeners: [{ port: 81 }], forwarding: { mode: 'relay' } })]);
    expect(tier.table?.services.map(({ name }) => name)).toEqual(['web']);
    expect(backends()).toBe('a b c');
    expect([listens('web'), listens('old')]).toEqual([false, true]);
    expect(dataplane.services.get('web')?.backends).toHaveLength(3);
    expect(programmed('web')).toMatchObject({ status: true, reason: 'Programmed', message: '' });
    expect(problems()).toEqual([]);
    const { services, tiers } = agent.node.tiers('web');
    expect(services[0]).toMatchObject({ tier: 'xdp', fasterIf: [] });
    expect(services[0]?.reasons.join('; ')).toMatch(/ipip.*attached native to eth0/);
    expect(tiers[0]).toMatchObject({ tier: 'xdp', available: true, reason: 'attached native to eth0' });
    tier.proof = { ...NO_PROOF, xdp: { text: 'real packets passed by ipip', lost: new Map() } };
    expect(agent.node.tiers('web').tiers[0]?.reason).toBe('attached native to eth0; real packets passed by ipip');
    await apply([], ['web']);
    expect(tier.table?.services).toEqual([]);
  });

  test('of mode auto is translated by tc, and the engine listens for it as well', async () => {
    await start();
    const backends = [{ name: 'a', address: '10.0.0.1:8080' }];
    await apply([service({ backends, forwarding: { mode: 'auto' } })]);
    expect(tier.table?.services).toMatchObject([{ name: 'web', sourceNat: true, relayedToo: true }]);
    expect(listens('web')).toBe(true);
    expect(programmed('web')).toMatchObject({ status: true, reason: 'Programmed' });
    expect(agent.node.tiers('web').services[0]).toMatchObject({ tier: 'tc' });
  });

  test('of mode nat says where XDP carries its open flows, whose packets count as of XDP', async () => {
    await start();
    await apply([
      service({ forwarding: { mode: 'nat' } }),
      service({ name: 'held', listeners: [{ address: '192.0.2.9', port: 80 }], forwarding: { mode: 'nat' } }),
    ]);
    expect(tier.table?.natByTc).toBe(false);
    tier.interfaces = [
      create(InterfaceSchema, { name: 'eth0', mode: 'native', tc: 'tcx', nat: 'xdp' }),
      create(InterfaceSchema, {
        name: 'eth1',
        mode: 'generic',
        tc: 'tcx',
        nat: 'tc',
        natReason: 'XDP is not native there',
      }),
    ];
    tier.count('web', 'a', 10n, 1_000n);
    tier.fast.set('web', { packets: 8n, bytes: 800n, returnedBytes: 0n });
    expect(agent.node.tiers('web').services[0]?.reasons).toContain(
      'flows that are open are carried by XDP on eth0, by tc on eth1 (XDP is not native there)',
    );
    const { traffic, xdpInterfaces } = agent.node.status({ withTraffic: true });
    expect(xdpInterfaces).toMatchObject([{ nat: 'xdp' }, { nat: 'tc', natReason: 'XDP is not native there' }]);
    expect(traffic).toMatchObject([
      { tier: 'xdp', services: 0, packets: 8n, bytes: 800n },
      { tier: 'tc', services: 2, packets: 2n, bytes: 200n },
      { tier: 'relay' },
    ]);
  });

  test("of mode nat is tc's alone where XDP was seen not to carry it", async () => {
    tier.proof = {
      ...NO_PROOF,
      xdp: { text: '', lost: new Map([[kindOf('nat-fast', 'ipv6'), 'it did not come out']]) },
    };
    await start();
    await apply([service({ forwarding: { mode: 'nat' } })]);
    expect(tier.table?.natByTc).toBe(true);
    expect(agent.node.tiers('web').services[0]).toMatchObject({ tier: 'tc' });
  });

  test("of mode nat is tc's alone when the operator wants it so", async () => {
    await start({ natByTc: true });
    await apply([service({ forwarding: { mode: 'nat' } })]);
    expect(tier.table?.natByTc).toBe(true);
  });

  test("of mode auto is the relay's alone while answers would not come back through tc", async () => {
    tier.leaveOut = () => '10.0.0.1 is reached by eth9, which tc is not attached to';
    await start();
    const backends = [{ name: 'a', address: '10.0.0.1:8080' }];
    await apply([service({ backends, forwarding: { mode: 'auto' } })]);
    expect(tier.table?.services).toEqual([]);
    const why = 'backends[0]: 10.0.0.1 is reached by eth9, which tc is not attached to';
    expect(programmed('web')).toMatchObject({
      status: true,
      reason: 'Relayed',
      message: `carried by the relay: ${why}`,
    });
    expect(agent.node.tiers('web').services[0]).toMatchObject({
      tier: 'relay',
      reasons: [expect.stringContaining(why)],
    });
    tier.leaveOut = () => '';
    await apply([service({ backends: [{ name: 'a', address: '10.0.0.2:8080' }], forwarding: { mode: 'auto' } })]);
    expect(agent.node.tiers('web').services[0]).toMatchObject({ tier: 'tc' });
  });

  test("of mode auto is told to be the relay's also where too many are for each to be named", async () => {
    tier.leaveOut = ({ name }) => (name === 'tc' ? '' : 'net.ipv4.conf.eth0.forwarding is 0');
    await start();
    const auto = (name: string, i: number) =>
      service({
        name,
        listeners: [{ address: `192.0.2.${i + 1}`, port: 80 }],
        backends: [{ name: 'a', address: '10.0.0.1:8080' }],
        forwarding: { mode: 'auto' },
      });
    const names = Array.from({ length: 120 }, (_, i) => `s${i}`);
    await apply([...names, 'tc'].map(auto));
    for (const name of names) {
      expect(programmed(name)).toMatchObject({ status: true, reason: 'Relayed' });
      expect(programmed(name)?.message).toContain('net.ipv4.conf.eth0.forwarding is 0');
      expect(agent.node.tiers(name).services[0]).toMatchObject({ tier: 'relay' });
    }
    expect(programmed('tc')).toMatchObject({ status: true, reason: 'Programmed' });
    tier.leaveOut = () => '';
    await apply([auto('tc', 130)]);
    expect(programmed('s119')).toMatchObject({ status: true, reason: 'Programmed' });
  });

  test('of mode nat is not listened for because it was of mode auto and left out', async () => {
    tier.leaveOut = () => '10.0.0.1 is reached by eth9, which tc is not attached to';
    await start();
    const backends = [{ name: 'a', address: '10.0.0.1:8080' }];
    await apply([service({ backends, forwarding: { mode: 'auto' } })]);
    await apply([service({ backends, forwarding: { mode: 'nat' } })]);
    expect(tier.table?.services).toMatchObject([{ name: 'web', relayedToo: false }]);
    expect(listens('web')).toBe(false);
    expect(programmed('web')).toMatchObject({ status: true, reason: 'Programmed' });
  });

  test('of mode auto is relayed where something in it needs the relay', async () => {
    await start();
    await apply([service({ forwarding: { mode: 'auto' }, limits: { maxConnections: 5 } })]);
    expect(tier.table?.services ?? []).toEqual([]);
    expect(listens('web')).toBe(true);
    expect(agent.node.tiers('web').services[0]).toMatchObject({
      tier: 'relay',
      reasons: [expect.stringMatching(/^forwarding\.mode auto: not tc, for limits\.maxConnections/)],
    });
  });

  test('is relayed where its kind of packet was seen not to pass, and others are not', async () => {
    tier.proof = { ...NO_PROOF, xdp: { text: '', lost: new Map([[kindOf('gue', 'ipv4'), 'it did not come out']]) } };
    await start();
    await apply([
      service(),
      service({ name: 'lost', listeners: [{ address: '192.0.2.1', port: 81 }], forwarding: { mode: 'gue' } }),
    ]);
    expect(tier.table?.services.map(({ name }) => name)).toEqual(['web']);
    expect([listens('web'), listens('lost')]).toEqual([false, true]);
    const { services } = agent.node.tiers('lost');
    expect(services[0]).toMatchObject({ tier: 'relay' });
    expect(services[0]?.reasons.join('; ')).toContain('gue over IPv4: it did not come out');
  });

  test('goes back to the engine when it is relayed again', async () => {
    await start();
    await apply([service()]);
    await apply([service({ forwarding: { mode: 'relay' } })]);
    expect(tier.table?.services).toEqual([]);
    expect(listens('web')).toBe(true);
  });

  test('is refused with everything that stands against it', async () => {
    await start();
    const wrong = service({ listeners: [{ port: 80 }], backends: [{ address: 'app:81' }] });
    const error = (await apply([wrong]).catch((caught: unknown) => caught)) as ApplicationError;
    expect(error.violations.map(({ path }) => path)).toEqual([
      'services[0].listeners[0].address',
      'services[0].backends[0].address',
    ]);
    expect(tier.table?.services).toEqual([]);
  });

  test('may not take a port that a relayed service has', async () => {
    await start();
    await apply([service({ name: 'old', listeners: [{ port: 80 }], forwarding: undefined })]);
    const error = (await apply([service()]).catch((caught: unknown) => caught)) as ApplicationError;
    expect(error.violations[0]?.reason).toContain('the port of service "old"');
  });

  test('nothing is handed over when nothing differs', async () => {
    await start({ reconcileMs: 5 });
    await apply([service()]);
    const { length } = tier.applied;
    await new Promise((resolve) => setTimeout(resolve, 50));
    await apply([service({ name: 'old', listeners: [{ port: 81 }], forwarding: undefined })]);
    expect(tier.applied).toHaveLength(length);
  });
});

describe('more than the tables of the packet tiers hold', () => {
  const many = (mode: string, count: number, from = 0): Service[] =>
    Array.from({ length: count }, (_, i) =>
      service({
        name: `s${String(from + i).padStart(2, '0')}`,
        listeners: [{ address: `192.0.2.${from + i + 1}`, ports: '1-4096' }],
        backends: [{ name: 'a', address: `10.0.0.1${mode === 'auto' ? ':80' : ''}` }],
        forwarding: { mode },
      }),
    );

  test('is refused before anything is programmed where the mode is fixed', async () => {
    await start();
    await apply(many('ipip', 16));
    const { length } = tier.applied;
    const error = await apply(many('ipip', 1, 16)).catch((caught: ApplicationError) => caught);
    expect(error).toMatchObject({
      violations: [{ path: 'services', reason: expect.stringContaining('would be 69632 addresses with port') }],
    });
    expect([tier.applied.length, agent.config.get('s16')]).toEqual([length, undefined]);
    // In place of another it fits.
    await apply(many('ipip', 1, 16), ['s00']);
    expect(tier.table?.services).toHaveLength(16);
  });

  test('is relayed where the mode is auto, with the reason, and goes to tc when there is room', async () => {
    await start();
    await apply(many('auto', 17, 1));
    expect(tier.table?.services.map(({ name }) => name)).not.toContain('s17');
    expect(tier.table?.services).toHaveLength(16);
    const why = 'no room for its 4096 addresses with port beside 65536 of 65536 in its tables';
    expect(programmed('s17')).toMatchObject({
      status: true,
      reason: 'Relayed',
      message: `carried by the relay, since the packet tier has ${why}`,
    });
    expect(listens('s17')).toBe(true);
    const [explained] = agent.node.tiers('s17').services;
    expect([explained?.tier, explained?.reasons.join()]).toEqual(['relay', expect.stringContaining(why)]);
    expect(problems()).toEqual(['PacketTier Full']);
    // Whoever is there stays there, whatever its name.
    await apply(many('auto', 1));
    expect(agent.node.tiers('s00').services[0]?.tier).toBe('relay');
    expect(agent.node.tiers('s16').services[0]?.tier).toBe('tc');
    // A fixed mode goes before.
    await apply(many('ipip', 1, 20));
    expect(tier.table?.services.map(({ name }) => name)).toEqual([
      ...Array.from({ length: 15 }, (_, i) => `s${String(i + 1).padStart(2, '0')}`),
      's20',
    ]);
    expect(agent.node.tiers('s16').services[0]?.tier).toBe('relay');
    await apply([], ['s20', 's05', 's06']);
    expect(tier.table?.services).toHaveLength(16);
    expect(problems()).toEqual([]);
  });
});

test('more ports than sk_lookup has places for are refused where it steers', async () => {
  const ports = Array.from({ length: 5 }, (_, i) =>
    service({
      name: `s${i}`,
      listeners: [{ address: `192.0.2.${i + 1}`, ports: '1-60000' }],
      forwarding: { mode: 'relay' },
    }),
  );
  await start();
  await apply(ports);
  await apply([], ['s0', 's1', 's2', 's3', 's4']);
  await stop();
  dataplane.steering = { on: true };
  await start();
  await apply(ports.slice(0, 4));
  const error = await apply(ports.slice(4)).catch((caught: ApplicationError) => caught);
  expect(error).toMatchObject({
    violations: [{ path: 'services', reason: expect.stringContaining('would be 300005 ports that sk_lookup leads') }],
  });
  await apply(ports.slice(4), ['s0']);
});

describe('backends of the table', () => {
  test('follow the health that the engine sees, at its events', async () => {
    await start({ collectMs: 5 });
    await apply([service({ health: { port: 80 } })]);
    expect(backends()).toBe('a b c');
    dataplane.health.set('web/b', 'unhealthy');
    dataplane.log({ service: 'web', backend: 'b', kind: EventKind.healthChanged, reason: 0 });
    await expect.poll(() => backends()).toBe('a b! c');
    dataplane.health.set('web/b', 'healthy');
    dataplane.log({ service: 'web', backend: 'b', kind: EventKind.healthChanged, reason: 1 });
    await expect.poll(() => backends()).toBe('a b c');
  });

  test('follow it without events too', async () => {
    await start({ reconcileMs: 5 });
    await apply([service({ health: { port: 80 } })]);
    dataplane.health.set('web/b', 'unhealthy');
    await expect.poll(() => backends()).toBe('a b! c');
  });

  test('stay as they were known while a fresh engine does not know, and while none answers', async () => {
    await start({ reconcileMs: 5 });
    await apply([service({ health: { port: 80 } })]);
    dataplane.health.set('web/b', 'unhealthy');
    await expect.poll(() => backends()).toBe('a b! c');
    dataplane.health.set('web/b', 'unknown');
    dataplane.crash();
    await new Promise((resolve) => setTimeout(resolve, 40));
    expect(backends()).toBe('a b! c');
    dataplane.health.set('web/b', 'healthy');
    await expect.poll(() => backends()).toBe('a b c');
  });

  test('of many services are asked for at events, service by service, and seldom all', async () => {
    await start({ reconcileMs: 5, collectMs: 5 });
    const many = Array.from({ length: 40 }, (_, i) =>
      service({ name: `s${i}`, listeners: [{ address: `192.0.2.${i + 1}`, port: 80 }], health: { port: 80 } }),
    );
    const asked = vi.spyOn(dataplane, 'backends');
    await apply(many);
    expect(asked.mock.calls).toEqual([['']]);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(asked.mock.calls).toEqual([['']]);
    dataplane.health.set('s7/b', 'unhealthy');
    dataplane.log({ service: 's7', backend: 'b', kind: EventKind.healthChanged, reason: 0 });
    await expect.poll(() => backends('s7')).toBe('a b! c');
    expect(asked.mock.calls).toEqual([[''], ['s7']]);
    expect(backends('s6')).toBe('a b c');
    dataplane.health.set('s40/c', 'unhealthy');
    await apply([service({ name: 's40', listeners: [{ address: '192.0.2.41', port: 80 }], health: { port: 80 } })]);
    expect(backends('s40')).toBe('a b c!');
    expect(asked.mock.calls).toEqual([[''], ['s7'], ['s40']]);
    expect(tier.table?.services).toHaveLength(41);
  });

  test('are drained one by one and with the node, over restarts of the agent', async () => {
    await start();
    await apply([service()]);
    await agent.node.drain({ service: 'web', backend: 'a' }, CALLER);
    await expect.poll(() => backends()).toBe('(a) b c');
    await restart();
    expect(backends()).toBe('(a) b c');
    await agent.node.drain({ service: '', backend: '' }, CALLER);
    await expect.poll(() => backends()).toBe('(a) (b) (c)');
    await agent.node.undrain({ service: '', backend: '' }, CALLER);
    await agent.node.undrain({ service: 'web', backend: 'a' }, CALLER);
    await expect.poll(() => backends()).toBe('a b c');
  });
});

describe('a tier that is not available', () => {
  test('leaves its services to the relay, which says why', async () => {
    tier.unavailable = { reason: 'eth9: there is no such interface', retry: true };
    await start();
    await apply([service()]);
    expect(listens('web')).toBe(true);
    expect(tier.applied).toEqual([]);
    expect(problems()).toEqual(['PacketTier Unavailable']);
    expect(agent.node.status().ready).toBe(true);
    expect(programmed('web')).toMatchObject({ status: true, reason: 'Relayed' });
    expect(programmed('web')?.message).toContain('eth9');
    const [found] = agent.node.tiers('web').services;
    expect(found?.tier).toBe('relay');
    expect(found?.reasons[0]).toContain('eth9: there is no such interface');
  });

  test('is opened when it can be, and then the engine lets go of them', async () => {
    tier.unavailable = { reason: 'no', retry: true };
    await start({ reconcileMs: 5 });
    await apply([service()]);
    await expect.poll(() => tier.opens).toBeGreaterThan(3);
    expect(logged.filter((text) => text.includes('not available'))).toHaveLength(1);
    tier.unavailable = undefined;
    await expect.poll(() => listens('web')).toBe(false);
    expect(backends()).toBe('a b c');
    expect(programmed('web')?.reason).toBe('Programmed');
  });

  test('gives them back when it is lost', async () => {
    await start({ reconcileMs: 5 });
    await apply([service()]);
    expect(listens('web')).toBe(false);
    tier.unavailable = { reason: 'the interface has gone', retry: true };
    await expect.poll(() => listens('web')).toBe(true);
    expect(programmed('web')?.reason).toBe('Relayed');
  });

  test('is not tried again for a reason that does not pass', async () => {
    tier.unavailable = { reason: 'the library has none', retry: false };
    await start({ reconcileMs: 5 });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(tier.opens).toBe(1);
  });

  test('an engine that runs from before is told, whichever way it changed meanwhile', async () => {
    await start();
    await apply([service()]);
    expect(listens('web')).toBe(false);
    tier = new InMemoryPacketTier();
    tier.state = { kind: 'off', reason: 'no interface was named: --interfaces' };
    await restart();
    expect(listens('web')).toBe(true);
    expect(problems()).toEqual(['PacketTier Off']);
    tier = new InMemoryPacketTier();
    await restart();
    expect(listens('web')).toBe(false);
    expect(backends()).toBe('a b c');
  });

  test('that nobody asks for is no problem', async () => {
    tier.state = { kind: 'off', reason: 'no interface was named: --interfaces' };
    await start();
    expect(problems()).toEqual([]);
    expect(agent.node.tiers('').tiers[0]).toMatchObject({
      available: false,
      reason: expect.stringContaining('--inter'),
    });
  });
});

describe('a table', () => {
  test('that is refused leaves the one before in force, and is said and tried again', async () => {
    await start({ reconcileMs: 5 });
    await apply([service()]);
    tier.refuse = (table) => (table.services.length > 1 ? 'the VIPs are too many' : undefined);
    await apply([service({ name: 'two', listeners: [{ address: '192.0.2.2', port: 80 }] })]);
    expect(tier.table?.services.map(({ name }) => name)).toEqual(['web']);
    expect(problems()).toEqual(['PacketTier Refused']);
    expect(programmed('web')).toMatchObject({ status: true });
    expect(programmed('two')).toMatchObject({ status: false, reason: 'PacketTierRefused' });
    expect(programmed('two')?.message).toContain('the VIPs are too many');
    expect(listens('two')).toBe(false);
    await apply([service({ backends: [{ name: 'z', address: '10.0.0.9' }] })]);
    expect(backends()).toBe('a b c');
    expect(programmed('web')).toMatchObject({ status: false, reason: 'PacketTierRefused' });
    await expect.poll(() => tier.applied.length).toBeGreaterThan(4);
    expect(logged.filter((text) => text.includes('refused the table'))).toHaveLength(1);
    tier.refuse = () => undefined;
    await expect.poll(() => programmed('two')?.status).toBe(true);
    expect(backends()).toBe('z');
    expect(problems()).toEqual([]);
  });

  test('that could not be handed over is handed over again', async () => {
    await start({ reconcileMs: 5 });
    tier.failure = new PacketTierError('system', 'updating a map: Operation not permitted');
    await apply([service()]);
    expect(programmed('web')).toMatchObject({ status: false, reason: 'PacketTierNotApplied' });
    expect(problems()).toEqual(['PacketTier NotApplied']);
    tier.failure = undefined;
    await expect.poll(() => programmed('web')?.status).toBe(true);
    expect(backends()).toBe('a b c');
    expect(problems()).toEqual([]);
  });

  test('of a change that comes while one is under way follows it', async () => {
    await start();
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    tier.beforeReply = () => held;
    const first = apply([service()]);
    await expect.poll(() => tier.applied.length).toBe(2);
    const second = apply([service({ backends: [{ name: 'z', address: '10.0.0.9' }] })]);
    await expect.poll(() => agent.config.version).toBe(2n);
    release();
    await Promise.all([first, second]);
    expect(backends()).toBe('z');
  });

  test('names the addresses under which this node takes packets as a backend', async () => {
    await start({ decapsulated: { addresses: ['192.0.2.9', '2001:db8::9'], guePort: 6081, mtu: 9000 } });
    expect(tier.table?.decapsulated.map(({ length }) => length)).toEqual([4, 16]);
    expect(tier.table?.decapsulatedGuePort).toBe(6081);
    expect(tier.table?.decapsulatedMtu).toBe(9000);
  });

  test('that was in force stays when the configuration was lost', async () => {
    await start();
    await apply([service()]);
    await stop();
    rmSync(dir, { recursive: true, force: true });
    await start();
    expect(backends()).toBe('a b c');
    expect(problems()).toContain('PacketTier Held');
    // The engine has started anew, and holds nothing: the packet tier alone does.
    dataplane.lose();
    const guard = create(ObjectSchema, { object: { case: 'guard', value: { name: 'edge' } } });
    const alone = create(ChangeSchema, { upsertObjects: [guard] });
    const options = { expectedVersion: 0n, message: '', omitDiff: true };
    await expect(agent.config.apply(alone, options, CALLER)).rejects.toThrow(/with its services, first/);
    expect(backends()).toBe('a b c');
    await apply([service({ name: 'new' })]);
    expect(tier.table?.services.map(({ name }) => name)).toEqual(['new']);
    expect(problems()).toEqual([]);
  });
});

test('traffic is told by tier and by backend, and drops by reason', async () => {
  await start();
  await apply([service(), service({ name: 'old', listeners: [{ port: 81 }], forwarding: undefined })]);
  tier.count('web', 'a', 7n, 700n);
  tier.drops.set('no-backend', 3n);
  dataplane.count('old', '', 2, 300n);
  dataplane.count('old', '', 3, 30n);
  await new Promise((resolve) => setTimeout(resolve, 110));
  const status = agent.node.status({ withTraffic: true });
  expect(status.traffic).toMatchObject([
    { tier: 'xdp', services: 1, packets: 7n, bytes: 700n, bytesReturned: 0n },
    { tier: 'tc', services: 0, packets: 0n },
    { tier: 'relay', services: 1, packets: 0n, bytes: 300n, bytesReturned: 30n },
  ]);
  expect(status.xdpDrops).toMatchObject([{ reason: 'no-backend', packets: 3n }]);
  expect(agent.node.status().traffic).toEqual([]);
  expect(agent.node.tiers('web').services[0]).toMatchObject({ xdpPackets: 7n, xdpBytes: 700n });
  await apply([service({ name: 'nat', listeners: [{ address: '192.0.2.9', port: 80 }], forwarding: { mode: 'nat' } })]);
  tier.count('nat', 'b', 5n, 500n);
  await new Promise((resolve) => setTimeout(resolve, 110));
  expect(agent.traffic.packets().backends.filter(({ packets }) => packets > 0n)).toMatchObject([
    { tier: 'tc', service: 'nat', backend: 'b', packets: 5n },
    { tier: 'xdp', service: 'web', backend: 'a', packets: 7n },
  ]);
});

test('what keeps packets from backends shows', async () => {
  await start();
  await apply([service()]);
  tier.hindrances = ['eth0: forwarding is off'];
  expect(problems()).toEqual(['PacketTier Obstructed']);
});

test('interfaces that are not attached to, or not natively, show', async () => {
  tier.interfaces = [
    create(InterfaceSchema, { name: 'eth0', index: 2, mode: 'generic', reason: 'the driver has no XDP' }),
    create(InterfaceSchema, { name: 'eth1', reason: 'there is no such interface' }),
  ];
  await start();
  await apply([service()]);
  expect(problems()).toEqual(['PacketTier NotAttached']);
  expect(agent.node.status().xdpInterfaces).toMatchObject([{ mode: 'generic' }, { name: 'eth1', mode: '' }]);
  const { services, tiers } = agent.node.tiers('web');
  expect(tiers[0]?.reason).toBe(
    'attached generic to eth0 (the driver has no XDP), not attached to eth1 (there is no such interface)',
  );
  expect(services[0]?.fasterIf).toEqual(['the driver of eth0 ran XDP natively']);
});

test('a table is put in force again now and then: routes and VLAN devices may have changed', async () => {
  const now = Date.now;
  let later = 0;
  vi.spyOn(Date, 'now').mockImplementation(() => now() + later);
  await start({ reconcileMs: 5, packetRetryMs: 3_600_000 });
  await apply([service()]);
  await new Promise((resolve) => setTimeout(resolve, 30));
  const before = tier.applied.length;
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(tier.applied).toHaveLength(before);
  later = 16_000;
  await vi.waitFor(() => expect(tier.applied).toHaveLength(before + 1), 10_000);
  expect(tier.applied.at(-1)).toEqual(tier.applied.at(-2));
});

describe('a service that names a traffic policy', () => {
  const change = (services: object[], trafficPolicies: object[]) => {
    const { configuration } = parseConfiguration(
      JSON.stringify({ apiVersion: 'marcher/v1', services, trafficPolicies }),
    );
    if (configuration === undefined) throw new Error('not a configuration');
    const upsertObjects = configuration.trafficPolicies.map((value) =>
      create(ObjectSchema, { object: { case: 'trafficPolicy', value } }),
    );
    const requested = create(ChangeSchema, { upsert: configuration.services, upsertObjects });
    return agent.config.apply(requested, { expectedVersion: 0n, message: '', omitDiff: false }, CALLER);
  };
  const file = (mode: string, name = 'web', port = 80) => ({
    name,
    listeners: [{ address: '192.0.2.1', port }],
    backends: [{ name: 'a', address: '10.0.0.1' }],
    forwarding: { mode },
    trafficPolicy: 'gold',
  });
  const gold = { name: 'gold', ingress: { rate: '8Mbit' }, dscp: 'EF', ecn: 'mark' };
  const violations = async (attempt: Promise<unknown>) => {
    const error = (await attempt.catch((caught: unknown) => caught)) as ApplicationError;
    return error.violations.map(({ path, reason }) => `${path} ${reason}`);
  };

  test('is held to it in its tier, and to its changes, while nothing else of it changes', async () => {
    await start();
    await change([file('l2')], [gold]);
    const policy = () => tier.table?.services[0]?.policy;
    expect(policy()).toMatchObject({
      priority: 2,
      ingress: { perSecond: 8_000_000n, burst: 65_536n },
      setDscp: true,
      dscp: 46,
      ecnMark: true,
    });
    const { generation } = agent.config.get('web') ?? {};
    await change([], [{ ...gold, dscp: 'CS1', connections: { rate: 5 } }]);
    expect(policy()).toMatchObject({ dscp: 8, flows: { perSecond: 5n, burst: 5n } });
    expect(agent.config.get('web')?.generation).toBe(generation);
    expect(listens('web')).toBe(false);
    // The relay, which may take it over, knows the same.
    expect(dataplane.services.get('web')?.trafficPolicy).toMatchObject({ dscp: 8 });
    await restart();
    expect(policy()).toMatchObject({ dscp: 8 });
  });

  test('may not ask for what its tier cannot hold', async () => {
    await start();
    const out = { ...gold, egress: { rate: '8Mbit' } };
    expect(await violations(change([file('ipip')], [out]))).toEqual([
      'services[0].trafficPolicy "gold" limits egress, and with forwarding.mode ipip backends answer past this node',
    ]);
    await change([file('ipip'), file('nat', 'other', 81)], [gold]);
    expect(await violations(change([], [{ ...gold, perConnection: { egress: { rate: '8Mbit' } } }]))).toEqual([
      'trafficPolicies[0] service "web" names it, but "gold" limits egress, and with forwarding.mode ipip backends answer past this node',
    ]);
    await change([file('nat')], [out]);
    expect(tier.table?.services.map(({ policy }) => policy?.egress?.perSecond)).toEqual([8_000_000n, 8_000_000n]);
  });

  test('has what its tier dropped, marked and refused counted as what the relay did, and explained', async () => {
    await start();
    await change([file('l2')], [{ ...gold, priority: 'P0' }]);
    tier.overRate.set('web', { ingress: { dropped: 7n, marked: 3n }, egress: { dropped: 1n }, refused: 2n });
    vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 1_000);
    const [stats] = agent.traffic.stats('web', false);
    expect(stats?.counters).toMatchObject({ rateDropped: 8n, ecnMarked: 3n, rateRefused: 2n });
    expect(agent.node.tiers('web').services[0]?.reasons).toEqual(
      expect.arrayContaining([
        'trafficPolicy gold: packets over its rates are dropped, not delayed',
        "trafficPolicy gold: its priority orders nothing, since XDP sends past the kernel's queues",
      ]),
    );
  });
});

describe('a tier that cannot send', () => {
  let later = 0;

  /** A second passes, in which so many packets fail. */
  const second = async (failed: bigint): Promise<void> => {
    tier.drops.set('no-neighbour', (tier.drops.get('no-neighbour') ?? 0n) + failed);
    later += 1_000;
    await new Promise((resolve) => setTimeout(resolve, 25));
  };
  const seconds = async (count: number, failed: bigint): Promise<void> => {
    for (let i = 0; i < count; i++) await second(failed);
  };
  const carried = () => tier.table?.services.map(({ name }) => name).sort();
  const away = service({ name: 'away', listeners: [{ address: '192.0.2.2', port: 80 }] });

  beforeEach(() => {
    later = 0;
    const now = Date.now;
    vi.spyOn(Date, 'now').mockImplementation(() => now() + later);
  });

  test('gives its services to the relay where that can listen, says since when and why, and is tried again', async () => {
    await start({ reconcileMs: 5, packetRetryMs: 3_600_000, localAddresses: () => ['127.0.0.1', '192.0.2.1'] });
    await apply([service(), away]);
    await seconds(3, 0n);
    await seconds(4, 50n);
    expect(carried()).toEqual(['away', 'web']);
    await seconds(6, 50n);
    expect(carried()).toEqual(['away']);
    expect([listens('web'), listens('away')]).toEqual([true, false]);
    expect(problems()).toEqual(['PacketTier Demoted']);
    const why =
      /since \d{4}-.*Z: \d+ of \d+ packets in \d+ s could not be sent on \(mostly no-neighbour\); it is tried/;
    expect(programmed('web')).toMatchObject({ status: true, reason: 'Relayed', message: expect.stringMatching(why) });
    const [of] = agent.node.tiers('web').services;
    expect(of).toMatchObject({ tier: 'relay', reasons: [expect.stringMatching(why)] });
    expect(agent.node.tiers('away').services[0]?.tier).toBe('xdp');
    expect(agent.node.tiers('web').tiers[0]).toMatchObject({ tier: 'xdp', available: false });
    expect(agent.node.status({ withTraffic: true }).traffic).toMatchObject([{ services: 1 }, { services: 1 }]);
    later += 60_000;
    await seconds(2, 0n);
    expect(carried()).toEqual(['away', 'web']);
    expect([listens('web'), listens('away')]).toEqual([false, false]);
    expect(problems()).toEqual([]);
    expect(logged).toContain('the packet tier is tried again');
  });

  test("leaves open flows of NAT to tc while drivers can't send what XDP hands over", async () => {
    await start({ reconcileMs: 5, packetRetryMs: 3_600_000, localAddresses: () => ['192.0.2.1', '192.0.2.3'] });
    const translated = service({
      name: 'translated',
      listeners: [{ address: '192.0.2.3', port: 80 }],
      forwarding: { mode: 'nat' },
    });
    await apply([service(), translated]);
    const [eth0] = tier.interfaces;
    for (let i = 0; i < 10; i++) {
      if (eth0 !== undefined) eth0.sendErrors += 50n;
      await second(0n);
    }
    expect(carried()).toEqual(['translated']);
    expect(tier.table?.natByTc).toBe(true);
    expect([listens('web'), listens('translated')]).toEqual([true, false]);
    expect(agent.node.tiers('translated').services[0]?.tier).toBe('tc');
    later += 60_000;
    await seconds(2, 0n);
    expect(carried()).toEqual(['translated', 'web']);
    expect(tier.table?.natByTc).toBe(false);
  });

  test('has the relay carry what it does not take, until it does', async () => {
    await start({ reconcileMs: 5, packetRetryMs: 3_600_000, localAddresses: () => ['192.0.2.1', '192.0.2.2'] });
    await apply([service()]);
    tier.failure = new PacketTierError('system', 'no space is left in the map');
    await apply([away]);
    await seconds(8, 0n);
    expect([listens('web'), listens('away')]).toEqual([false, false]);
    await seconds(4, 0n);
    // What was in force is, and the other one is served at last.
    expect([listens('web'), listens('away')]).toEqual([false, true]);
    expect(programmed('away')).toMatchObject({ status: false, reason: 'PacketTierNotApplied' });
    expect(programmed('away')?.message).toMatch(/no space is left in the map; the relay carries it meanwhile/);
    expect(agent.node.tiers('away').services[0]).toMatchObject({ tier: 'relay' });
    expect(agent.node.tiers('web').services[0]).toMatchObject({ tier: 'xdp' });
    tier.failure = undefined;
    await seconds(3, 0n);
    expect([listens('web'), listens('away')]).toEqual([false, false]);
    expect(carried()).toEqual(['away', 'web']);
    expect(problems()).toEqual([]);
  });

  test('is judged service by service, and what fails does not take others along', async () => {
    await start({ reconcileMs: 5, packetRetryMs: 3_600_000, localAddresses: () => ['192.0.2.1', '192.0.2.3'] });
    const other = service({ name: 'other', listeners: [{ address: '192.0.2.3', port: 80 }] });
    await apply([service(), away, other]);
    const lost = async (count: number, packets: bigint): Promise<void> => {
      for (let i = 0; i < count; i++) {
        tier.fail('web', 'no-route', packets);
        tier.fail('away', 'no-neighbour', packets);
        tier.count('other', 'a', 100_000n, 100_000n);
        await second(0n);
      }
    };
    // A hundredth of all packets, but all of theirs.
    await lost(12, 1_000n);
    expect(carried()).toEqual(['away', 'other']);
    expect([listens('web'), listens('away'), listens('other')]).toEqual([true, false, false]);
    expect(problems()).toEqual(['PacketTier Demoted']);
    const why = /since .*: (\d+) of \1 packets in \d+ s could not be sent on \(mostly no-route\); it is tried/;
    expect(programmed('web')).toMatchObject({ reason: 'Relayed', message: expect.stringMatching(why) });
    expect(agent.node.tiers('web').services[0]).toMatchObject({ tier: 'relay', reasons: [expect.stringMatching(why)] });
    expect(agent.node.tiers('other').services[0]?.tier).toBe('xdp');
    const [condition] = agent.node.status().conditions;
    expect(condition?.message).toMatch(/carries 1 of 3 services.*: web since .*; away \(of no address of this node/);
    // Who changes it has mended it, perhaps: it is tried at once.
    await apply([service({ backends: [{ name: 'd', address: '10.0.0.9' }] })]);
    await seconds(2, 0n);
    expect(carried()).toEqual(['away', 'other', 'web']);
    expect(listens('web')).toBe(false);
  });

  test('of much that fails for one service, and of much that is nobody’s, only the second is everybody’s', async () => {
    await start({ reconcileMs: 5, packetRetryMs: 3_600_000, localAddresses: () => ['192.0.2.1', '192.0.2.3'] });
    const other = service({ name: 'other', listeners: [{ address: '192.0.2.3', port: 80 }] });
    await apply([service(), other]);
    for (let i = 0; i < 12; i++) {
      tier.fail('web', 'no-route', 100_000n);
      tier.count('other', 'a', 100n, 100n);
      await second(0n);
    }
    expect(carried()).toEqual(['other']);
    await seconds(12, 1_000n);
    expect(carried()).toEqual([]);
    expect(problems()).toEqual(['PacketTier Demoted']);
  });

  test('goes on where nobody else can', async () => {
    await start({ reconcileMs: 5, packetRetryMs: 3_600_000 });
    await apply([service()]);
    await seconds(10, 50n);
    expect(carried()).toEqual(['web']);
    expect(listens('web')).toBe(false);
    expect(problems()).toEqual(['PacketTier Failing']);
    expect(agent.node.tiers('web').services[0]?.tier).toBe('xdp');
  });
});
