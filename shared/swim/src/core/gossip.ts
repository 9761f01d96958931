// SPDX-License-Identifier: Apache-2.0
import type { Address, Message } from '../wire/message.js';
import {
  CHECKSUM_HEADER_BYTES,
  COMPOUND_HEADER_BYTES,
  COMPOUND_PART_HEADER_BYTES,
  COMPOUND_PARTS_MAX,
} from '../wire/protocol.js';
import type { Finished } from './broadcast-queue.js';
import type { Context } from './context.js';
import { isGone, type Member } from './members.js';
import { retransmitLimit } from './scaling.js';

const USER_HEAD_BYTES = 1;
/** First version that understands a checksum. */
const CRC_SINCE = 5;

/** Sends datagrams, each filled up with what waits to be gossiped; and gossips by itself while something does. */
export class Gossip {
  readonly #context: Context;

  constructor(context: Context) {
    this.#context = context;
  }

  start(): void {
    const { timers, random, tuning, nowMs } = this.#context;
    timers.at(nowMs + random() * tuning.gossipIntervalMs, () => this.#round(), 'gossip');
  }

  /** About a member: it takes the place of what was to be said of it before. */
  broadcast(member: string, message: Message, finished?: Finished): void {
    const bytes = this.#context.sizeOf(message);
    this.#context.broadcasts.push({ item: message, bytes, key: member, ...(finished && { finished }) });
  }

  /** key: a newer message with the same takes the place of the older one. */
  broadcastUser(body: Uint8Array, key?: string): void {
    const bytes = USER_HEAD_BYTES + body.length;
    this.#context.userBroadcasts.push({ item: { type: 'user', body }, bytes, ...(key !== undefined && { key }) });
  }

  /**
   * name: whom the address belongs to, where it is known. Who is gone is given nothing else on the way: what waits is said a few
   * times, and a farewell that nobody is there to hear would count as said.
   */
  send(to: Address, name: string | undefined, messages: readonly Message[]): void {
    const member = name === undefined ? undefined : this.#context.members.get(name);
    const waiting = member !== undefined && isGone(member) ? [] : this.#waiting(messages);
    this.#emit(to, member, [...messages, ...waiting]);
  }

  #round(): void {
    const { timers, tuning, members, random, nowMs } = this.#context;
    timers.at(nowMs + tuning.gossipIntervalMs, () => this.#round(), 'gossip');
    if (this.#nothingWaits()) return;
    const picked = members.pick(tuning.gossipMembers, random, (other) => this.#hears(other));
    // Who is there comes first, for the same reason.
    for (const member of picked.sort((one, other) => Number(isGone(one)) - Number(isGone(other)))) {
      const messages = this.#waiting([]);
      if (messages.length === 0) return;
      this.#emit(member.address, member, messages);
    }
  }

  #nothingWaits(): boolean {
    const { broadcasts, userBroadcasts, hooks } = this.#context;
    return broadcasts.length === 0 && userBroadcasts.length === 0 && hooks.gossip === undefined;
  }

  /** One that has died of late may be alive, and can refute only what it hears. */
  #hears(member: Member): boolean {
    const { self, nowMs, tuning } = this.#context;
    if (member === self || member.state === 'left') return false;
    return member.state !== 'dead' || nowMs - member.changedMs <= tuning.gossipToTheDeadMs;
  }

  #waiting(before: readonly Message[]): Message[] {
    const { broadcasts, userBroadcasts, hooks, datagramBytes, tuning, members, sizeOf } = this.#context;
    if (this.#nothingWaits()) return [];
    let free = datagramBytes - CHECKSUM_HEADER_BYTES - COMPOUND_HEADER_BYTES;
    for (const message of before) free -= sizeOf(message) + COMPOUND_PART_HEADER_BYTES;
    const transmitLimit = retransmitLimit(tuning.retransmitMultiplier, members.size);
    const messages: Message[] = [];
    for (const queue of [broadcasts, userBroadcasts]) {
      const items = COMPOUND_PARTS_MAX - before.length - messages.length;
      const taken = queue.take({ bytes: free, overheadBytes: COMPOUND_PART_HEADER_BYTES, items, transmitLimit });
      free -= taken.bytes;
      messages.push(...taken.items);
    }
    const overheadBytes = COMPOUND_PART_HEADER_BYTES + USER_HEAD_BYTES;
    if (hooks.gossip && free > overheadBytes) {
      for (const body of hooks.gossip(free, overheadBytes)) {
        free -= body.length + overheadBytes;
        if (free < 0 || before.length + messages.length >= COMPOUND_PARTS_MAX) break;
        messages.push({ type: 'user', body });
      }
    }
    return messages;
  }

  #emit(to: Address, member: Member | undefined, messages: readonly Message[]): void {
    const crc = member !== undefined && member.versions.protocol[1] >= CRC_SINCE;
    this.#context.emit({ type: 'datagram', to, messages, crc });
  }
}
