// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { ServiceTierSchema } from '@marcher/proto/marcher/v1/node_service_pb';
import { type ServiceStats, ServiceStatsSchema } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { expect, test } from 'vitest';
import { NO_FLOW } from './flow.js';
import { Rates } from './rates.js';

const first = { measure: false, intervalMs: 1_000 };
const next = { measure: true, intervalMs: 1_000 };

function stats(service: string, opened: number, bytes = 0, more: object = {}): ServiceStats {
  const counters = { connectionsOpened: BigInt(opened), bytesReceived: BigInt(bytes), ...more };
  return create(ServiceStatsSchema, { service, counters });
}

const tier = (service: string, packets: number, bytes: number, returned: number) =>
  create(ServiceTierSchema, {
    service,
    tier: 'tc',
    xdpPackets: BigInt(packets),
    xdpBytes: BigInt(bytes),
    bytesReturned: BigInt(returned),
  });

test('the first totals are where counting begins, the next ones make a rate', () => {
  const rates = new Rates();
  rates.take(10_000, [stats('a', 500, 9_000)], [], first);
  expect(rates.flow('a')).toMatchObject({ open: 500, connections: 0, bytesReceived: 0 });
  rates.take(12_000, [stats('a', 520, 10_000)], [], next);
  expect(rates.flow('a')).toMatchObject({ open: 520, connections: 10, bytesReceived: 500 });
});

test('a service that comes later has no rate by its first totals', () => {
  const rates = new Rates();
  rates.take(10_000, [], [], first);
  rates.take(11_000, [stats('a', 700)], [], next);
  expect(rates.flow('a').connections).toBe(0);
});

test('what is not in a batch has stood still since the one before', () => {
  const rates = new Rates();
  rates.take(10_000, [stats('a', 0), stats('b', 0)], [], first);
  rates.take(11_000, [stats('a', 5), stats('b', 5)], [], next);
  expect([...rates.take(12_000, [stats('b', 6)], [], next)].sort()).toEqual(['a', 'b']);
  expect(rates.flow('a')).toMatchObject({ open: 5, connections: 0 });
  expect(rates.flow('b').connections).toBe(1);
});

test('after a quiet time what moves has done so since the batch before, not since it moved last', () => {
  const rates = new Rates();
  rates.take(10_000, [stats('a', 0), stats('b', 0)], [], first);
  for (const timeMs of [11_000, 12_000, 13_000]) rates.take(timeMs, [stats('b', timeMs)], [], next);
  rates.take(14_000, [stats('a', 8)], [], next);
  expect(rates.flow('a').connections).toBe(8);
});

test('totals that go backwards have begun anew', () => {
  const rates = new Rates();
  rates.take(10_000, [stats('a', 5_000, 1_000)], [], first);
  rates.take(11_000, [stats('a', 7, 70)], [], next);
  expect(rates.flow('a')).toMatchObject({ open: 7, connections: 7, bytesReceived: 70 });
});

test('an attempt that another has made good lets nobody down', () => {
  const rates = new Rates();
  rates.take(10_000, [stats('a', 0)], [], first);
  const counters = { connectFailures: 9n, connectRetries: 7n, rejected: 1n, noBackend: 2n, resetsBackend: 3n };
  rates.take(11_000, [stats('a', 0, 0, counters)], [], next);
  expect(rates.flow('a').failures).toBe(8);
});

test('packet tiers count beside the relay', () => {
  const rates = new Rates();
  rates.take(10_000, [stats('a', 0, 100)], [tier('a', 10, 1_000, 5)], first);
  rates.take(11_000, [stats('a', 0, 300)], [tier('a', 14, 5_000, 25)], next);
  expect(rates.flow('a')).toMatchObject({ bytesReceived: 4_200, bytesSent: 20, packetsReceived: 4 });
  expect(rates.total()).toMatchObject({ bytesReceived: 4_200 });
});

test('a batch in parts is one, and one between two samples says nothing of traffic', () => {
  const rates = new Rates();
  rates.take(10_000, [stats('a', 0), stats('b', 0)], [], first);
  rates.take(11_000, [stats('a', 4)], [], next);
  rates.take(11_000, [stats('b', 6)], [], next);
  rates.take(11_600, [], [], next);
  expect([rates.flow('a').connections, rates.flow('b').connections]).toEqual([4, 6]);
  rates.take(12_000, [stats('a', 9)], [], next);
  expect(rates.flow('a').connections).toBe(5);
});

test('silence, and a clock that was set back, make no rates', () => {
  const rates = new Rates();
  rates.take(10_000, [stats('a', 0)], [], first);
  rates.take(11_000, [stats('a', 4)], [], next);
  expect(rates.isMoving).toBe(true);
  expect([...rates.settle()]).toEqual(['a']);
  expect([rates.flow('a').connections, rates.isMoving]).toEqual([0, false]);
  rates.take(5_000, [stats('a', 14)], [], next);
  expect(rates.flow('a').connections).toBe(10);
});

test('what is forgotten leaves its place to others', () => {
  const rates = new Rates();
  for (let at = 0; at < 1_000; at++) {
    rates.take(1_000 * at, [stats(`s${at}`, 1)], [], next);
    rates.forget(`s${at}`, 'counters');
  }
  expect(rates.size).toBe(0);
  expect(rates.flow('s1')).toBe(NO_FLOW);
  rates.take(2_000_000, [stats('t', 3)], [], next);
  expect(rates.flow('t')).toMatchObject({ open: 3, connections: 0 });
});

test('services that packet tiers carry nothing of take no place, and count from zero when they do', () => {
  const rates = new Rates();
  rates.take(10_000, [], [tier('a', 0, 0, 0)], first);
  expect(rates.size).toBe(0);
  rates.take(11_000, [], [tier('a', 3, 300, 0)], next);
  expect(rates.flow('a')).toMatchObject({ packetsReceived: 3, bytesReceived: 300 });
});

test('of a service that has stood still from the beginning the first that moves is a rate', () => {
  const rates = new Rates();
  rates.take(10_000, [stats('a', 0)], [], first);
  expect([rates.has('a'), [...rates.services()]]).toEqual([true, ['a']]);
  rates.take(11_000, [stats('a', 3)], [], next);
  expect(rates.flow('a')).toMatchObject({ open: 3, connections: 3 });
  rates.take(11_000, [stats('b', 0)], [], next);
  expect([rates.forget('b', 'counters'), rates.has('b'), rates.size]).toEqual([true, false, 1]);
});
