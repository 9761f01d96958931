// SPDX-License-Identifier: Apache-2.0
/**
 * Who is alive, by SWIM in a thread of its own. A node's name in it is its id, and the label is the mesh's, so that two
 * meshes that reach each other never mix. Everything is sealed by AES-256-GCM; what is not, or by a key that is not in
 * the keyring, is refused.
 */
import { join } from 'node:path';
import {
  type Address,
  defaultLimits,
  lan,
  type NodeEvent,
  type NodeStats,
  type SwimThread,
  type Tuning,
} from '@marcher/swim';
import { type GossipKeyring, keyringFault, orderedKeys } from '../../../domain/identity/gossip-keyring.js';
import { isMeshId, isNodeId } from '../../../domain/identity/names.js';
import type { Gossip, GossipMember } from '../../../ports/mesh.js';
import { EventLines, type GossipEvent } from './event-lines.js';
import { hostPortText, parseHostPort } from './host-port.js';
import { KeptThread, type RestartPauses } from './kept-thread.js';
import { MemberMemory } from './member-memory.js';

/** Gossip can't be opened as it was asked for, or its keyring can't be used. */
export class GossipError extends Error {
  override readonly name = 'GossipError';
}

export interface GossipOptions {
  readonly meshId: string;
  /** 16 hex digits. */
  readonly nodeId: string;
  /** UDP and TCP: "192.0.2.1:7401", "[::]:7401"; port 0: any that is free for both. */
  readonly bind: string;
  /** Where others reach it; absent: where it listens, which then must be one address and not all. */
  readonly advertise?: string | undefined;
  readonly keyring: GossipKeyring;
  /** The file "gossip-members" in it is what is remembered. */
  readonly stateDirectory: string;
  /** Default: memberlist's figures for a local network. */
  readonly tuning?: Tuning;
  readonly pauses?: RestartPauses;
  /** Of the thread, for those who bundle it. */
  readonly program?: URL;
}

/** None of these may throw. What could not be remembered is told before open() has returned. */
export interface GossipListener {
  /** members() may be different now. At most 20 times a second. */
  readonly onMembers: () => void;
  readonly onEvent: (event: GossipEvent) => void;
  /** The thread has ended, or could not be started again; in so many ms that is tried. Until then others get no answer. */
  readonly onDied: (error: Error, againInMs: number) => void;
}

const PAUSES: RestartPauses = { firstMs: 500, mostMs: 30_000 };
const MEMBERS_EVERY_MS = 50;
/**
 * After its thread has ended this node knows nobody. For so long those count that were known before and are not heard
 * of: ending all streams would do more harm than a few to nodes that died meanwhile.
 */
const BEFORE_COUNTS_MS = 30_000;

export class MeshGossip implements Gossip {
  readonly #options: GossipOptions;
  readonly #listener: GossipListener;
  readonly #lines: EventLines;
  readonly #memory: MemberMemory;
  #bind: Address;
  readonly #advertise: Address | undefined;
  #keyring: GossipKeyring;
  #kept: KeptThread | undefined;
  #changingKeys: Promise<void> = Promise.resolve();
  #seeds: readonly Address[] = [];
  #before: ReadonlyMap<string, GossipMember> = new Map();
  #beforeTimer: NodeJS.Timeout | undefined;
  #membersTimer: NodeJS.Timeout | undefined;
  #address = '';
  #closed = false;

  private constructor(options: GossipOptions, listener: GossipListener) {
    const { meshId, nodeId, bind, advertise, keyring } = options;
    if (!isMeshId(meshId)) throw new GossipError('a mesh id is 32 hex digits');
    if (!isNodeId(nodeId)) throw new GossipError('a node id is 16 hex digits, not all zero');
    this.#bind = addressOf(bind, 'listen at', true);
    this.#advertise = advertise === undefined ? undefined : addressOf(advertise, 'be reached at', true);
    this.#keyring = usable(keyring);
    this.#options = options;
    this.#listener = listener;
    this.#lines = new EventLines(listener.onEvent);
    const file = join(options.stateDirectory, 'gossip-members');
    this.#memory = new MemberMemory(file, (detail) => this.#lines.add({ kind: 'memory', about: file, detail }));
  }

  /** Fails as GossipError. */
  static async open(options: GossipOptions, listener: GossipListener): Promise<MeshGossip> {
    const gossip = new MeshGossip(options, listener);
    await gossip.#open();
    return gossip;
  }

  /** Where others reach it, for this node's record. */
  get address(): string {
    return this.#address;
  }

  members(): readonly GossipMember[] {
    const members = new Map(this.#before);
    for (const { name, state } of this.#kept?.running?.members() ?? []) {
      if (isNodeId(name)) members.set(name, { nodeId: name, state });
    }
    return [...members.values()];
  }

  async join(addresses: readonly string[]): Promise<number> {
    const targets = new Map<string, Address>();
    for (const text of addresses) {
      const address = parseHostPort(text, { names: true });
      if (address !== undefined && targets.size < defaultLimits.joinTargets) targets.set(text, address);
      else {
        const why = address === undefined ? 'expected HOST:PORT or [IPv6]:PORT' : 'more addresses than are tried';
        this.#lines.add({ kind: 'refused', about: text, detail: `not joined: ${why}`, reason: 'join' });
      }
    }
    this.#seeds = [...targets.values()];
    return this.#joinSeeds();
  }

  /** What seals and opens from now on. Rejects with GossipError when it can't be used; the old one is then in force. */
  async setKeyring(keyring: GossipKeyring): Promise<void> {
    this.#keyring = usable(keyring);
    await this.#changeKeys();
  }

  /** undefined: its thread is not running. */
  async stats(): Promise<NodeStats | undefined> {
    return this.#kept?.running?.stats().catch(() => undefined);
  }

  async leave(timeoutMs: number): Promise<void> {
    // A thread that was started again would be a node that comes back.
    this.#kept?.release();
    await this.#kept?.running?.leave(timeoutMs).catch(() => false);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#beforeTimer);
    clearTimeout(this.#membersTimer);
    await this.#kept?.close();
    this.#memory.close();
    this.#lines.close();
  }

  async #open(): Promise<void> {
    const { pauses = PAUSES, program } = this.#options;
    const keeper = {
      options: () => this.#threadOptions(),
      event: (event: NodeEvent) => this.#heard(event),
      resync: (lost: number) => this.#missed(lost),
      died: (error: Error, againInMs: number, thread: SwimThread | undefined) => this.#died(error, againInMs, thread),
      restarted: () => this.#restarted(),
    };
    try {
      this.#kept = await KeptThread.start(keeper, pauses, program);
    } catch (error) {
      this.#lines.close();
      throw new GossipError(`gossip can't start at ${this.#options.bind}: ${sentence((error as Error).message)}`);
    }
    const address = this.#kept.running?.address ?? this.#bind;
    this.#address = hostPortText(address);
    // It comes back where others know it.
    if (this.#bind.port === 0) this.#bind = { ...this.#bind, port: address.port };
  }

  #threadOptions(): Parameters<typeof SwimThread.start>[0] {
    const incarnation = this.#memory.nextIncarnation;
    return {
      name: this.#options.nodeId,
      label: this.#options.meshId,
      bind: this.#bind,
      ...(this.#advertise && { advertise: this.#advertise }),
      keys: orderedKeys(this.#keyring),
      verifyIncoming: true,
      verifyOutgoing: true,
      tuning: this.#options.tuning ?? lan,
      remembered: this.#memory.remembered(),
      ...(incarnation !== undefined && { incarnation }),
    };
  }

  #heard(event: NodeEvent): void {
    switch (event.type) {
      case 'incarnation':
        this.#memory.took(event.incarnation);
        return;
      case 'join':
      case 'update':
        this.#memory.saw(event.node.name, event.node.address);
        if (event.type === 'update') return;
        this.#lines.add({ kind: 'joined', about: event.node.name, detail: `at ${hostPortText(event.node.address)}` });
        break;
      case 'suspect':
        this.#lines.add({ kind: 'suspect', about: event.node.name, detail: `says ${event.from}` });
        break;
      case 'refuted':
        this.#memory.saw(event.node.name, event.node.address);
        this.#lines.add({ kind: 'refuted', about: event.node.name });
        break;
      case 'dead':
        this.#memory.lost(event.node.name);
        this.#lines.add({ kind: 'dead', about: event.node.name, detail: `says ${event.from}` });
        break;
      case 'left':
        this.#memory.lost(event.node.name);
        this.#lines.add({ kind: 'left', about: event.node.name });
        break;
      case 'forgotten':
        break;
      default:
        this.#noted(event);
        return;
    }
    this.#membersChanged();
  }

  /** What changes no member's state. */
  #noted(event: NodeEvent): void {
    switch (event.type) {
      case 'rejected': {
        const { reason, from, detail, count } = event;
        this.#lines.add({ kind: 'refused', about: hostPortText(from), detail: `${reason}: ${detail}`, count, reason });
        return;
      }
      case 'refused':
        this.#lines.add({ kind: 'refused', about: event.about, detail: event.reason });
        return;
      case 'conflict': {
        const { existing, other } = event;
        const both = `at ${hostPortText(existing.address)} and ${hostPortText(other.address)}`;
        const fix = 'was its disk copied? Remove one of them, and let it join again';
        this.#lines.add({ kind: 'conflict', about: existing.name, detail: `two nodes have one id, ${both}: ${fix}` });
        return;
      }
      case 'stream-only': {
        const detail = 'it answers over TCP and not over UDP: let its gossip port pass for both';
        this.#lines.add({ kind: 'stream-only', about: event.name, detail });
        return;
      }
      default:
    }
  }

  #missed(lost: number): void {
    for (const { name, address, state } of this.#kept?.running?.members() ?? []) {
      if (state === 'dead' || state === 'left') this.#memory.lost(name);
      else this.#memory.saw(name, address);
    }
    const detail = 'this process was too busy to take them; who is alive is right again';
    this.#lines.add({ kind: 'late', about: this.#options.nodeId, detail, count: lost });
    this.#membersChanged();
  }

  #died(error: Error, againInMs: number, thread: SwimThread | undefined): void {
    if (thread !== undefined) {
      const known = new Map(this.#before);
      for (const { name, state } of thread.members()) if (isNodeId(name)) known.set(name, { nodeId: name, state });
      this.#keepBefore(known);
    }
    this.#listener.onDied(error, againInMs);
  }

  #restarted(): void {
    this.#lines.add({ kind: 'restarted', about: this.#options.nodeId, detail: `at ${this.#address}` });
    this.#keepBefore(this.#before);
    // The keyring and the seeds may have been changed while it was being started.
    void this.#changeKeys().catch(() => undefined);
    if (this.#seeds.length > 0) void this.#joinSeeds();
    this.#membersChanged();
  }

  #keepBefore(known: ReadonlyMap<string, GossipMember>): void {
    this.#before = known;
    clearTimeout(this.#beforeTimer);
    this.#beforeTimer = setTimeout(() => {
      this.#before = new Map();
      this.#membersChanged();
    }, BEFORE_COUNTS_MS).unref();
  }

  async #joinSeeds(): Promise<number> {
    try {
      // Whom it does not reach, SWIM tells as refused.
      return (await this.#kept?.running?.join(this.#seeds))?.reached ?? 0;
    } catch {
      // Its thread has ended, which onDied says; the next one joins them.
      return 0;
    }
  }

  /** One change at a time, each by what the thread has and what it is to have. */
  #changeKeys(): Promise<void> {
    const change = this.#changingKeys.then(async () => {
      const thread = this.#kept?.running;
      if (thread === undefined) return;
      const wanted = orderedKeys(this.#keyring);
      const [primary] = wanted;
      try {
        for (const key of wanted) await thread.changeKey('install', key);
        if (primary !== undefined) await thread.changeKey('use', primary);
        for (const key of await thread.keys()) {
          if (!wanted.some((other) => Buffer.compare(other, key) === 0)) await thread.changeKey('remove', key);
        }
      } catch (error) {
        // A thread that has ended gets the keyring at its next start.
        if (this.#kept?.running === thread) throw new GossipError(`the gossip keyring: ${(error as Error).message}`);
      }
    });
    this.#changingKeys = change.catch(() => undefined);
    return change;
  }

  #membersChanged(): void {
    if (this.#closed) return;
    this.#membersTimer ??= setTimeout(() => {
      this.#membersTimer = undefined;
      this.#listener.onMembers();
    }, MEMBERS_EVERY_MS);
  }
}

function addressOf(text: string, what: string, anyPort: boolean): Address {
  const address = parseHostPort(text, { anyPort });
  if (address !== undefined) return address;
  throw new GossipError(`gossip can't ${what} ${JSON.stringify(text)}: expected IPV4:PORT or [IPV6]:PORT`);
}

function usable(keyring: GossipKeyring): GossipKeyring {
  const fault = keyringFault(keyring);
  if (fault !== undefined) throw new GossipError(`the gossip keyring can't be used: ${fault}`);
  return keyring;
}

/** What its thread said, for an operator. */
function sentence(message: string): string {
  if (message.includes('EADDRINUSE')) {
    return 'another process has the port, for UDP or TCP; choose another with --mesh, of whose port this is the next';
  }
  if (message.includes('EADDRNOTAVAIL')) return "the address is none of this machine's";
  return `${message}; check the address`;
}
