// SPDX-License-Identifier: Apache-2.0
import type { Effect, Options, SwimEvent } from '../core/contract.js';
import { seededRandom } from '../core/random.js';
import { Swim } from '../core/swim.js';
import { lan, type Tuning } from '../core/tuning.js';
import type { Address, Alive, Message, StreamMessage, Versions } from '../wire/message.js';
import { messageBytes } from './size.js';

export interface Datagram {
  readonly atMs: number;
  readonly to: string;
  readonly messages: readonly Message[];
  readonly crc: boolean;
}

type Of<T extends Message['type']> = Extract<Message, { type: T }>;
type EventOf<T extends SwimEvent['type']> = Extract<SwimEvent, { type: T }>;

export const VERSIONS: Versions = { protocol: [1, 5, 5], delegate: [0, 0, 0] };

/** One node in virtual time, whose peers are whatever a test says; everything that it does is kept. */
export class LoneNode {
  readonly swim: Swim;
  nowMs = 0;
  readonly datagrams: Datagram[] = [];
  readonly streams: Extract<Effect, { type: 'open-stream' }>[] = [];
  readonly answers: Extract<Effect, { type: 'reply' | 'close' }>[] = [];
  readonly happened: (SwimEvent & { readonly atMs: number })[] = [];

  constructor(options: Partial<Omit<Options, 'tuning'>> & { readonly tuning?: Partial<Tuning> } = {}) {
    const { tuning, ...rest } = options;
    this.swim = new Swim({
      name: 'self',
      address: address('self'),
      datagramBytes: 1371,
      sizeOf: messageBytes,
      random: seededRandom(7),
      ...rest,
      tuning: { ...lan, ...tuning },
    });
    this.do((swim) => swim.start(this.nowMs));
  }

  do(input: (swim: Swim, nowMs: number) => readonly Effect[]): void {
    for (const effect of input(this.swim, this.nowMs)) {
      if (effect.type === 'datagram') {
        this.datagrams.push({ atMs: this.nowMs, to: effect.to.host, messages: effect.messages, crc: effect.crc });
      } else if (effect.type === 'open-stream') this.streams.push(effect);
      else if (effect.type === 'event') this.happened.push({ ...effect.event, atMs: this.nowMs });
      else this.answers.push(effect);
    }
  }

  hear(...messages: readonly Message[]): void {
    this.do((swim) => swim.receive(address('peer'), messages, this.nowMs));
  }

  request(stream: number, message: StreamMessage): void {
    this.do((swim) => swim.receiveStream(stream, address('peer'), message, this.nowMs));
  }

  /** Members that are alive, known by a message each; what is gossiped of it is forgotten. */
  meet(...names: readonly string[]): void {
    for (const name of names) this.hear(alive(name));
  }

  /** Lets time pass, waking the node exactly when it asks. react: called after each datagram that it has sent. */
  advance(ms: number, react?: (datagram: Datagram) => void): void {
    const untilMs = this.nowMs + ms;
    while (this.swim.nextMs <= untilMs) {
      this.nowMs = Math.max(this.nowMs, this.swim.nextMs);
      const seen = this.datagrams.length;
      this.do((swim) => swim.tick(this.nowMs));
      if (react) for (const datagram of this.datagrams.slice(seen)) react(datagram);
    }
    this.nowMs = untilMs;
  }

  /** Lets time pass while every ping is answered at once. */
  advanceAnswering(ms: number): void {
    this.advance(ms, ({ messages }) => {
      for (const message of messages) if (message.type === 'ping') this.hear(ack(message.seq));
    });
  }

  sent<T extends Message['type']>(type: T): (Of<T> & { readonly atMs: number; readonly to: string })[] {
    return this.datagrams.flatMap(({ atMs, to, messages }) =>
      messages
        .filter((message): message is Of<T> => message.type === type)
        .map((message) => ({ ...message, atMs, to })),
    );
  }

  events<T extends SwimEvent['type']>(type: T): (EventOf<T> & { readonly atMs: number })[] {
    return this.happened.filter((event): event is EventOf<T> & { atMs: number } => event.type === type);
  }

  state(name: string): string | undefined {
    return this.swim.member(name)?.state;
  }

  forget(): void {
    this.datagrams.length = 0;
    this.streams.length = 0;
    this.answers.length = 0;
    this.happened.length = 0;
  }
}

/** Of a name: one host for each. */
export function address(name: string): Address {
  return { host: `host-of-${name}`, port: 7946 };
}

export function alive(node: string, incarnation = 1, other: Partial<Alive> = {}): Alive {
  const said = { incarnation, node, address: address(node), meta: new Uint8Array(), versions: VERSIONS };
  return { type: 'alive', ...said, ...other };
}

export function suspect(node: string, from: string, incarnation = 1): Message {
  return { type: 'suspect', incarnation, node, from };
}

export function dead(node: string, from: string, incarnation = 1): Message {
  return { type: 'dead', incarnation, node, from };
}

export function ack(seq: number): Message {
  return { type: 'ack', seq, payload: new Uint8Array() };
}
