// SPDX-License-Identifier: Apache-2.0
/**
 * What nodes of a simulated mesh make of their cells, by what the agent itself uses: services and traffic policies are
 * written as changes of the configuration in force at a node, and it follows what comes in by the real projection, part
 * by part, in the node's own order. When all hold the same cells, all must have the same bytes, and the same as a node that
 * works them out from nothing.
 */
import { createHash } from 'node:crypto';
import { parseConfiguration } from '@marcher/model';
import { ConfigurationIndex } from '../application/change-preparation.js';
import { type ObjectName, Projection } from '../application/mesh/projection.js';
import { writesOf } from '../application/mesh/writes.js';
import { packObject } from '../application/object-codec.js';
import { packService } from '../application/service-codec.js';
import type { CellWrite, NodeId } from '../domain/replication/contract.js';
import { objectKey } from '../domain/replication/object.js';
import type { Effects } from '../domain/replication/sim/history.js';
import type { Random } from '../domain/replication/sim/random.js';
import type { SimNode } from '../domain/replication/sim/world.js';
import type { CommitChange, ConfigReader, ConfigStore } from '../ports/config-store.js';
import { MemoryConfigStore } from './memory-config-store.js';
import { SqliteDisk } from './sqlite-disk.js';

const SERVICES = ['a', 'b', 'c'];
const POLICIES = ['gold', 'silver'];
const PORTS = [8001, 8002, 8003, 8004, 8005, 8006, 8007, 8008];
const REVISION = { timeMs: 0, author: 'sim', origin: 'mesh', message: '' };

const bodies = new Map<string, Uint8Array>();

/** Packed once: parsing is not what is simulated. */
function packed(file: {
  readonly services?: readonly object[];
  readonly trafficPolicies?: readonly object[];
}): Uint8Array {
  const text = JSON.stringify({ apiVersion: 'marcher/v1', ...file });
  const known = bodies.get(text);
  if (known !== undefined) return known;
  const { configuration, violations } = parseConfiguration(text);
  const [service] = configuration?.services ?? [];
  const [policy] = configuration?.trafficPolicies ?? [];
  let body: Uint8Array;
  if (service !== undefined) body = packService(service);
  else if (policy !== undefined) {
    body = packObject({ $typeName: 'marcher.v1.Object', object: { case: 'trafficPolicy', value: policy } }).after;
  } else throw new Error(`${text}: ${JSON.stringify(violations)}`);
  bodies.set(text, body);
  return body;
}

/** Valid by itself; with what others write meanwhile it may share a port, or contradict itself. */
function service(name: string, random: Random): Uint8Array {
  const port = random.pick(PORTS);
  const second = random.pick(PORTS);
  // What is forwarded as it is has no room for a PROXY header, and keeps its port.
  const way = random.below(4);
  const ports = second === port || way === 0 ? [port] : [port, second];
  const address = `192.0.2.9:${port}`;
  const policy = random.below(4);
  return packed({
    services: [
      {
        name,
        listeners: ports.map((one) => ({ protocol: 'tcp', address: '198.51.100.1', port: one })),
        backends: [{ name: 'b1', address, ...(way === 1 ? { sendProxy: 'v2' } : {}) }],
        ...(way === 0 ? { forwarding: { mode: 'ipip' } } : {}),
        ...(way > 1 && policy < POLICIES.length ? { trafficPolicy: POLICIES[policy] } : {}),
      },
    ],
  });
}

type Store = ConfigReader & Pick<ConfigStore, 'follow'>;

interface Following {
  readonly store: Store;
  readonly projection: Projection;
  readonly index: ConfigurationIndex;
  readonly dirty: Map<string, ObjectName>;
  /** Changes until it follows: a node with more to do takes more at once. */
  patience: number;
}

export class Configurations implements Effects {
  readonly #nodes = new Map<NodeId, Following>();
  readonly #inMemory = new Map<NodeId, MemoryConfigStore>();
  readonly #counts: Record<string, number> = {};

  starts(node: SimNode): void {
    const store = this.#storeOf(node);
    const index = new ConfigurationIndex(store);
    index.load();
    const following = {
      store,
      index,
      projection: new Projection(new Map([['', node.disk]]), store),
      dirty: new Map(),
      patience: 0,
    };
    this.#nodes.set(node.id, following);
    // As after every start: what was followed last is not known.
    this.#bringIn(following, following.projection.whole());
  }

  transaction(node: SimNode, random: Random): CellWrite[] {
    const { store } = this.#of(node);
    if (random.chance(0.15)) {
      const name = random.pick(POLICIES);
      const before = store.object('TrafficPolicy', name)?.body;
      const gone = before !== undefined && random.chance(0.4);
      const after = gone ? undefined : packed({ trafficPolicies: [{ name, dscp: random.below(4) }] });
      return writesOf([{ kind: 'TrafficPolicy', name, before, after }]);
    }
    const names = new Set(Array.from({ length: 1 + random.below(2) }, () => random.pick(SERVICES)));
    return writesOf(
      Array.from(names, (name): CommitChange => {
        const before = store.get(name)?.body;
        const after = before !== undefined && random.chance(0.3) ? undefined : service(name, random);
        return { kind: 'Service', name, before, after };
      }),
    );
  }

  changed(node: SimNode, objects: readonly ObjectName[]): void {
    const following = this.#of(node);
    for (const object of objects) following.dirty.set(objectKey(object.kind, object.id), object);
    if (following.patience-- > 0) return;
    following.patience = Number(node.id % 3n);
    this.#follow(following);
  }

  faults(nodes: readonly SimNode[]): string[] {
    const faults: string[] = [];
    const [first] = nodes;
    if (first === undefined) return faults;
    const anew = new MemoryConfigStore();
    anew.follow(REVISION, new Projection(new Map([['', first.disk]]), anew).whole());
    const expected = hashOf(anew);
    for (const node of nodes) {
      const following = this.#of(node);
      this.#follow(following);
      const found = hashOf(following.store);
      if (found !== expected) faults.push(`node ${node.id} has configuration ${found}, and not ${expected}`);
      for (const { reason } of following.projection.exclusions) this.#count(`left out: ${reason}`);
    }
    this.#count('configurations compared', nodes.length);
    return faults;
  }

  counts(): Readonly<Record<string, number>> {
    return this.#counts;
  }

  #of({ id }: SimNode): Following {
    const following = this.#nodes.get(id);
    if (following === undefined) throw new Error(`node ${id} was never started`);
    return following;
  }

  #storeOf({ id, disk }: SimNode): Store {
    if (disk instanceof SqliteDisk) return disk.config;
    const known = this.#inMemory.get(id);
    if (known !== undefined) return known;
    const store = new MemoryConfigStore();
    this.#inMemory.set(id, store);
    return store;
  }

  /** As the agent's follower does. */
  #follow(following: Following): void {
    const { projection, dirty } = following;
    const objects = [...dirty.values()];
    dirty.clear();
    if (objects.length === 0) return;
    const part = projection.partly(objects);
    this.#count(part === undefined ? 'configurations followed as a whole' : 'configurations followed in part');
    this.#bringIn(following, part ?? projection.whole());
  }

  #bringIn({ store, projection, index }: Following, first: readonly CommitChange[]): void {
    let changes = first;
    let adopted = index.adopt(changes);
    if (adopted === undefined) {
      // Two services claim one port.
      changes = projection.whole();
      adopted = index.adopt(changes);
      if (adopted === undefined) throw new Error('a configuration in which no port is shared shares one');
    }
    if (changes.length > 0) store.follow(REVISION, changes);
    adopted.accept();
  }

  #count(what: string, times = 1): void {
    this.#counts[what] = (this.#counts[what] ?? 0) + times;
  }
}

function hashOf(store: ConfigReader): string {
  const hash = createHash('sha256');
  const bodies = [...store.scan(), ...store.objects()].sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const { name, body } of bodies) hash.update(`${name}\n${body.length}\n`).update(body);
  return hash.digest('hex');
}
