// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { type ForwardingMode, ForwardingSchema, parseConfiguration, type Service } from '@marcher/model';
import { describe, expect, test } from 'vitest';
import { Faults } from './faults.js';
import { validateService } from './validate.js';

const GOOD = { name: 'web', listeners: [{ protocol: 'tcp', port: 80 }], backends: [{ address: '10.0.0.1:80' }] };

function service(fields: object): Service {
  const text = JSON.stringify({ apiVersion: 'marcher/v1', services: [{ ...GOOD, ...fields }] });
  const { configuration, violations } = parseConfiguration(text);
  if (configuration === undefined) throw new Error(JSON.stringify(violations));
  return configuration.services[0] as Service;
}

function faults(fields: object): string[] {
  const found = new Faults();
  validateService(service(fields), 's', found);
  return found.list.map(({ path, reason, fix }) => `${path}: ${reason} -> ${fix}`);
}

const listener = (fields: object) => ({ listeners: [{ protocol: 'tcp', port: 80, ...fields }] });
const backend = (fields: object) => ({ backends: [{ address: '10.0.0.1:80', ...fields }] });

/** Of a service that is valid as such. */
const packets = (mode: string, fields: object = {}) => ({
  listeners: [{ address: '192.0.2.1', port: 80 }],
  backends: [{ name: 'a', address: '10.0.0.1' }],
  forwarding: { mode },
  ...fields,
});
const vip = (...fields: object[]) => ({ listeners: fields.map((one) => ({ address: '192.0.2.1', port: 80, ...one })) });
const real = (address: string, fields: object = {}) => ({ backends: [{ name: 'a', address, ...fields }] });

/** A service whose datagrams name their backend by these server IDs. */
const quic = (options: object, ids = ['0a01', '0a02'], mode = 'ipip'): object => ({
  ...packets(mode, vip({}, { protocol: 'udp' })),
  udp: { quic: options },
  backends: ids.map((quicServerId, i) => ({ address: `10.0.0.${i + 1}`, ...(quicServerId && { quicServerId }) })),
});

test('what an operator would expect to be valid is valid', () => {
  for (const fields of [
    {},
    { backends: [] },
    listener({ address: '::', port: '5000-5010', acceptProxyFrom: ['10.0.0.0/8', '2001:db8::/32', '10.0.0.1'] }),
    backend({ address: 'unix:/run/app.sock' }),
    backend({ address: 'app' }),
    backend({ address: '[2001:db8::1]', sourceAddress: '2001:db8::2' }),
    backend({ weight: 0, softLimit: 5, hardLimit: 5, country: 'DE', region: 'eu-west_1.a' }),
    { ...backend({ address: 'app' }), health: { type: 'tcp', port: 8080 } },
    { balance: { algorithm: 'maglev', maglevTableSize: 65_537 } },
    { health: { type: 'http', http: { path: '/up?x=1', expectStatus: [204, '200-299'] } } },
    { health: { type: 'udp', udp: { payload: 'ping' } } },
    { outlier: { baseEjection: '1h' } },
    { forwarding: {} },
    { forwarding: { mode: 'relay' }, limits: { maxConnections: 5 } },
    packets('ipip'),
    packets('gue', { forwarding: { mode: 'gue', guePort: 6081 } }),
    packets('nat', { forwarding: { mode: 'nat', sourceNat: true }, backends: [{ address: '10.0.0.1:8080' }] }),
    packets('nat', { backends: [{ address: '10.0.0.1:8080' }, { name: 'b', address: '10.0.0.1:8081' }] }),
    quic({}),
    quic({ configIds: [0, 6], lengthSelfEncoded: true }, ['00', 'ff']),
    quic({}, ['000102030405060708090a0b0c0d0e', 'FF0102030405060708090a0b0c0d0e'], 'nat'),
    packets('l2', real('10.0.0.1:80', { weight: 0, sourceAddress: '10.0.0.2', drain: true })),
    packets('ipip', vip({ port: '1-65535' })),
    packets('ipip', vip({ port: [80, 443] })),
    packets('ipip', { ...vip({}, { protocol: 'udp' }), ...real('10.0.0.1:80') }),
    packets('ipip', real('[2001:db8::1]:80')),
    packets('gue', vip({ address: '2001:db8::2' })),
    packets('l2', { ...vip({ address: '2001:db8::2' }), ...real('2001:db8::1') }),
    packets('ipip', { health: { type: 'http', port: 8080 }, outlier: { enabled: false } }),
    packets('ipip', { balance: { algorithm: 'maglev', maglevTableSize: 65_537, panicThreshold: 50 } }),
    packets('ipip', { balance: { affinity: { by: 'source-ip', ttl: '1h', ipv4Prefix: 32 }, slowStart: '0s' } }),
  ]) {
    expect(faults(fields), JSON.stringify(fields)).toEqual([]);
  }
});

/** Recorded: one mistake each, with the path, the reason and the fix that an operator sees. */
const TABLE: [string, object][] = [
  ['name with capitals', { name: 'Web' }],
  ['name that ends with a hyphen', { name: 'web-' }],
  ['name too long', { name: 'a'.repeat(64) }],
  ['no listener', { listeners: [] }],
  ['too many listeners', { listeners: Array(257).fill({ port: 80 }) }],
  ['listener on a name', listener({ address: 'localhost' })],
  ['listener address with a port', listener({ address: '10.0.0.1:80' })],
  ['listener on a prefix with host bits', listener({ address: '10.0.0.1/24' })],
  ['listener on an IPv6 prefix with host bits', listener({ address: '2001:db8:1::5:0:1/65' })],
  ['listener on a short prefix', listener({ address: '10.0.0.0/7' })],
  ['listener on a prefix of multicast', listener({ address: 'ff02::/16' })],
  ['listener on a prefix of too many bits', listener({ address: '10.0.0.0/33' })],
  ['no port', { listeners: [{ protocol: 'tcp' }] }],
  ['port 0', listener({ port: 0 })],
  ['port 65536', listener({ port: 65_536 })],
  ['range backwards', listener({ port: '90-80' })],
  ['too many ports', { listeners: [{ port: '1-65535' }, { address: '10.0.0.1', port: 1 }] }],
  ['PROXY protocol on UDP', listener({ protocol: 'udp', acceptProxyFrom: ['10.0.0.0/8'] })],
  ['prefix malformed', listener({ acceptProxyFrom: ['10.0.0.0/33'] })],
  ['prefix with host bits', listener({ acceptProxyFrom: ['10.0.0.1/8'] })],
  ['too many backends', { backends: Array.from({ length: 1001 }, (_, i) => ({ address: `a${i}:1` })) }],
  ['backend twice', { backends: [{ address: 'a:1' }, { address: 'a:1' }] }],
  [
    'backend name twice',
    {
      backends: [
        { address: 'a:1', name: 'x' },
        { address: 'b:1', name: 'x' },
      ],
    },
  ],
  ['backend empty', backend({ address: '' })],
  ['backend port 0', backend({ address: '10.0.0.1:0' })],
  ['backend port missing', backend({ address: 'a:' })],
  ['IPv6 without brackets', backend({ address: '2001:db8::1:80:x' })],
  ['bracket not closed', backend({ address: '[::1' })],
  ['mistyped IPv4', backend({ address: '10.0.0.256:80' })],
  ['host with a space', backend({ address: 'a b:80' })],
  ['relative socket path', backend({ address: 'unix:run/app.sock' })],
  ['long socket path', backend({ address: `unix:/${'a'.repeat(107)}` })],
  ['Unix socket under UDP', { listeners: [{ protocol: 'udp', port: 53 }], backends: [{ address: 'unix:/x' }] }],
  [
    'sendProxy under UDP',
    { listeners: [{ protocol: 'udp', port: 53 }], backends: [{ address: 'a:1', sendProxy: 'v2' }] },
  ],
  ['weight', backend({ weight: 257 })],
  ['region', backend({ region: 'e u' })],
  ['country in small letters', backend({ country: 'de' })],
  ['country unknown', backend({ country: 'XX' })],
  ['hard below soft', backend({ softLimit: 10, hardLimit: 9 })],
  ['soft limit 0', backend({ softLimit: 0 })],
  ['source address of the other family', backend({ sourceAddress: '::1' })],
  ['source address malformed', backend({ sourceAddress: 'eth0' })],
  ['address without name too long', backend({ address: `${'a.'.repeat(63)}com:80` })],
  ['health without port', { ...backend({ address: 'app' }), health: { type: 'tcp' } }],
  ['maglev not prime', { balance: { algorithm: 'maglev', maglevTableSize: 65_536 } }],
  ['maglev too small', { balance: { maglevTableSize: 2 }, backends: [1, 2, 3].map((i) => ({ address: `a${i}:1` })) }],
  ['affinity time to live', { balance: { affinity: { ttl: '1ms' } } }],
  ['affinity prefix', { balance: { affinity: { ipv4Prefix: 33 } } }],
  ['load of the mesh for random', { balance: { algorithm: 'random', loadOf: 'mesh' } }],
  ['load of the mesh for the default algorithm', { balance: { loadOf: 'mesh' } }],
  [
    'load of the mesh for too many',
    {
      balance: { algorithm: 'least-connections', loadOf: 'mesh' },
      backends: Array.from({ length: 257 }, (_, i) => ({ address: `a${i}:1` })),
    },
  ],
  ['panic threshold', { balance: { panicThreshold: 101 } }],
  ['interval', { health: { type: 'tcp', interval: '1ms' } }],
  ['fall', { health: { type: 'tcp', fall: 0 } }],
  ['http beside tcp', { health: { type: 'tcp', http: { path: '/' } } }],
  ['path', { health: { type: 'http', http: { path: 'up' } } }],
  ['status', { health: { type: 'http', http: { expectStatus: ['2xx'] } } }],
  ['status range backwards', { health: { type: 'http', http: { expectStatus: ['299-200'] } } }],
  ['body with HEAD', { health: { type: 'http', http: { method: 'HEAD', expectBody: 'ok' } } }],
  ['udp without payload', { health: { type: 'udp' } }],
  ['ejection', { outlier: { baseEjection: '10m', maxEjection: '1m' } }],
  ['connect timeout 0', { timeouts: { connect: '0s' } }],
  ['connections 0', { limits: { maxConnections: 0 } }],
  ['dns times crossed', { dns: { minTtl: '10m' } }],
  ['label name', { labels: { 'a b': 'x' } }],
  ['packets to every address', packets('ipip', { listeners: [{ port: 80 }] })],
  ['packets to every IPv6 address', packets('gue', vip({ address: '::' }))],
  ['packets to a multicast address', packets('ipip', vip({ address: '224.0.0.1' }))],
  ['packets with PROXY headers from clients', packets('ipip', vip({ acceptProxyFrom: ['10.0.0.0/8'] }))],
  ['packets with a limit of the listener', packets('ipip', vip({ maxConnections: 5 }))],
  ['packets to too many ports', packets('ipip', vip({ port: '1-4097' }))],
  ['packets to a name', packets('ipip', real('app'))],
  ['packets to a Unix socket', packets('l2', real('unix:/run/app.sock'))],
  ['packets to another port', packets('ipip', real('10.0.0.1:8080'))],
  ['packets to one port of several', packets('ipip', { ...vip({ port: [80, 443] }), ...real('10.0.0.1:80') })],
  ['packets to a broadcast address', packets('ipip', real('255.255.255.255'))],
  ['packets of IPv6 inside IPv4', packets('ipip', vip({}, { address: '2001:db8::2' }))],
  ['packets of IPv4 to an IPv6 neighbour', packets('l2', real('2001:db8::1'))],
  ['packets to a name with a space', packets('ipip', { backends: [{ name: 'a b', address: '10.0.0.1' }] })],
  ['packets with PROXY headers to backends', packets('gue', real('10.0.0.1', { sendProxy: 'v2' }))],
  ['packets with a limit of the backend', packets('gue', real('10.0.0.1', { hardLimit: 5 }))],
  ['packets in turns', packets('ipip', { balance: { algorithm: 'round-robin' } })],
  ['packets by load', packets('ipip', { balance: { algorithm: 'least-connections' } })],
  ['packets by distance', packets('ipip', { balance: { algorithm: 'geo' } })],
  ['packets with slow start', packets('ipip', { balance: { slowStart: '10s' } })],
  ['packets with affinity by prefix', packets('ipip', { balance: { affinity: { ipv4Prefix: 24 } } })],
  ['packets with outlier detection', packets('ipip', { outlier: {} })],
  ['packets with a limit', packets('ipip', { limits: { maxConnections: 5 } })],
  ['packets with a limit by source', packets('ipip', { limits: { maxConnectionsPerSource: 5 } })],
  ['QUIC by the relay', quic({}, ['0a'], 'relay')],
  ['QUIC without UDP', { ...quic({}, ['0a']), ...vip({}) }],
  ['QUIC with a reserved configuration ID', quic({ configIds: [7] })],
  ['QUIC with a configuration ID twice', quic({ configIds: [1, 2, 1] })],
  ['QUIC without a server ID', quic({}, ['0a', ''])],
  ['QUIC with half a byte', quic({}, ['0a0'])],
  ['QUIC with a server ID that is no number', quic({}, ['web1'])],
  ['QUIC with a server ID too long', quic({}, ['00'.repeat(16)])],
  ['QUIC with server IDs of two lengths', quic({}, ['0a', '0a0b'])],
  ['QUIC with a server ID twice', quic({}, ['0a', '0A'])],
  ['a server ID without QUIC', packets('ipip', real('10.0.0.1', { quicServerId: '0a' }))],
  ['GUE port beside another mode', packets('ipip', { forwarding: { mode: 'ipip', guePort: 6080 } })],
  ['source NAT beside another mode', packets('l2', { forwarding: { mode: 'l2', sourceNat: false } })],
  ['NAT to another address family', packets('nat', { backends: [{ address: '[2001:db8::1]:80' }] })],
  ['NAT to a name', packets('nat', { backends: [{ address: 'db.example:80' }] })],
  ['NAT with a PROXY header', packets('nat', { backends: [{ address: '10.0.0.1:80', sendProxy: 'v2' }] })],
  ['NAT of every address', packets('nat', { listeners: [{ port: 80 }] })],
  ['NAT with a connection limit', packets('nat', { limits: { maxConnections: 5 } })],
  ['GUE port 0', packets('gue', { forwarding: { mode: 'gue', guePort: 0 } })],
  ['label value', { labels: { a: 'x'.repeat(257) } }],
];

describe('one mistake is one violation', () => {
  for (const [name, fields] of TABLE) {
    test(name, () => {
      const found = faults(fields);
      expect(found.length, found.join('\n')).toBe(1);
      expect(found[0]).toMatch(/^s\.\S+: .+ -> .+/);
    });
  }
});

test('every port of a prefix by both transports is within the limit of ports', () => {
  const every = (protocol: string) => ({ protocol, address: '192.0.2.0/24', ports: '1-65535' });
  expect(faults({ listeners: [every('tcp'), every('udp')] })).toEqual([]);
});

test('the texts are as recorded', () => {
  expect(Object.fromEntries(TABLE.map(([name, fields]) => [name, faults(fields)[0]]))).toMatchSnapshot();
});

test('all that keeps packets from being forwarded is reported at once', () => {
  const found = faults({
    listeners: [{ port: 80, acceptProxyFrom: ['10.0.0.0/8'] }],
    backends: [{ address: 'app:81', sendProxy: 'v2' }, { address: 'unix:/x' }],
    forwarding: { mode: 'ipip', guePort: 1 },
    balance: { algorithm: 'geo' },
    outlier: {},
    limits: { maxConnections: 1 },
  });
  expect(found.map((text) => text.split(': ')[0])).toEqual([
    's.forwarding.guePort',
    's.listeners[0].address',
    's.listeners[0].acceptProxyFrom',
    's.backends[0].address',
    's.backends[0].sendProxy',
    's.backends[1].address',
    's.balance.algorithm',
    's.outlier',
    's.limits.maxConnections',
  ]);
});

test('a mode of a later version is named', () => {
  const later = service({});
  const found = new Faults();
  validateService({ ...later, forwarding: create(ForwardingSchema, { mode: 9 as ForwardingMode }) }, 's', found);
  expect(found.list.map(({ path, reason }) => `${path}: ${reason}`)).toEqual([
    's.forwarding.mode: 9 is not a value that this version knows',
  ]);
});

test('what is wrong in several places is reported in all of them', () => {
  const found = faults({ name: '', ...listener({ port: 0 }), ...backend({ weight: 300, country: 'de' }) });
  expect(found.map((text) => text.split(':')[0])).toEqual([
    's.name',
    's.listeners[0].ports',
    's.backends[0].weight',
    's.backends[0].country',
  ]);
});
