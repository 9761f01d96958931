// SPDX-License-Identifier: Apache-2.0
/**
 * struct marcher_slot_stats and struct marcher_event of marcher.h as they stand in memory (little-endian, as every machine
 * that the engine is built for). A record is read when a field of it is asked for.
 *
 *   slot stats, 712 bytes        event, 256 bytes
 *     0  u32 slot                  0 u64 time        8 u64 connection   16 u32 service slot  20 u32 backend slot
 *     4  u32 kind                 24 u16 kind       26 u16 reason       28 u8 transport  29 u8 worker  30 u16 retries
 *     8  char service[64]         32 client  56 local  80 upstream: 16 bytes address, u16 port, u16 family, 4 reserved
 *    72  char name[128]          104 u64 received  112 u64 sent  120 u64 duration  128 u32 connect  132 reserved
 *   200  u64 counters[32]        136 char message[120]
 *   456  u64 connect_us[32]
 */
import type { EngineEvent, EventBatch, EventKind, SlotKind, SlotStats } from '../../../ports/dataplane.js';

export const SLOT_STATS_BYTES = 712;
export const EVENT_BYTES = 256;

const COUNTERS = 32;
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;

function cString(bytes: Buffer, start: number, room: number): string {
  const end = bytes.indexOf(0, start);
  return bytes.toString('utf8', start, end < 0 || end > start + room ? start + room : end);
}

export class SlotRecord implements SlotStats {
  readonly #bytes: Buffer;
  readonly #at: number;

  constructor(bytes: Buffer, index: number) {
    this.#bytes = bytes;
    this.#at = index * SLOT_STATS_BYTES;
  }

  get slot(): number {
    return this.#bytes.readUInt32LE(this.#at);
  }
  get kind(): SlotKind {
    return this.#bytes.readUInt32LE(this.#at + 4) as SlotKind;
  }
  get service(): string {
    return cString(this.#bytes, this.#at + 8, 64);
  }
  get name(): string {
    return cString(this.#bytes, this.#at + 72, 128);
  }
  counter(index: number): bigint {
    return this.#bytes.readBigUInt64LE(this.#at + 200 + 8 * inRange(index));
  }
  connectUs(bucket: number): bigint {
    return this.#bytes.readBigUInt64LE(this.#at + 456 + 8 * inRange(bucket));
  }
  get counts(): Uint8Array {
    return this.#bytes.subarray(this.#at + 200, this.#at + SLOT_STATS_BYTES);
  }
}

function inRange(index: number): number {
  if (!Number.isInteger(index) || index < 0 || index >= COUNTERS) throw new RangeError(`no counter or bucket ${index}`);
  return index;
}

/** RFC 5952: lower case, the longest run of two or more zero groups (the first of equals) as "::". */
export function formatIpv6(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0));
  let best = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let length = 0;
    while (i + length < 8 && groups[i + length] === 0) length++;
    if (length > bestLength) {
      best = i;
      bestLength = length;
    }
  }
  const hex = (part: number[]) => part.map((group) => group.toString(16)).join(':');
  return best < 0 ? hex(groups) : `${hex(groups.slice(0, best))}::${hex(groups.slice(best + bestLength))}`;
}

const isMapped = (a: Uint8Array): boolean =>
  a.subarray(0, 10).every((byte) => byte === 0) && a[10] === 255 && a[11] === 255;

/** "203.0.113.7:40112", "[2001:db8::1]:443", "unix", or "" for none. IPv4 that came over a dual-stack socket is IPv4. */
export function formatAddress(bytes: Buffer, at: number): string {
  const family = bytes.readUInt16LE(at + 18);
  const port = bytes.readUInt16LE(at + 16);
  const address = bytes.subarray(at, at + 16);
  if (family === AF_INET) return `${address.subarray(0, 4).join('.')}:${port}`;
  if (family === AF_INET6)
    return isMapped(address) ? `${address.subarray(12).join('.')}:${port}` : `[${formatIpv6(address)}]:${port}`;
  return family === AF_UNIX ? 'unix' : '';
}

const KIND_AT = 24;

export class EventRecord implements EngineEvent {
  readonly #bytes: Buffer;
  readonly #at: number;

  constructor(bytes: Buffer, index: number) {
    this.#bytes = bytes;
    this.#at = index * EVENT_BYTES;
  }

  get timeUnixUs(): bigint {
    return this.#bytes.readBigUInt64LE(this.#at);
  }
  get connectionId(): bigint {
    return this.#bytes.readBigUInt64LE(this.#at + 8);
  }
  get serviceSlot(): number {
    return this.#bytes.readUInt32LE(this.#at + 16);
  }
  get backendSlot(): number {
    return this.#bytes.readUInt32LE(this.#at + 20);
  }
  get kind(): EventKind {
    return this.#bytes.readUInt16LE(this.#at + KIND_AT) as EventKind;
  }
  get reason(): number {
    return this.#bytes.readUInt16LE(this.#at + 26);
  }
  get transport(): 'tcp' | 'udp' | '' {
    const protocol = this.#bytes.readUInt8(this.#at + 28);
    return protocol === 6 ? 'tcp' : protocol === 17 ? 'udp' : '';
  }
  get worker(): number {
    return this.#bytes.readUInt8(this.#at + 29);
  }
  get retries(): number {
    return this.#bytes.readUInt16LE(this.#at + 30);
  }
  get client(): string {
    return formatAddress(this.#bytes, this.#at + 32);
  }
  get local(): string {
    return formatAddress(this.#bytes, this.#at + 56);
  }
  get upstream(): string {
    return formatAddress(this.#bytes, this.#at + 80);
  }
  get bytesReceived(): bigint {
    return this.#bytes.readBigUInt64LE(this.#at + 104);
  }
  get bytesSent(): bigint {
    return this.#bytes.readBigUInt64LE(this.#at + 112);
  }
  get durationUs(): bigint {
    return this.#bytes.readBigUInt64LE(this.#at + 120);
  }
  get connectUs(): number {
    return this.#bytes.readUInt32LE(this.#at + 128);
  }
  get message(): string {
    return cString(this.#bytes, this.#at + 136, 120);
  }
}

export class RawEventBatch implements EventBatch {
  readonly length: number;
  readonly dropped: bigint;
  readonly #bytes: Buffer;

  /** bytes: length × 256, kept. */
  constructor(bytes: Buffer, dropped: bigint) {
    this.#bytes = bytes;
    this.length = Math.floor(bytes.length / EVENT_BYTES);
    this.dropped = dropped;
  }

  at(index: number): EngineEvent {
    this.#check(index);
    return new EventRecord(this.#bytes, index);
  }

  kind(index: number): EventKind {
    this.#check(index);
    return this.#bytes.readUInt16LE(index * EVENT_BYTES + KIND_AT) as EventKind;
  }

  #check(index: number): void {
    if (!Number.isInteger(index) || index < 0 || index >= this.length) {
      throw new RangeError(`no event ${index} among ${this.length}`);
    }
  }
}
