// SPDX-License-Identifier: Apache-2.0
/**
 * What nodes of a simulated mesh make of their cells, by what the agent itself uses: services and traffic policies are
 * written as changes of the configuration in force at a node, and it follows what comes in by the real projection, part
 * by part, in the node's own order. When all hold the same cells, all must have the same bytes, and the same as a node that
 * works them out from nothing.
 */
import type { ObjectName } from '../application/mesh/projection.js';
import { writesOf } from '../application/mesh/writes.js';
import type { CellWrite, NodeId } from '../domain/replication/contract.js';
import type { Effects } from '../domain/replication/sim/history.js';
import type { Random } from '../domain/replication/sim/random.js';
import type { SimNode } from '../domain/replication/sim/world.js';
import type { CommitChange } from '../ports/config-store.js';
import { POLICIES, policyBody, serviceBody } from './bodies.js';
import { configurationFrom, FollowedConfiguration, type FollowedStore, hashOf } from './followed-configuration.js';
import { MemoryConfigStore } from './memory-config-store.js';
import { SqliteDisk } from './sqlite-disk.js';

const SERVICES = ['a', 'b', 'c'];

interface Following {
  readonly configuration: FollowedConfiguration;
  /** Changes until it follows: a node with more to do takes more at once. */
  patience: number;
}

export class Configurations implements Effects {
  readonly #nodes = new Map<NodeId, Following>();
  readonly #inMemory = new Map<NodeId, MemoryConfigStore>();
  readonly #counts: Record<string, number> = {};

  starts(node: SimNode): void {
    const configuration = new FollowedConfiguration(new Map([['', node.disk]]), this.#storeOf(node));
    this.#nodes.set(node.id, { configuration, patience: 0 });
  }

  transaction(node: SimNode, random: Random): CellWrite[] {
    const { store } = this.#of(node).configuration;
    if (random.chance(0.15)) {
      const name = random.pick(POLICIES);
      const before = store.object('TrafficPolicy', name)?.body;
      const gone = before !== undefined && random.chance(0.4);
      return writesOf([{ kind: 'TrafficPolicy', name, before, after: gone ? undefined : policyBody(name, random) }]);
    }
    const names = new Set(Array.from({ length: 1 + random.below(2) }, () => random.pick(SERVICES)));
    return writesOf(
      Array.from(names, (name): CommitChange => {
        const before = store.get(name)?.body;
        const after = before !== undefined && random.chance(0.3) ? undefined : serviceBody(name, random);
        return { kind: 'Service', name, before, after };
      }),
    );
  }

  changed(node: SimNode, objects: readonly ObjectName[]): void {
    const following = this.#of(node);
    following.configuration.changed(objects);
    if (following.patience-- > 0) return;
    following.patience = Number(node.id % 3n);
    this.#follow(following);
  }

  faults(nodes: readonly SimNode[]): string[] {
    const faults: string[] = [];
    const [first] = nodes;
    if (first === undefined) return faults;
    const expected = hashOf(configurationFrom(new Map([['', first.disk]])));
    for (const node of nodes) {
      const following = this.#of(node);
      this.#follow(following);
      const found = hashOf(following.configuration.store);
      if (found !== expected) faults.push(`node ${node.id} has configuration ${found}, and not ${expected}`);
      for (const { reason } of following.configuration.exclusions) this.#count(`left out: ${reason}`);
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

  #storeOf({ id, disk }: SimNode): FollowedStore {
    if (disk instanceof SqliteDisk) return disk.config;
    const known = this.#inMemory.get(id);
    if (known !== undefined) return known;
    const store = new MemoryConfigStore();
    this.#inMemory.set(id, store);
    return store;
  }

  #follow({ configuration }: Following): void {
    const much = configuration.follow();
    if (much !== undefined) {
      this.#count(much === 'part' ? 'configurations followed in part' : 'configurations followed as a whole');
    }
  }

  #count(what: string, times = 1): void {
    this.#counts[what] = (this.#counts[what] ?? 0) + times;
  }
}
