// SPDX-License-Identifier: Apache-2.0
/** Clusters between agents with all that they have of adapters: TLS, gossip and SQLite, on loopback. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseConfiguration } from '@marcher/model';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { InMemoryDataplane } from './adapters/outbound/dataplane/in-memory.js';
import { freePortPair } from './adapters/outbound/mesh/testing/free-ports.js';
import { type OpenedStore, openStore } from './adapters/outbound/sqlite/open-store.js';
import { type Agent, createAgent } from './agent.js';
import type { Replication } from './application/mesh/replication.js';
import { nodeIdOf } from './domain/identity/names.js';
import type { Addressed, NodeId } from './domain/replication/contract.js';
import { Mesh } from './mesh.js';
import type { Caller } from './ports/use-cases.js';

const CALLER: Caller = { author: 'ada', origin: 'api' };
const PATIENCE = 15_000;

interface Machine {
  readonly name: string;
  readonly dir: string;
  readonly port: number;
  readonly opened: OpenedStore;
  readonly dataplane: InMemoryDataplane;
  readonly agent: Agent;
  readonly mesh: Mesh;
  readonly log: string[];
  stop(): Promise<void>;
}

let root: string;
let machines: Machine[] = [];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'marcher-clusters-'));
});

afterEach(async () => {
  await Promise.all(machines.map((machine) => machine.stop()));
  rmSync(root, { recursive: true, force: true });
});

async function start(
  name: string,
  {
    contact,
    port,
    dataplane = new InMemoryDataplane(),
  }: Partial<Pick<Machine, 'port' | 'dataplane'>> & { contact?: number } = {},
): Promise<Machine> {
  const dir = join(root, name);
  const address = { host: '127.0.0.1', port: port ?? (await freePortPair()) };
  const opened = openStore(dir, 0);
  const log: string[] = [];
  const shown = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);
  const say = (fields: object, message: string): void => void log.push(`${message} ${JSON.stringify(fields, shown)}`);
  const logger = { debug: say, info: say, warn: say, error: say };
  const tokenFile = join(root, `${name}.token`);
  const mesh: Mesh = new Mesh({
    settings: {
      address,
      join: contact === undefined ? undefined : { host: '127.0.0.1', port: contact, tokenFile },
      caKeyFile: join(dir, 'ca.key'),
    },
    stateDir: dir,
    nodeName: name,
    store: opened.store,
    follow: (project) => agent.config.follow(project),
    exclusively: (work) => agent.config.exclusively(work),
    observe: () => agent.observed(),
    backends: () => agent.config.inventory.backends,
    log: logger,
  });
  await mesh.load();
  const agent: Agent = createAgent({
    store: opened.store,
    dataplane,
    identity: { name, region: '', country: '', geoipPath: '' },
    version: 'test',
    log: logger,
    reconcileMs: 50,
    collectMs: 3_600_000,
    replicated: () => mesh.replicated,
  });
  await agent.start();
  await mesh.start();
  const machine: Machine = {
    ...{ name, dir, port: address.port, opened, dataplane, agent, mesh, log },
    stop: async () => {
      machines = machines.filter((other) => other !== machine);
      await mesh.stop();
      await agent.stop();
      opened.close();
    },
  };
  machines.push(machine);
  return machine;
}

async function joined(first: Machine, name: string, clusters: readonly string[] = []): Promise<Machine> {
  const { text } = first.mesh.createToken({ role: 'member', lifetimeMs: 600_000, clusters }, CALLER);
  writeFileSync(join(root, `${name}.token`), `${text}\n`);
  const machine = await start(name, { contact: first.port });
  await vi.waitFor(() => expect(machine.mesh.status().admitted).toBe(true), PATIENCE);
  return machine;
}

function service(name: string, port: number, cluster?: string): object {
  const listeners = [{ protocol: 'tcp', port }];
  return { name, listeners, backends: [{ name: 'b1', address: '192.0.2.1:80' }], ...(cluster && { cluster }) };
}

function apply(machine: Machine, ...services: readonly object[]) {
  const parsed = parseConfiguration(JSON.stringify({ apiVersion: 'marcher/v1', services }));
  if (parsed.configuration === undefined) throw new Error(JSON.stringify(parsed));
  const change = { upsert: parsed.configuration.services, remove: [], replaceAll: false };
  return machine.agent.config.apply(change, { expectedVersion: 0n, message: '', omitDiff: true }, CALLER);
}

const serves = ({ dataplane }: Machine): string => [...dataplane.services.keys()].sort().join(' ');
const digests = ({ mesh }: Machine): string =>
  mesh
    .status()
    .clusters.map(({ name, digest }) => `${name} ${digest}`)
    .join();

function soon(check: () => void): Promise<void> {
  return vi.waitFor(check, PATIENCE);
}

/** As a member that has gone wrong: asks for all that there is of a cluster. What it got by that. */
async function robs(thief: Machine, owner: Machine, cluster: string): Promise<readonly Addressed[]> {
  const replication = thief.mesh.replicated as Replication;
  const came: Addressed[] = [];
  const receive = replication.receive.bind(replication);
  replication.receive = (from: NodeId, message: Addressed) => {
    came.push(message);
    receive(from, message);
  };
  const ranges = [{ origin: replication.newest?.origin ?? '', from: 1, through: 10 }];
  const asks: Addressed[] = [
    { type: 'snapshot-request', id: 1, part: 0 },
    { type: 'request', id: 2, ranges },
    { type: 'graft', ranges },
    { type: 'push', frame: new Uint8Array(9) },
    { type: 'digests', buckets: Array(256).fill(1) },
  ];
  const left = asks.map((ask) => ({ ...ask, cluster }));
  const take = replication.take.bind(replication);
  replication.take = (node: NodeId) =>
    (owner.mesh.status().nodeId === nodeIdOf(node) ? left.shift() : undefined) ?? take(node);
  await apply(thief, service('seen', 8005));
  await soon(() => {
    expect([left, serves(owner).includes('seen')]).toEqual([[], true]);
    // Each second one line at most, with how many it stands for.
    const lines = owner.log.filter((line) => line.includes(`cluster ${cluster}, which that node is not in`));
    const counts = lines.map((line) => (JSON.parse(line.slice(line.indexOf('{'))) as { count: number }).count);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(asks.length);
  });
  Object.assign(replication, { receive, take });
  return came.filter((message) => message.cluster !== undefined);
}

/** Whether its disk has that text. */
function keeps({ dir }: Machine, text: string): boolean {
  return ['marcher.db', 'marcher.db-wal'].some((file) => readFileSync(join(dir, file), 'latin1').includes(text));
}

test('what is in a cluster is held and served by its nodes alone, who come and go; others are given nothing', {
  timeout: 60_000,
}, async () => {
  const one = await start('one');
  await one.mesh.init('edge', CALLER);
  one.mesh.createCluster('eu', CALLER);
  one.mesh.assignClusters('one', { clusters: ['eu'], begin: false }, CALLER);
  const two = await joined(one, 'two', ['eu']);
  const three = await joined(one, 'three');
  await soon(() => expect(two.mesh.status().clusters).toMatchObject([{ name: 'eu', admitted: true }]));
  await apply(three, service('everywhere', 8000));
  await apply(two, service('hidden-from-others', 8001, 'eu'));
  await soon(() => {
    expect([one, two, three].map(serves)).toEqual([
      'everywhere hidden-from-others',
      'everywhere hidden-from-others',
      'everywhere',
    ]);
    expect(digests(one)).toBe(digests(two));
  });
  expect(three.mesh.members().map(({ name, clusters }) => [name, ...clusters])).toEqual([
    ['one', 'eu'],
    ['three'],
    ['two', 'eu'],
  ]);
  await expect(apply(three, service('other', 8002, 'eu'))).rejects.toThrow(
    'this node is not in cluster "eu"; make the change at a node that is: one, two',
  );
  await expect(apply(three, service('other', 8002, 'asia'))).rejects.toThrow('the mesh has no cluster "asia"');

  // Nor is it given to who asks for it.
  expect(await robs(three, one, 'eu')).toEqual([]);
  expect([two, three].map((machine) => keeps(machine, 'hidden-from-others'))).toEqual([true, false]);
  expect(three.opened.store.replicatedClusters()).toEqual([]);

  // It comes in, and has what is there; goes out, and has nothing of it.
  one.mesh.assignClusters('three', { clusters: ['eu'], begin: false }, CALLER);
  await soon(() => expect(serves(three)).toBe('everywhere hidden-from-others seen'));
  await apply(three, service('third', 8003, 'eu'));
  await soon(() => expect(serves(two)).toBe('everywhere hidden-from-others seen third'));
  two.mesh.unassignClusters('three', { clusters: ['eu'], force: false }, CALLER);
  await soon(() => expect([serves(three), three.opened.store.replicatedClusters()]).toEqual(['everywhere seen', []]));

  // Nobody goes before somebody else has what is there.
  one.mesh.createCluster('us', CALLER);
  one.mesh.assignClusters('one', { clusters: ['us'], begin: false }, CALLER);
  await apply(one, service('only-here', 8006, 'us'));
  one.mesh.assignClusters('three', { clusters: ['us'], begin: false }, CALLER);
  const goes = (force: boolean) => one.mesh.unassignClusters('one', { clusters: ['us'], force }, CALLER);
  expect(() => goes(false)).toThrow(
    'no other node of cluster us is known to have taken over 1 object (Service/only-here) yet: wait until',
  );
  goes(true);
  expect(() => one.mesh.deleteCluster('us', { force: false }, CALLER)).toThrow(
    'this node is not in cluster us and does not know what is there: ask at a node that has it (three), or use --force',
  );
  one.mesh.deleteCluster('us', { force: true }, CALLER);

  // Who is stopped is no stranger when it is back.
  const { port, dataplane } = two;
  await two.stop();
  await apply(one, service('late', 8004, 'eu'));
  const again = await start('two', { port, dataplane });
  await soon(() => expect(serves(again)).toBe('everywhere hidden-from-others late seen third'));
  expect(serves(three)).toBe('everywhere seen');
});

test('one node alone: its configuration makes its clusters, and nothing goes that is not asked for', {
  timeout: 60_000,
}, async () => {
  const one = await start('one');
  await apply(one, service('web', 8001, 'eu'), service('api', 8002, 'us'), service('all', 8003));
  await one.mesh.init('edge', CALLER);
  const { mesh } = one;
  expect(mesh.clusters().map(({ name, objects, nodes }) => [name, objects, ...nodes.map((node) => node.name)])).toEqual(
    [
      ['eu', 1, 'one'],
      ['us', 1, 'one'],
    ],
  );
  const refused = (call: () => void): string => {
    try {
      call();
    } catch (error) {
      return `${(error as { code?: string }).code}: ${(error as Error).message}`;
    }
    throw new Error('it was done');
  };
  expect(refused(() => mesh.createCluster('eu', CALLER))).toMatch(/^conflict: /);
  expect(refused(() => mesh.deleteCluster('eu', { force: false }, CALLER))).toBe(
    'refused: cluster eu has 1 object (Service/web), which would be gone: remove these first, or use --force',
  );
  expect(refused(() => mesh.unassignClusters('one', { clusters: ['us'], force: false }, CALLER))).toBe(
    'refused: node one is the last one of cluster us: 1 object (Service/api) would be gone; assign another node first, or use --force',
  );
  for (let i = 0; i < 62; i++) mesh.createCluster(`c${i}`, CALLER);
  expect(refused(() => mesh.createCluster('more', CALLER))).toBe(
    'refused: the mesh has 64 clusters, which is the most',
  );
  const many = Array.from({ length: 15 }, (_, i) => `c${i}`);
  expect(refused(() => mesh.assignClusters('one', { clusters: many, begin: false }, CALLER))).toContain(
    'in 17 clusters',
  );
  await expect(
    one.agent.config.apply(
      { upsert: [], remove: ['web'], replaceAll: false },
      { expectedVersion: 0n, message: '', omitDiff: true, acks: { count: 1, timeoutMs: 10 } },
      CALLER,
    ),
  ).rejects.toThrow('min_acks is 1, and there are 0 other nodes in the mesh');

  // From one to another, and out of all of them, in one change.
  await apply(one, service('web', 8001, 'us'), service('api', 8002));
  expect(mesh.clusters().flatMap(({ name, objects = 0 }) => (objects > 0 ? [`${name} ${objects}`] : []))).toEqual([
    'us 1',
  ]);
  expect(serves(one)).toBe('all api web');
  const { port, dataplane } = one;
  const before = digests(one);
  await one.stop();
  const again = await start('one', { port, dataplane });
  expect(digests(again)).toBe(before);
  again.mesh.unassignClusters('one', { clusters: ['us'], force: true }, CALLER);
  await soon(() => expect(serves(again)).toBe('all api'));
  expect(again.opened.store.replicatedClusters()).toEqual(['eu']);
});
