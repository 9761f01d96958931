// SPDX-License-Identifier: Apache-2.0
/**
 * What must hold of clusters at every moment, and when all is healed. Who is in what it reads from the cells of a node by
 * itself, and not by what the agent makes of them.
 */
import { compare, type Timestamp } from '@marcher/hlc';
import { clusterOf } from '../../application/cluster-of.js';
import { CLUSTER_KIND } from '../../domain/mesh/cluster.js';
import type {
  Addressed,
  ClusterName,
  Frame,
  Hash,
  NodeId,
  ReplicaEvent,
  ReplicaStore,
} from '../../domain/replication/contract.js';
import { decodeFrame } from '../../domain/replication/frame.js';
import { EXISTENCE, visible } from '../../domain/replication/object.js';
import { includes } from '../../domain/replication/origin.js';
import { objectsOfCells, printed } from '../../domain/replication/sim/objects-of-cells.js';
import { configurationFrom, hashOf } from '../followed-configuration.js';
import { ClusterJournal } from './cluster-journal.js';
import { nameOf } from './cluster-node.js';
import type { ClusterWatch, Machine } from './cluster-world.js';

export const CLUSTERS: readonly ClusterName[] = ['eu', 'us'];
const REPLICAS: readonly ClusterName[] = ['', ...CLUSTERS];

export interface WatchOptions {
  readonly hash: Hash;
  readonly machines: () => readonly Machine[];
  readonly count: (what: string) => void;
}

export class Watch implements ClusterWatch {
  readonly #options: WatchOptions;
  readonly journals: ReadonlyMap<ClusterName, ClusterJournal>;
  readonly faults: string[] = [];
  /** Disks have been restored: what only they had is gone without a word. */
  givesUp = false;
  /** Of each replica of a node, the latest stamp of a frame that it has stored since it was opened. */
  readonly #seen = new Map<string, Timestamp>();
  /** By node and cluster, which one of that name it was. */
  readonly #madeWhenOpened = new Map<string, string>();
  readonly #inside = new WeakMap<
    Machine,
    { digest: number; readonly of: ReadonlyMap<ClusterName, ReadonlySet<string>> }
  >();

  constructor(options: WatchOptions) {
    this.#options = options;
    this.journals = new Map(REPLICAS.map((cluster) => [cluster, new ClusterJournal()]));
  }

  fault(text: string): void {
    this.faults.push(text);
  }

  count(what: string): void {
    this.#options.count(what);
  }

  journal(cluster: ClusterName): ClusterJournal {
    return this.journals.get(cluster) as ClusterJournal;
  }

  // At every moment.

  starts({ id }: Machine): void {
    for (const cluster of REPLICAS) this.#seen.delete(`${id}/${cluster}`);
  }

  opened({ id, disk }: Machine, cluster: ClusterName): void {
    this.#seen.delete(`${id}/${cluster}`);
    if (!this.#madeWhenOpened.has(`${id}/${cluster}`))
      this.#madeWhenOpened.set(`${id}/${cluster}`, madeAt(disk.mesh, cluster));
    this.count('cluster opened');
  }

  dropped({ id, disk }: Machine, cluster: ClusterName): void {
    this.count('cluster left');
    const made = this.#madeWhenOpened.get(`${id}/${cluster}`);
    this.#madeWhenOpened.delete(`${id}/${cluster}`);
    if (namesIn(disk.mesh, cluster).has(nameOf(id)) && made === madeAt(disk.mesh, cluster)) {
      this.fault(`node ${id} has dropped cluster ${cluster}, in which it is`);
    }
    this.giveUp(cluster, () => true);
  }

  /** It has another disk, and what was on that. */
  restored({ id }: Machine): void {
    for (const cluster of CLUSTERS) this.#madeWhenOpened.delete(`${id}/${cluster}`);
    this.givesUp = true;
  }

  /** Of these frames those that no disk holds any more. */
  giveUp(cluster: ClusterName, which: (frame: Frame) => boolean, restored = false): void {
    const stores = this.#options.machines().flatMap(({ disk }) => disk.store(cluster) ?? []);
    this.journal(cluster).giveUp(
      which,
      stores.map((store) => store.load()),
      restored,
    );
  }

  frame({ id }: Machine, cluster: ClusterName, frame: Frame): void {
    const journal = this.journal(cluster);
    const key = `${id}/${cluster}`;
    const seen = this.#seen.get(key);
    if (seen === undefined || compare(frame.stamp, seen) > 0) this.#seen.set(key, frame.stamp);
    else if (frame.node === id && !journal.has(frame)) {
      this.fault(`node ${id}: the stamp of a frame of ${shown(cluster)} is not after those of frames that it had`);
    }
    if (frame.cluster !== cluster) this.fault(`node ${id} stored a frame of ${frame.cluster} in ${shown(cluster)}`);
    if (journal.add(frame) !== undefined) {
      this.fault(`two frames with the number ${frame.origin}/${frame.sequence} of ${shown(cluster)}`);
    }
  }

  event(machine: Machine, cluster: ClusterName, event: ReplicaEvent): void {
    this.count(cluster === '' ? event.type : `cluster: ${event.type}`);
    const { id, disk } = machine;
    // What it had alone, of its own or of who gave it that, it has written anew, or named as lost.
    if (event.type === 'incarnation' && event.reason === 'joined by a snapshot') this.giveUp(cluster, () => true);
    if (event.type === 'snapshot') {
      const store = disk.store(cluster);
      if (store !== undefined) this.journal(cluster).takenOver(store.load());
    }
    if (event.type === 'forked' || event.type === 'refused' || event.type === 'damaged') {
      this.fault(`node ${id}, ${shown(cluster)}: ${JSON.stringify(event, withoutBigints)}`);
    }
  }

  /** Nothing of a cluster goes to who is not in it by all that the sender knows, nor as another's. */
  sent(from: Machine, to: Machine, message: Addressed): void {
    const { cluster = '' } = message;
    if (cluster !== '' && this.#insideBy(from).get(cluster)?.has(nameOf(to.id)) !== true) {
      this.fault(`node ${from.id} has sent ${message.type} of ${cluster} to node ${to.id}, which is not in it`);
    }
    for (const bytes of message.type === 'push' ? [message.frame] : message.type === 'frames' ? message.frames : []) {
      const frame = decodeFrame(bytes, this.#options.hash);
      if (!('fault' in frame) && frame.cluster === cluster) continue;
      this.fault(`node ${from.id} has sent a frame that is none of ${shown(cluster)} as one`);
    }
    const cells = message.type === 'snapshot' || message.type === 'repair' ? message.cells : [];
    const strange = cells.find((cell) => !this.journal(cluster).wrote(cell));
    if (strange !== undefined) {
      this.fault(
        `node ${from.id} has sent ${strange.kind}/${strange.id} as of ${shown(cluster)}, where nobody wrote it`,
      );
    }
  }

  /** It holds and serves what is in its clusters, and nothing else. */
  acted(machine: Machine): void {
    const { id, disk, node, config } = machine;
    if (node?.arranged !== true) return;
    const own = this.clustersOf(machine);
    const stored = disk.stored().sort().join();
    if (stored !== own.join()) this.fault(`node ${id} holds "${stored}", and is in "${own.join()}"`);
    if (!node.configuration.followed) return;
    for (const { name, body } of config.scan()) {
      const cluster = clusterOf('Service', body);
      if (cluster === '' || own.includes(cluster)) continue;
      this.fault(`node ${id} serves ${name} of ${cluster}, and is in "${own.join()}"`);
    }
  }

  /** As that node has heard. */
  clustersOf(machine: Machine): ClusterName[] {
    const inside = this.#insideBy(machine);
    return CLUSTERS.filter((cluster) => inside.get(cluster)?.has(nameOf(machine.id)) === true);
  }

  nodesIn(machine: Machine, cluster: ClusterName): ReadonlySet<string> {
    return this.#insideBy(machine).get(cluster) ?? new Set();
  }

  #insideBy(machine: Machine): ReadonlyMap<ClusterName, ReadonlySet<string>> {
    const digest = machine.node?.shards.mesh.ledger.digests.root ?? Number.NaN;
    const known = this.#inside.get(machine);
    if (known?.digest === digest) return known.of;
    const of = new Map(CLUSTERS.map((cluster) => [cluster, namesIn(machine.disk.mesh, cluster)]));
    this.#inside.set(machine, { digest, of });
    return of;
  }

  // When all is healed.

  /** Why it is not so that all have the same of what they share; undefined: it is. */
  difference(): string | undefined {
    const machines = this.#options.machines();
    const [first] = machines;
    if (first === undefined) return undefined;
    for (const cluster of REPLICAS) {
      const inside =
        cluster === '' ? machines : machines.filter(({ id }) => this.nodesIn(first, cluster).has(nameOf(id)));
      const ledgers = inside.map(({ node }) => node?.shards.of(cluster)?.ledger);
      const [one] = ledgers;
      for (const [i, ledger] of ledgers.entries()) {
        const id = inside[i]?.id;
        if (ledger === undefined) return `node ${id} does not hold ${shown(cluster)}`;
        if (!ledger.admitted) return `node ${id} has not taken over ${shown(cluster)}`;
        if (one === undefined || ledger.digests.root !== one.digests.root) return `${shown(cluster)} differs at ${id}`;
        if (!includes(ledger, one, ledger.forks)) return `node ${id} lacks frames of ${shown(cluster)}`;
        if (!includes(one, ledger, one.forks)) return `node ${inside[0]?.id} lacks frames of ${shown(cluster)}`;
      }
    }
    return undefined;
  }

  /** Whether those that are in it all wait for somebody who has it. */
  isOrphan(cluster: ClusterName): boolean {
    const machines = this.#options.machines();
    const [first] = machines;
    const names = first === undefined ? new Set<string>() : this.nodesIn(first, cluster);
    const inside = machines.filter(({ id }) => names.has(nameOf(id)));
    return inside.length > 0 && inside.every(({ node }) => node?.shards.of(cluster)?.ledger.admitted === false);
  }

  /** Of the same cells. */
  check(): void {
    const machines = this.#options.machines();
    for (const cluster of REPLICAS) {
      const holders = machines.filter(({ disk }) => disk.store(cluster) !== undefined);
      const [first] = holders;
      if (first === undefined) continue;
      const vector = first.disk.store(cluster)?.load();
      if (vector === undefined) continue;
      const { objects, missing } = this.journal(cluster).model(vector, this.#options.hash);
      if (!this.givesUp) for (const key of missing) this.fault(`frame ${key} of ${shown(cluster)} is nowhere`);
      const expected = printed(objects);
      for (const { id, disk } of holders) {
        const found = printed(objectsOfCells(disk.store(cluster)?.cells() ?? []));
        if (found !== expected) this.fault(`node ${id} holds in ${shown(cluster)}\n${found}\nand not\n${expected}`);
      }
    }
    this.#checkConfigurations();
  }

  #checkConfigurations(): void {
    const hashes = new Map<string, string>();
    for (const machine of this.#options.machines()) {
      const { id, node, disk, config } = machine;
      while (node?.configuration.followed === false) node.configuration.follow();
      const own = this.clustersOf(machine);
      const found = hashOf(config);
      const cells = new Map<ClusterName, ReplicaStore>([['', disk.mesh]]);
      for (const cluster of own) cells.set(cluster, disk.store(cluster) as ReplicaStore);
      const anew = hashOf(configurationFrom(cells));
      if (found !== anew) this.fault(`node ${id} in "${own.join()}" has another configuration than its cells make`);
      const other = hashes.get(own.join());
      if (other !== undefined && other !== found) this.fault(`nodes in "${own.join()}" have different configurations`);
      hashes.set(own.join(), found);
      for (const { reason } of node?.configuration.exclusions ?? []) this.count(`left out: ${reason}`);
    }
    this.count('configurations compared');
  }
}

/** Ids of the nodes that are in it by these cells. */
function namesIn(store: ReplicaStore, cluster: ClusterName): ReadonlySet<string> {
  const groups = new Map(store.object(CLUSTER_KIND, cluster).map((cell) => [cell.group, cell]));
  const names = [...visible(groups)].map(({ group }) => group);
  if (!names.includes(EXISTENCE)) return new Set();
  return new Set(names.filter((name) => name.startsWith('node/')).map((name) => name.slice('node/'.length)));
}

function madeAt(store: ReplicaStore, cluster: ClusterName): string {
  const stamp = store.object(CLUSTER_KIND, cluster).find(({ group }) => group === EXISTENCE)?.stamp;
  return stamp === undefined ? '' : `${stamp.ms}.${stamp.counter}.${stamp.node}`;
}

export function isIn(names: ReadonlySet<string>, node: NodeId): boolean {
  return names.has(nameOf(node));
}

function shown(cluster: ClusterName): string {
  return cluster === '' ? "the mesh's replica" : `cluster ${cluster}`;
}

function withoutBigints(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}
