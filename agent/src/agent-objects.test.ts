// SPDX-License-Identifier: Apache-2.0
/** Guards and traffic policies through the API, over a real store and the data plane in memory. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { type Client, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { kindOf, nameOf, type Object$, objectsOf, parseConfiguration } from '@marcher/model';
import {
  type Change,
  ChangeSchema,
  ConfigService,
  Operation,
  ValidationFailureSchema,
  type WatchResponse,
} from '@marcher/proto/marcher/v1/config_service_pb';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type ApiServer, createApiServer } from './adapters/inbound/grpc/api-server.js';
import { InMemoryDataplane } from './adapters/outbound/dataplane/in-memory.js';
import { createLastGoodCopy } from './adapters/outbound/sqlite/last-good-copy.js';
import { type OpenedStore, openStore } from './adapters/outbound/sqlite/open-store.js';
import { type Agent, createAgent } from './agent.js';

const QUIET = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
let dir: string;
let opened: OpenedStore;
let dataplane: InMemoryDataplane;
let agent: Agent;
let api: ApiServer;
let client: Client<typeof ConfigService>;

async function start(): Promise<void> {
  opened = openStore(dir, 0);
  agent = createAgent({
    store: opened.store,
    dataplane,
    identity: { name: 'n', region: '', country: '', geoipPath: '' },
    version: 'test',
    log: QUIET,
    reconcileMs: 3_600_000,
    collectMs: 3_600_000,
  });
  await agent.start();
  const path = join(dir, 'api.sock');
  api = createApiServer({
    useCases: agent,
    peerCredentials: () => ({ pid: 1, uid: 0, gid: 0, member: false }),
    logger: QUIET,
    socketPath: path,
    limits: { stopMs: 100 },
  });
  await api.start();
  const createConnection = () => connect({ path });
  client = createClient(
    ConfigService,
    createGrpcTransport({ baseUrl: 'http://localhost', nodeOptions: { createConnection } }),
  );
}

async function stop(): Promise<void> {
  await api.stop();
  await agent.stop();
  opened.close();
}

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'marcher-objects-'));
  dataplane = new InMemoryDataplane();
  await start();
});

afterEach(async () => {
  await stop().catch(() => undefined);
  rmSync(dir, { recursive: true, force: true });
});

const web = (fields: object = {}, port = 80, name = 'web') => ({
  name,
  listeners: [{ port }],
  backends: [{ address: '10.0.0.1:80' }],
  ...fields,
});
const edge = { name: 'edge', rules: [{ action: 'deny', sources: ['203.0.113.0/24'] }] };
const gold = { name: 'gold', priority: 'P0', ingress: { rate: '100Mbit' } };

function change(
  file: object,
  more: Partial<Pick<Change, 'remove' | 'replaceAll'>> = {},
  removed: string[] = [],
): Change {
  const { configuration, violations } = parseConfiguration(JSON.stringify({ apiVersion: 'marcher/v1', ...file }));
  if (configuration === undefined) throw new Error(JSON.stringify(violations));
  const removeObjects = removed.map((key) => ({ kind: key.split('/')[0] ?? '', name: key.split('/')[1] ?? '' }));
  const upsertObjects = objectsOf(configuration);
  const made = create(ChangeSchema, { ...more, removeObjects });
  return { ...made, upsert: configuration.services, upsertObjects };
}

const NOTHING = { services: [] };
const apply = (what: Change, expectedVersion = 0n) => client.apply({ change: what, expectedVersion });
const shown = ({ kind, name, operation }: { kind: string; name: string; operation: Operation }) =>
  `${Operation[operation]} ${kind}/${name}`;

async function names(): Promise<string[]> {
  const services = (await client.list({})).resources.map(({ service }) => `Service/${service?.name}`);
  const objects = (await client.listObjects({})).resources.map(({ object }) => `${kind(object)}/${name(object)}`);
  return [...services, ...objects];
}
const kind = (object: Object$ | undefined) => object && kindOf(object);
const name = (object: Object$ | undefined) => object && nameOf(object);

async function violations(work: Promise<unknown>): Promise<string[]> {
  const error = await work.then(
    () => {
      throw new Error('did not fail');
    },
    (reason: unknown) => ConnectError.from(reason),
  );
  const [details] = error.findDetails(ValidationFailureSchema);
  expect(details?.violations.every(({ fix }) => fix !== '')).toBe(true);
  return (details?.violations ?? []).map(({ path, reason }) => `${path}: ${reason}`);
}

describe('a change of all kinds', () => {
  test('is planned, applied whole, listed, and nothing when it is made again', async () => {
    const all = () => change({ services: [web({ trafficPolicy: 'gold' })], guards: [edge], trafficPolicies: [gold] });
    const planned = await client.plan({ change: all() });
    expect(planned.diffs.map(shown)).toEqual(['CREATE Guard/edge', 'CREATE TrafficPolicy/gold', 'CREATE Service/web']);
    expect(planned.diffs[0]?.fields.map(({ path, after }) => `${path}=${after}`)).toEqual([
      'name=edge',
      'rules[0].action=deny',
      'rules[0].sources=["203.0.113.0/24"]',
    ]);
    expect(await names()).toEqual([]);
    expect(await apply(all(), planned.version)).toMatchObject({ version: 1n, changed: true });
    expect(await names()).toEqual(['Service/web', 'Guard/edge', 'TrafficPolicy/gold']);
    expect(await apply(all())).toMatchObject({ version: 1n, changed: false });
    const { resources, version } = await client.listObjects({ kind: 'TrafficPolicy', name: 'gold' });
    expect(version).toBe(1n);
    expect(resources).toMatchObject([
      {
        object: { object: { case: 'trafficPolicy', value: { ingress: { rate: 100_000_000n } } } },
        generation: 1n,
        conditions: [{ type: 'Accepted', status: true }],
      },
    ]);
    expect((await client.listObjects({ kind: 'Guard', name: 'gold' })).resources).toEqual([]);
    await expect(client.listObjects({ kind: 'Service' })).rejects.toThrow(/kind is "Service": expected Guard/);
  });

  test('of other kinds alone gives the engine nothing to do, and needs none', async () => {
    await apply(change({ services: [web()] }));
    const sent = dataplane.applied.length;
    dataplane.refuse = () => 'it was asked';
    await apply(change({ guards: [edge], trafficPolicies: [gold] }));
    expect(dataplane.applied).toHaveLength(sent);
    dataplane.refuse = () => undefined;
    // Nor is the engine programmed anew for it by an agent that starts.
    await stop();
    await start();
    expect(dataplane.applied.slice(sent).map(({ snapshot }) => snapshot.services.length)).toEqual([0]);
    expect(agent.config.version).toBe(2n);
  });

  test('hands services to the engine again when the policy that they name is another', async () => {
    const named = web({ trafficPolicy: 'gold' });
    await apply(change({ services: [named, web({}, 81, 'other')], trafficPolicies: [gold] }));
    expect(agent.config.objects.trafficPolicies.get('gold')).toMatchObject({ value: { priority: 1 }, generation: 1n });
    await apply(change({ trafficPolicies: [{ ...gold, priority: 'P3' }] }));
    expect(dataplane.applied.at(-1)?.snapshot.services.map((service) => service.name)).toEqual(['web']);
    expect([...agent.config.servicesNaming('gold')]).toEqual(['web']);
    expect(agent.config.objects.trafficPolicies.get('gold')).toMatchObject({ value: { priority: 4 }, generation: 2n });
    expect(agent.config.objects.guards.size).toBe(0);
  });

  test('gives the engine each service with the policy that it names, in whatever snapshot', async () => {
    const inEngine = (service: string) => dataplane.services.get(service)?.trafficPolicy;
    const both = [web({ trafficPolicy: 'gold' }), web({}, 81, 'other')];
    await apply(change({ services: both, trafficPolicies: [gold] }));
    expect(inEngine('web')).toMatchObject({ priority: 0, ingress: { bitsPerSecond: 100_000_000n } });
    expect(inEngine('other')).toBeUndefined();
    await apply(change({ trafficPolicies: [{ ...gold, priority: 'P3' }] }));
    expect(inEngine('web')?.priority).toBe(3);

    // A change of something else takes the stored policy.
    await client.apply({ change: change({ services: [web({ trafficPolicy: 'gold', labels: { a: 'b' } })] }) });
    expect(inEngine('web')?.priority).toBe(3);

    // An engine that has lost everything gets it with the rest.
    await stop();
    dataplane = new InMemoryDataplane();
    await start();
    expect(inEngine('web')?.priority).toBe(3);

    // So does one that does not run any more what the delta continues, with the policy as it is to be.
    dataplane.lose();
    await apply(change({ trafficPolicies: [{ ...gold, priority: 'P1' }] }));
    expect(inEngine('web')?.priority).toBe(1);

    // And none when it names none any more.
    await apply(change({ services: [web()] }));
    expect(inEngine('web')).toBeUndefined();
  });

  test('is taken back whole when the data plane refuses its services', async () => {
    dataplane.refuse = () => 'address already in use';
    await expect(apply(change({ services: [web()], guards: [edge] }))).rejects.toThrow(/refused the change/);
    dataplane.refuse = () => undefined;
    expect(await names()).toEqual([]);
    expect(agent.config.version).toBe(0n);
    expect(agent.config.objects.guards.size).toBe(0);
  });

  test('is refused without services while an engine runs services that this store has lost', async () => {
    await apply(change({ services: [web()] }));
    await stop();
    for (const file of ['marcher.db', 'marcher.db-wal', 'marcher.db-shm']) rmSync(join(dir, file), { force: true });
    await start();
    await expect(apply(change({ guards: [edge] }))).rejects.toThrow(/apply the whole configuration, with its services/);
    await agent.config.reconcile();
    expect([...dataplane.services.keys()]).toEqual(['web']);
    await apply(change({ services: [web({}, 81, 'new')], guards: [edge] }));
    expect([...dataplane.services.keys()]).toEqual(['new']);
  });
});

describe('mistakes', () => {
  test('of every kind are told at once, each with its place', async () => {
    const wrong = change({
      services: [web({}, 0), web({ trafficPolicy: 'glod' }, 81, 'api')],
      guards: [
        { name: 'ok', rules: [] },
        {
          name: 'edge',
          rules: [{ action: 'allow' }, { action: 'deny' }, { action: 'deny', sources: ['1.2.3.4', 'x'] }],
        },
      ],
      trafficPolicies: [gold, { ...gold, dscp: 64 }],
    });
    const found = await violations(apply(wrong));
    expect(found.map((line) => line.split(' ')[0])).toEqual([
      'guards[1].rules[2].sources[1]:',
      'trafficPolicies[1].name:',
      'services[0].listeners[0].ports:',
      'services[1].trafficPolicy:',
    ]);
    expect(found[3]).toContain('there is no traffic policy "glod"');
    expect((await client.plan({ change: wrong })).violations).toHaveLength(4);
    const { violations: planned } = await client.plan({ change: wrong });
    expect(planned[3]?.fix).toMatch(/did you mean gold\?/);
  });

  test('that show only with what is stored name it', async () => {
    await apply(change({ guards: [{ ...edge, default: 'deny' }] }));
    const other = { name: 'other', default: 'allow', rules: [{ action: 'allow', sources: ['203.0.113.0/24'] }] };
    expect(await violations(apply(change({ guards: [other] })))).toEqual([
      'guards[0].default: stands in guard "edge" too, and all guards are one',
      'guards[0].rules[0].sources[0]: allow of 203.0.113.0/24 contradicts deny of the same in guard "edge", rules[0]',
    ]);
    await apply(change({ guards: [other] }, {}, ['Guard/edge']));
    expect(await names()).toEqual(['Guard/other']);
  });

  test('a policy stays while a service names it', async () => {
    const named = (port: number) => web({ trafficPolicy: 'gold' }, port, `web-${port}`);
    await apply(change({ services: [80, 81, 82, 83].map(named), trafficPolicies: [gold] }));
    expect(await violations(apply(change(NOTHING, {}, ['TrafficPolicy/gold'])))).toEqual([
      'removeObjects[0]: traffic policy "gold" is named by services "web-80", "web-81", "web-82" and 1 more',
    ]);
    // Unchanged services of a change that keeps everything but the policy.
    const rest = change({ services: [80, 81, 82, 83].map(named) }, { replaceAll: true });
    expect(await violations(apply(rest))).toEqual(
      [0, 1, 2, 3].map((i) => `services[${i}].trafficPolicy: there is no traffic policy "gold"`),
    );
    const three = [81, 82, 83].map((port) => web({}, port, `web-${port}`));
    await apply(change({ services: three }, { remove: ['web-80'] }, ['TrafficPolicy/gold']));
    expect(await names()).toEqual(['Service/web-81', 'Service/web-82', 'Service/web-83']);
  });

  test('of what is to be removed, and of kinds', async () => {
    await apply(change({ guards: [edge] }));
    const keys = ['Guard/edge', 'Guard/none', 'Service/web', 'Secret/x'];
    expect(await violations(apply(change({ guards: [edge] }, {}, keys)))).toEqual([
      'removeObjects[0]: guard "edge" is to be created or replaced too',
      'removeObjects[1]: there is no guard "none"',
      'removeObjects[2].kind: "Service" is not the kind of an object',
      'removeObjects[3].kind: "Secret" is not the kind of an object',
    ]);
    const unknown = create(ChangeSchema, { upsertObjects: [{}] });
    expect(await violations(apply(unknown))).toEqual(['upsertObjects[0]: is of a kind that this agent does not know']);
  });
});

test('replaceAll removes objects that are not in the change', async () => {
  await apply(change({ services: [web()], guards: [edge], trafficPolicies: [gold] }));
  const { diffs } = await apply(change({ services: [web()], guards: [edge] }, { replaceAll: true }));
  expect(diffs.map(shown)).toEqual(['DELETE TrafficPolicy/gold']);
});

test('history tells the kinds, and revert brings all of them back', async () => {
  await apply(change({ services: [web({ trafficPolicy: 'gold' })], guards: [edge], trafficPolicies: [gold] }));
  await apply(change({ services: [web()], guards: [{ ...edge, default: 'deny' }] }, {}, ['TrafficPolicy/gold']));
  const { revisions } = await client.history({ withDiff: true });
  expect(revisions.map(({ created, updated, deleted }) => [created, updated, deleted])).toEqual([
    [0, 2, 1],
    [3, 0, 0],
  ]);
  expect(revisions[0]?.diffs.map(shown)).toEqual([
    'UPDATE Guard/edge',
    'DELETE TrafficPolicy/gold',
    'UPDATE Service/web',
  ]);
  expect(revisions[0]?.diffs[0]?.fields).toMatchObject([{ path: 'default', before: '', after: 'deny' }]);
  const reverted = await client.revert({ version: 1n });
  expect(reverted.diffs.map(shown)).toEqual(['UPDATE Guard/edge', 'CREATE TrafficPolicy/gold', 'UPDATE Service/web']);
  expect(agent.config.objects.trafficPolicies.get('gold')?.value.priority).toBe(1);
  expect((await client.get({ name: 'web' })).resource?.service?.trafficPolicy).toBe('gold');
  await client.revert({ version: 2n });
  expect(await names()).toEqual(['Service/web', 'Guard/edge']);
});

test('watch gives objects before services, then what becomes of them, and goes on where it was', async () => {
  await apply(change({ services: [web()], guards: [edge] }));
  const read = async (resumeVersion: bigint, count: number, work?: () => Promise<unknown>): Promise<string[]> => {
    const end = new AbortController();
    const events: string[] = [];
    for await (const { event } of client.watch({ resumeVersion }, { signal: end.signal })) {
      events.push(textOf(event));
      if (events.at(-1) === 'synced') await work?.();
      if (events.length === count) break;
    }
    end.abort();
    return events;
  };
  const textOf = (event: WatchResponse['event']): string => {
    switch (event.case) {
      case 'upsert':
        return `upsert ${event.value.service?.name}`;
      case 'upsertObject':
        return `upsert ${kind(event.value.object)}/${name(event.value.object)}@${event.value.generation}`;
      case 'removeObject':
        return `remove ${event.value.kind}/${event.value.name}`;
      default:
        return event.case ?? '';
    }
  };
  const live = () => apply(change({ trafficPolicies: [gold] }, {}, ['Guard/edge']));
  const events = await read(0n, 5, live);
  expect(events.slice(0, 3)).toEqual(['upsert Guard/edge@1', 'upsert web', 'synced']);
  expect(events.slice(3).sort()).toEqual(['remove Guard/edge', 'upsert TrafficPolicy/gold@2']);
  const resumed = await read(1n, 3);
  expect(resumed.sort()).toEqual(['remove Guard/edge', 'synced', 'upsert TrafficPolicy/gold@2']);
});

test('all kinds come back from the copy when the database is damaged', async () => {
  const copy = createLastGoodCopy(dir, opened.store, {
    delayMs: 3_600_000,
    onFailure: (error) => expect(error).toBeUndefined(),
  });
  await apply(change({ services: [web({ trafficPolicy: 'gold' })], guards: [edge], trafficPolicies: [gold] }));
  copy.schedule();
  await copy.flush();
  await stop();
  for (const suffix of ['-wal', '-shm']) rmSync(join(dir, `marcher.db${suffix}`), { force: true });
  writeFileSync(join(dir, 'marcher.db'), Buffer.alloc(8_192, 'x'));
  await start();
  expect(opened.recovery).toContain('1 services and 2 other objects were recovered');
  expect(await names()).toEqual(['Service/web', 'Guard/edge', 'TrafficPolicy/gold']);
  expect(await violations(apply(change(NOTHING, {}, ['TrafficPolicy/gold'])))).toHaveLength(1);
});
