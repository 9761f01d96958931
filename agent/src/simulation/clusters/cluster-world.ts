// SPDX-License-Identifier: Apache-2.0
/** Machines with nodes that are in clusters, in virtual time; what fails, and how, is as in domain/replication/sim. */
import type { ReplicaSettings } from '../../domain/replication/context.js';
import type {
  Addressed,
  ClusterName,
  Environment,
  Frame,
  Hash,
  Member,
  NodeId,
  OriginKey,
  ReplicaEvent,
  VectorState,
} from '../../domain/replication/contract.js';
import { decodeMessage, encodeMessage } from '../../domain/replication/message-codec.js';
import { covers, lacking } from '../../domain/replication/origin.js';
import { Crash } from '../../domain/replication/sim/disk.js';
import { Network } from '../../domain/replication/sim/network.js';
import type { Random } from '../../domain/replication/sim/random.js';
import { Timeline } from '../../domain/replication/sim/timeline.js';
import { MemoryConfigStore } from '../memory-config-store.js';
import { ClusterNode } from './cluster-node.js';
import { type KeptStore, MachineDisk } from './machine-disk.js';

/** Unix time at the beginning. */
const EPOCH_MS = 1_700_000_000_000;

/** What a node has said of a store, which is to hold whatever fails, as long as it is that store, and took over no state since. */
interface Promised {
  readonly store: KeptStore;
  readonly takeovers: number;
}

export interface Machine {
  readonly id: NodeId;
  disk: MachineDisk;
  config: MemoryConfigStore;
  node: ClusterNode | undefined;
  /** Its next crash is one of the machine. */
  losesPower: boolean;
  /** By cluster, what it has last said to anyone that it holds. */
  said: Map<ClusterName, Promised & { readonly vector: VectorState }>;
  acknowledged: (Promised & { readonly cluster: ClusterName; readonly origin: OriginKey; readonly sequence: number })[];
  pausedUntilMs: number;
  /** The machine's clock less the true time. */
  skewMs: number;
  /** By how much its second is too long. */
  drift: number;
  wakeAtMs: number;
}

/** What is to be known of all that happens. */
export interface ClusterWatch {
  frame(machine: Machine, cluster: ClusterName, frame: Frame): void;
  event(machine: Machine, cluster: ClusterName, event: ReplicaEvent): void;
  opened(machine: Machine, cluster: ClusterName): void;
  dropped(machine: Machine, cluster: ClusterName): void;
  sent(from: Machine, to: Machine, message: Addressed): void;
  /** After whatever it has done. */
  acted(machine: Machine): void;
  starts(machine: Machine): void;
  fault(text: string): void;
  count(what: string): void;
}

export interface ClusterWorldOptions {
  readonly random: Random;
  readonly hash: Hash;
  readonly machines: number;
  readonly settings: Readonly<Record<'mesh' | 'cluster', Partial<ReplicaSettings>>>;
  readonly watch: ClusterWatch;
}

export class ClusterWorld {
  readonly time = new Timeline();
  readonly machines: Machine[] = [];
  readonly network: Network;
  crashes = 0;
  powerFailures = 0;
  commitsLost = 0;
  #telling = false;
  readonly #options: ClusterWorldOptions;

  constructor(options: ClusterWorldOptions) {
    this.#options = options;
    this.network = new Network(this.time, options.random);
    for (let i = 0; i < options.machines; i++) {
      const machine: Machine = {
        id: BigInt(i + 1),
        disk: new MachineDisk((cluster, frame) => options.watch.frame(machine, cluster, frame)),
        config: new MemoryConfigStore(),
        node: undefined,
        losesPower: false,
        said: new Map(),
        acknowledged: [],
        pausedUntilMs: 0,
        skewMs: 0,
        drift: 0,
        wakeAtMs: Number.POSITIVE_INFINITY,
      };
      this.machines.push(machine);
    }
  }

  machine(id: NodeId): Machine | undefined {
    return this.machines[Number(id) - 1];
  }

  wallMs({ skewMs, drift }: Machine): number {
    return Math.floor(EPOCH_MS + skewMs + this.time.nowMs * (1 + drift));
  }

  start(machine: Machine): void {
    const { settings, watch } = this.#options;
    this.#isKept(machine);
    watch.starts(machine);
    this.#guard(machine, () => {
      machine.node = new ClusterNode({
        ...{ node: machine.id, disk: machine.disk, config: machine.config, settings },
        environment: this.#environmentOf(machine),
        onEvent: (cluster, event) => watch.event(machine, cluster, event),
        onRefused: () => watch.count('message of a cluster refused'),
        onOpened: (cluster) => watch.opened(machine, cluster),
        onDropped: (cluster) => watch.dropped(machine, cluster),
      });
      machine.wakeAtMs = Number.POSITIVE_INFINITY;
    });
    this.tellMembers();
  }

  #environmentOf(machine: Machine): Environment {
    const { random, hash } = this.#options;
    return {
      wallMs: () => this.wallMs(machine),
      monotonicMs: () => this.time.nowMs,
      random: random.next,
      hash,
      sign: (digest) => Uint8Array.from([...digest.subarray(0, 7), Number(machine.id & 0xffn)]),
      verify: (by, digest, signature) =>
        signature.length === 8 &&
        signature[7] === Number(by & 0xffn) &&
        signature[0] === digest[0] &&
        signature[6] === digest[6],
    };
  }

  #isKept({ id, disk, said, acknowledged }: Machine): void {
    const { watch } = this.#options;
    const isThat = (cluster: ClusterName, { store, takeovers }: Promised): boolean =>
      disk.store(cluster) === store && store.takeovers === takeovers;
    for (const [cluster, one] of said) {
      if (!isThat(cluster, one)) continue;
      const held = one.store.load();
      for (const { origin, from } of lacking(held, one.vector, held.forks)) {
        watch.fault(`node ${id} has lost frame ${from} of ${origin} of "${cluster}", which it said that it has`);
      }
    }
    for (const one of acknowledged) {
      const { cluster, store, origin, sequence } = one;
      if (isThat(cluster, one) && !covers(store.load(), origin, sequence)) {
        watch.fault(`node ${id} has lost frame ${sequence} of ${origin} of "${cluster}", which it had acknowledged`);
      }
    }
  }

  crash(machine: Machine): void {
    if (machine.node === undefined) return;
    machine.node = undefined;
    machine.disk.abandon();
    this.crashes++;
    if (machine.losesPower) this.powerFailures++;
    this.commitsLost += machine.disk.ends(machine.losesPower ? this.#options.random : undefined);
    machine.losesPower = false;
    this.tellMembers();
  }

  /** Everyone learns who answers, some time later. */
  tellMembers(): void {
    if (this.#telling) return;
    this.#telling = true;
    this.time.after(0, () => {
      this.#telling = false;
      for (const machine of this.machines) {
        this.time.after(this.#options.random.between(0, 300), () => {
          const members = this.machines.map(({ id, node }): Member => ({ node: id, alive: node !== undefined }));
          this.act(machine, ({ shards }) => shards.setMembers(members));
        });
      }
    });
  }

  /** What a node does, and what comes of it. undefined: it is down, or crashed in it. */
  act<T>(machine: Machine, what: (node: ClusterNode) => T): T | undefined {
    const { node } = machine;
    if (node === undefined) return undefined;
    return this.#guard(machine, () => {
      const result = what(node);
      this.#settle(machine, node);
      return result;
    });
  }

  #settle(machine: Machine, node: ClusterNode): void {
    node.settle();
    for (const to of [...node.shards.waiting()]) {
      for (let message = node.shards.take(to); message !== undefined; message = node.shards.take(to)) {
        this.#transmit(machine, to, message);
      }
    }
    this.#wake(machine, node);
    this.#options.watch.acted(machine);
  }

  #guard<T>(machine: Machine, act: () => T): T | undefined {
    try {
      return act();
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      this.crash(machine);
      return undefined;
    }
  }

  #wake(machine: Machine, node: ClusterNode): void {
    const at = node.nextDueMs();
    if (at >= machine.wakeAtMs) return;
    machine.wakeAtMs = at;
    this.time.at(at, () => this.#tick(machine, node, at));
  }

  #tick(machine: Machine, node: ClusterNode, at: number): void {
    if (machine.node !== node || machine.wakeAtMs !== at) return;
    if (machine.pausedUntilMs > this.time.nowMs) {
      machine.wakeAtMs = machine.pausedUntilMs;
      this.time.at(machine.pausedUntilMs, () => this.#tick(machine, node, machine.wakeAtMs));
      return;
    }
    machine.wakeAtMs = Number.POSITIVE_INFINITY;
    this.act(machine, () => node.tick());
  }

  #transmit(from: Machine, to: NodeId, message: Addressed): void {
    const target = this.machine(to);
    if (target === undefined) return;
    this.#options.watch.sent(from, target, message);
    if (message.type === 'summary') {
      const cluster = message.cluster ?? '';
      const store = from.disk.store(cluster);
      if (store !== undefined) from.said.set(cluster, { store, takeovers: store.takeovers, vector: message });
    }
    this.network.send(from.id, to, () => {
      const carried = asReceived(message);
      return () => this.deliver(from.id, target, carried);
    });
  }

  deliver(from: NodeId, to: Machine, message: Addressed): void {
    if (to.pausedUntilMs > this.time.nowMs) this.time.at(to.pausedUntilMs, () => this.deliver(from, to, message));
    else this.act(to, ({ shards }) => shards.receive(from, message));
  }
}

/** What is of a cluster is another kind of message on the wire. */
function asReceived(message: Addressed): Addressed {
  if (message.cluster === undefined) return message;
  const read = decodeMessage(encodeMessage(message));
  if ('fault' in read) throw new Error(`what was sent can't be read: ${read.fault}`);
  return read;
}
