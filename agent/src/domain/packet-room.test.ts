// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { ForwardingMode, type Service, ServiceSchema } from '@marcher/model';
import { describe, expect, test } from 'vitest';
import { LIMITS } from './defaults.js';
import { excesses, fixedSize, NO_SIZE, packetSize, unfitOf } from './packet-room.js';

function service(name: string, mode: ForwardingMode, first = 80, last = first, backends = 1): Service {
  return create(ServiceSchema, {
    name,
    listeners: [{ address: '192.0.2.1', ports: [{ first, last }] }],
    backends: Array.from({ length: backends }, (_, i) => ({ name: `b${i}`, address: `10.0.0.1:${i + 1}` })),
    forwarding: { mode },
  });
}

function unfit(services: readonly Service[], left = 0, there: readonly string[] = []): [string, string][] {
  const known = new Map(services.map((one) => [one.name, { service: one }]));
  return [...unfitOf(known, left, new Set(there))];
}

describe('the size of a service', () => {
  test('is its addresses with port, of which every port is one', () => {
    expect(packetSize(service('a', ForwardingMode.NAT, 80, 89, 3))).toEqual({ services: 1, vips: 10, backends: 3 });
    expect(packetSize(service('a', ForwardingMode.NAT, 1, 65_535)).vips).toBe(1);
    expect(packetSize(service('a', ForwardingMode.RELAY, 80, 89))).toEqual(NO_SIZE);
  });

  test('must be there only where the mode is fixed', () => {
    expect(fixedSize(service('a', ForwardingMode.IPIP)).services).toBe(1);
    expect(fixedSize(service('a', ForwardingMode.AUTO))).toEqual(NO_SIZE);
    expect(packetSize(service('a', ForwardingMode.AUTO)).services).toBe(1);
  });
});

describe('what does not fit', () => {
  /** 4,096 ports each: as many as one of them may have, and sixteen as all may. */
  const large = (count: number, mode: ForwardingMode = ForwardingMode.AUTO, name = 'a') =>
    Array.from({ length: count }, (_, i) => service(`${name}${i}`, mode, 1, LIMITS.vipsPerService));

  test('is what of mode auto comes after fixed modes and what is there already', () => {
    const services = [...large(2), ...large(15, ForwardingMode.NAT, 'fixed')];
    expect(unfit(services).map(([name]) => name)).toEqual(['a1']);
    expect(unfit(services, 0, ['a1']).map(([name]) => name)).toEqual(['a0']);
  });

  test('says of what there is no room for how much', () => {
    expect(unfit(large(16))).toEqual([]);
    expect(unfit(large(16), 1)).toEqual([
      ['a15', 'no room for its 4096 addresses with port beside 61441 of 65536 in its tables'],
    ]);
  });

  test('is said of backends and of services, too, and smaller ones that fit are taken', () => {
    const full = Array.from({ length: 65 }, (_, i) => service(`s${i}`, ForwardingMode.AUTO, 80, 80, 1_000));
    const small = Array.from({ length: 536 }, (_, i) => service(`t${i}`, ForwardingMode.AUTO));
    expect(unfit(full)).toEqual([]);
    expect(unfit([...full, service('u', ForwardingMode.AUTO, 80, 80, 536), ...small])).toEqual([
      ['u', 'no room for its 536 backends beside 65000 of 65535 in its tables'],
      ['t535', 'no room for its 1 backends beside 65535 of 65535 in its tables'],
    ]);
    const many = Array.from({ length: LIMITS.packetServices + 1 }, (_, i) => service(`s${i}`, ForwardingMode.AUTO));
    expect(unfit(many)).toEqual([[`s${LIMITS.packetServices}`, expect.stringMatching(/^no room for another service/)]]);
  });
});

test('a change is told what it makes too much of, and may make it less', () => {
  const now = { services: 1, vips: LIMITS.packetVips + 1, backends: 1 };
  expect(excesses(now, { ...NO_SIZE, vips: 1 })).toEqual([
    {
      reason: 'would be 65537 addresses with port of services whose forwarding.mode is ipip, gue, l2 or nat',
      fix: expect.stringMatching(/^keep at most 65536 of them on a node, or write forwarding\.mode auto/),
    },
  ]);
  expect(excesses(now, { ...NO_SIZE, vips: -1 })).toEqual([]);
  expect(excesses({ services: 16_384, vips: 65_536, backends: 65_535 }, { services: 1, vips: 1, backends: 1 })).toEqual(
    [],
  );
});
