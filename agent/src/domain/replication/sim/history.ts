// SPDX-License-Identifier: Apache-2.0
/**
 * One history from a seed: writes and deletes at all nodes while everything fails that can, then healing, and then what
 * must hold: the same cells everywhere, the same as if one node had taken every frame; nothing that was acknowledged is
 * lost; nothing that was deleted is back; no number was used twice.
 */
import { compare, type Timestamp } from '@marcher/hlc';
import type { ReplicaSettings } from '../context.js';
import type { Cell, CellWrite, Frame, Hash, Message, NodeId, OriginKey, ReplicaEvent } from '../contract.js';
import { markOf } from '../digest.js';
import type { ObjectName } from '../ledger.js';
import { EXISTENCE, mergeCell, objectKey, visible } from '../object.js';
import { covers, includes, parseOrigin } from '../origin.js';
import type { Disk, OnFrame } from './disk.js';
import { objectsOfCells, printed } from './objects-of-cells.js';
import { type Faults, type Plan, planOf } from './plan.js';
import { Random } from './random.js';
import { type SimNode, World } from './world.js';

/** What nodes make of their cells. */
export interface Effects {
  /** Writes of one transaction at a node; empty: none this time. */
  transaction(node: SimNode, random: Random): CellWrite[];
  /** Its replica is about to be started. */
  starts(node: SimNode): void;
  changed(node: SimNode, objects: readonly ObjectName[]): void;
  /** When all hold the same cells: what is not as it should be. */
  faults(nodes: readonly SimNode[]): readonly string[];
  /** What was seen, and how often. */
  counts(): Readonly<Record<string, number>>;
}

export interface HistoryOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly hash: Hash;
  readonly carry?: (message: Message) => Message;
  /** In memory, where nothing is said. */
  readonly disk?: (onFrame: OnFrame) => Disk;
  readonly effects?: Effects;
  /** Instead of those of simulations. */
  readonly settings?: Partial<ReplicaSettings>;
  /** Virtual ms of writes and faults. */
  readonly durationMs?: number;
  readonly writes?: number;
  /** By chance, where nothing is said. */
  readonly faults?: Faults;
}

export interface HistoryResult {
  /** What did not hold; empty: everything did. */
  readonly faults: readonly string[];
  readonly acknowledged: number;
  readonly frames: number;
  readonly messages: number;
  readonly crashes: number;
  readonly healedMs: number;
  /** How often each kind of event was seen. */
  readonly events: Readonly<Record<string, number>>;
}

const SIM_SETTINGS: Partial<ReplicaSettings> = {
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

/** So many nodes compare as seldom as they do in earnest. */
const LARGE = { nodes: 500, settings: { roundMs: 1000, upkeepMs: 4000 } satisfies Partial<ReplicaSettings> };

const HEAL_MAX_MS = 90_000;
/** Until all members have said that they have a delete, and one that has heard of all has forgotten it. */
const FORGET_MAX_MS = 60_000;
/** Of a commit with a frame: a cell, the frame, the state. */
const COMMIT_STEPS_MIN = 3;
/** One mistake shows at every node. */
const FAULTS_SHOWN = 20;
const CRASHES = ['at once', 'within a commit', 'after a commit'] as const;
type CrashWay = (typeof CRASHES)[number];
const GROUPS = ['spec', 'tls', 'tags'];

export function runHistory(options: HistoryOptions): HistoryResult {
  return new History(options).run();
}

class History {
  readonly #options: HistoryOptions;
  readonly #random: Random;
  readonly #world: World;
  readonly #plan: Plan;
  readonly #durationMs: number;
  readonly #journal = new Map<string, Frame>();
  /** Frames that were last on disks that were restored; one of these may still be on its way to somebody. */
  readonly #lostWithDisks = new Map<string, Frame>();
  #acknowledged = 0;
  /** Of each node, the latest stamp of a frame that it has stored since it was started. */
  readonly #seen = new Map<NodeId, Timestamp>();
  readonly #faults: string[] = [];
  readonly #events: Record<string, number> = {};
  #values = 0;

  constructor(options: HistoryOptions) {
    this.#options = options;
    const random = new Random(options.seed);
    this.#random = random;
    this.#durationMs = options.durationMs ?? random.between(3000, 15_000);
    this.#plan = planOf(options.faults ?? 'by-chance', random);
    const retention = random.chance(0.4) ? { frames: 10, bytes: 1e9 } : { frames: 10_000, bytes: 1e9 };
    const holding = random.chance(0.3) ? { frames: 4, bytes: 1e6 } : { frames: 1000, bytes: 1e6 };
    const answerBytes = random.chance(0.5) ? 400 : 100_000;
    const outboxBytes = random.chance(0.2) ? 2000 : 1_000_000;
    const large = options.nodes < LARGE.nodes ? {} : LARGE.settings;
    this.#world = new World({
      random,
      hash: options.hash,
      nodes: options.nodes,
      settings: { ...SIM_SETTINGS, ...large, retention, holding, answerBytes, outboxBytes, ...options.settings },
      onFrame: (node, frame) => this.#onFrame(node, frame),
      onStart: (node) => {
        this.#seen.delete(node.id);
        options.effects?.starts(node);
      },
      onForgotten: (node, { origin, from }) => {
        this.#faults.push(`node ${node} has lost frame ${from} of ${origin} and later ones, which it had acknowledged`);
      },
      onEvent: (node, event) => this.#onEvent(node, event),
      ...(options.carry === undefined ? {} : { carry: options.carry }),
      ...(options.disk === undefined ? {} : { disk: options.disk }),
    });
  }

  run(): HistoryResult {
    const world = this.#world;
    let healedMs = 0;
    try {
      healedMs = this.#live();
    } catch (error) {
      // Of whatever it is, the seed is to be told.
      this.#faults.push(`thrown: ${error instanceof Error ? error.stack : error}`);
    }
    const { effects } = this.#options;
    for (const [what, times] of Object.entries(effects?.counts() ?? {})) this.#count(what, times);
    this.#count('message lost', world.network.lost);
    this.#count('message doubled', world.network.duplicated);
    this.#count('message late', world.network.reordered);
    this.#count('crash', world.crashes);
    this.#count(
      'crash within a commit',
      sum(world.nodes, ({ disk }) => disk.crashedWithin),
    );
    this.#count('power failure', world.powerFailures);
    this.#count('commits lost by power failure', world.commitsLost);
    for (const { disk } of world.nodes) disk.dispose();
    const more = this.#faults.length - FAULTS_SHOWN;
    return {
      faults: more > 0 ? [...this.#faults.slice(0, FAULTS_SHOWN), `and ${more} more`] : this.#faults,
      acknowledged: this.#acknowledged,
      frames: this.#journal.size,
      messages: world.network.messages,
      crashes: world.crashes,
      healedMs,
      events: this.#events,
    };
  }

  /** Gives how long healing took. */
  #live(): number {
    const world = this.#world;
    const random = this.#random;
    const { skew, lossy } = this.#plan;
    for (const node of world.nodes) {
      if (skew) {
        node.skewMs = random.between(-600, 600);
        node.drift = random.between(-0.002, 0.002);
        this.#count('clock skewed and drifting');
      }
      world.start(node, true);
    }
    if (lossy) Object.assign(world.network, { loss: random.next() * 0.2, duplication: 0.05, reordering: 0.05 });
    const writes = this.#options.writes ?? 5 + random.below(60);
    for (let i = 0; i < writes; i++) world.time.at(random.between(100, this.#durationMs), () => this.#write());
    this.#planFaults();
    world.time.runUntil(this.#durationMs);
    const healedMs = this.#heal();
    this.#check();
    const { effects } = this.#options;
    if (effects !== undefined && this.#faults.length === 0) this.#faults.push(...effects.faults(world.nodes));
    return healedMs;
  }

  // Writes.

  #write(node = this.#random.pick(this.#world.nodes)): void {
    const { replica } = node;
    if (replica === undefined || node.pausedUntilMs > this.#world.time.nowMs) return;
    const { effects } = this.#options;
    const writes = effects === undefined ? this.#transaction(node) : effects.transaction(node, this.#random);
    if (writes.length > 0) this.#commit(node, writes);
  }

  /** Its stamp, if it was acknowledged. */
  #commit(node: SimNode, writes: readonly CellWrite[]): Timestamp | undefined {
    const result = this.#world.act(node, (replica) => replica.write({ author: 'sim', message: '', writes }));
    if (result?.ok === true) this.#acknowledges(node, result.origin, result.sequence);
    else if (result !== undefined) this.#count(`refused ${result.code}`);
    return result?.ok === true ? result.stamp : undefined;
  }

  #acknowledges(node: SimNode, origin: OriginKey, sequence: number): void {
    this.#acknowledged++;
    node.acknowledged.push({ origin, sequence, takeovers: node.disk.takeovers });
    if (!this.#journal.has(`${origin}/${sequence}`)) {
      this.#faults.push(`node ${node.id} acknowledged frame ${sequence} of ${origin}, and never stored it`);
    }
  }

  #transaction({ disk }: SimNode): CellWrite[] {
    const random = this.#random;
    const writes: CellWrite[] = [];
    const ids = new Set(Array.from({ length: 1 + random.below(2) }, () => `object-${random.below(6)}`));
    for (const id of ids) {
      const kind = 'service';
      const there = disk.object(kind, id).some(({ group, value }) => group === EXISTENCE && value !== undefined);
      const put = (group: string): void => {
        writes.push({ kind, id, group, value: new TextEncoder().encode(`${id} ${group} ${this.#values++}`) });
      };
      if (!there || random.chance(0.05)) {
        put(EXISTENCE);
        for (const group of GROUPS) if (random.chance(0.7)) put(group);
      } else if (random.chance(0.3)) writes.push({ kind, id, group: EXISTENCE, value: undefined });
      else if (random.chance(0.15)) writes.push({ kind, id, group: random.pick(GROUPS), value: undefined });
      else put(random.pick(GROUPS));
    }
    return writes;
  }

  // Faults.

  #planFaults(): void {
    const random = this.#random;
    const world = this.#world;
    const { certain, crashes, massRestart, fullDisks, restores, absence, skew } = this.#plan;
    const some = (most: number, act: () => void): void => {
      const times = certain ? 1 + random.below(most) : random.below(most + 1);
      for (let i = times; i > 0; i--) world.time.at(random.between(0, this.#durationMs), act);
    };
    if (certain) for (const bothWays of [true, false]) some(1, () => this.#partition(bothWays));
    else some(3, () => this.#partition());
    some(2, () => {
      this.#count('pause');
      random.pick(world.nodes).pausedUntilMs = world.time.nowMs + random.between(50, 3000);
    });
    if (certain) for (const way of CRASHES) some(3, () => this.#crash(false, way));
    else if (crashes) some(4, () => this.#crash(restores));
    if (massRestart) {
      world.time.at(random.between(0, this.#durationMs), () => {
        if (!certain) return this.#massRestart();
        // While what was written is not durable everywhere.
        for (let i = 0; i < 3; i++) this.#write();
        world.time.after(20, () => this.#massRestart());
      });
    }
    if (fullDisks) {
      some(2, () => {
        const node = random.pick(world.nodes);
        this.#count('full disk');
        node.disk.full = true;
        world.time.after(random.between(100, 2000), () => {
          node.disk.full = false;
        });
      });
    }
    if (certain) some(2, () => this.#setClockAndWrite());
    else if (skew && random.chance(0.4)) {
      some(1, () => {
        this.#count('clock set');
        random.pick(world.nodes).skewMs += random.between(-8000, 8000);
      });
    }
    if (certain && restores) some(2, () => this.#restoreOlder());
    if (absence && world.nodes.length > 2) {
      world.time.at(random.between(0, this.#durationMs / (certain ? 4 : 2)), () => this.#absent());
    }
  }

  /** Some nodes from the others, in one or both directions. */
  #partition(bothWays?: boolean): void {
    const random = this.#random;
    const { nodes, network, time } = this.#world;
    const side = new Set(nodes.filter(() => random.chance(0.5)).map(({ id }) => id));
    const both = bothWays ?? random.chance(0.6);
    this.#count(both ? 'partition both ways' : 'partition one way');
    time.after(random.between(200, 5000), network.cuts.partition(side, both));
  }

  /** So far off that others do not take what is written then, or that it must not write. */
  #setClockAndWrite(): void {
    const random = this.#random;
    const node = random.pick(this.#world.nodes);
    this.#count('clock set');
    node.skewMs += (random.chance(0.5) ? 1 : -1) * random.between(2500, 8000);
    this.#write(node);
  }

  /** What a node writes after the backup to which its disk is then set back. */
  #restoreOlder(): void {
    const random = this.#random;
    const world = this.#world;
    const node = random.pick(world.nodes);
    if (node.replica === undefined || !node.member) {
      world.time.after(100, () => this.#restoreOlder());
      return;
    }
    const backup = node.disk.backup();
    this.#write(node);
    world.time.after(random.between(50, 500), () => world.crash(node));
    // Restoring a disk takes longer than what was sent before is on its way.
    world.time.after(random.between(6000, 9000), () => {
      if (!node.member) return;
      world.crash(node);
      this.#restore(node, backup);
      world.start(node, false);
      // Before anyone has told it which of its numbers others know.
      this.#write(node);
    });
  }

  #crash(restores: boolean, way?: CrashWay): void {
    const random = this.#random;
    const world = this.#world;
    const node = random.pick(world.nodes);
    if (node.replica === undefined) {
      if (way !== undefined) world.time.after(200, () => this.#crash(restores, way));
      return;
    }
    node.losesPower = this.#plan.power && random.chance(0.5);
    const how = way ?? (CRASHES[random.below(3)] as CrashWay);
    if (how === 'at once') world.crash(node);
    else if (how === 'within a commit') node.disk.crashAfter = random.below(way === undefined ? 12 : COMMIT_STEPS_MIN);
    else node.disk.crashCommitted = true;
    const before = node.disk.crashedWithin;
    if (way !== undefined) this.#write(node);
    const backup = restores ? node.disk.backup() : undefined;
    // Restoring a disk takes longer than what was sent before is on its way.
    const downMs = backup === undefined ? random.between(200, 4000) : random.between(6000, 9000);
    world.time.after(downMs, () => {
      if (!node.member) return;
      world.crash(node);
      if (backup !== undefined) this.#restore(node, backup);
      world.start(node, false);
      if (backup !== undefined) this.#write(node);
      const missed = way === 'within a commit' && node.disk.crashedWithin === before;
      if (missed && world.time.nowMs < this.#durationMs) this.#crash(restores, way);
    });
  }

  /** As in a power cut that a whole site has. */
  #massRestart(): void {
    const random = this.#random;
    const world = this.#world;
    this.#count('mass restart');
    const power = this.#plan.power && (this.#plan.certain || random.chance(0.7));
    for (const node of world.nodes) {
      node.losesPower = power && node.replica !== undefined;
      world.crash(node);
      world.time.after(random.between(100, 3000), () => {
        if (node.member && node.replica === undefined) world.start(node, false);
      });
    }
  }

  /** What only the lost disk had never was, for anyone; its numbers may come again. */
  #restore(node: SimNode, backup: SimNode['disk']): void {
    this.#count('disk restored');
    const had = node.disk.load();
    node.disk.dispose();
    node.disk = backup;
    node.said = undefined;
    node.acknowledged = [];
    // Another's as well, where that disk was the last that held it.
    this.#giveUp((frame) => frame.node === node.id || covers(had, frame.origin, frame.sequence), true);
  }

  /** Of these frames those that no disk holds any more, as they are given up knowingly, are no one's to hold. */
  #giveUp(which: (frame: Frame) => boolean, restored: boolean): void {
    const vectors = this.#world.nodes.map(({ disk }) => disk.load());
    for (const [key, frame] of this.#journal) {
      const { origin, sequence } = frame;
      if (!which(frame) || vectors.some((vector) => covers(vector, origin, sequence))) continue;
      this.#journal.delete(key);
      if (restored) this.#lostWithDisks.set(key, frame);
    }
  }

  /**
   * A node is away until the others have removed it and forgotten what was deleted meanwhile; it may write on its own.
   */
  #absent(): void {
    const random = this.#random;
    const world = this.#world;
    const node = random.pick(world.nodes);
    if (node.replica === undefined || !node.member) {
      if (this.#plan.certain) world.time.after(200, () => this.#absent());
      return;
    }
    const reach = world.network.cuts.away(node.id);
    const comesBack = (): void => {
      reach();
      node.member = true;
      if (node.replica === undefined) world.start(node, false);
      world.act(node, (replica) => replica.rejoin());
      world.tellMembers();
    };
    world.time.after(random.between(0, 1000), () => {
      node.member = false;
      world.tellMembers();
      if (!this.#plan.certain) return;
      this.#write(node);
      this.#whenForgotten(comesBack);
    });
    if (!this.#plan.certain) world.time.at(this.#durationMs + random.between(500, 8000), comesBack);
    this.#count('absence');
  }

  /**
   * Something is deleted in any case. Of many members it is long until one has heard from all that they have that: this
   * one asks all, now and then.
   */
  #whenForgotten(then: () => void): void {
    const world = this.#world;
    const untilMs = world.time.nowMs + FORGET_MAX_MS;
    let deleted: Timestamp | undefined;
    const isForgotten = ({ replica }: SimNode): boolean =>
      deleted !== undefined && replica !== undefined && compare(replica.ledger.horizon.stamp, deleted) >= 0;
    const look = (): void => {
      const members = world.nodes.filter(({ member }) => member);
      const forgets = members.some(isForgotten);
      if (forgets) this.#count('away until forgotten');
      if (forgets || world.time.nowMs > untilMs) {
        then();
        return;
      }
      const asking = members.find(({ replica }) => replica?.ledger.admitted === true);
      if (asking !== undefined) {
        const isHeld = ({ stamp }: Cell): boolean => deleted !== undefined && compare(stamp, deleted) === 0;
        // Someone else's creation may have been later.
        if (!asking.disk.cells().some(isHeld)) deleted = this.#deleteOne(asking);
        world.act(asking, (replica) => {
          for (const { id } of members) if (id !== asking.id) replica.compare(id);
        });
      }
      world.time.after(1000, look);
    };
    world.time.at(this.#durationMs, look);
  }

  /** undefined: there was nothing, or it could not be written now. */
  #deleteOne(node: SimNode): Timestamp | undefined {
    const there = node.disk.cells().find(({ group, value }) => group === EXISTENCE && value !== undefined);
    if (there === undefined) {
      // It will be there when it is asked for again.
      this.#write(node);
      return undefined;
    }
    const { kind, id } = there;
    return this.#commit(node, [{ kind, id, group: EXISTENCE, value: undefined }]);
  }

  // Healing and what must hold then.

  /** Gives how long it took; a fault where it did not. */
  #heal(): number {
    const world = this.#world;
    Object.assign(world.network, { loss: 0, duplication: 0, reordering: 0 });
    let from = world.time.nowMs;
    // An absent node comes back by itself.
    world.network.cuts.heal();
    for (const node of world.nodes) {
      node.disk.full = false;
      node.disk.abandon();
      node.pausedUntilMs = Math.min(node.pausedUntilMs, from);
    }
    // What was planned to start again has done so by then.
    const { crashes, massRestart, restores, absence } = this.#plan;
    world.time.runUntil(from + (crashes && restores ? 9500 : absence ? 8500 : crashes || massRestart ? 4500 : 500));
    for (const node of world.nodes) if (node.replica === undefined && node.member) world.start(node, false);
    for (const untilMs = from + FORGET_MAX_MS; world.nodes.some(({ member }) => !member); from = world.time.nowMs) {
      if (world.time.nowMs > untilMs) break;
      world.time.runUntil(world.time.nowMs + 500);
    }
    for (;;) {
      world.time.runUntil(world.time.nowMs + 500);
      if (this.#isLevel()) return world.time.nowMs - from;
      if (world.time.nowMs - from > HEAL_MAX_MS) break;
    }
    this.#faults.push(`not the same everywhere ${HEAL_MAX_MS} ms after everything healed: ${this.#difference()}`);
    return world.time.nowMs - from;
  }

  #isLevel(): boolean {
    const { nodes } = this.#world;
    const [first, ...rest] = nodes.map(({ replica }) => replica?.ledger);
    if (first === undefined || !first.admitted || nodes.some(({ member }) => !member)) return false;
    return rest.every(
      (ledger) =>
        ledger?.admitted === true &&
        ledger.digests.root === first.digests.root &&
        includes(ledger, first, ledger.forks) &&
        includes(first, ledger, first.forks),
    );
  }

  #difference(): string {
    return this.#world.nodes
      .map(({ id, replica, disk }) => {
        const { heads, admitted } = disk.load();
        const vector = Array.from(
          heads,
          ([origin, { sequence }]) =>
            `${parseOrigin(origin).node}/${parseOrigin(origin).incarnation % 100_000}:${sequence}`,
        );
        return `${id}${replica === undefined ? ' down' : ''}${admitted ? '' : ' not admitted'} ${vector.sort().join(' ')} digest ${replica?.ledger.digests.root}`;
      })
      .join('; ');
  }

  #check(): void {
    const { nodes } = this.#world;
    const [first] = nodes;
    if (first === undefined || this.#faults.length > 0) return;
    const vector = first.disk.load();
    const model = new Map<string, Map<string, Cell>>();
    // Then it is everybody's again.
    const held = new Set(nodes.flatMap(({ disk }) => disk.cells().map((cell) => `${cell.origin}/${cell.sequence}`)));
    for (const [key, frame] of this.#lostWithDisks) {
      if (held.has(key) && !this.#journal.has(key)) this.#journal.set(key, frame);
    }
    for (const [key, frame] of this.#journal) {
      if (!covers(vector, frame.origin, frame.sequence)) {
        // What only a disk had that was restored is gone; a node that was away has written its changes anew.
        if (!this.#plan.restores && !this.#plan.absence) this.#faults.push(`frame ${key} was stored, and is nowhere`);
        continue;
      }
      for (const write of frame.writes) {
        const object = objectKey(write.kind, write.id);
        const groups = model.get(object) ?? new Map<string, Cell>();
        model.set(object, groups);
        const cell = { ...write, stamp: frame.stamp, origin: frame.origin, sequence: frame.sequence };
        mergeCell(groups, { ...cell, mark: markOf(cell, this.#options.hash) });
      }
    }
    const expected = printed(model);
    for (const { id, disk, replica } of nodes) {
      const found = printed(objectsOfCells(disk.cells()));
      if (found !== expected) this.#faults.push(`node ${id} holds\n${found}\nand not\n${expected}`);
      const before = replica?.ledger.digests.root;

      if (before !== digestOf(disk.cells())) this.#faults.push(`node ${id}: its digest is not of what it holds`);
    }
  }

  #onFrame(node: NodeId, frame: Frame): void {
    const key = `${frame.origin}/${frame.sequence}`;
    const seen = this.#seen.get(node);
    if (seen === undefined || compare(frame.stamp, seen) > 0) this.#seen.set(node, frame.stamp);
    else if (frame.node === node && !this.#journal.has(key)) {
      // Others would take it for older than what its author had before.
      this.#faults.push(`node ${node}: the stamp of frame ${key} is not after those of frames that it had`);
    }
    const known = this.#journal.get(key);
    if (known === undefined) this.#journal.set(key, frame);
    else if (known.bytes !== frame.bytes && known.hash.join() !== frame.hash.join()) {
      this.#faults.push(`two frames with the number ${key}`);
    }
  }

  #onEvent(node: NodeId, event: ReplicaEvent): void {
    this.#count(event.type);
    if (event.type === 'changed')
      this.#options.effects?.changed(this.#world.nodes[Number(node) - 1] as SimNode, event.objects);
    // Written anew, or named as lost: later the vector's floor covers their numbers.
    if (event.type === 'snapshot') this.#giveUp((frame) => frame.node === node, false);
    if (event.type === 'forked')
      this.#faults.push(`node ${node}: ${event.fork.origin} forked at ${event.fork.sequence}`);
    if (event.type === 'refused' || event.type === 'damaged')
      this.#faults.push(`node ${node}: ${JSON.stringify(event, withoutBigints)}`);
  }

  #count(what: string, times = 1): void {
    if (times > 0) this.#events[what] = (this.#events[what] ?? 0) + times;
  }
}

function withoutBigints(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}

function sum<T>(of: readonly T[], by: (one: T) => number): number {
  return of.reduce((total, one) => total + by(one), 0);
}

function digestOf(cells: readonly Cell[]): number {
  let digest = 0n;
  for (const groups of objectsOfCells(cells).values()) for (const { mark } of visible(groups)) digest ^= BigInt(mark);
  return Number(digest);
}
