// SPDX-License-Identifier: Apache-2.0
import type { Ack, Address, IndirectPing, Message, Nack, Ping } from '../wire/message.js';
import type { Context } from './context.js';
import type { Exchanges } from './exchanges.js';
import type { Gossip } from './gossip.js';
import { isGone, type Member } from './members.js';
import type { Membership } from './membership.js';
import { nackAfterMs } from './scaling.js';
import type { Timer } from './timers.js';

/** First versions that understand a ping on a stream, and a nack. */
const STREAM_PING_SINCE = 3;
const NACK_SINCE = 4;

interface Probe {
  readonly ping: Ping;
  readonly member: Member;
  /** Of the member when the probe began: a refutation in the meantime must not be overruled. */
  readonly incarnation: number;
  readonly sentMs: number;
  readonly deadlineMs: number;
  direct: boolean;
  expectedNacks: number;
  nacks: number;
  streamAnswered: boolean;
  timers: Timer[];
}

interface Relay {
  readonly origin: Address;
  readonly originName: string | undefined;
  readonly originSeq: number;
  readonly timers: readonly Timer[];
}

/**
 * Failure detection. One member at a time (memberlist, state.go, probeNode):
 *
 *   0                ping; to a suspect together with the suspicion, so that it can refute at once
 *   probe timeout    no ack yet: ask others to ping it, and ping it over a stream
 *   deadline         no ack either way: suspect. The deadline is the probe interval × (health + 1).
 *
 * An ack makes this node healthier by one. A failed probe makes it less healthy by each nack that is missing from those
 * asked; by one, when nobody was asked who would have sent any. The first timeout does not grow with health, as in
 * memberlist and unlike the paper: to wait longer for one datagram does not help it through, while the other ways get
 * all the time there is.
 */
export class Prober {
  readonly #context: Context;
  readonly #gossip: Gossip;
  readonly #membership: Membership;
  readonly #exchanges: Exchanges;
  readonly #relays = new Map<number, Relay>();
  #probe: Probe | undefined;
  /** A round fell due while a probe was still under way. */
  #overdue = false;

  constructor(context: Context, gossip: Gossip, membership: Membership, exchanges: Exchanges) {
    this.#context = context;
    this.#gossip = gossip;
    this.#membership = membership;
    this.#exchanges = exchanges;
  }

  start(): void {
    const { random, tuning, nowMs } = this.#context;
    this.#tickAt(nowMs + random() * tuning.probeIntervalMs);
  }

  get relays(): number {
    return this.#relays.size;
  }

  ping(message: Ping, from: Address): void {
    const { self, hooks } = this.#context;
    if (message.node !== '' && message.node !== self.name) {
      this.#context.refused(
        message.node,
        `a ping for ${message.node} came to ${self.name}: its address is now this node's`,
      );
      return;
    }
    const payload = hooks.ackPayload?.() ?? new Uint8Array();
    this.#gossip.send(message.source ?? from, message.source?.node, [{ type: 'ack', seq: message.seq, payload }]);
  }

  /** Pings in another's stead, and says so when nothing comes back. */
  indirectPing(message: IndirectPing, from: Address): void {
    const { limits, timers, tuning, nowMs } = this.#context;
    if (this.#relays.size >= limits.relays) {
      this.#context.refused('indirect pings', `more than ${limits.relays} at a time (limits.relays)`);
      return;
    }
    const ping = this.#pingFor(message.node);
    const origin = message.source ?? from;
    const originName = message.source?.node;
    const pending = [timers.at(nowMs + tuning.probeTimeoutMs, () => this.#relays.delete(ping.seq))];
    if (message.nack) {
      const nack: Message = { type: 'nack', seq: message.seq };
      const atMs = nowMs + nackAfterMs(tuning.probeTimeoutMs, tuning.probeIntervalMs);
      pending.push(timers.at(atMs, () => this.#gossip.send(origin, originName, [nack])));
    }
    this.#relays.set(ping.seq, { origin, originName, originSeq: message.seq, timers: pending });
    this.#gossip.send(message.target, message.node, [ping]);
  }

  ack(message: Ack): void {
    const probe = this.#probe;
    if (probe && probe.ping.seq === message.seq) {
      if (probe.direct) {
        const ms = this.#context.nowMs - probe.sentMs;
        this.#context.tell({ type: 'round-trip', name: probe.member.name, ms, payload: message.payload });
      }
      this.#finish(-1);
      return;
    }
    const relay = this.#relays.get(message.seq);
    if (!relay) return;
    this.#relays.delete(message.seq);
    for (const timer of relay.timers) this.#context.timers.cancel(timer);
    const { origin, originName, originSeq: seq } = relay;
    this.#gossip.send(origin, originName, [{ type: 'ack', seq, payload: new Uint8Array() }]);
  }

  nack(message: Nack): void {
    const probe = this.#probe;
    // More than one asked for would be somebody's invention.
    if (probe && probe.ping.seq === message.seq && probe.nacks < probe.expectedNacks) probe.nacks++;
  }

  #tickAt(atMs: number): void {
    const { timers, tuning } = this.#context;
    timers.at(atMs, () => {
      // After a standstill, rounds that were missed are not made up for.
      const missed = Math.floor((this.#context.nowMs - atMs) / tuning.probeIntervalMs);
      this.#tickAt(atMs + (missed + 1) * tuning.probeIntervalMs);
      if (this.#probe) this.#overdue = true;
      else this.#next();
    });
  }

  #next(): void {
    const { members, self, tuning, random, nowMs } = this.#context;
    const member = members.nextProbe(
      (other) => other !== self && !isGone(other),
      nowMs - tuning.gossipToTheDeadMs,
      random,
      (name) => this.#context.tell({ type: 'forgotten', name }),
    );
    if (!member) return;
    const ping = this.#pingFor(member.name);
    const deadlineMs = nowMs + this.#context.awareness.scale(tuning.probeIntervalMs);
    const { timers } = this.#context;
    this.#probe = {
      ping,
      member,
      incarnation: member.incarnation,
      sentMs: nowMs,
      deadlineMs,
      direct: true,
      expectedNacks: 0,
      nacks: 0,
      streamAnswered: false,
      timers: [
        timers.at(nowMs + tuning.probeTimeoutMs, () => this.#askOthers(), 'probe'),
        timers.at(deadlineMs, () => this.#conclude(), 'probe'),
      ],
    };
    const messages: Message[] = [ping];
    if (member.state === 'suspect' && tuning.buddy) {
      messages.push({ type: 'suspect', incarnation: member.incarnation, node: member.name, from: self.name });
    }
    this.#gossip.send(member.address, member.name, messages);
  }

  #askOthers(): void {
    const probe = this.#probe;
    if (!probe) return;
    probe.direct = false;
    const { members, self, tuning, random } = this.#context;
    const { member, ping } = probe;
    const peers = members.pick(
      tuning.indirectChecks,
      random,
      (other) => other !== self && other !== member && other.state === 'alive',
    );
    for (const peer of peers) {
      const nack = peer.versions.protocol[1] >= NACK_SINCE;
      if (nack) probe.expectedNacks++;
      const source = { ...self.address, node: self.name };
      this.#gossip.send(peer.address, peer.name, [
        { type: 'indirect-ping', seq: ping.seq, target: member.address, node: member.name, nack, source },
      ]);
    }
    if (!tuning.streamPing || member.versions.protocol[1] < STREAM_PING_SINCE) return;
    this.#exchanges.open(member.address, ping, true, probe.deadlineMs, (reply) => {
      if (typeof reply === 'object' && reply.type === 'ack' && reply.seq === ping.seq) probe.streamAnswered = true;
    });
  }

  #conclude(): void {
    const probe = this.#probe;
    if (!probe) return;
    const { member, incarnation, expectedNacks, nacks } = probe;
    if (probe.streamAnswered) {
      this.#context.notice(member.name, { type: 'stream-only', name: member.name });
      this.#finish(-1);
      return;
    }
    this.#membership.suspect({ type: 'suspect', incarnation, node: member.name, from: this.#context.self.name });
    this.#finish(expectedNacks > 0 ? expectedNacks - nacks : 1);
  }

  #finish(health: number): void {
    for (const timer of this.#probe?.timers ?? []) this.#context.timers.cancel(timer);
    this.#probe = undefined;
    this.#context.health(health);
    if (!this.#overdue) return;
    this.#overdue = false;
    this.#next();
  }

  #pingFor(node: string): Ping {
    const { self } = this.#context;
    return { type: 'ping', seq: this.#context.nextSequence(), node, source: { ...self.address, node: self.name } };
  }
}
