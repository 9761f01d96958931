// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { clearTimeout, setImmediate, setTimeout } from 'node:timers';
import type { Effect, SwimEvent } from '../core/contract.js';
import { Swim, type SwimStats } from '../core/swim.js';
import { decodeDatagram, gossipRoom, packDatagram } from '../wire/datagram.js';
import type { SendSettings } from '../wire/envelope.js';
import { Keyring } from '../wire/keyring.js';
import type { Address, Message } from '../wire/message.js';
import { encodeMessage } from '../wire/message-codec.js';
import { COMPOUND_HEADER_BYTES } from '../wire/protocol.js';
import type { Refusal, RefusalReason } from '../wire/refusal.js';
import { advertised, allowing, defaultStreamLimits, type NodeOptions } from './options.js';
import { StreamPort } from './stream-port.js';
import { UdpPort } from './udp-port.js';

const REJECTED_EVERY_MS = 10_000;
/** For a port that is free for both, TCP's is taken and UDP's tried. */
const PORT_TRIES = 10;

export type Rejection = RefusalReason | 'too-many' | 'not-allowed';

/** Input that was not understood; at most once in ten seconds for each reason, with how many it were until then. */
export interface Rejected {
  readonly type: 'rejected';
  readonly reason: Rejection;
  readonly from: Address;
  /** What was found and what was expected. */
  readonly detail: string;
  readonly count: number;
}

export type NodeEvent = SwimEvent | Rejected;

export interface NodeStats extends SwimStats {
  /** Datagrams that could not be sent. */
  readonly unsent: number;
  /** Streams that others have open here. */
  readonly incoming: number;
  /** Input that was not understood, by reason. */
  readonly rejected: Readonly<Partial<Record<Rejection, number>>>;
}

interface Parts {
  readonly tell: (event: NodeEvent) => void;
  readonly allowed: (host: string) => boolean;
  readonly keyring: Keyring | undefined;
  readonly wire: SendSettings;
  readonly udp: UdpPort;
  readonly streams: StreamPort;
}

const REFUSED_DETAIL = {
  'too-many': 'as many streams are open as may be (streamLimits)',
  'not-allowed': 'its address is in none of the allowed networks (allow)',
} as const;

/** One node of a cluster with its sockets, its clock and its randomness, in this thread. */
export class NetworkNode {
  readonly swim: Swim;
  readonly keyring: Keyring | undefined;
  readonly address: Address;
  readonly #parts: Parts;
  /** What is gossiped is sent more than once: encoded the first time. */
  readonly #encoded = new WeakMap<Message, Uint8Array>();
  readonly #rejected = new Map<Rejection, { count: number; untold: number; toldMs: number }>();
  #userState: Uint8Array;
  #timer: NodeJS.Timeout | undefined;
  #timerMs = Number.POSITIVE_INFINITY;
  #closed = false;

  /** Rejects with SwimOptionsError, KeyringError or the system's error when it cannot listen. */
  static async start(options: NodeOptions, tell: (event: NodeEvent) => void): Promise<NetworkNode> {
    const allowed = allowing(options.allow);
    const [primary, ...others] = options.keys ?? [];
    const keyring = primary && new Keyring(primary, others);
    const { label, skipLabelCheck, verifyIncoming, verifyOutgoing, compress = true } = options;
    const wire = { label, skipLabelCheck, verifyIncoming, verifyOutgoing, keyring, compress, random: randomBytes };
    // What arrives before all of it stands is lost, as on a network.
    let node: NetworkNode | undefined;
    for (let tries = 1; ; tries++) {
      const streams = await StreamPort.open({
        bind: options.bind,
        wire,
        limits: { ...defaultStreamLimits, ...options.streamLimits },
        timeoutMs: options.tuning.streamTimeoutMs,
        allowed,
        requested: (stream, from, request) =>
          node?.carryOut((swim, now) => swim.receiveStream(stream, from, request, now)),
        refused: (from, refusal) => node?.reject(from, refusal),
      });
      let udp: UdpPort | undefined;
      try {
        udp = await UdpPort.open(streams.address, (from, bytes) => node?.receive(from, bytes));
        node = new NetworkNode(options, { tell, allowed, keyring, wire, udp, streams });
        node.carryOut((swim, now) => swim.start(now));
        const { remembered = [] } = options;
        node.carryOut((swim, now) => swim.remember(remembered, now));
        return node;
      } catch (error) {
        await Promise.all([streams.shutdown(), udp?.close()]);
        const taken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
        if (!taken || options.bind.port !== 0 || tries === PORT_TRIES) throw error;
      }
    }
  }

  private constructor(options: NodeOptions, parts: Parts) {
    this.#parts = parts;
    this.keyring = parts.keyring;
    this.#userState = options.userState ?? new Uint8Array();
    this.address = advertised(options, parts.streams.address);
    const { name, meta, delegateVersions, incarnation, limits, tuning } = options;
    this.swim = new Swim({
      name,
      address: this.address,
      ...(meta && { meta }),
      ...(delegateVersions && { delegateVersions }),
      ...(incarnation !== undefined && { incarnation }),
      ...(limits && { limits }),
      tuning,
      datagramBytes: gossipRoom([], parts.wire) + COMPOUND_HEADER_BYTES,
      sizeOf: (message) => this.#encode(message).length,
      random: () => randomBytes(4).readUInt32BE() / 0x1_0000_0000,
      hooks: {
        refuse: ({ address: { host } }) =>
          parts.allowed(host) ? undefined : `${host} is in none of the allowed networks (allow)`,
        localState: () => this.#userState,
      },
    });
  }

  /**
   * Gives the core an input, and does what it says. Throws what the input throws; nothing that comes from outside does.
   */
  carryOut(input: (swim: Swim, nowMs: number) => readonly Effect[]): void {
    if (this.#closed) return;
    for (const effect of input(this.swim, performance.now())) this.#effect(effect);
    this.#wakeInTime();
  }

  receive(from: Address, bytes: Uint8Array): void {
    if (!this.#parts.allowed(from.host)) {
      this.reject(from, 'not-allowed');
      return;
    }
    const { messages, dropped, refusal } = decodeDatagram(bytes, this.#parts.wire);
    if (refusal) {
      this.reject(from, refusal);
      return;
    }
    if (dropped.reason) this.reject(from, dropped.reason);
    else if (dropped.truncated > 0) {
      this.reject(from, { reason: 'truncated', detail: `${dropped.truncated} messages of a datagram were cut off` });
    }
    this.carryOut((swim, now) => swim.receive(from, messages, now));
  }

  reject(from: Address, refusal: Refusal | 'too-many' | 'not-allowed'): void {
    const { reason, detail } =
      typeof refusal === 'object' ? refusal : { reason: refusal, detail: REFUSED_DETAIL[refusal] };
    const nowMs = performance.now();
    const seen = this.#rejected.get(reason) ?? { count: 0, untold: 0, toldMs: Number.NEGATIVE_INFINITY };
    this.#rejected.set(reason, seen);
    seen.count++;
    seen.untold++;
    if (nowMs - seen.toldMs < REJECTED_EVERY_MS) return;
    this.#parts.tell({ type: 'rejected', reason, from, detail, count: seen.untold });
    seen.untold = 0;
    seen.toldMs = nowMs;
  }

  /** The user's part of state exchanges from now on. */
  setUserState(state: Uint8Array): void {
    this.#userState = state;
  }

  stats(): NodeStats {
    const rejected = Object.fromEntries([...this.#rejected].map(([reason, { count }]) => [reason, count]));
    return { ...this.swim.stats(), unsent: this.#parts.udp.unsent, incoming: this.#parts.streams.incoming, rejected };
  }

  /** Without a good-bye: that is leave. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    await Promise.all([this.#parts.udp.close(), this.#parts.streams.shutdown()]);
  }

  #effect(effect: Effect): void {
    if (effect.type === 'event') this.#parts.tell(effect.event);
    else if (effect.type === 'datagram') {
      const settings = { ...this.#parts.wire, checksum: effect.crc };
      const parts = effect.messages.map((message) => this.#encode(message));
      this.#parts.udp.send(effect.to, packDatagram(parts, settings));
    } else if (effect.type === 'open-stream') {
      const { id, to, request, expectReply, deadlineMs } = effect;
      const timeoutMs = Math.max(1, deadlineMs - performance.now());
      this.#parts.streams.request(to, request, expectReply, timeoutMs, (outcome) =>
        // Never from within the input that asked for it.
        setImmediate(() =>
          this.carryOut((swim, now) =>
            typeof outcome === 'string' ? swim.streamFailed(id, outcome, now) : swim.streamDone(id, outcome, now),
          ),
        ),
      );
    } else if (effect.type === 'reply') this.#parts.streams.reply(effect.stream, effect.message);
    else this.#parts.streams.close(effect.stream);
  }

  #encode(message: Message): Uint8Array {
    const known = this.#encoded.get(message);
    if (known) return known;
    const bytes = encodeMessage(message);
    this.#encoded.set(message, bytes);
    return bytes;
  }

  #wakeInTime(): void {
    const { nextMs } = this.swim;
    if (nextMs >= this.#timerMs || nextMs === Number.POSITIVE_INFINITY) return;
    clearTimeout(this.#timer);
    this.#timerMs = nextMs;
    this.#timer = setTimeout(
      () => {
        this.#timerMs = Number.POSITIVE_INFINITY;
        // What has come in while this thread stood still is read first: an ack that waits in the socket is no missing
        // one.
        setImmediate(() => this.carryOut((swim, now) => swim.tick(now)));
      },
      Math.max(0, Math.ceil(nextMs - performance.now())),
    );
  }
}
