// SPDX-License-Identifier: Apache-2.0
/** Counters for who asks again and again; what they are in an answer is told by the tests of the API and of /metrics. */
import { create } from '@bufbuild/protobuf';
import { type Status, StatusSchema } from '@marcher/proto/marcher/packet/v1/packet_pb';
import { beforeEach, expect, test } from 'vitest';
import { Counter, type Dataplane, SlotKind, type SlotStats } from '../ports/dataplane.js';
import type { EventLog } from './event-log.js';
import { type Counted, Traffic } from './traffic.js';

/** Bytes received, by service. */
let received: Map<string, bigint>;
let packets: Status | undefined;
let traffic: Traffic;
let known: Map<string, Counted>;

/** As the engine's: one buffer for all records. */
function* passing(): Iterable<SlotStats> {
  const counts = new BigUint64Array(64);
  for (const [service, bytes] of received) {
    counts[Counter.bytesReceived] = bytes;
    const of = { slot: 1, service, name: '', counts: new Uint8Array(counts.buffer) };
    const record = { ...of, counter: (i: number) => counts[i] ?? 0n, connectUs: (i: number) => counts[32 + i] ?? 0n };
    yield { ...record, kind: SlotKind.service };
    yield { ...record, kind: SlotKind.backend, name: 'a' };
  }
}

beforeEach(() => {
  received = new Map([
    ['web', 1n],
    ['dns', 2n],
  ]);
  packets = undefined;
  known = new Map();
  const source = { status: () => packets, tierOf: () => 'xdp' as const };
  const dataplane = { stats: passing } as Partial<Dataplane> as Dataplane;
  traffic = new Traffic(dataplane, {} as EventLog, () => true, source);
});

/** What has moved since it was asked for last: bytes received, and packets that a policy has refused. */
function moved(): Record<string, string> {
  const out: Record<string, string> = {};
  for (const { service, moved } of traffic.counted((name) => known.get(name)?.counts)) {
    if (moved === undefined) continue;
    known.set(service, moved);
    out[service] = `${moved.stats.counters?.bytesReceived} ${moved.stats.counters?.rateRefused}`;
  }
  return out;
}

const policed = (refused: bigint): Status =>
  create(StatusSchema, {
    services: [
      { name: 'web', policy: { refused } },
      { name: 'nat', policy: { refused } },
    ],
  });

test('only those that have moved are made', () => {
  expect(moved()).toEqual({ web: '1 0', dns: '2 0' });
  expect(moved()).toEqual({});
  received.set('web', 5n);
  expect(moved()).toEqual({ web: '5 0' });
  expect([...known.values()].map(({ stats }) => stats.service)).toEqual(['web', 'dns']);
});

test('what the packet tiers have refused counts, too, where the engine has carried nothing as well', () => {
  packets = policed(3n);
  expect(moved()).toEqual({ web: '1 3', dns: '2 0', nat: '0 3' });
  expect(moved()).toEqual({});
  packets = policed(4n);
  expect(moved()).toEqual({ web: '1 4', nat: '0 4' });
});
