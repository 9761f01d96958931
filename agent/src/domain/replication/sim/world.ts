// SPDX-License-Identifier: Apache-2.0
/**
 * Replicas in virtual time: a network that loses, doubles, delays and reorders; clocks that are wrong; processes that
 * pause and crash in the middle of commits; disks that are full, or restored from a backup.
 */
import type { ReplicaSettings } from '../context.js';
import type { Frame, Hash, Member, Message, NodeId, OriginKey, Range, ReplicaEvent, VectorState } from '../contract.js';
import { covers, lacking } from '../origin.js';
import { Replica } from '../replica.js';
import { Crash, type Disk, MemoryDisk, type OnFrame } from './disk.js';
import { Network } from './network.js';
import type { Random } from './random.js';
import { Timeline } from './timeline.js';

/** Unix time at the beginning. */
const EPOCH_MS = 1_700_000_000_000;

export interface SimNode {
  readonly id: NodeId;
  disk: Disk;
  replica: Replica | undefined;
  /** Its next crash is one of the machine, which loses what was not durable. */
  losesPower: boolean;
  /** What it has last said to anyone that it holds: others forget deletes and drop frames by it. */
  said: { readonly vector: VectorState; readonly takeovers: number } | undefined;
  /** Its own frames that it has acknowledged, with the takeovers by then: they are on its disk, whatever fails. */
  acknowledged: { readonly origin: OriginKey; readonly sequence: number; readonly takeovers: number }[];
  pausedUntilMs: number;
  /** The machine's clock less the true time. */
  skewMs: number;
  /** By how much its second is too long. */
  drift: number;
  /** Members as this node knows them. */
  member: boolean;
  wakeAtMs: number;
}

export interface WorldOptions {
  readonly random: Random;
  readonly hash: Hash;
  readonly nodes: number;
  readonly settings: Partial<ReplicaSettings>;
  readonly onFrame: (node: NodeId, frame: Frame) => void;
  readonly onEvent: (node: NodeId, event: ReplicaEvent) => void;
  /** Before its replica is made. */
  readonly onStart?: (node: SimNode) => void;
  /** A node's disk no longer holds what the node has said to hold. */
  readonly onForgotten: (node: NodeId, what: Range) => void;
  /** In memory, where nothing is said. */
  readonly disk?: (onFrame: OnFrame) => Disk;
  /** A message on its way: what arrives may be made of its bytes. */
  readonly carry?: (message: Message) => Message;
}

export class World {
  readonly time = new Timeline();
  readonly nodes: SimNode[] = [];
  readonly network: Network;
  crashes = 0;
  /** Of these, those of machines, and the commits that they took. */
  powerFailures = 0;
  commitsLost = 0;
  /** Everyone is to be told who is there. */
  #telling = false;
  /** As long as it holds. */
  #known: readonly Member[] | undefined;
  readonly #options: WorldOptions;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.network = new Network(this.time, options.random);
    const makeDisk = options.disk ?? ((onFrame: OnFrame) => new MemoryDisk(onFrame));
    for (let i = 0; i < options.nodes; i++) {
      const id = BigInt(i + 1);
      const disk = makeDisk((frame) => options.onFrame(id, frame));
      const time = { pausedUntilMs: 0, skewMs: 0, drift: 0, wakeAtMs: Infinity };
      this.nodes.push({
        id,
        disk,
        replica: undefined,
        losesPower: false,
        said: undefined,
        acknowledged: [],
        member: true,
        ...time,
      });
    }
  }

  wallMs({ skewMs, drift }: SimNode): number {
    return EPOCH_MS + skewMs + this.time.nowMs * (1 + drift);
  }

  /** founds: has always been in the mesh. */
  start(node: SimNode, founds: boolean): void {
    const { random, hash, settings } = this.#options;
    const environment = {
      wallMs: () => this.wallMs(node),
      monotonicMs: () => this.time.nowMs,
      random: random.next,
      hash,
      sign: (digest: Uint8Array) => Uint8Array.from([...digest.subarray(0, 7), Number(node.id & 0xffn)]),
      verify: (by: NodeId, digest: Uint8Array, signature: Uint8Array) =>
        signature.length === 8 &&
        signature[7] === Number(by & 0xffn) &&
        signature[0] === digest[0] &&
        signature[6] === digest[6],
    };
    const held = node.disk.load();
    const { said } = node;
    if (said?.takeovers === node.disk.takeovers) {
      for (const lost of lacking(held, said.vector, held.forks)) this.#options.onForgotten(node.id, lost);
    }
    for (const { origin, sequence, takeovers } of node.acknowledged) {
      if (takeovers === node.disk.takeovers && !covers(held, origin, sequence)) {
        this.#options.onForgotten(node.id, { origin, from: sequence, through: sequence });
      }
    }
    this.#options.onStart?.(node);
    this.#guard(node, () => {
      node.replica = new Replica({ node: node.id, store: node.disk, environment, settings, founds });
      node.wakeAtMs = Infinity;
    });
    this.tellMembers();
  }

  crash(node: SimNode): void {
    if (node.replica === undefined) return;
    node.replica = undefined;
    node.disk.abandon();
    this.crashes++;
    if (node.losesPower) this.powerFailures++;
    this.commitsLost += node.disk.ends(node.losesPower ? this.#options.random : undefined);
    node.losesPower = false;
    this.tellMembers();
  }

  /** Everyone learns who is there, some time later: of all that happens at one time at once. */
  tellMembers(): void {
    this.#known = undefined;
    if (this.#telling) return;
    this.#telling = true;
    // Many nodes hear of what happens to many later, and at once.
    this.time.after(this.nodes.length < 100 ? 0 : 500, () => {
      this.#telling = false;
      for (const node of this.nodes) {
        this.time.after(this.#options.random.between(0, 300), () => {
          const members = this.#members();
          this.act(node, (replica) => replica.setMembers(members));
        });
      }
    });
  }

  #members(): readonly Member[] {
    this.#known ??= this.nodes
      .filter(({ member }) => member)
      .map(({ id, replica }) => ({ node: id, alive: replica !== undefined }));
    return this.#known;
  }

  /** What a node does, and what comes of it. undefined: it is down, or crashed in it. */
  act<T>(node: SimNode, what: (replica: Replica) => T): T | undefined {
    const { replica } = node;
    if (replica === undefined) return undefined;
    return this.#guard(node, () => {
      const result = what(replica);
      for (const event of replica.events()) this.#options.onEvent(node.id, event);
      for (const to of replica.waiting()) {
        for (let message = replica.take(to); message !== undefined; message = replica.take(to))
          this.#transmit(node, to, message);
      }
      this.#wake(node, replica);
      return result;
    });
  }

  #guard<T>(node: SimNode, act: () => T): T | undefined {
    try {
      return act();
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      this.crash(node);
      return undefined;
    }
  }

  #wake(node: SimNode, replica: Replica): void {
    const at = replica.nextDueMs();
    if (at >= node.wakeAtMs) return;
    node.wakeAtMs = at;
    this.time.at(at, () => this.#tick(node, replica, at));
  }

  #tick(node: SimNode, replica: Replica, at: number): void {
    if (node.replica !== replica || node.wakeAtMs !== at) return;
    if (node.pausedUntilMs > this.time.nowMs) {
      node.wakeAtMs = node.pausedUntilMs;
      this.time.at(node.pausedUntilMs, () => this.#tick(node, replica, node.wakeAtMs));
      return;
    }
    node.wakeAtMs = Infinity;
    this.act(node, () => replica.tick());
  }

  #transmit(from: SimNode, to: NodeId, message: Message): void {
    const { carry } = this.#options;
    const target = this.nodes[Number(to) - 1];
    if (target === undefined) return;
    if (message.type === 'summary') from.said = { vector: message, takeovers: from.disk.takeovers };
    this.network.send(from.id, to, () => {
      const carried = carry === undefined ? message : carry(message);
      return () => this.#deliver(from.id, target, carried);
    });
  }

  #deliver(from: NodeId, to: SimNode, message: Message): void {
    if (to.pausedUntilMs > this.time.nowMs) this.time.at(to.pausedUntilMs, () => this.#deliver(from, to, message));
    else this.act(to, (replica) => replica.receive(from, message));
  }
}
