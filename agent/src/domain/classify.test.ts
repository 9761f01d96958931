// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { parseConfiguration, type Service, TrafficPolicySchema } from '@marcher/model';
import { expect, test } from 'vitest';
import { classify, type PacketOffer, type PacketOffers, tiersOf } from './classify.js';
import type { Steering } from './steering.js';

function service(fields: object): Service {
  const file = { name: 'web', listeners: [{ address: '192.0.2.1', port: 80 }], ...fields };
  const parsed = parseConfiguration(JSON.stringify({ apiVersion: 'marcher/v1', services: [file] }));
  return parsed.configuration?.services[0] as Service;
}

const none: PacketOffer = { available: false, reason: 'no interface was named: --interfaces', fasterIf: [] };
const tcx: PacketOffer = { available: true, reason: 'attached by tcx to eth0', fasterIf: [] };
const NONE: PacketOffers = { xdp: none, tc: none };
const NATIVE: PacketOffers = { xdp: { available: true, reason: 'attached native to eth0', fasterIf: [] }, tc: tcx };
const GENERIC: PacketOffers = {
  xdp: { available: true, reason: 'attached generic to eth0', fasterIf: ['eth0 ran XDP natively'] },
  tc: { available: false, reason: 'not attached to eth0 (clsact: Operation not supported)', fasterIf: [] },
};

const OFF: Steering = { on: false, reason: 'sk_lookup was not asked for' };

const packets = service({ backends: [{ address: '10.0.0.1' }], forwarding: { mode: 'gue' } });
const plain = service({ backends: [{ address: '10.0.0.1' }] });

test('a service is given to XDP when it asks for it and the node has it', () => {
  expect(classify(packets, NATIVE, OFF)).toMatchObject({ tier: 'xdp', fasterIf: [] });
  expect(classify(packets, NATIVE, OFF).reasons).toEqual([
    expect.stringMatching(/^forwarding\.mode gue: .* inside a UDP datagram/),
    'attached native to eth0',
  ]);
  expect(classify(packets, GENERIC, OFF)).toMatchObject({ tier: 'xdp', fasterIf: ['eth0 ran XDP natively'] });
});

test('without XDP it is relayed, and the reason is the missing tier', () => {
  const { tier, reasons, fasterIf } = classify(packets, NONE, OFF);
  expect(tier).toBe('relay');
  expect(reasons).toEqual([expect.stringMatching(/gue asks for XDP, which is not available: .*--interfaces/)]);
  expect(fasterIf).toHaveLength(1);
});

test('a service that asks for NAT is given to tc, and relayed where that is not attached', () => {
  const nat = service({ backends: [{ address: '10.0.0.1:8080' }], forwarding: { mode: 'nat', sourceNat: true } });
  expect(classify(nat, NATIVE, OFF)).toMatchObject({
    tier: 'tc',
    fasterIf: [expect.stringContaining('ipip, gue or l2')],
  });
  expect(classify(nat, NATIVE, OFF).reasons).toEqual([
    expect.stringMatching(/^forwarding\.mode nat: .* come back through this node, under this node's address$/),
    'attached by tcx to eth0',
  ]);
  expect(classify(nat, GENERIC, OFF)).toMatchObject({ tier: 'relay', fasterIf: ['tc was available'] });
  expect(classify(nat, GENERIC, OFF).reasons).toEqual([
    expect.stringMatching(/nat asks for tc, .*Operation not supported/),
  ]);
});

test('where XDP carries open flows is said, and that it does not where a policy may have packets wait', () => {
  const openFlows = 'flows that are open are carried by XDP on eth0';
  const offers: PacketOffers = { ...NATIVE, tc: { ...tcx, openFlows } };
  const nat = service({ forwarding: { mode: 'nat' } });
  expect(classify(nat, offers, OFF).reasons).toContain(openFlows);
  const policy = create(TrafficPolicySchema, { name: 'gold' });
  const { reasons } = classify(nat, offers, OFF, policy);
  expect(reasons).not.toContain(openFlows);
  expect(reasons).toContain('trafficPolicy gold: flows that are open stay with tc, where packets can wait');
});

test("mode auto is NAT under the node's address where nothing needs more", () => {
  const auto = (fields: object) =>
    service({ backends: [{ address: '10.0.0.1:80' }], forwarding: { mode: 'auto' }, ...fields });
  expect(classify(auto({}), NATIVE, OFF)).toMatchObject({ tier: 'tc' });
  expect(classify(auto({}), NATIVE, OFF).reasons[0]).toMatch(/^forwarding\.mode auto: .* under this node's address$/);
  expect(classify(auto({}), GENERIC, OFF)).toMatchObject({ tier: 'relay' });
  const needs: [object, RegExp][] = [
    [{ listeners: [{ port: 80 }] }, /listeners\[0\]\.address: is missing/],
    [{ backends: [{ address: 'app.example:80' }] }, /backends\[0\]\.address: "app.example" is a name/],
    [{ backends: [{ address: '[2001:db8::1]:80' }] }, /another address family/],
    [{ backends: [{ address: '10.0.0.1:80', softLimit: 5 }] }, /backends\[0\]\.softLimit/],
    [{ backends: [{ address: '10.0.0.1:80', sourceAddress: '10.0.0.9' }] }, /backends\[0\]\.sourceAddress/],
    [{ balance: { algorithm: 'least-connections' } }, /balance\.algorithm/],
    [{ timeouts: { idle: '1m' } }, /timeouts/],
    [{ limits: { maxConnections: 1 } }, /limits\.maxConnections/],
    [{ outlier: {} }, /outlier/],
  ];
  for (const [fields, reason] of needs) {
    const { tier, reasons } = classify(auto(fields), NATIVE, OFF);
    expect(tier, String(reason)).toBe('relay');
    expect(reasons.join()).toMatch(reason);
  }
});

test('a service that does not ask is relayed, with what stands against more', () => {
  expect(classify(plain, NATIVE, OFF).tier).toBe('relay');
  expect(classify(plain, NATIVE, OFF).fasterIf).toEqual([expect.stringContaining('forwarding.mode ipip, gue or l2')]);
  expect(classify(plain, NONE, OFF).fasterIf.join()).toContain('--interfaces');
  const heavy = service({
    listeners: [{ port: 80, acceptProxyFrom: ['10.0.0.0/8'] }],
    backends: [{ address: 'unix:/x', sendProxy: 'v2' }],
    balance: { algorithm: 'geo' },
    limits: { maxConnections: 1 },
    outlier: {},
  });
  const { tier, reasons } = classify(heavy, NATIVE, OFF);
  expect(tier).toBe('relay');
  expect(reasons.map((reason) => reason.split(':')[0])).toEqual([
    'listeners[].acceptProxyFrom',
    'backends[].sendProxy',
    'backends[].address',
    'limits',
    'balance.algorithm',
    'outlier',
  ]);
});

test('the tiers of the node say what they are good for', () => {
  expect(tiersOf(NONE).map(({ tier, available }) => `${tier} ${available}`)).toEqual([
    'xdp false',
    'tc false',
    'relay true',
    'l7 false',
  ]);
  expect(tiersOf(GENERIC)[0]).toEqual({ tier: 'xdp', available: true, reason: 'attached generic to eth0' });
});

test('ranges and prefixes that are relayed are steered where sk_lookup is, and it is said where it is not', () => {
  const backends = [{ address: '10.0.0.1' }];
  const range = service({ listeners: [{ ports: '5000-5999' }], backends });
  const few = service({ listeners: [{ ports: '5000-5015' }], backends });
  const prefix = service({ listeners: [{ address: '192.0.2.0/24', port: 80 }], backends });
  expect(classify(range, NONE, { on: true }).reasons).toContainEqual(expect.stringMatching(/serve ports 5000-5999$/));
  expect(classify(prefix, NONE, { on: true }).reasons).toContainEqual(
    expect.stringMatching(/port 80 of 192.0.2.0\/24$/),
  );
  expect(classify(few, NONE, { on: true }).reasons.join()).not.toContain('sk_lookup');
  expect(classify(range, NONE, OFF).fasterIf.join()).toContain(
    'each port has sockets of its own until then): sk_lookup',
  );
  expect(classify(prefix, NONE, OFF).fasterIf.join()).toContain('192.0.2.0/24 is not served until then');
});
