// SPDX-License-Identifier: Apache-2.0
/**
 * One history from a seed: writes and deletes at all nodes while everything fails that can, then healing, and then what
 * must hold: the same cells everywhere, the same as if one node had taken every frame; nothing that was acknowledged is
 * lost; nothing that was deleted is back; no number was used twice.
 */
import type { ReplicaSettings } from '../context.js';
import type { Cell, CellWrite, Frame, Hash, Message, NodeId, ReplicaEvent } from '../contract.js';
import { markOf } from '../digest.js';
import type { ObjectName } from '../ledger.js';
import { EXISTENCE, mergeCell, objectKey, visible } from '../object.js';
import { covers, includes, parseOrigin } from '../origin.js';
import type { Disk, OnFrame } from './disk.js';
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
const GROUPS = ['spec', 'tls', 'tags'];

/** What may go wrong in a history; the seed decides. */
interface Plan {
  readonly lossy: boolean;
  readonly crashes: boolean;
  /** Some crashes are of machines. */
  readonly power: boolean;
  /** Everyone crashes at once. */
  readonly massRestart: boolean;
  readonly skew: boolean;
  readonly fullDisks: boolean;
  readonly restores: boolean;
  readonly absence: boolean;
}

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
  readonly #acknowledged: { readonly node: NodeId; readonly key: string }[] = [];
  readonly #faults: string[] = [];
  readonly #events: Record<string, number> = {};
  #values = 0;

  constructor(options: HistoryOptions) {
    this.#options = options;
    const random = new Random(options.seed);
    this.#random = random;
    this.#durationMs = options.durationMs ?? random.between(3000, 15_000);
    this.#plan = {
      lossy: random.chance(0.7),
      crashes: random.chance(0.5),
      skew: random.chance(0.5),
      fullDisks: random.chance(0.3),
      restores: random.chance(0.2),
      absence: random.chance(0.25),
      power: random.chance(0.6),
      massRestart: random.chance(0.15),
    };
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
      ...(options.effects === undefined ? {} : { onStart: (node: SimNode) => options.effects?.starts(node) }),
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
    const random = this.#random;
    const { skew, lossy } = this.#plan;
    for (const node of world.nodes) {
      if (skew) {
        node.skewMs = random.between(-600, 600);
        node.drift = random.between(-0.002, 0.002);
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
    for (const [what, times] of Object.entries(effects?.counts() ?? {})) this.#count(what, times);
    this.#count('crash', world.crashes);
    this.#count(
      'crash within a commit',
      sum(world.nodes, ({ disk }) => disk.crashedWithin),
    );
    this.#count('power failure', world.powerFailures);
    this.#count('commits lost by power failure', world.commitsLost);
    for (const { disk } of world.nodes) disk.dispose();
    return {
      faults: this.#faults,
      acknowledged: this.#acknowledged.length,
      frames: this.#journal.size,
      messages: world.messages,
      crashes: world.crashes,
      healedMs,
      events: this.#events,
    };
  }

  // Writes.

  #write(): void {
    const node = this.#random.pick(this.#world.nodes);
    const { replica } = node;
    if (replica === undefined || node.pausedUntilMs > this.#world.time.nowMs) return;
    const { effects } = this.#options;
    const writes = effects === undefined ? this.#transaction(node) : effects.transaction(node, this.#random);
    if (writes.length === 0) return;
    const result = this.#world.act(node, () => replica.write({ author: 'sim', message: '', writes }));
    if (result?.ok === true) this.#acknowledged.push({ node: node.id, key: `${result.origin}/${result.sequence}` });
    else if (result !== undefined && result.ok === false) this.#count(`refused ${result.code}`);
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
    const { crashes, massRestart, fullDisks, restores, absence, skew } = this.#plan;
    const some = (most: number, act: () => void): void => {
      for (let i = random.below(most + 1); i > 0; i--) world.time.at(random.between(0, this.#durationMs), act);
    };
    some(3, () => this.#partition());
    some(2, () => {
      this.#count('pause');
      random.pick(world.nodes).pausedUntilMs = world.time.nowMs + random.between(50, 3000);
    });
    if (crashes) some(4, () => this.#crash(restores));
    if (massRestart) world.time.at(random.between(0, this.#durationMs), () => this.#massRestart());
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
    if (skew && random.chance(0.4)) {
      some(1, () => {
        this.#count('clock set');
        random.pick(world.nodes).skewMs += random.between(-8000, 8000);
      });
    }
    if (absence && world.nodes.length > 2) world.time.at(random.between(0, this.#durationMs / 2), () => this.#absent());
  }

  /** Some nodes from the others, in one or both directions. */
  #partition(): void {
    const random = this.#random;
    const { nodes, cut, time } = this.#world;
    const side = new Set(nodes.filter(() => random.chance(0.5)));
    const bothWays = random.chance(0.6);
    this.#count(bothWays ? 'partition both ways' : 'partition one way');
    const links: string[] = [];
    for (const a of nodes) {
      for (const b of nodes) {
        if (side.has(a) && !side.has(b)) links.push(`${a.id}>${b.id}`, ...(bothWays ? [`${b.id}>${a.id}`] : []));
      }
    }
    for (const link of links) cut.add(link);
    time.after(random.between(200, 5000), () => {
      for (const link of links) cut.delete(link);
    });
  }

  #crash(restores: boolean): void {
    const random = this.#random;
    const world = this.#world;
    const node = random.pick(world.nodes);
    if (node.replica === undefined) return;
    node.losesPower = this.#plan.power && random.chance(0.5);
    const how = random.below(3);
    if (how === 0) world.crash(node);
    else if (how === 1) node.disk.crashAfter = random.below(12);
    else node.disk.crashCommitted = true;
    const backup = restores ? node.disk.backup() : undefined;
    // Restoring a disk takes longer than what was sent before is on its way.
    const downMs = backup === undefined ? random.between(200, 4000) : random.between(6000, 9000);
    world.time.after(downMs, () => {
      if (!node.member) return;
      world.crash(node);
      if (backup !== undefined) this.#restore(node, backup);
      world.start(node, false);
    });
  }

  /** As in a power cut that a whole site has. */
  #massRestart(): void {
    const random = this.#random;
    const world = this.#world;
    this.#count('mass restart');
    const power = this.#plan.power && random.chance(0.7);
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
    // Another's as well, where that disk was the last that held it.
    this.#giveUp((frame) => frame.node === node.id || covers(had, frame.origin, frame.sequence));
  }

  /** Of these frames those that no disk holds any more, as they are given up knowingly, are no one's to hold. */
  #giveUp(which: (frame: Frame) => boolean): void {
    const vectors = this.#world.nodes.map(({ disk }) => disk.load());
    for (const [key, frame] of this.#journal) {
      const { origin, sequence } = frame;
      if (which(frame) && !vectors.some((vector) => covers(vector, origin, sequence))) this.#journal.delete(key);
    }
  }

  /**
   * A node is away until the others have removed it and forgotten what was deleted meanwhile; it may write on its own.
   */
  #absent(): void {
    const random = this.#random;
    const world = this.#world;
    const node = random.pick(world.nodes);
    if (node.replica === undefined || !node.member) return;
    const links = world.nodes.flatMap(({ id }) => [`${id}>${node.id}`, `${node.id}>${id}`]);
    for (const link of links) world.cut.add(link);
    world.time.after(random.between(0, 1000), () => {
      node.member = false;
      world.tellMembers();
    });
    world.time.at(this.#durationMs + random.between(500, 8000), () => {
      for (const link of links) world.cut.delete(link);
      node.member = true;
      if (node.replica === undefined) world.start(node, false);
      world.act(node, (replica) => replica.rejoin());
      world.tellMembers();
    });
    this.#count('absence');
  }

  // Healing and what must hold then.

  /** Gives how long it took; a fault where it did not. */
  #heal(): number {
    const world = this.#world;
    Object.assign(world.network, { loss: 0, duplication: 0, reordering: 0 });
    const from = world.time.nowMs;
    // An absent node comes back by itself.
    const away = world.nodes.filter(({ member }) => !member);
    for (const link of [...world.cut]) {
      if (!away.some(({ id }) => link.startsWith(`${id}>`) || link.endsWith(`>${id}`))) world.cut.delete(link);
    }
    for (const node of world.nodes) {
      node.disk.full = false;
      node.disk.abandon();
      node.pausedUntilMs = Math.min(node.pausedUntilMs, from);
    }
    // What was planned to start again has done so by then.
    const { crashes, massRestart, restores, absence } = this.#plan;
    world.time.runUntil(from + (crashes && restores ? 9500 : absence ? 8500 : crashes || massRestart ? 4500 : 500));
    for (const node of world.nodes) if (node.replica === undefined && node.member) world.start(node, false);
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
      const found = printed(objectsOf(disk.cells()));
      if (found !== expected) this.#faults.push(`node ${id} holds\n${found}\nand not\n${expected}`);
      const before = replica?.ledger.digests.root;

      if (before !== digestOf(disk.cells())) this.#faults.push(`node ${id}: its digest is not of what it holds`);
    }
  }

  #onFrame(_node: NodeId, frame: Frame): void {
    const key = `${frame.origin}/${frame.sequence}`;
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
    if (event.type === 'snapshot') this.#giveUp((frame) => frame.node === node);
    if (event.type === 'forked')
      this.#faults.push(`node ${node}: ${event.fork.origin} forked at ${event.fork.sequence}`);
    if (event.type === 'refused' || event.type === 'damaged')
      this.#faults.push(`node ${node}: ${JSON.stringify(event)}`);
  }

  #count(what: string, times = 1): void {
    if (times > 0) this.#events[what] = (this.#events[what] ?? 0) + times;
  }
}

function sum<T>(of: readonly T[], by: (one: T) => number): number {
  return of.reduce((total, one) => total + by(one), 0);
}

function objectsOf(cells: readonly Cell[]): Map<string, Map<string, Cell>> {
  const objects = new Map<string, Map<string, Cell>>();
  for (const cell of cells) {
    const key = objectKey(cell.kind, cell.id);
    const groups = objects.get(key) ?? new Map<string, Cell>();
    objects.set(key, groups);
    groups.set(cell.group, cell);
  }
  return objects;
}

/** What is visible, as text. */
function printed(objects: ReadonlyMap<string, ReadonlyMap<string, Cell>>): string {
  const lines: string[] = [];
  for (const groups of objects.values()) {
    for (const { kind, id, group, stamp, value } of visible(groups)) {
      lines.push(
        `${kind}/${id}/${group} ${stamp.ms}.${stamp.counter}.${stamp.node} ${new TextDecoder().decode(value)}`,
      );
    }
  }
  return lines.sort().join('\n');
}

function digestOf(cells: readonly Cell[]): number {
  let digest = 0n;
  for (const groups of objectsOf(cells).values()) for (const { mark } of visible(groups)) digest ^= BigInt(mark);
  return Number(digest);
}
