// SPDX-License-Identifier: Apache-2.0
/** Agents with real stores, whose replicas talk to each other in memory. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { objectsOf, parseConfiguration } from '@marcher/model';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { InMemoryDataplane } from '../../adapters/outbound/dataplane/in-memory.js';
import { type OpenedStore, openStore } from '../../adapters/outbound/sqlite/open-store.js';
import { type Agent, createAgent } from '../../agent.js';
import {
  type Environment,
  type NodeId,
  type ReplicaStore,
  ReplicaStoreError,
} from '../../domain/replication/contract.js';
import { decodeMessage, encodeMessage } from '../../domain/replication/message-codec.js';
import { Replica } from '../../domain/replication/replica.js';
import type { PeerLinks } from '../../ports/mesh.js';
import { type Acks, ApplicationError, type Caller } from '../../ports/use-cases.js';
import { Projection } from './projection.js';
import { Replication } from './replication.js';

const QUIET = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const CALLER: Caller = { author: 'ada', origin: 'api' };
const hash = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();

let root: string;
let nodes: Node[] = [];

/** Links that can be cut: what is sent meanwhile is lost. */
class Net {
  readonly nodes = new Map<NodeId, Replication>();
  readonly #cut = new Set<string>();

  cut(a: NodeId, b: NodeId, cut = true): void {
    for (const key of [`${a} ${b}`, `${b} ${a}`]) {
      if (cut) this.#cut.add(key);
      else this.#cut.delete(key);
    }
  }

  links(from: NodeId): PeerLinks {
    const flush = (): void => {
      const self = this.nodes.get(from);
      if (self === undefined) return;
      for (const to of [...self.waiting()]) {
        for (let message = self.take(to); message !== undefined; message = self.take(to)) {
          if (this.#cut.has(`${from} ${to}`)) continue;
          const bytes = encodeMessage(message);
          setImmediate(() => {
            const received = decodeMessage(bytes);
            if (received !== undefined && !('fault' in received)) this.nodes.get(to)?.receive(from, received);
          });
        }
      }
    };
    return { flush, keep: () => undefined, close: async () => undefined };
  }
}

interface Node {
  readonly id: NodeId;
  readonly dir: string;
  readonly opened: OpenedStore;
  readonly dataplane: InMemoryDataplane;
  readonly agent: Agent;
  readonly replication: Replication;
  readonly cells: ReplicaStore;
  /** Makes a mesh of it. */
  found(): void;
  stop(): Promise<void>;
}

let net: Net;
/** What the clock of what is not the replica's is ahead. */
let aheadMs = 0;

const environment: Environment = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  random: () => Math.random(),
  hash,
  sign: (bytes) => hash(bytes),
  verify: (_node, bytes, signature) => Buffer.from(hash(bytes)).equals(signature),
};

/** founds: undefined: in no mesh. */
async function start(id: NodeId, dir: string, founds?: boolean, dataplane = new InMemoryDataplane()): Promise<Node> {
  const opened = openStore(dir, 0);
  let replication: Replication | undefined;
  let held: ReplicaStore | undefined;
  const agent = createAgent({
    store: opened.store,
    dataplane,
    identity: { name: `n${id}`, region: '', country: '', geoipPath: '' },
    version: 'test',
    log: QUIET,
    reconcileMs: 50,
    collectMs: 3_600_000,
    replicated: () => replication,
  });
  const join = (founder: boolean): Replication => {
    const cells = opened.store.openReplica();
    const settings = { roundMs: 50, newsMs: 5, graftAfterMs: 20, storageRetryMs: 20 };
    replication = new Replication({
      replica: new Replica({ node: id, store: cells, environment, settings, founds: founder }),
      projection: new Projection(new Map([['', cells]]), opened.store),
      store: opened.store,
      follow: (project) => agent.config.follow(project),
      onObjects: () => undefined,
      monotonicMs: () => environment.monotonicMs() + aheadMs,
      log: QUIET,
    });
    held = cells;
    net.nodes.set(id, replication);
    return replication;
  };
  if (founds !== undefined) join(founds);
  await agent.start();
  replication?.start(net.links(id));
  const node: Node = {
    id,
    dir,
    opened,
    dataplane,
    agent,
    get replication() {
      if (replication === undefined) throw new Error('it is in no mesh');
      return replication;
    },
    get cells() {
      if (held === undefined) throw new Error('it is in no mesh');
      return held;
    },
    found() {
      join(true).adopt('ada');
      replication?.start(net.links(id));
    },
    stop: async () => {
      net.nodes.delete(id);
      nodes = nodes.filter((other) => other !== node);
      await replication?.stop();
      await agent.stop();
      opened.close();
    },
  };
  nodes.push(node);
  return node;
}

function introduce(): void {
  const members = nodes.map(({ id }) => ({ node: id, alive: true }));
  for (const { replication } of nodes) replication.setMembers(members);
}

async function mesh(count: number): Promise<Node[]> {
  for (let i = 1; i <= count; i++) await start(BigInt(i), join(root, String(i)), i === 1);
  introduce();
  await vi.waitFor(() => expect(nodes.every(({ replication }) => replication.admitted)).toBe(true), 5_000);
  return nodes;
}

const service = (name: string, port: number, fields: object = {}) => ({
  name,
  listeners: [{ protocol: 'tcp', port }],
  backends: [{ name: 'b1', address: '192.0.2.1:80' }],
  ...fields,
});

function apply(
  node: Node,
  configuration: object,
  remove: readonly string[] = [],
  removePolicies: readonly string[] = [],
  acks?: Acks,
) {
  const parsed = parseConfiguration(JSON.stringify({ apiVersion: 'marcher/v1', services: [], ...configuration }));
  if (parsed.configuration === undefined) throw new Error(JSON.stringify(parsed));
  const { services } = parsed.configuration;
  const removeObjects = removePolicies.map((name) => ({ kind: 'TrafficPolicy', name }));
  const change = {
    upsert: services,
    remove,
    replaceAll: false,
    upsertObjects: objectsOf(parsed.configuration),
    removeObjects,
  };
  return node.agent.config.apply(change, { expectedVersion: 0n, message: 'test', omitDiff: true, acks }, CALLER);
}

const names = ({ opened }: Node): string[] => [...opened.store.names()];
const programmed = ({ dataplane }: Node): string[] => [...dataplane.services.keys()].sort();

/** All have the same configuration, which their engines run. */
async function agreed(expected: readonly string[]): Promise<void> {
  await vi.waitFor(() => {
    for (const node of nodes) expect([node.id, names(node)]).toEqual([node.id, expected]);
    for (const node of nodes) expect([node.id, programmed(node)]).toEqual([node.id, expected]);
    expect(new Set(nodes.map(({ opened }) => opened.store.hash())).size).toBe(1);
  }, 5_000);
}

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'marcher-mesh-'));
  net = new Net();
  aheadMs = 0;
});

afterEach(async () => {
  for (const node of [...nodes]) await node.stop();
  rmSync(root, { recursive: true, force: true });
});

describe('a change', () => {
  test('comes to all nodes and into their data planes, wherever it is made', async () => {
    const [a, b, c] = (await mesh(3)) as [Node, Node, Node];
    await apply(a, { services: [service('one', 8001)] });
    await apply(b, { services: [service('two', 8002)] });
    await apply(c, { services: [service('three', 8003)], trafficPolicies: [{ name: 'gold', priority: 'P0' }] });
    await agreed(['one', 'three', 'two']);
    expect(
      c.agent.config
        .history({ limit: 10, beforeVersion: 0n, withDiff: false })
        .some(({ author, origin }) => author === 'ada' && origin === 'mesh'),
    ).toBe(true);
    await apply(c, {}, ['one']);
    await agreed(['three', 'two']);
    for (const { agent } of nodes) expect(agent.config.objects.trafficPolicies.has('gold')).toBe(true);
  });

  test('to one field and one to another, made at the same time, both stand', async () => {
    const [a, b] = (await mesh(2)) as [Node, Node];
    await apply(a, { services: [service('web', 8001)] });
    await agreed(['web']);
    net.cut(a.id, b.id);
    const more = { name: 'b2', address: '192.0.2.2:80' };
    await apply(a, { services: [service('web', 8001, { backends: [{ name: 'b1', address: '192.0.2.1:80' }, more] })] });
    await apply(b, { services: [service('web', 8001, { balance: { algorithm: 'least-connections' } })] });
    net.cut(a.id, b.id, false);
    await agreed(['web']);
    const merged = a.agent.config.get('web')?.service;
    expect(merged?.backends.map(({ name }) => name)).toEqual(['b1', 'b2']);
    expect(merged?.balance?.algorithm).toBe(b.agent.config.get('web')?.service?.balance?.algorithm);
    expect(merged?.balance?.algorithm).not.toBe(0);
  });

  test('that a data plane refuses is nobody’s', async () => {
    const [a, b] = (await mesh(2)) as [Node, Node];
    a.dataplane.refuse = () => 'there is no room';
    await expect(apply(a, { services: [service('web', 8001)] })).rejects.toBeInstanceOf(ApplicationError);
    a.dataplane.refuse = () => undefined;
    await apply(b, { services: [service('other', 8002)] });
    await agreed(['other']);
  });

  test('that can’t be written for the mesh is taken back, in the data plane too', async () => {
    const [a, b] = (await mesh(2)) as [Node, Node];
    await apply(a, { services: [service('web', 8001)] });
    await agreed(['web']);
    a.replication.record = () => {
      throw new ReplicaStoreError('full', 'the disk is full');
    };
    await expect(apply(a, { services: [service('other', 8002)] })).rejects.toThrow('the disk is full');
    expect([names(a), programmed(a)]).toEqual([['web'], ['web']]);
    Reflect.deleteProperty(a.replication, 'record');
    await apply(a, { services: [service('third', 8003)] });
    await agreed(['third', 'web']);
    expect(names(b)).toEqual(['third', 'web']);
  });

  test('that a full disk does not take is said to be missing until it does, and nothing of it is lost', async () => {
    const [a, b] = (await mesh(2)) as [Node, Node];
    await apply(a, { services: [service('web', 8001)] });
    await agreed(['web']);
    const full = (): never => {
      throw new ReplicaStoreError('full', 'no space is left');
    };
    const commit = vi.spyOn(b.cells, 'commit').mockImplementation(full);
    await apply(a, { services: [service('other', 8002)] });
    await vi.waitFor(() => expect(b.replication.trouble?.reason).toBe('NotStored'));
    expect(b.replication.trouble?.message).toBe('1 frames of others not stored: no space is left');
    await expect(apply(b, { services: [service('mine', 8003)] })).rejects.toThrow('no space is left');
    commit.mockRestore();
    const follow = vi.spyOn(b.opened.store, 'follow').mockImplementation(full);
    aheadMs = 3_000;
    await vi.waitFor(() => expect(b.replication.trouble?.reason).toBe('NotApplied'), 5_000);
    expect(names(b)).toEqual(['web']);
    follow.mockRestore();
    await agreed(['other', 'web']);
    expect(b.replication.trouble).toBeUndefined();
    await apply(b, { services: [service('mine', 8003)] });
    await agreed(['mine', 'other', 'web']);
  });

  test('is refused where the mesh’s state has not been taken over', async () => {
    await start(1n, join(root, '1'), true);
    const late = await start(2n, join(root, '2'), false);
    const told = late.dataplane.applied.length;
    await expect(apply(late, { services: [service('web', 8001)] })).rejects.toThrow('has not taken over the mesh');
    expect(late.dataplane.applied.length).toBe(told);
    expect(names(late)).toEqual([]);
    introduce();
    await vi.waitFor(() => expect(late.replication.admitted).toBe(true), 10_000);
    await apply(late, { services: [service('web', 8001)] });
    await agreed(['web']);
  });
});

describe('a change that others are to acknowledge', () => {
  const asking = (node: Node, name: string, port: number, acks: Acks) =>
    apply(node, { services: [service(name, port)] }, [], [], acks);

  test('is answered when so many have it on disk', async () => {
    const [a, b, c] = (await mesh(3)) as [Node, Node, Node];
    const { acks, version } = await asking(a, 'web', 8001, { count: 2, timeoutMs: 60_000 });
    expect([acks, version]).toEqual([2, 1n]);
    for (const { opened } of [b, c]) expect(opened.store.openReplica().object('Service', 'web')).not.toEqual([]);
    const history = { limit: 1, beforeVersion: 0n, withDiff: false };
    await asking(a, 'web', 8002, { count: 1, timeoutMs: 60_000 });
    const reverted = await a.agent.config.revert(
      1n,
      { expectedVersion: 0n, message: '', acks: { count: 2, timeoutMs: 60_000 } },
      CALLER,
    );
    expect([reverted.acks, a.agent.config.history(history)[0]?.version]).toEqual([2, 3n]);
  });

  test('is in force, and says who has it, when they do not in time', async () => {
    const [a, , c] = (await mesh(3)) as [Node, Node, Node];
    for (const { id } of nodes.slice(0, 2)) net.cut(id, c.id);
    const { acks, changed } = await asking(a, 'web', 8001, { count: 2, timeoutMs: 300 });
    expect([acks, changed]).toEqual([1, true]);
    expect(programmed(a)).toEqual(['web']);
    for (const { id } of nodes.slice(0, 2)) net.cut(id, c.id, false);
    await agreed(['web']);
  });

  test('is refused where so many will never be there', async () => {
    const alone = await start(9n, join(root, '9'));
    await expect(asking(alone, 'web', 8001, { count: 1, timeoutMs: 10 })).rejects.toThrow('in no mesh');
    await alone.stop();
    const [a] = (await mesh(2)) as [Node, Node];
    await expect(asking(a, 'web', 8001, { count: 2, timeoutMs: 10 })).rejects.toThrow(
      'min_acks is 2, and there is 1 other node in the mesh',
    );
    expect(names(a)).toEqual([]);
  });
});

describe('of what two sides of a partition did', () => {
  test('the service that was created first has the port; the other comes when that has gone', async () => {
    const [a, b, c] = (await mesh(3)) as [Node, Node, Node];
    net.cut(a.id, b.id);
    net.cut(a.id, c.id);
    await apply(a, { services: [service('first', 8001)] });
    const both = {
      listeners: [
        { protocol: 'tcp', port: 8005 },
        { protocol: 'tcp', port: 8001 },
      ],
    };
    await apply(b, { services: [service('second', 0, both), service('third', 8003)] });
    for (const other of [b, c]) net.cut(a.id, other.id, false);
    await agreed(['first', 'third']);
    for (const { replication } of nodes) {
      expect(replication.exclusions).toMatchObject([{ kind: 'Service', name: 'second', reason: 'Conflicted' }]);
    }
    // A port of one that is left out is free.
    await apply(c, { services: [service('fourth', 8005)] });
    await agreed(['first', 'fourth', 'third']);
    await apply(c, {}, ['fourth']);
    await apply(c, {}, ['first']);
    await agreed(['second', 'third']);
    expect(b.replication.exclusions).toEqual([]);
  });

  test('a service whose policy went is carried without it, and says so', async () => {
    const [a, b] = (await mesh(2)) as [Node, Node];
    await apply(a, { trafficPolicies: [{ name: 'gold', priority: 'P0' }] });
    await apply(a, { services: [service('web', 8001)] });
    await agreed(['web']);
    net.cut(a.id, b.id);
    await apply(a, {}, [], ['gold']);
    await apply(b, { services: [service('web', 8001, { trafficPolicy: 'gold' })] });
    net.cut(a.id, b.id, false);
    await agreed(['web']);
    await vi.waitFor(() => {
      for (const { agent } of nodes) {
        const conditions = agent.config.get('web')?.conditions ?? [];
        expect(conditions.find(({ type }) => type === 'ResolvedRefs')?.reason).toBe('PolicyMissing');
      }
    }, 10_000);
  });

  test('edits that make a service invalid together leave it out everywhere, until it is written anew', async () => {
    const [a, b] = (await mesh(2)) as [Node, Node];
    const at = { listeners: [{ protocol: 'tcp', address: '198.51.100.1', port: 80 }] };
    await apply(a, { services: [service('web', 80, at), service('other', 8002)] });
    await agreed(['other', 'web']);
    net.cut(a.id, b.id);
    // Packets are forwarded as they are: there is no place for a PROXY header.
    const proxied = [{ name: 'b1', address: '192.0.2.1:80', sendProxy: 'v2' }];
    await apply(a, { services: [service('web', 80, { ...at, forwarding: { mode: 'ipip' } })] });
    await apply(b, { services: [service('web', 80, { ...at, backends: proxied })] });
    net.cut(a.id, b.id, false);
    await agreed(['other']);
    for (const { replication } of nodes) {
      expect(replication.exclusions).toMatchObject([{ kind: 'Service', name: 'web', reason: 'Invalid' }]);
    }
    await apply(b, { services: [service('web', 80, at)] });
    await agreed(['other', 'web']);
    for (const { replication } of nodes) expect(replication.exclusions).toEqual([]);
  });
});

describe('a node', () => {
  test('that was away has what it missed, and serves meanwhile', async () => {
    const [a, b] = (await mesh(2)) as [Node, Node];
    await apply(a, { services: [service('one', 8001)] });
    await agreed(['one']);
    const { dir, dataplane } = b;
    await b.stop();
    for (let i = 0; i < 20; i++) await apply(a, { services: [service('one', 8001 + i)] });
    await apply(a, { services: [service('two', 9002)] });
    expect([...dataplane.services.keys()]).toEqual(['one']);
    await start(2n, dir, false, dataplane);
    introduce();
    await agreed(['one', 'two']);
  });

  test('that was killed between the data plane and the mesh finishes what it had begun', async () => {
    const [a, b] = (await mesh(2)) as [Node, Node];
    const { record } = a.replication;
    a.replication.record = () => {
      throw new Error('killed');
    };
    a.opened.store.undo = () => {
      throw new Error('killed');
    };
    await expect(apply(a, { services: [service('web', 8001)] })).rejects.toThrow();
    a.replication.record = record;
    const { dir, dataplane } = a;
    await a.stop();
    await start(1n, dir, false, dataplane);
    introduce();
    await agreed(['web']);
    expect(b.opened.store.version).toBe(1n);
  });

  test('that founds a mesh brings its configuration into it', async () => {
    const a = await start(1n, join(root, '1'));
    await apply(a, {
      services: [service('one', 8001), service('two', 8002)],
      trafficPolicies: [{ name: 'gold', priority: 'P0' }],
    });
    a.found();
    await start(2n, join(root, '2'), false);
    introduce();
    await agreed(['one', 'two']);
    expect(nodes[1]?.agent.config.objects.trafficPolicies.has('gold')).toBe(true);
    expect(a.opened.store.version).toBe(1n);
  });
});
