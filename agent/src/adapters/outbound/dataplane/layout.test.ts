// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { CloseReason, Counter, EventKind, SlotKind } from '../../../ports/dataplane.js';
import { EVENT_BYTES, formatIpv6, RawEventBatch, SLOT_STATS_BYTES, SlotRecord } from './layout.js';

function address(text: Buffer, at: number, family: number, bytes: number[], port: number): void {
  text.set(bytes, at);
  text.writeUInt16LE(port, at + 16);
  text.writeUInt16LE(family, at + 18);
}

describe('an event', () => {
  const bytes = Buffer.alloc(2 * EVENT_BYTES, 0);
  const second = bytes.subarray(EVENT_BYTES);
  second.writeBigUInt64LE(1_700_000_000_000_000n, 0);
  second.writeUInt32LE(7, 16);
  second.writeUInt16LE(EventKind.connectionClosed, 24);
  second.writeUInt16LE(CloseReason.clientReset, 26);
  second.writeUInt8(17, 28);
  address(second, 32, 2, [203, 0, 113, 7], 40112);
  address(second, 56, 10, [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 443);
  address(second, 80, 10, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1], 80);
  second.writeBigUInt64LE(2n ** 60n, 112);
  second.write('naïve', 136);
  const batch = new RawEventBatch(bytes, 3n);

  it('is read field by field', () => {
    expect([batch.length, batch.dropped]).toEqual([2, 3n]);
    const event = batch.at(1);
    expect([batch.kind(0), batch.kind(1)]).toEqual([0, EventKind.connectionClosed]);
    expect(() => batch.kind(2)).toThrow(RangeError);
    expect(event.timeUnixUs).toBe(1_700_000_000_000_000n);
    expect([event.serviceSlot, event.backendSlot, event.kind, event.reason]).toEqual([7, 0, 2, 1]);
    expect([event.transport, batch.at(0).transport]).toEqual(['udp', '']);
    expect([event.client, event.local, event.upstream]).toEqual([
      '203.0.113.7:40112',
      '[2001:db8::1]:443',
      '10.0.0.1:80',
    ]);
    expect(event.bytesSent).toBe(2n ** 60n);
    expect(event.message).toBe('naïve');
    expect(batch.at(0).client).toBe('');
  });

  it('outside of the batch does not exist', () => {
    for (const index of [-1, 2, 0.5]) expect(() => batch.at(index)).toThrow(RangeError);
  });

  it('with a text that fills its field stops there', () => {
    const full = Buffer.alloc(EVENT_BYTES, 0x61);
    expect(new RawEventBatch(full, 0n).at(0).message).toBe('a'.repeat(120));
  });
});

it('IPv6 addresses are written as RFC 5952 says', () => {
  const groups = (...list: number[]) => new Uint8Array(list.flatMap((group) => [group >> 8, group & 255]));
  expect(formatIpv6(groups(0, 0, 0, 0, 0, 0, 0, 0))).toBe('::');
  expect(formatIpv6(groups(0, 0, 0, 0, 0, 0, 0, 1))).toBe('::1');
  expect(formatIpv6(groups(0x2001, 0xdb8, 0, 1, 1, 1, 1, 1))).toBe('2001:db8:0:1:1:1:1:1');
  expect(formatIpv6(groups(0x2001, 0xdb8, 0, 0, 1, 0, 0, 1))).toBe('2001:db8::1:0:0:1');
  expect(formatIpv6(groups(0x2001, 0, 0, 1, 0, 0, 0, 0xa))).toBe('2001:0:0:1::a');
  expect(formatIpv6(groups(0xfe80, 0, 0, 0, 0, 0, 0, 0))).toBe('fe80::');
});

it('a slot has its counters and histogram where the header puts them', () => {
  const bytes = Buffer.alloc(2 * SLOT_STATS_BYTES);
  const at = SLOT_STATS_BYTES;
  bytes.writeUInt32LE(9, at);
  bytes.writeUInt32LE(SlotKind.backend, at + 4);
  bytes.write('web', at + 8);
  bytes.write('10.0.0.1:80', at + 72);
  bytes.writeBigUInt64LE(5n, at + 200 + 8 * Counter.drainClosed);
  bytes.writeBigUInt64LE(6n, at + 456 + 8 * 31);
  const slot = new SlotRecord(bytes, 1);
  expect([slot.slot, slot.kind, slot.service, slot.name]).toEqual([9, SlotKind.backend, 'web', '10.0.0.1:80']);
  expect([slot.counter(Counter.drainClosed), slot.connectUs(31), slot.counter(0)]).toEqual([5n, 6n, 0n]);
  expect(() => slot.counter(32)).toThrow(RangeError);
});
