// SPDX-License-Identifier: Apache-2.0
import type { Address, Message, NodeState, StreamMessage } from '../wire/message.js';
import {
  CHECKSUM_HEADER_BYTES,
  COMPOUND_HEADER_BYTES,
  COMPOUND_PART_HEADER_BYTES,
  META_BYTES_MAX,
} from '../wire/protocol.js';
import { Context, SwimOptionsError } from './context.js';
import type { Effect, Options } from './contract.js';
import { Exchanges } from './exchanges.js';
import { Gossip } from './gossip.js';
import { isGone, type Member, stateOf } from './members.js';
import { Membership } from './membership.js';
import { Prober } from './prober.js';
import { Rejoin } from './rejoin.js';
import { StateExchange } from './state-exchange.js';

/** Its type byte, and what stands around a message in a datagram at most. */
const USER_OVERHEAD_BYTES = 1 + CHECKSUM_HEADER_BYTES + COMPOUND_HEADER_BYTES + COMPOUND_PART_HEADER_BYTES;

/** A member of a state exchange's list that this node remembers from its last life. */
export interface RememberedMember {
  readonly name: string;
  readonly address: Address;
}

/** Figures for those who watch. */
export interface SwimStats {
  /** Known members, this node and the dead among them. */
  readonly members: number;
  readonly health: number;
  readonly incarnation: number;
  readonly broadcasts: number;
  readonly userBroadcasts: number;
  readonly relays: number;
  readonly streams: number;
  /** Failed members that are tried again. */
  readonly failed: number;
  readonly timers: number;
}

/**
 * One node of a SWIM cluster, without input or output of its own (see contract.ts). Every method takes the present time
 * and returns what is to be done; what has fallen due by then is done as well, after the input, so that an answer that
 * waited counts before its deadline.
 */
export class Swim {
  readonly #context: Context;
  readonly #gossip: Gossip;
  readonly #rejoin: Rejoin;
  readonly #exchanges: Exchanges;
  readonly #membership: Membership;
  readonly #exchange: StateExchange;
  readonly #prober: Prober;
  #started = false;

  /** Throws SwimOptionsError when the options cannot work. */
  constructor(options: Options) {
    this.#context = new Context(options);
    this.#gossip = new Gossip(this.#context);
    this.#rejoin = new Rejoin(this.#context);
    this.#exchanges = new Exchanges(this.#context);
    this.#membership = new Membership(this.#context, this.#gossip, this.#rejoin);
    this.#exchange = new StateExchange(this.#context, this.#exchanges, this.#membership, this.#rejoin);
    this.#prober = new Prober(this.#context, this.#gossip, this.#membership, this.#exchanges);
  }

  /** When tick wants to be called at the latest. */
  get nextMs(): number {
    return this.#context.timers.nextMs;
  }

  start(nowMs: number): Effect[] {
    return this.#do(nowMs, () => {
      if (this.#started) return;
      this.#started = true;
      this.#context.tell({ type: 'incarnation', incarnation: this.#context.self.incarnation });
      this.#membership.announceSelf();
      this.#prober.start();
      this.#gossip.start();
      this.#exchange.start();
    });
  }

  tick(nowMs: number): Effect[] {
    return this.#do(nowMs, () => {});
  }

  /** A datagram's messages, decoded. */
  receive(from: Address, messages: readonly Message[], nowMs: number): Effect[] {
    return this.#do(nowMs, () => {
      for (const message of messages) this.#datagram(message, from);
    });
  }

  /** A stream that somebody has opened, with its request; stream: the transport's own number, for the answer. */
  receiveStream(stream: number, from: Address, request: StreamMessage, nowMs: number): Effect[] {
    return this.#do(nowMs, () => this.#request(stream, from, request));
  }

  /** A stream that this node has opened has ended; reply: undefined when none was expected. */
  streamDone(id: number, reply: StreamMessage | undefined, nowMs: number): Effect[] {
    return this.#do(nowMs, () => this.#exchanges.end(id, reply));
  }

  streamFailed(id: number, reason: string, nowMs: number): Effect[] {
    return this.#do(nowMs, () => this.#exchanges.end(id, reason));
  }

  /**
   * Exchanges state with every address; ends with event `joined`. The addresses are tried again later whenever this
   * node is alone.
   */
  join(id: number, addresses: readonly Address[], nowMs: number): Effect[] {
    return this.#do(nowMs, () => this.#exchange.join(id, addresses));
  }

  /**
   * Takes over what is known for certain, without telling anyone: a simulation's cluster that stands begins so. Who is
   * known already stays as it is.
   */
  assume(members: readonly NodeState[], nowMs: number): Effect[] {
    return this.#do(nowMs, () => {
      const { members: known, random } = this.#context;
      for (const state of members) if (!known.get(state.name)) known.insert({ ...state, changedMs: nowMs }, random);
    });
  }

  /** Members of this node's last life, failed ones too: tried one by one until they are heard of, or given up. */
  remember(members: readonly RememberedMember[], nowMs: number): Effect[] {
    return this.#do(nowMs, () => {
      for (const { name, address } of members) this.#rejoin.remember(name, address);
    });
  }

  /**
   * Says good-bye; ends with event `departed`, after timeoutMs at the latest. The node goes on answering until it is no
   * longer driven, and never comes back: make another for that.
   */
  leave(timeoutMs: number, nowMs: number): Effect[] {
    return this.#do(nowMs, () => {
      if (this.#context.leaving) return;
      const { self, timers } = this.#context;
      this.#context.leaving = true;
      let told = false;
      const departed = (announced: boolean): void => {
        if (told) return;
        told = true;
        timers.cancel(timer);
        this.#context.tell({ type: 'departed', announced });
      };
      const timer = timers.at(nowMs + timeoutMs, () => departed(false));
      const farewell = { type: 'dead', incarnation: self.incarnation, node: self.name, from: self.name } as const;
      this.#membership.dead(farewell, (end) => departed(end === 'sent'));
      if (this.#others().length === 0) departed(true);
    });
  }

  /** At most 512 bytes; ends with event `updated`. Throws SwimOptionsError for more. */
  updateMeta(id: number, meta: Uint8Array, nowMs: number): Effect[] {
    if (meta.length > META_BYTES_MAX) {
      throw new SwimOptionsError(`metadata of ${meta.length} bytes: expected at most ${META_BYTES_MAX}`);
    }
    return this.#do(nowMs, () => {
      if (this.#context.leaving) return;
      this.#context.self.meta = meta;
      this.#membership.raiseIncarnation(0);
      const alone = this.#others().length === 0;
      const updated = (): void => this.#context.tell({ type: 'updated', id });
      this.#membership.announceSelf(alone ? undefined : updated);
      if (alone) updated();
    });
  }

  /**
   * Gossips a message of the user's to all, each of whom must pass it on (again by broadcast, with the same key).
   * Throws SwimOptionsError when it does not fit into a datagram.
   */
  broadcast(body: Uint8Array, key: string | undefined, nowMs: number): Effect[] {
    this.#refuseLarge(body);
    return this.#do(nowMs, () => this.#gossip.broadcastUser(body, key));
  }

  /** One datagram, which may be lost. Throws SwimOptionsError when it does not fit into one. */
  sendBestEffort(name: string, body: Uint8Array, nowMs: number): Effect[] {
    this.#refuseLarge(body);
    return this.#do(nowMs, () => {
      const member = this.#context.members.get(name);
      if (member) this.#gossip.send(member.address, name, [{ type: 'user', body }]);
    });
  }

  /** Over a stream; ends with event `delivered`, which says that it was sent whole, not that anybody has read it. */
  sendReliable(id: number, name: string, body: Uint8Array, nowMs: number): Effect[] {
    return this.#do(nowMs, () => {
      const member = this.#context.members.get(name);
      const delivered = (error: string | undefined): void => this.#context.tell({ type: 'delivered', id, error });
      if (!member) {
        delivered(`${name} is not a member`);
        return;
      }
      const deadlineMs = nowMs + this.#context.tuning.streamTimeoutMs;
      this.#exchanges.open(member.address, { type: 'user', body }, false, deadlineMs, (outcome) =>
        delivered(typeof outcome === 'string' ? outcome : undefined),
      );
    });
  }

  /** Everyone this node knows of, itself and those that died or left of late among them. */
  members(): NodeState[] {
    return this.#context.members.all().map(stateOf);
  }

  member(name: string): NodeState | undefined {
    const member = this.#context.members.get(name);
    return member && stateOf(member);
  }

  stats(): SwimStats {
    const { members, awareness, self, broadcasts, userBroadcasts, timers } = this.#context;
    return {
      members: members.size,
      health: awareness.score,
      incarnation: self.incarnation,
      broadcasts: broadcasts.length,
      userBroadcasts: userBroadcasts.length,
      relays: this.#prober.relays,
      streams: this.#exchanges.size,
      failed: this.#rejoin.failed,
      timers: timers.size,
    };
  }

  #do(nowMs: number, input: () => void): Effect[] {
    // A clock that stands still or goes back must not bring timers into disorder.
    this.#context.nowMs = Math.max(this.#context.nowMs, nowMs);
    input();
    this.#context.timers.runDue(this.#context.nowMs);
    return this.#context.drain();
  }

  #datagram(message: Message, from: Address): void {
    if (message.type === 'ping') this.#prober.ping(message, from);
    else if (message.type === 'indirect-ping') this.#prober.indirectPing(message, from);
    else if (message.type === 'ack') this.#prober.ack(message);
    else if (message.type === 'nack') this.#prober.nack(message);
    else if (message.type === 'suspect') this.#membership.suspect(message);
    else if (message.type === 'alive') this.#membership.alive(message);
    else if (message.type === 'dead') this.#membership.dead(message);
    else this.#context.tell({ type: 'user', body: message.body, from });
  }

  #request(stream: number, from: Address, request: StreamMessage): void {
    const { self } = this.#context;
    if (request.type === 'push-pull') {
      this.#exchange.answer(stream, request);
      return;
    }
    if (request.type === 'ping' && (request.node === '' || request.node === self.name)) {
      const message = { type: 'ack', seq: request.seq, payload: new Uint8Array() } as const;
      this.#context.emit({ type: 'reply', stream, message });
      return;
    }
    if (request.type === 'user') this.#context.tell({ type: 'user', body: request.body, from });
    else if (request.type !== 'ping') {
      const about = `${from.host} port ${from.port}`;
      this.#context.refused(about, `a stream that begins with ${request.type}: expected a request`);
    }
    this.#context.emit({ type: 'close', stream });
  }

  #others(): Member[] {
    const { members, self } = this.#context;
    return members.all().filter((member) => member !== self && !isGone(member));
  }

  #refuseLarge(body: Uint8Array): void {
    const most = this.#context.datagramBytes - USER_OVERHEAD_BYTES;
    if (body.length > most) {
      throw new SwimOptionsError(
        `user message of ${body.length} bytes: expected at most ${most}; sendReliable takes more`,
      );
    }
  }
}
