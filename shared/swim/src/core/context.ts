// SPDX-License-Identifier: Apache-2.0
import type { Address, Message, NodeState, Versions } from '../wire/message.js';
import { META_BYTES_MAX, NAME_BYTES_MAX } from '../wire/protocol.js';
import { Awareness } from './awareness.js';
import { BroadcastQueue } from './broadcast-queue.js';
import { type Effect, type Hooks, type Options, PROTOCOL_VERSIONS, type SwimEvent } from './contract.js';
import { type Member, MemberTable } from './members.js';
import type { Random } from './random.js';
import { Timers } from './timers.js';
import { defaultLimits, type Limits, type Tuning, tuningErrors } from './tuning.js';

const NOTICE_EVERY_MS = 10_000;
const NOTICES_MAX = 256;

/** The caller has made a node with options that cannot work; the message lists every one. */
export class SwimOptionsError extends Error {
  override readonly name = 'SwimOptionsError';
}

/** What the parts of one node share. */
export class Context {
  readonly tuning: Tuning;
  readonly limits: Limits;
  readonly hooks: Hooks;
  readonly random: Random;
  readonly datagramBytes: number;
  readonly sizeOf: (message: Message) => number;
  readonly self: Member;
  readonly members = new MemberTable();
  readonly timers: Timers;
  readonly awareness: Awareness;
  readonly broadcasts: BroadcastQueue<Message>;
  readonly userBroadcasts: BroadcastQueue<Message>;
  nowMs = 0;
  /** leave() was called: nothing brings this node back. */
  leaving = false;
  #effects: Effect[] = [];
  #sequence: number;
  readonly #noticedMs = new Map<string, number>();

  constructor(options: Options) {
    refuseOptions(options);
    this.tuning = options.tuning;
    this.limits = { ...defaultLimits, ...options.limits };
    this.hooks = options.hooks ?? {};
    this.random = options.random;
    this.timers = options.timers ?? new Timers();
    this.datagramBytes = options.datagramBytes;
    this.sizeOf = options.sizeOf;
    this.awareness = new Awareness(options.tuning.awarenessLimit);
    this.broadcasts = new BroadcastQueue(this.limits.broadcasts);
    this.userBroadcasts = new BroadcastQueue(this.limits.userBroadcasts);
    const versions: Versions = { protocol: PROTOCOL_VERSIONS, delegate: options.delegateVersions ?? [0, 0, 0] };
    this.self = {
      name: options.name,
      address: options.address,
      meta: options.meta ?? new Uint8Array(),
      incarnation: options.incarnation ?? 1,
      state: 'alive',
      versions,
      changedMs: 0,
    };
    // Anybody's guess: an ack to a former life of this node must not pass for one to this.
    this.#sequence = Math.floor(options.random() * 0x1_0000_0000);
  }

  /** For a ping; 32 bits, never the same twice within what is under way. */
  nextSequence(): number {
    this.#sequence = (this.#sequence + 1) >>> 0;
    return this.#sequence;
  }

  emit(effect: Effect): void {
    this.#effects.push(effect);
  }

  tell(event: SwimEvent): void {
    this.#effects.push({ type: 'event', event });
  }

  /** Outside input decides how often this is called, so that what the user hears of it is limited. */
  notice(subject: string, event: SwimEvent): void {
    const key = `${event.type} ${subject}`;
    const last = this.#noticedMs.get(key);
    if (last !== undefined && this.nowMs - last < NOTICE_EVERY_MS) return;
    if (last === undefined && this.#noticedMs.size >= NOTICES_MAX) {
      const [oldest, atMs] = this.#noticedMs.entries().next().value as [string, number];
      if (this.nowMs - atMs < NOTICE_EVERY_MS) return;
      this.#noticedMs.delete(oldest);
    }
    this.#noticedMs.delete(key);
    this.#noticedMs.set(key, this.nowMs);
    this.tell(event);
  }

  refused(about: string, reason: string): void {
    this.notice(about, { type: 'refused', about, reason });
  }

  health(delta: number): void {
    if (this.awareness.apply(delta)) this.tell({ type: 'health', score: this.awareness.score });
  }

  drain(): Effect[] {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }
}

export function sameAddress(one: Address, other: Address): boolean {
  return one === other || (one.port === other.port && one.host === other.host);
}

export function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  if (one === other) return true;
  if (one.length !== other.length) return false;
  for (let i = 0; i < one.length; i++) if (one[i] !== other[i]) return false;
  return true;
}

export function sameVersions(one: Versions, other: Versions): boolean {
  return (
    one === other ||
    [0, 1, 2].every((i) => one.protocol[i] === other.protocol[i] && one.delegate[i] === other.delegate[i])
  );
}

/** Why nothing may be stored of it; undefined: it may. */
export function malformed(node: Pick<NodeState, 'name' | 'address' | 'meta' | 'versions'>): string | undefined {
  // Of a name from outside, the codec has counted the bytes.
  if (node.name === '' || node.name.length > NAME_BYTES_MAX) {
    return `a name of ${node.name.length} characters: expected 1 to ${NAME_BYTES_MAX}`;
  }
  if (node.address.port === 0) return 'port 0: expected the one at which it is reached';
  if (node.meta.length > META_BYTES_MAX) {
    return `metadata of ${node.meta.length} bytes: expected at most ${META_BYTES_MAX}`;
  }
  const [min, max, current] = node.versions.protocol;
  if (min === 0 || max === 0 || min > max) {
    return `protocol versions ${min} to ${max}, speaking ${current}: expected a range above 0`;
  }
  return undefined;
}

function refuseOptions(options: Options): void {
  const errors = tuningErrors(options.tuning).map((error) => `tuning.${error}`);
  const bad = malformed({
    name: options.name,
    address: options.address,
    meta: options.meta ?? new Uint8Array(),
    versions: { protocol: PROTOCOL_VERSIONS, delegate: [0, 0, 0] },
  });
  if (bad) errors.push(bad);
  if (!(options.datagramBytes >= 256)) {
    errors.push(
      `datagramBytes is ${options.datagramBytes}: expected 256 or more (1400 less what label and encryption take)`,
    );
  }
  if (options.incarnation !== undefined && !(options.incarnation >= 1 && options.incarnation < 0xffff_fff0)) {
    errors.push(`incarnation is ${options.incarnation}: expected a whole number from 1 to 4294967279`);
  }
  if (errors.length > 0)
    throw new SwimOptionsError(`node ${options.name || '(no name)'} cannot be made: ${errors.join('; ')}`);
}
