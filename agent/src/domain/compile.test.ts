// SPDX-License-Identifier: Apache-2.0
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { parseConfiguration, type Service, type TrafficPolicy } from '@marcher/model';
import { SnapshotSchema } from '@marcher/proto/marcher/engine/v1/snapshot_pb';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SnapshotWriter } from './compile.js';
import { WireWriter } from './wire-writer.js';

const NODE = { name: 'n', region: 'eu', country: 'DE', geoipPath: '/g', draining: false };

function services(...files: object[]): Service[] {
  const { configuration, violations } = parseConfiguration(
    JSON.stringify({ apiVersion: 'marcher/v1', services: files }),
  );
  if (configuration === undefined) throw new Error(JSON.stringify(violations));
  return configuration.services;
}

function compile(files: object[], draining?: ReadonlySet<string>) {
  const writer = new SnapshotWriter(1);
  writer.begin(7n, 3n, NODE);
  for (const service of services(...files)) writer.service(service, undefined, draining);
  writer.removed('gone');
  const bytes = writer.bytes().slice();
  const snapshot = fromBinary(SnapshotSchema, bytes);
  // What was written is what any encoder writes: shortest lengths, fields in order.
  expect(toBinary(SnapshotSchema, snapshot)).toEqual(bytes);
  return snapshot;
}

test('every default is filled in', () => {
  const snapshot = compile([
    { name: 'web', listeners: [{ port: 80 }], backends: [{ address: 'app:8080' }], health: {} },
  ]);
  expect(snapshot).toMatchObject({ generation: 7n, baseGeneration: 3n, node: NODE, removedServices: ['gone'] });
  const [service] = snapshot.services;
  expect(service).toMatchObject({
    name: 'web',
    algorithm: 2,
    connectTimeoutMs: 5_000,
    idleTimeoutMs: 300_000,
    udpIdleTimeoutMs: 60_000,
    halfClosedTimeoutMs: 30_000,
    drainTimeoutMs: 30_000,
    maxConnections: 0,
    sourceIpv4Prefix: 32,
    sourceIpv6Prefix: 128,
    udpMaxSessions: 65_536,
    dnsMinTtlMs: 1_000,
    dnsMaxTtlMs: 300_000,
  });
  expect([service?.outlier, service?.affinity]).toEqual([undefined, undefined]);
  expect(service?.listeners).toMatchObject([{ transport: 1, portFirst: 80, portLast: 80, backlog: 4096 }]);
  expect(service?.listeners[0]?.address).toHaveLength(0);
  expect(service?.backends).toMatchObject([
    { name: 'app:8080', weight: 1, target: { case: 'dns', value: { host: 'app', port: 8080 } } },
  ]);
  expect(service?.health).toMatchObject({
    type: 1,
    intervalMs: 2_000,
    timeoutMs: 1_000,
    fall: 3,
    rise: 2,
    jitterPercent: 10,
  });
});

test('what is written out is passed on', () => {
  const [service] = compile(
    [
      {
        name: 'web',
        listeners: [
          { protocol: 'udp', address: '10.0.0.1', ports: ['5-6', 9] },
          { port: 80, acceptProxyFrom: ['10.0.0.0/8'] },
        ],
        backends: [
          { address: '[::1]:80', weight: 0, sendProxy: 'v2', sourceAddress: '::2', hardLimit: 3 },
          { address: 'unix:/x', name: 'x' },
          { address: '10.0.0.9', drain: true },
        ],
        balance: { algorithm: 'geo', affinity: { ttl: '5m', ipv4Prefix: 24 }, panicThreshold: 50 },
        health: { type: 'http', http: { expectStatus: [200, '300-310'] } },
        outlier: { baseEjection: '1h' },
        timeouts: { idle: '7s' },
      },
    ],
    new Set(['x']),
  ).services;
  expect(service?.listeners).toMatchObject([
    { transport: 2, portFirst: 5, portLast: 6 },
    { transport: 2, portFirst: 9, portLast: 9 },
    { transport: 1, portFirst: 80, acceptProxyFrom: [{ length: 8 }] },
  ]);
  expect(service?.backends).toMatchObject([
    { weight: 0, sendProxy: 2, hardLimit: 3, drain: false, target: { case: 'ip', value: { port: 80 } } },
    { name: 'x', drain: true, target: { case: 'unixPath', value: '/x' } },
    { drain: true, target: { case: 'ip', value: { port: 0 } } },
  ]);
  expect(service).toMatchObject({
    algorithm: 6,
    idleTimeoutMs: 7_000,
    udpIdleTimeoutMs: 7_000,
    panicThresholdPercent: 50,
    affinity: { ttlMs: 300_000, ipv4Prefix: 24, ipv6Prefix: 128, maxEntries: 65_536 },
    outlier: { baseEjectionMs: 3_600_000, maxEjectionMs: 3_600_000, consecutiveFailures: 5, maxEjectedPercent: 50 },
    health: {
      httpMethod: 'GET',
      httpPath: '/',
      httpExpectStatus: [
        { first: 200, last: 200 },
        { first: 300, last: 310 },
      ],
    },
  });
});

test('a service that another tier carries has no listeners, and is otherwise the same', () => {
  const [service] = services({
    name: 'web',
    listeners: [{ address: '192.0.2.1', port: 80 }],
    backends: [{ address: '10.0.0.1' }],
    health: { port: 80 },
  });
  const compiled = (listens: boolean) => {
    const writer = new SnapshotWriter(1);
    writer.begin(1n, 0n, NODE);
    writer.service(service as Service, undefined, undefined, listens);
    return fromBinary(SnapshotSchema, writer.bytes()).services[0];
  };
  expect(compiled(false)?.listeners).toEqual([]);
  expect({ ...compiled(false), listeners: [] }).toEqual({ ...compiled(true), listeners: [] });
});

test('texts and nested messages of any length are framed rightly', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'grapheme', maxLength: 300, size: 'max' }), { maxLength: 20 }), (names) => {
      const writer = new WireWriter(1);
      for (const name of names) {
        const mark = writer.begin(4);
        writer.text(1, name);
        writer.end(mark);
      }
      const snapshot = fromBinary(SnapshotSchema, writer.written().slice());
      expect(snapshot.services.map(({ name }) => name)).toEqual(names.map((name) => name.toWellFormed()));
    }),
  );
});

test('addresses of backends are the bytes in network order', () => {
  const addresses = ['10.20.30.40:8080', '255.0.0.1:65535', '0.0.0.0:1', '192.0.2.7', '[2001:db8::1]:443'];
  const backends = addresses.map((address) => ({ address }));
  const [service] = compile([{ name: 'web', listeners: [{ port: 80 }], backends }]).services;
  const read = service?.backends.map(({ target }) => {
    return target.case === 'ip' ? [[...target.value.address].join('.'), target.value.port] : target.case;
  });
  expect(read).toEqual([
    ['10.20.30.40', 8080],
    ['255.0.0.1', 65_535],
    ['0.0.0.0', 1],
    ['192.0.2.7', 0],
    ['32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.1', 443],
  ]);
});

function policyIn(file: object) {
  const text = JSON.stringify({ apiVersion: 'marcher/v1', trafficPolicies: [{ name: 'p', ...file }] });
  const { configuration, violations } = parseConfiguration(text);
  if (configuration === undefined) throw new Error(JSON.stringify(violations));
  const [policy] = configuration.trafficPolicies;
  const [service] = services({ name: 'web', listeners: [{ port: 80 }], backends: [{ address: '10.0.0.1:80' }] });
  const writer = new SnapshotWriter();
  writer.begin(1n, 0n, NODE);
  writer.service(service as Service, policy as TrafficPolicy);
  const bytes = writer.bytes().slice();
  const snapshot = fromBinary(SnapshotSchema, bytes);
  expect(toBinary(SnapshotSchema, snapshot)).toEqual(bytes);
  return { policy: snapshot.services[0]?.trafficPolicy, length: bytes.length };
}

test('a traffic policy has its bursts filled in, and what it does not limit is absent', () => {
  const { policy, length } = policyIn({
    priority: 'P0',
    ingress: { rate: '100Mbit' },
    egress: { rate: '1Mbit' },
    perConnection: { egress: { rate: '10Mbit', burst: '1MiB' } },
    connections: { rate: 100 },
    dscp: 0,
    ecn: 'mark',
  });
  expect(policy).toMatchObject({
    priority: 0,
    // 50 ms of the rate, at least 64 KiB.
    ingress: { bitsPerSecond: 100_000_000n, burstBytes: 625_000n },
    egress: { bitsPerSecond: 1_000_000n, burstBytes: 65_536n },
    connectionEgress: { bitsPerSecond: 10_000_000n, burstBytes: 1_048_576n },
    connections: { perSecond: 100n, burst: 100n },
    setDscp: true,
    dscp: 0,
    ecnMark: true,
  });
  expect(policy?.connectionIngress).toBeUndefined();
  // 10,000 services under the largest policy are half a megabyte more of snapshot.
  const without = policyIn({}).length;
  expect(length - without).toBeLessThan(64);
});

test('a policy that says nothing is the default priority alone', () => {
  const { policy } = policyIn({});
  expect(policy).toMatchObject({ priority: 2, setDscp: false, ecnMark: false });
  expect([policy?.ingress, policy?.egress, policy?.connections]).toEqual([undefined, undefined, undefined]);
});

test('prefixes and long ranges are one steered listener each where they can be', () => {
  const listeners = [
    { address: '192.0.2.0/24', ports: [80, '1000-1999'] },
    { address: '2001:db8::/64', port: 443, protocol: 'udp' },
    { ports: '5000-5015' },
    { ports: '6000-6016' },
    { address: '0.0.0.0', ports: '7000-7999' },
  ];
  const [service] = services({ name: 'wide', listeners });
  if (service === undefined) throw new Error('no service');
  const compiled = (steering: boolean) => {
    const writer = new SnapshotWriter(1);
    writer.begin(1n, 0n, NODE);
    writer.service(service, undefined, undefined, true, steering);
    return fromBinary(SnapshotSchema, writer.bytes()).services[0]?.listeners.map(
      ({ address, portFirst, portLast, steered, prefixLength }) =>
        `${address.join('.')}/${prefixLength} ${portFirst}-${portLast}${steered ? ' steered' : ''}`,
    );
  };
  expect(compiled(true)).toEqual([
    '192.0.2.0/24 80-80 steered',
    '192.0.2.0/24 1000-1999 steered',
    '32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.0/64 443-443 steered',
    '/0 5000-5015',
    '/0 6000-6016 steered',
    '0.0.0.0/0 7000-7999',
  ]);
  expect(compiled(false)).toEqual(['/0 5000-5015', '/0 6000-6016', '0.0.0.0/0 7000-7999']);
});

test('every port of an address, which others may have some of, is steered or not relayed', () => {
  const listeners = [{ address: '192.0.2.1', ports: '1-65535' }];
  const forwarding = { mode: 'nat' };
  const [packets, relayed] = services({ name: 'a', listeners, forwarding }, { name: 'b', listeners });
  const compiled = (service: Service | undefined, steering: boolean) => {
    const writer = new SnapshotWriter(1);
    writer.begin(1n, 0n, NODE);
    if (service !== undefined) writer.service(service, undefined, undefined, true, steering);
    return fromBinary(SnapshotSchema, writer.bytes()).services[0]?.listeners.map(({ steered }) => steered);
  };
  expect(compiled(packets, false)).toEqual([]);
  expect(compiled(packets, true)).toEqual([true]);
  expect(compiled(relayed, false)).toEqual([false]);
});
