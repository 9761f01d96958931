// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { ForwardingMode, Protocol, ServiceSchema } from '@marcher/model';
import { expect, test } from 'vitest';
import { addressText } from './address.js';
import { leftVips } from './left-vips.js';
import { claimsOf } from './validate.js';

function service(mode: ForwardingMode, ...listeners: [address: string, first: number, last?: number, udp?: boolean][]) {
  return create(ServiceSchema, {
    name: 's',
    forwarding: { mode },
    listeners: listeners.map(([address, first, last = first, udp = false]) => ({
      address,
      protocol: udp ? Protocol.UDP : Protocol.TCP,
      ports: [{ first, last }],
    })),
  });
}

function left(carried: ReturnType<typeof service>, ...others: Parameters<typeof service>[1][]): string[] {
  const claims = claimsOf(service(ForwardingMode.RELAY, ...others));
  return leftVips([carried], claims).map(
    ({ address, prefixLength, udp, port }) =>
      `${addressText(address)}${prefixLength === 0 ? '' : `/${prefixLength}`} ${udp ? 'udp' : 'tcp'} ${port}`,
  );
}

test('an address within a prefix is left, with the ports that the prefix has', () => {
  const carried = service(ForwardingMode.IPIP, ['192.0.2.0/24', 80, 90], ['2001:db8::/64', 1, 65_535]);
  expect(left(carried, ['192.0.2.7', 89, 92])).toEqual(['192.0.2.7 tcp 89', '192.0.2.7 tcp 90']);
  expect(left(carried, ['2001:db8::7', 443])).toEqual(['2001:db8::7 tcp 443']);
});

test('a longer prefix is left, a shorter or equal one is not', () => {
  const carried = service(ForwardingMode.IPIP, ['192.0.2.0/24', 80]);
  expect(left(carried, ['192.0.2.128/25', 80])).toEqual(['192.0.2.128/25 tcp 80']);
  expect(left(carried, ['192.0.2.128/25', 1, 65_535])).toEqual(['192.0.2.128/25 tcp 0']);
  expect(left(carried, ['192.0.0.0/16', 80])).toEqual([]);
  expect(left(carried, ['192.0.2.0/24', 1, 65_535])).toEqual([]);
});

test('of one address or prefix a port goes before every port', () => {
  expect(left(service(ForwardingMode.NAT, ['192.0.2.1', 1, 65_535]), ['192.0.2.1', 22])).toEqual(['192.0.2.1 tcp 22']);
  expect(left(service(ForwardingMode.NAT, ['192.0.2.0/24', 1, 65_535]), ['192.0.2.0/24', 22])).toEqual([
    '192.0.2.0/24 tcp 22',
  ]);
});

test('every port of an address is one entry, as the tables of packets have it', () => {
  const carried = service(ForwardingMode.NAT, ['192.0.2.0/24', 1, 65_535]);
  expect(left(carried, ['192.0.2.7', 1, 65_535])).toEqual(['192.0.2.7 tcp 0']);
});

test('what is elsewhere, of another transport, or for every address stays as it is', () => {
  const carried = service(ForwardingMode.IPIP, ['192.0.2.0/24', 80]);
  expect(left(carried, ['192.0.3.1', 80], ['192.0.2.1', 80, 80, true], ['192.0.2.1', 81])).toEqual([]);
  expect(left(carried, ['', 80], ['0.0.0.0', 80], ['::', 80])).toEqual([]);
  expect(left(service(ForwardingMode.IPIP, ['192.0.2.1', 80]), ['192.0.2.1', 80])).toEqual([]);
});
