// SPDX-License-Identifier: Apache-2.0
/**
 * One history from a seed of nodes that are in clusters: they are assigned, taken out and assigned again, also while they
 * are cut off or down, and clusters are deleted and made anew, while everything is written and fails as in
 * domain/replication/sim. What must hold meanwhile and in the end: cluster-watch.ts.
 */
import { compare, type Timestamp } from '@marcher/hlc';
import type { Written } from '../../application/mesh/shards.js';
import { clusterCreation, clusterDeletion, unassignment } from '../../domain/mesh/cluster.js';
import type { ReplicaSettings } from '../../domain/replication/context.js';
import type { Addressed, CellWrite, ClusterName, Frame, Hash } from '../../domain/replication/contract.js';
import { EXISTENCE } from '../../domain/replication/object.js';
import { covers } from '../../domain/replication/origin.js';
import type { HistoryResult } from '../../domain/replication/sim/history.js';
import { type Plan, planOf } from '../../domain/replication/sim/plan.js';
import { Random } from '../../domain/replication/sim/random.js';
import { assignmentWrites } from '../../mesh/clusters.js';
import type { CommitChange } from '../../ports/config-store.js';
import { ApplicationError } from '../../ports/use-cases.js';
import { serviceBody } from '../bodies.js';
import { nameOf } from './cluster-node.js';
import { CLUSTERS, isIn, Watch } from './cluster-watch.js';
import { ClusterWorld, type Machine } from './cluster-world.js';

export interface ClusterHistoryOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly hash: Hash;
}

const MESH_SETTINGS: Partial<ReplicaSettings> = {
  roundMs: 400,
  answerMs: 1500,
  graftAfterMs: 60,
  graftAgainMs: 300,
  aheadMaxMs: 1500,
  clockOffMaxMs: 1000,
  upkeepMs: 1500,
  upkeepBuckets: 128,
  tombstoneMinMs: 2500,
  storageRetryMs: 300,
  backoffMaxMs: 3000,
};
/** Compared less often, as in earnest. */
const CLUSTER_SETTINGS = { ...MESH_SETTINGS, roundMs: 800 };

const HEAL_MAX_MS = 90_000;
/** Until an operator takes it that nobody will come who has what is in a cluster. */
const ORPHAN_MS = 15_000;
const FORGET_MAX_MS = 30_000;
/** One mistake shows at every node. */
const FAULTS_SHOWN = 20;
const COMMIT_STEPS_MAX = 14;
/** Services that stay in the cluster and the generation of it that they name, and those that move. */
const STAYING = ['a', 'b'];
const MOVING = ['m', 'n'];

export function runClusterHistory(options: ClusterHistoryOptions): HistoryResult {
  return new ClusterHistory(options).run();
}

class ClusterHistory {
  readonly #random: Random;
  readonly #world: ClusterWorld;
  readonly #watch: Watch;
  readonly #plan: Plan;
  readonly #durationMs: number;
  readonly #events: Record<string, number> = {};
  /** How often each cluster was made anew. */
  readonly #generations = new Map<ClusterName, number>(CLUSTERS.map((cluster) => [cluster, 0]));
  /** Into these somebody was assigned by who had not heard of the newest one: it is in that with what it has. */
  readonly #carriedOver = new Set<ClusterName>();
  #acknowledged = 0;
  /** Machines that are down until something else starts them. */
  readonly #held = new Set<Machine>();
  #pending = 0;

  constructor({ seed, nodes, hash }: ClusterHistoryOptions) {
    const random = new Random(seed ^ 0x5bd1e995);
    this.#random = random;
    this.#plan = planOf('by-chance', random);
    this.#durationMs = random.between(4000, 12_000);
    this.#watch = new Watch({ hash, machines: () => this.#world.machines, count: (what) => this.#count(what) });
    const bounds: Partial<ReplicaSettings> = {
      retention: random.chance(0.4) ? { frames: 10, bytes: 1e9 } : { frames: 10_000, bytes: 1e9 },
      holding: random.chance(0.3) ? { frames: 4, bytes: 1e6 } : { frames: 1000, bytes: 1e6 },
      answerBytes: random.chance(0.5) ? 400 : 100_000,
      outboxBytes: random.chance(0.2) ? 2000 : 1_000_000,
    };
    this.#world = new ClusterWorld({
      ...{ random, hash, watch: this.#watch, machines: nodes },
      settings: { mesh: { ...MESH_SETTINGS, ...bounds }, cluster: { ...CLUSTER_SETTINGS, ...bounds } },
    });
  }

  run(): HistoryResult {
    const world = this.#world;
    let healedMs = 0;
    try {
      healedMs = this.#live();
    } catch (error) {
      this.#watch.fault(`thrown: ${error instanceof Error ? error.stack : error}`);
    }
    const { network } = world;
    this.#count('message lost', network.lost);
    this.#count('message doubled', network.duplicated);
    this.#count('message late', network.reordered);
    this.#count('crash', world.crashes);
    for (const { disk } of world.machines) this.#count('crash within a commit', disk.crashedWithin);
    this.#count('power failure', world.powerFailures);
    this.#count('commits lost by power failure', world.commitsLost);
    const { faults, journals } = this.#watch;
    const more = faults.length - FAULTS_SHOWN;
    let frames = 0;
    for (const journal of journals.values()) frames += journal.frames;
    return {
      faults: more > 0 ? [...faults.slice(0, FAULTS_SHOWN), `and ${more} more`] : faults,
      acknowledged: this.#acknowledged,
      frames,
      messages: network.messages,
      crashes: world.crashes,
      healedMs,
      events: this.#events,
    };
  }

  #live(): number {
    const world = this.#world;
    const random = this.#random;
    const { skew, lossy } = this.#plan;
    for (const machine of world.machines) {
      if (skew) {
        machine.skewMs = random.between(-600, 600);
        machine.drift = random.between(-0.002, 0.002);
        this.#count('clock skewed and drifting');
      }
      world.start(machine);
    }
    world.time.at(10, () => this.#found());
    if (lossy) Object.assign(world.network, { loss: random.next() * 0.2, duplication: 0.05, reordering: 0.05 });
    this.#often(10 + random.below(50), () => this.#change());
    this.#often(2 + random.below(10), () => this.#reassign());
    this.#often(random.below(6), () => this.#ask());
    if (random.chance(0.2)) this.#often(1, () => this.#makeAnew());
    if (random.chance(0.4)) this.#often(1, () => this.#leaveAndReturn());
    this.#planFaults();
    world.time.runUntil(this.#durationMs);
    const healedMs = this.#heal();
    if (this.#watch.faults.length === 0) {
      this.#watch.check();
      this.#checkGenerations();
    }
    return healedMs;
  }

  #often(times: number, act: () => void): void {
    for (let i = 0; i < times; i++) this.#world.time.at(this.#random.between(100, this.#durationMs), act);
  }

  // What operators do.

  /** Both clusters, with some nodes in each; the first of them begins. */
  #found(): void {
    const [first] = this.#world.machines as [Machine];
    this.#record(first, () => CLUSTERS.flatMap((name) => clusterCreation(name, this.#world.wallMs(first), 'g0')));
    for (const cluster of CLUSTERS) {
      for (const machine of this.#world.machines)
        if (this.#random.chance(0.6)) this.#assign(first, machine, cluster, false);
    }
  }

  #anyone(): Machine {
    return this.#random.pick(this.#world.machines);
  }

  #acts({ node, pausedUntilMs }: Machine): boolean {
    return node !== undefined && pausedUntilMs <= this.#world.time.nowMs;
  }

  /** Of services, in clusters that this node is in, and sometimes in others. */
  #change(machine = this.#anyone()): void {
    const random = this.#random;
    const { node } = machine;
    if (node === undefined || !this.#acts(machine)) return;
    const own = this.#watch.clustersOf(machine);
    const inside = (): ClusterName => (random.chance(0.05) ? random.pick(CLUSTERS) : random.pick(['', ...own, ...own]));
    const changes = new Map<string, CommitChange>();
    for (let i = random.below(2); i >= 0; i--) {
      const moves = random.chance(0.3);
      const cluster = inside();
      const name = moves ? random.pick(MOVING) : `${random.pick(STAYING)}${this.#mark(machine, cluster)}`;
      const before = machine.config.get(name)?.body;
      const gone = before !== undefined && random.chance(0.3);
      const after = gone ? undefined : serviceBody(name, random, cluster);
      if (moves && before !== undefined && after !== undefined) this.#count('service moved or changed');
      changes.set(name, { kind: 'Service', name, before, after });
    }
    this.#write(machine, () => node.change([...changes.values()]));
  }

  /** What is of one that was deleted must not be in the next of its name. */
  #mark(machine: Machine, cluster: ClusterName): string {
    return cluster === '' ? '' : `-${cluster}-${machine.node?.clusters.get(cluster)?.createdBy ?? 'none'}`;
  }

  /** Of what is not configuration; undefined: it could not be written. */
  #record(machine: Machine, writes: () => readonly CellWrite[]): readonly Written[] | undefined {
    const { node } = machine;
    if (node === undefined || !this.#acts(machine)) return undefined;
    return this.#write(machine, () => {
      const wanted = writes();
      return wanted.length === 0 ? [] : node.write(wanted);
    });
  }

  #write(machine: Machine, write: () => readonly Written[]): readonly Written[] | undefined {
    const result = this.#world.act(machine, () => {
      try {
        return write();
      } catch (error) {
        if (!(error instanceof ApplicationError)) throw error;
        this.#count(`refused: ${error.message.replace(/:.*/, '').replace(/ is \d+ ms .*/, ' is off')}`);
        return undefined;
      }
    });
    if (result !== undefined && result.length > 0) this.#acknowledges(machine, result);
    return result;
  }

  #acknowledges(machine: Machine, written: readonly Written[]): void {
    this.#acknowledged++;
    if (written.length > 1) this.#count('change of several replicas');
    for (const { cluster, origin, sequence } of written) {
      const store = machine.disk.store(cluster);
      if (!this.#watch.journal(cluster).has({ origin, sequence })) {
        this.#watch.fault(`node ${machine.id} acknowledged frame ${sequence} of ${origin}, and never stored it`);
      }
      if (store !== undefined)
        machine.acknowledged.push({ cluster, store, takeovers: store.takeovers, origin, sequence });
    }
  }

  /** A node comes into a cluster, or goes out of it, as far as the one that is asked knows. */
  #reassign(): void {
    const random = this.#random;
    const [actor, machine, cluster] = [this.#anyone(), this.#anyone(), random.pick(CLUSTERS)];
    if (isIn(this.#watch.nodesIn(actor, cluster), machine.id) && random.chance(0.9))
      this.#unassign(actor, machine, cluster);
    else this.#assign(actor, machine, cluster, random.chance(0.05));
  }

  /** Gives whether it could be written. */
  #assign(actor: Machine, machine: Machine, cluster: ClusterName, begin: boolean): boolean {
    const written = this.#record(actor, () => {
      const { clusters } = actor.node as NonNullable<Machine['node']>;
      const record = clusters.get(cluster);
      const nowMs = this.#world.wallMs(actor);
      return record === undefined
        ? []
        : assignmentWrites({ clusters }, nameOf(machine.id), [record], begin, 'sim', nowMs);
    });
    if (written === undefined || written.length === 0) return false;
    if (actor.node?.clusters.get(cluster)?.createdBy !== `g${this.#generations.get(cluster)}`)
      this.#carriedOver.add(cluster);
    this.#count(begin ? 'assigned to begin' : 'assigned');
    if (machine.node === undefined) this.#count('assigned while down');
    return true;
  }

  #unassign(actor: Machine, machine: Machine, cluster: ClusterName): void {
    const last = this.#watch.nodesIn(actor, cluster).size <= 1;
    if (last && this.#random.chance(0.7)) return;
    const written = this.#record(actor, () => [unassignment(cluster, nameOf(machine.id))]);
    if (written === undefined) return;
    this.#count(last ? 'last node taken out' : 'taken out');
    if (machine.node === undefined) this.#count('taken out while down');
  }

  /** Deleted with all that is in it, and made again under the same name. */
  #makeAnew(): void {
    const actor = this.#anyone();
    const cluster = this.#random.pick(CLUSTERS);
    const generation = Number(actor.node?.clusters.get(cluster)?.createdBy.slice(1));
    if (!this.#acts(actor) || Number.isNaN(generation)) return;
    const nodes = this.#world.machines.filter(({ id }) => isIn(this.#watch.nodesIn(actor, cluster), id));
    if (this.#record(actor, () => [clusterDeletion(cluster)]) === undefined) return;
    const nowMs = this.#world.wallMs(actor);
    if (this.#record(actor, () => clusterCreation(cluster, nowMs, `g${generation + 1}`)) === undefined) return;
    this.#count('cluster made anew');
    this.#generations.set(cluster, Math.max(generation + 1, this.#generations.get(cluster) ?? 0));
    for (const machine of nodes) if (this.#random.chance(0.7)) this.#assign(actor, machine, cluster, false);
  }

  /** Somebody asks for what is in a cluster that it is not in. */
  #ask(): void {
    const random = this.#random;
    const [asked, asking, cluster] = [this.#anyone(), this.#anyone(), random.pick(CLUSTERS)];
    if (!this.#acts(asked) || asked === asking || isIn(this.#watch.nodesIn(asked, cluster), asking.id)) return;
    const origins = [...(asked.disk.store(cluster)?.load().heads.keys() ?? [])];
    const ranges = origins.map((origin) => ({ origin, from: 1, through: 100 }));
    const messages: Addressed[] = [
      { type: 'snapshot-request', id: 1, part: 0 },
      { type: 'request', id: 2, ranges },
      { type: 'graft', ranges },
      { type: 'digests', buckets: Array(256).fill(1) },
    ];
    this.#count('asked by a node that is not in the cluster');
    this.#world.deliver(asking.id, asked, { ...random.pick(messages), cluster });
  }

  /**
   * A node goes out of a cluster while it is cut off or down, and comes in again when the others have forgotten what was
   * deleted meanwhile, which it still has on its disk.
   */
  #leaveAndReturn(): void {
    const random = this.#random;
    const { machines, time, network } = this.#world;
    const cluster = random.pick(CLUSTERS);
    const inside = machines.filter((machine) => this.#watch.clustersOf(machine).includes(cluster));
    const [actor, leaving] = [random.pick(machines), inside.length > 1 ? random.pick(inside) : undefined];
    if (leaving === undefined || actor === leaving || !this.#acts(actor)) return;
    const staying = inside.filter((machine) => machine !== leaving);
    const away = random.chance(0.5);
    const reach = away ? network.cuts.away(leaving.id) : () => {};
    const stops = !away && random.chance(0.5);
    if (stops) {
      this.#world.crash(leaving);
      this.#held.add(leaving);
    }
    this.#unassign(actor, leaving, cluster);
    this.#count(away ? 'left while cut off' : stops ? 'left while down' : 'left');
    this.#pending++;
    this.#whenForgotten(cluster, staying, () => {
      this.#assign(actor, leaving, cluster, false);
      // Or what it has heard meanwhile, it has heard one after the other.
      time.after(random.between(0, 1500), () => {
        reach();
        this.#pending--;
        if (this.#held.delete(leaving) && leaving.node === undefined) this.#world.start(leaving);
      });
    });
  }

  /** Something is deleted in any case. */
  #whenForgotten(cluster: ClusterName, staying: readonly Machine[], then: () => void): void {
    const { time } = this.#world;
    const untilMs = time.nowMs + FORGET_MAX_MS;
    let deleted: Timestamp | undefined;
    const horizonOf = ({ node }: Machine): Timestamp | undefined => node?.shards.of(cluster)?.ledger.horizon.stamp;
    const look = (): void => {
      const stamp = deleted;
      const forgotten = stamp !== undefined && staying.some((one) => compare(horizonOf(one) ?? stamp, stamp) > 0);
      if (forgotten) this.#count('out until forgotten');
      if (forgotten || time.nowMs > untilMs || !staying.some((one) => this.#watch.clustersOf(one).includes(cluster))) {
        then();
        return;
      }
      deleted ??= staying.map((one) => this.#deleteOne(one, cluster)).find((one) => one !== undefined);
      time.after(500, look);
    };
    look();
  }

  #deleteOne(machine: Machine, cluster: ClusterName): Timestamp | undefined {
    const { node } = machine;
    if (node === undefined || !this.#acts(machine)) return undefined;
    const there = machine.disk
      .store(cluster)
      ?.cells()
      .find(({ group, value }) => group === EXISTENCE && value !== undefined);
    const before = there && machine.config.get(there.id)?.body;
    if (there === undefined || before === undefined) return undefined;
    const written = this.#write(machine, () =>
      node.change([{ kind: 'Service', name: there.id, before, after: undefined }]),
    );
    return written === undefined ? undefined : there.stamp;
  }

  // Faults.

  #planFaults(): void {
    const random = this.#random;
    const world = this.#world;
    const { crashes, massRestart, fullDisks, restores, skew } = this.#plan;
    const some = (most: number, act: () => void): void => this.#often(random.below(most + 1), act);
    some(3, () => {
      const side = new Set(world.machines.filter(() => random.chance(0.5)).map(({ id }) => id));
      const both = random.chance(0.6);
      this.#count(both ? 'partition both ways' : 'partition one way');
      world.time.after(random.between(200, 5000), world.network.cuts.partition(side, both));
    });
    some(2, () => {
      this.#count('pause');
      this.#anyone().pausedUntilMs = world.time.nowMs + random.between(50, 3000);
    });
    if (crashes) some(4, () => this.#crash(restores));
    if (massRestart) {
      this.#often(1, () => {
        this.#count('mass restart');
        const power = this.#plan.power && random.chance(0.7);
        for (const machine of world.machines) {
          machine.losesPower = power && machine.node !== undefined;
          world.crash(machine);
          this.#startLater(machine, random.between(100, 3000));
        }
      });
    }
    if (fullDisks) {
      some(2, () => {
        const machine = this.#anyone();
        this.#count('full disk');
        const { disk } = machine;
        disk.fillsAfter = random.below(2 * COMMIT_STEPS_MAX);
        world.time.after(random.between(100, 2000), () => {
          disk.fillsAfter = undefined;
          disk.full = false;
        });
      });
    }
    if (skew && random.chance(0.4)) {
      some(1, () => {
        this.#count('clock set');
        this.#anyone().skewMs += random.between(-8000, 8000);
      });
    }
  }

  #startLater(machine: Machine, ms: number): void {
    this.#pending++;
    this.#world.time.after(ms, () => {
      this.#pending--;
      if (machine.node === undefined && !this.#held.has(machine)) this.#world.start(machine);
    });
  }

  #crash(restores: boolean): void {
    const random = this.#random;
    const world = this.#world;
    const machine = this.#anyone();
    if (machine.node === undefined) return;
    machine.losesPower = this.#plan.power && random.chance(0.5);
    const way = random.below(3);
    if (way === 0) world.crash(machine);
    else if (way === 1) machine.disk.crashAfter = random.below(COMMIT_STEPS_MAX);
    else machine.disk.crashCommitted = true;
    const backup = restores ? machine.disk.backup() : undefined;
    this.#pending++;
    // Restoring a disk takes longer than what was sent before is on its way.
    world.time.after(backup === undefined ? random.between(200, 4000) : random.between(6000, 9000), () => {
      this.#pending--;
      world.crash(machine);
      if (backup !== undefined) this.#restore(machine, backup);
      if (this.#held.has(machine)) return;
      world.start(machine);
      if (backup !== undefined) this.#change(machine);
    });
  }

  /** What only the lost disk had never was, for anyone. */
  #restore(machine: Machine, backup: Machine['disk']): void {
    this.#count('disk restored');
    this.#watch.restored(machine);
    const lost = machine.disk;
    machine.disk = backup;
    machine.said = new Map();
    machine.acknowledged = [];
    for (const cluster of ['', ...CLUSTERS]) {
      const had = lost.store(cluster)?.load();
      const isLost = ({ node, origin, sequence }: Frame): boolean =>
        node === machine.id || (had !== undefined && covers(had, origin, sequence));
      this.#watch.giveUp(cluster, isLost, true);
    }
  }

  // Healing, and what must hold then.

  #heal(): number {
    const world = this.#world;
    const { time } = world;
    Object.assign(world.network, { loss: 0, duplication: 0, reordering: 0 });
    world.network.cuts.heal();
    for (const machine of world.machines) {
      machine.disk.fillsAfter = undefined;
      machine.disk.full = false;
      machine.disk.abandon();
      machine.pausedUntilMs = Math.min(machine.pausedUntilMs, time.nowMs);
    }
    for (const untilMs = time.nowMs + 2 * FORGET_MAX_MS; this.#pending > 0 && time.nowMs < untilMs; ) {
      time.runUntil(time.nowMs + 500);
    }
    // One that was to crash in its next commit may have.
    for (const machine of world.machines) {
      machine.disk.abandon();
      if (machine.node === undefined) world.start(machine);
    }
    const fromMs = time.nowMs;
    let difference = this.#watch.difference();
    for (let orphanMs = fromMs + ORPHAN_MS; difference !== undefined; difference = this.#watch.difference()) {
      if (time.nowMs - fromMs > HEAL_MAX_MS) {
        this.#watch.fault(`not the same everywhere ${HEAL_MAX_MS} ms after everything healed: ${difference}`);
        break;
      }
      if (time.nowMs > orphanMs) {
        this.#adoptOrphans();
        orphanMs = time.nowMs + ORPHAN_MS;
      }
      time.runUntil(time.nowMs + 500);
    }
    return time.nowMs - fromMs;
  }

  /** As docs/mesh.md says what to do where those that had what is in a cluster will not come back. */
  #adoptOrphans(): void {
    const { machines } = this.#world;
    for (const cluster of CLUSTERS) {
      if (!this.#watch.isOrphan(cluster)) continue;
      const heir = machines.find((machine) => this.#watch.clustersOf(machine).includes(cluster));
      if (heir === undefined) continue;
      this.#count('nobody had what was in a cluster');
      // One whose clock is far off writes nothing.
      machines.some((actor) => this.#assign(actor, heir, cluster, true));
    }
  }

  /** What was in a cluster that was deleted is not in the one that was made after it. */
  #checkGenerations(): void {
    for (const { id, disk, node } of this.#world.machines) {
      for (const cluster of disk.stored()) {
        if (this.#carriedOver.has(cluster)) continue;
        const mark = `-${cluster}-${node?.clusters.get(cluster)?.createdBy}`;
        for (const { id: name, group, value } of disk.store(cluster)?.cells() ?? []) {
          if (group !== EXISTENCE || value === undefined || !name.includes('-') || name.endsWith(mark)) continue;
          this.#watch.fault(`node ${id} has ${name} in cluster ${cluster}, which is now ${mark.slice(1)}`);
        }
      }
    }
  }

  #count(what: string, times = 1): void {
    if (times > 0) this.#events[what] = (this.#events[what] ?? 0) + times;
  }
}
