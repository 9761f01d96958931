// SPDX-License-Identifier: Apache-2.0
import { toBinary } from '@bufbuild/protobuf';
import { parseConfiguration, type Service } from '@marcher/model';
import { Forwarding, ServiceSchema, Transport } from '@marcher/proto/marcher/packet/v1/packet_pb';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ringSizeOf } from './packet-service.js';
import { packetService, type Standing } from './packet-table.js';
import { isPrime } from './validate.js';

function service(fields: object = {}): Service {
  const file = {
    name: 'web',
    listeners: [{ address: '192.0.2.1', port: 80 }],
    backends: ['a', 'b', 'c', 'd'].map((name, i) => ({ name, address: `10.0.0.${i + 1}` })),
    forwarding: { mode: 'ipip' },
    ...fields,
  };
  const parsed = parseConfiguration(JSON.stringify({ apiVersion: 'marcher/v1', services: [file] }));
  if (parsed.configuration === undefined) throw new Error(JSON.stringify(parsed.violations));
  return parsed.configuration.services[0] as Service;
}

const NOTHING: Standing = { nodeDraining: false, drained: () => false, unhealthy: () => false };
const among =
  (...names: string[]) =>
  (name: string) =>
    names.includes(name);

/** "a b! (c)": usable, dead, neither. */
function backends(fields: object, standing: Partial<Standing>): string {
  return packetService(service(fields), { ...NOTHING, ...standing })
    .backends.map(({ name, usable, dead }) => (dead ? `${name}!` : usable ? name : `(${name})`))
    .join(' ');
}

test('addresses, ports and settings are what was declared', () => {
  const found = packetService(
    service({
      listeners: [
        { address: '192.0.2.1', ports: [80, '8000-8002'] },
        { address: '2001:db8::1', port: '1-65535', protocol: 'udp' },
      ],
      backends: [
        { address: '10.0.0.1', weight: 3 },
        { name: 'six', address: '2001:db8::2' },
      ],
      forwarding: { mode: 'gue' },
      balance: { affinity: {}, maglevTableSize: 65_537 },
    }),
    NOTHING,
  );
  expect(found).toMatchObject({
    name: 'web',
    forwarding: Forwarding.GUE,
    guePort: 6080,
    ringSize: 65_537,
    sourceOnly: true,
  });
  expect(found.vips.map(({ transport, port, address }) => [transport, port, address.length])).toEqual([
    [Transport.TCP, 80, 4],
    [Transport.TCP, 8000, 4],
    [Transport.TCP, 8001, 4],
    [Transport.TCP, 8002, 4],
    [Transport.UDP, 0, 16],
  ]);
  expect(found.backends).toMatchObject([
    { name: '10.0.0.1', address: Uint8Array.of(10, 0, 0, 1), weight: 3 },
    { name: 'six', weight: 1 },
  ]);
  expect(found.backends[1]?.address).toHaveLength(16);
  const quic = packetService(
    service({
      listeners: [{ address: '192.0.2.1', port: 443, protocol: 'udp' }],
      backends: [{ address: '10.0.0.1', quicServerId: '0aFF' }],
      udp: { quic: { configIds: [2, 1], lengthSelfEncoded: true } },
      forwarding: { mode: 'ipip' },
    }),
    NOTHING,
  );
  expect(quic.quic).toMatchObject({ configIds: [1, 2], lengthSelfEncoded: true });
  expect(quic.backends[0]?.quicServerId).toEqual(Uint8Array.of(10, 255));
  expect(found.quic).toBeUndefined();
  expect(found.backends[0]?.quicServerId).toHaveLength(0);
  const translated = packetService(
    service({
      backends: [{ address: '10.0.0.1:8080' }, { address: '10.0.0.2' }],
      forwarding: { mode: 'nat', sourceNat: true },
    }),
    NOTHING,
  );
  expect(translated).toMatchObject({ forwarding: Forwarding.NAT, sourceNat: true });
  expect(translated.backends.map(({ port }) => port)).toEqual([8080, 0]);
  // Elsewhere a port only says which one clients come to.
  const direct = packetService(service({ backends: [{ address: '10.0.0.1:80' }] }), NOTHING);
  expect(direct).toMatchObject({ sourceNat: false, backends: [{ port: 0 }] });
  const plain = packetService(service({ forwarding: { mode: 'l2' } }), NOTHING);
  expect(plain).toMatchObject({ forwarding: Forwarding.L2, guePort: 0, sourceOnly: false, ringSize: 1_009 });
});

test.each([
  ['all are well', {}, {}, 'a b c d'],
  ['one is unhealthy', {}, { unhealthy: among('b') }, 'a b! c d'],
  ['one is drained on this node', {}, { drained: among('b') }, 'a (b) c d'],
  ['one is drained and unhealthy', {}, { drained: among('b'), unhealthy: among('b') }, 'a b! c d'],
  ['the node is drained', {}, { nodeDraining: true, unhealthy: among('b') }, '(a) b! (c) (d)'],
  ['all are unhealthy', {}, { unhealthy: () => true }, 'a! b! c! d!'],
  ['panic: below the share', { panicThreshold: 50 }, { unhealthy: among('a', 'b', 'c') }, 'a b c d'],
  ['no panic: at the share', { panicThreshold: 50 }, { unhealthy: among('a', 'b') }, 'a! b! c d'],
  ['panic: all', { panicThreshold: 1 }, { unhealthy: () => true }, 'a b c d'],
  [
    'panic uses no drained one, and of the others too few are healthy',
    { panicThreshold: 50 },
    { unhealthy: among('a', 'b'), drained: among('c') },
    'a b (c) d',
  ],
])('%s', (_, balance, standing, expected) => {
  expect(backends({ balance }, standing)).toBe(expected);
});

test('weight 0 and drain in the configuration keep flows and take no new ones', () => {
  const fields = {
    backends: [
      { name: 'a', address: '10.0.0.1' },
      { name: 'b', address: '10.0.0.2', weight: 0 },
      { name: 'c', address: '10.0.0.3', drain: true },
    ],
  };
  expect(backends(fields, {})).toBe('a (b) (c)');
});

test('rings have a prime size, at least 100 slots for each backend', () => {
  for (const count of [0, 1, 10, 11, 20, 41, 82, 164, 327, 655, 656, 1_000]) {
    const size = ringSizeOf(
      service({ backends: Array.from({ length: count }, (_, i) => ({ address: `10.0.0.${i}` })) }),
    );
    expect(isPrime(size), `${count}`).toBe(true);
    expect(size).toBeGreaterThanOrEqual(100 * count);
  }
});

test('the same facts give the same bytes', () => {
  const names = fc.subarray(['a', 'b', 'c', 'd']);
  fc.assert(
    fc.property(names, names, fc.boolean(), fc.nat(100), (unhealthy, drained, nodeDraining, panicThreshold) => {
      const standing = { nodeDraining, drained: among(...drained), unhealthy: among(...unhealthy) };
      const bytes = () => toBinary(ServiceSchema, packetService(service({ balance: { panicThreshold } }), standing));
      expect(bytes()).toEqual(bytes());
      for (const { usable, dead } of packetService(service({ balance: { panicThreshold } }), standing).backends) {
        expect(usable && (dead || nodeDraining)).toBe(false);
      }
    }),
  );
});
