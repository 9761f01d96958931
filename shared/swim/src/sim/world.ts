// SPDX-License-Identifier: Apache-2.0
import type { Effect, Hooks, SwimEvent } from '../core/contract.js';
import { type Random, seededRandom } from '../core/random.js';
import { type RememberedMember, Swim } from '../core/swim.js';
import type { Activity } from '../core/timers.js';
import type { Limits, Tuning } from '../core/tuning.js';
import type { Address, StreamMessage } from '../wire/message.js';
import { ActivityTimers } from './activity-timers.js';
import { EventQueue } from './event-queue.js';
import { type Link, Network } from './network.js';
import { datagramBytes, messageBytes, streamBytes } from './size.js';

const PORT = 7946;
/** Room for messages in a datagram of 1400 bytes, with encryption's 29 taken off. */
const ROOM_BYTES = 1371;
/** Datagrams that a receiver's socket holds while nobody reads: Linux's 208 KiB at 768 bytes for a small one. */
const SOCKET_DATAGRAMS = 277;

export interface WorldOptions {
  readonly seed: number;
  readonly link: Link;
  readonly tuning: Tuning;
  readonly limits?: Partial<Limits>;
  readonly hooks?: (index: number) => Hooks;
  readonly onEvent?: (index: number, event: SwimEvent, nowMs: number) => void;
}

export interface Traffic {
  datagrams: number;
  datagramBytes: number;
  /** Requests and replies on streams. */
  streamMessages: number;
  streamBytes: number;
}

interface Process {
  readonly index: number;
  readonly name: string;
  readonly address: Address;
  swim: Swim;
  timers: ActivityTimers;
  running: boolean;
  /** Counts its lives: what was on its way to an earlier one is lost. */
  life: number;
  /** When it is woken next; events for other times are stale. */
  wakeMs: number;
  pausedUntilMs: number;
  /** What it was about to send when it was blocked, and since; undefined: it is not blocked. */
  held: Effect[] | undefined;
  waiting: Arrival[];
  waitingDatagrams: number;
  /** A datagram that waited has been read, and the next is not yet. */
  reading: boolean;
  /** What arrives is read so much later. */
  lagMs: number;
  incarnation: number;
}

interface Arrival {
  readonly atMs: number;
  readonly datagram: boolean;
  readonly input: (nowMs: number) => Effect[];
}

interface OpenedStream {
  readonly opener: Process;
  readonly life: number;
  readonly id: number;
  readonly answerer: Process;
}

/** A cluster in virtual time: the same seed and the same calls give the same run, to the last bit. */
export class World {
  readonly network: Network;
  readonly traffic: Traffic = { datagrams: 0, datagramBytes: 0, streamMessages: 0, streamBytes: 0 };
  readonly #options: WorldOptions;
  readonly #random: Random;
  readonly #events = new EventQueue<() => void>();
  readonly #processes: Process[] = [];
  readonly #byHost = new Map<string, Process>();
  readonly #streams = new Map<number, OpenedStream>();
  #stream = 0;
  #nowMs = 0;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed);
    this.network = new Network(options.link, this.#random);
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  get size(): number {
    return this.#processes.length;
  }

  /** Starts another node, and returns its index. */
  add(): number {
    const index = this.#processes.length;
    const address = { host: `10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`, port: PORT };
    const timers = new ActivityTimers();
    const process: Process = {
      index,
      name: `node-${index}`,
      address,
      swim: this.#swim(index, `node-${index}`, address, 1, timers),
      timers,
      running: false,
      life: 0,
      wakeMs: Number.POSITIVE_INFINITY,
      pausedUntilMs: 0,
      held: undefined,
      waiting: [],
      waitingDatagrams: 0,
      reading: false,
      lagMs: 0,
      incarnation: 1,
    };
    this.#processes.push(process);
    this.#byHost.set(address.host, process);
    this.#start(process);
    return index;
  }

  name(index: number): string {
    return this.#process(index).name;
  }

  address(index: number): Address {
    return this.#process(index).address;
  }

  isRunning(index: number): boolean {
    return this.#process(index).running;
  }

  isPaused(index: number): boolean {
    return this.#process(index).pausedUntilMs > this.#nowMs;
  }

  swim(index: number): Swim {
    return this.#process(index).swim;
  }

  /** Does something to a node, now. */
  drive(index: number, input: (swim: Swim, nowMs: number) => Effect[]): void {
    const process = this.#process(index);
    if (process.running) this.#carryOut(process, input(process.swim, this.#nowMs));
  }

  /** As kill -9: the machine stays, and refuses streams. */
  kill(index: number): void {
    const process = this.#process(index);
    process.running = false;
    process.life++;
    process.held = undefined;
    process.waiting = [];
    process.waitingDatagrams = 0;
    process.reading = false;
    process.wakeMs = Number.POSITIVE_INFINITY;
  }

  /** With the incarnation and the members that it would have kept on disk, unless it has forgotten them. */
  restart(index: number, kept?: { readonly members: readonly RememberedMember[] }): void {
    const process = this.#process(index);
    if (process.running) this.kill(index);
    const incarnation = kept ? process.incarnation + 1 : 1;
    process.timers = new ActivityTimers();
    process.swim = this.#swim(index, process.name, process.address, incarnation, process.timers);
    process.pausedUntilMs = 0;
    this.#start(process);
    if (kept) this.drive(index, (swim, nowMs) => swim.remember(kept.members, nowMs));
  }

  /**
   * Neither reads nor runs timers for so long; then its timers come first, and after them what has waited in its
   * socket.
   */
  pause(index: number, forMs: number): void {
    const process = this.#process(index);
    process.pausedUntilMs = this.#nowMs + forMs;
    const { life } = process;
    this.at(process.pausedUntilMs, () => {
      if (process.life === life && process.running && process.pausedUntilMs <= this.#nowMs) this.#resume(process);
    });
  }

  /**
   * For so long neither sends nor reads, as memberlist when each send and each read blocks. What of it does one thing
   * after another stands in its first send: the probe, whose deadline passes meanwhile, and the round of gossip (state.go,
   * probeNode and gossip, each a loop of its own). Suspicions time out all the while. Then what was about to be sent goes
   * out, the two go on with what is overdue, which takes them no time, and after that what has arrived is read, each
   * datagram in readMs; later ones queue behind it. What is not read when the next block begins stays.
   */
  block(index: number, forMs: number, readMs: number): void {
    const process = this.#process(index);
    const { life } = process;
    process.held = [];
    this.at(this.#nowMs + forMs, () => {
      if (process.life === life && process.held) this.#unblock(process, process.held, readMs);
    });
  }

  /**
   * Runs its timers in time, and reads what arrives so much later: acks come after their probe has ended. 0: no more.
   */
  lag(index: number, ms: number): void {
    this.#process(index).lagMs = ms;
  }

  at(atMs: number, run: () => void): void {
    this.#events.add(Math.max(atMs, this.#nowMs), run);
  }

  /** Lets time pass until then, or until the condition holds; it is asked each 10 ms. Returns whether it has held. */
  run(untilMs: number, until?: () => boolean): boolean {
    let askMs = this.#nowMs;
    while (this.#events.nextMs <= untilMs) {
      this.#nowMs = this.#events.nextMs;
      if (until && this.#nowMs >= askMs) {
        if (until()) return true;
        askMs = this.#nowMs + 10;
      }
      this.#events.take()();
    }
    this.#nowMs = Math.max(untilMs, this.#nowMs);
    return until?.() ?? false;
  }

  #process(index: number): Process {
    const process = this.#processes[index];
    if (!process) throw new RangeError(`node ${index} of ${this.#processes.length}`);
    return process;
  }

  #swim(index: number, name: string, address: Address, incarnation: number, timers: ActivityTimers): Swim {
    const { tuning, limits, hooks } = this.#options;
    return new Swim({
      name,
      address,
      incarnation,
      tuning,
      ...(limits && { limits }),
      ...(hooks && { hooks: hooks(index) }),
      datagramBytes: ROOM_BYTES,
      sizeOf: messageBytes,
      random: seededRandom(Math.floor(this.#random() * 0x1_0000_0000)),
      timers,
    });
  }

  #start(process: Process): void {
    process.running = true;
    process.life++;
    this.#carryOut(process, process.swim.start(this.#nowMs));
  }

  #resume(process: Process): void {
    this.#carryOut(process, process.swim.tick(this.#nowMs));
    this.#readWaiting(process);
  }

  #unblock(process: Process, held: readonly Effect[], readMs: number): void {
    process.held = undefined;
    process.timers.goOn(this.#nowMs);
    // A stream whose deadline has passed has failed meanwhile.
    for (const effect of held) {
      if (effect.type !== 'open-stream' || effect.deadlineMs > this.#nowMs) this.#effect(process, effect);
    }
    this.#carryOut(process, process.swim.tick(this.#nowMs));
    // Each stream has a reader of its own, which gives it so much time.
    const since = this.#nowMs - this.#options.tuning.streamTimeoutMs;
    const streams = process.waiting.filter(({ datagram, atMs }) => !datagram && atMs >= since);
    process.waiting = process.waiting.filter(({ datagram }) => datagram);
    for (const { input } of streams) this.#carryOut(process, input(this.#nowMs));
    if (!process.reading) this.#readNext(process, process.life, readMs);
  }

  #readNext(process: Process, life: number, readMs: number): void {
    const next = process.held ? undefined : process.waiting.shift();
    if (!next) return;
    process.waitingDatagrams--;
    this.#carryOut(process, next.input(this.#nowMs));
    process.reading = true;
    this.at(this.#nowMs + readMs, () => {
      if (process.life !== life) return;
      process.reading = false;
      this.#readNext(process, life, readMs);
    });
  }

  #readWaiting(process: Process): void {
    const { waiting } = process;
    process.waiting = [];
    process.waitingDatagrams = 0;
    for (const { input } of waiting) this.#carryOut(process, input(this.#nowMs));
  }

  #deliver(process: Process, life: number, datagram: boolean, input: (nowMs: number) => Effect[]): void {
    if (!process.running || process.life !== life) return;
    const behind = datagram && (process.reading || process.waiting.length > 0);
    const paused = process.pausedUntilMs > this.#nowMs || process.held !== undefined || behind;
    if (!paused && process.lagMs === 0) {
      this.#carryOut(process, input(this.#nowMs));
      return;
    }
    if (datagram && process.waitingDatagrams >= SOCKET_DATAGRAMS) return;
    if (datagram) process.waitingDatagrams++;
    if (paused) {
      process.waiting.push({ atMs: this.#nowMs, datagram, input });
      return;
    }
    this.at(this.#nowMs + process.lagMs, () => {
      if (!process.running || process.life !== life) return;
      if (datagram) process.waitingDatagrams--;
      this.#carryOut(process, input(this.#nowMs));
    });
  }

  #carryOut(process: Process, effects: readonly Effect[]): void {
    for (const effect of effects) this.#effect(process, effect);
    const nextMs = process.swim.nextMs;
    if (nextMs >= process.wakeMs) return;
    process.wakeMs = nextMs;
    this.at(nextMs, () => {
      if (process.wakeMs !== nextMs || !process.running) return;
      process.wakeMs = Number.POSITIVE_INFINITY;
      if (process.pausedUntilMs <= this.#nowMs) this.#carryOut(process, process.swim.tick(this.#nowMs));
    });
  }

  #effect(process: Process, effect: Effect): void {
    if (effect.type === 'event') {
      if (effect.event.type === 'incarnation') process.incarnation = effect.event.incarnation;
      this.#options.onEvent?.(process.index, effect.event, this.#nowMs);
    } else if (process.held) {
      process.held.push(effect);
      const activity = senderOf(effect);
      if (activity) process.timers.wait(activity);
    } else if (effect.type === 'datagram') {
      this.traffic.datagrams++;
      this.traffic.datagramBytes += datagramBytes(effect.messages, effect.crc);
      const to = this.#byHost.get(effect.to.host);
      const afterMs = to && this.network.datagramMs(process.index, to.index);
      if (!to || afterMs === undefined) return;
      const { life } = to;
      const { messages } = effect;
      this.at(this.#nowMs + afterMs, () =>
        this.#deliver(to, life, true, (nowMs) => to.swim.receive(process.address, messages, nowMs)),
      );
    } else if (effect.type === 'open-stream') {
      this.#open(process, this.#byHost.get(effect.to.host), effect.id, effect.request, effect.expectReply);
    } else {
      const stream = this.#streams.get(effect.stream);
      this.#streams.delete(effect.stream);
      if (!stream || effect.type === 'close') return;
      this.#reply(stream, effect.message);
    }
  }

  #open(opener: Process, to: Process | undefined, id: number, request: StreamMessage, expectReply: boolean): void {
    const { life } = opener;
    const there = to && this.network.segmentMs(opener.index, to.index, true);
    const back = to && this.network.segmentMs(to.index, opener.index, true);
    // Nothing comes back: the opener's own deadline ends it.
    if (!to || there === undefined || back === undefined) return;
    const openMs = this.#nowMs + there + back;
    this.at(openMs, () => {
      if (!to.running) {
        this.#deliver(opener, life, false, (nowMs) => opener.swim.streamFailed(id, 'connection refused', nowMs));
        return;
      }
      this.#count(request);
      const afterMs = this.network.segmentMs(opener.index, to.index, false);
      if (afterMs === undefined) return;
      if (!expectReply) {
        this.#deliver(opener, life, false, (nowMs) => opener.swim.streamDone(id, undefined, nowMs));
      }
      const stream = ++this.#stream;
      const toLife = to.life;
      this.at(openMs + afterMs, () => {
        if (to.life !== toLife) return;
        this.#deliver(to, toLife, false, (nowMs) => {
          this.#streams.set(stream, { opener, life, id, answerer: to });
          return to.swim.receiveStream(stream, opener.address, request, nowMs);
        });
      });
    });
  }

  #reply({ opener, life, id, answerer }: OpenedStream, message: StreamMessage): void {
    this.#count(message);
    const afterMs = this.network.segmentMs(answerer.index, opener.index, false);
    if (afterMs === undefined) return;
    this.at(this.#nowMs + afterMs, () =>
      this.#deliver(opener, life, false, (nowMs) => opener.swim.streamDone(id, message, nowMs)),
    );
  }

  #count(message: StreamMessage): void {
    this.traffic.streamMessages++;
    this.traffic.streamBytes += streamBytes(message);
  }
}

/** Whose loop stands in this send; undefined: nobody's, as with a nack, which waits by itself. */
function senderOf(effect: Effect): Activity | undefined {
  if (effect.type !== 'datagram') return undefined;
  const [first] = effect.messages;
  if (first?.type === 'ping' || first?.type === 'indirect-ping') return 'probe';
  return first?.type === 'ack' || first?.type === 'nack' ? undefined : 'gossip';
}
