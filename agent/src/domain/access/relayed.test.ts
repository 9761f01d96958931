// SPDX-License-Identifier: Apache-2.0
import { AccessService } from '@marcher/proto/marcher/v1/access_service_pb';
import { AuditService } from '@marcher/proto/marcher/v1/audit_service_pb';
import { CertificateService } from '@marcher/proto/marcher/v1/certificate_service_pb';
import { ConfigService } from '@marcher/proto/marcher/v1/config_service_pb';
import { MeshService } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { NodeService } from '@marcher/proto/marcher/v1/node_service_pb';
import { ObserveService } from '@marcher/proto/marcher/v1/observe_service_pb';
import { TrafficService } from '@marcher/proto/marcher/v1/traffic_service_pb';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { authorize } from './authorize.js';
import type { Principal, Role } from './principal.js';
import {
  decodeRelayed,
  encodeRelayed,
  isRelayable,
  RELAYED_MAX_CHARACTERS,
  type RelayedCaller,
  relayedAuthor,
} from './relayed.js';

const SERVICES = [
  ConfigService,
  NodeService,
  ObserveService,
  TrafficService,
  MeshService,
  AuditService,
  AccessService,
  CertificateService,
];
const METHODS = SERVICES.flatMap(({ typeName, methods }) => methods.map(({ name }) => `${typeName}/${name}`));

const user = fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,63}$/);
const service = fc.stringMatching(/^[a-z0-9](?:[a-z0-9-]{0,20}[a-z0-9])?$/);
const cluster = fc.string({ minLength: 1, maxLength: 20, unit: 'binary' }).filter((text) => text.isWellFormed());
const source = fc.oneof(fc.constant(''), fc.ipV4(), fc.ipV6());
const scope = fc
  .record({ clusters: fc.array(cluster, { maxLength: 5 }), services: fc.array(service, { maxLength: 5 }) })
  .filter(({ clusters, services }) => clusters.length + services.length > 0);
const standing = fc.oneof(
  fc.record({ role: fc.constantFrom<Role>('administrator', 'viewer'), scope: fc.constant<'all'>('all') }),
  fc.record({ role: fc.constant<Role>('owner'), scope }),
);
const principal: fc.Arbitrary<Principal> = fc.oneof(
  fc
    .tuple(user, fc.constantFrom('session' as const, 'certificate' as const), standing)
    .map(([name, via, rest]) => ({ name: `user:${name}`, via, ...rest })),
  fc.tuple(user, standing).map(([name, rest]) => ({ name: `key:${name}`, via: 'api-key' as const, ...rest })),
  fc
    .tuple(fc.constantFrom('root (uid 0)', 'uid 1000', 'tcp:[::1]:40112', 'jürgen (uid 7)'), fc.boolean())
    .map(([name, loopback]) => {
      const via = loopback ? ('loopback' as const) : ('socket' as const);
      return { name, via, role: 'administrator' as const, scope: 'all' as const };
    }),
);
const caller: fc.Arbitrary<RelayedCaller> = fc.record({ principal, source });

const textOf = (told: RelayedCaller): string => {
  const encoded = encodeRelayed(told);
  if ('fault' in encoded) throw new Error(encoded.fault);
  return encoded.text;
};
const alice: RelayedCaller = {
  principal: { name: 'user:alice', via: 'session', role: 'owner', scope: { clusters: ['eu'], services: ['web'] } },
  source: '192.0.2.9',
};
const ALICE = 'v=1&name=user%3Aalice&via=session&role=owner&source=192.0.2.9&cluster=eu&service=web';

describe('who calls, as one node tells another', () => {
  test('is read as it was written, in printable ASCII', () => {
    expect(textOf(alice)).toBe(ALICE);
    fc.assert(
      fc.property(caller, (told) => {
        const text = textOf(told);
        expect(text).toMatch(/^[!-~]+$/);
        expect(decodeRelayed(text)).toEqual(told);
      }),
    );
  });

  test('has one form: whatever else is read at all is written back as it came', () => {
    const changed = fc.tuple(caller, fc.nat(), fc.string({ maxLength: 4 }), fc.nat(3)).map(([told, at, put, cut]) => {
      const text = textOf(told);
      const place = at % (text.length + 1);
      return text.slice(0, place) + put + text.slice(place + cut);
    });
    fc.assert(
      fc.property(fc.oneof(changed, fc.string(), fc.string({ unit: 'binary' })), (text) => {
        const read = decodeRelayed(text);
        if ('fault' in read) expect(read.fault).not.toBe('');
        else expect(textOf(read)).toBe(text);
      }),
      { numRuns: 1_000 },
    );
  });

  test('what is read can do no more than its role, and is named as what it is', () => {
    fc.assert(
      fc.property(caller, (told) => {
        const read = decodeRelayed(textOf(told));
        if ('fault' in read) throw new Error(read.fault);
        for (const method of METHODS) {
          expect(authorize(read.principal, method).allowed).toBe(authorize(told.principal, method).allowed);
        }
        expect(relayedAuthor(read.principal, 'node-a')).toBe(`${told.principal.name} via node-a`);
      }),
      { numRuns: 20 },
    );
  });

  test.each([
    ['nothing', ''],
    ['another version', ALICE.replace('v=1', 'v=2')],
    ['a role that is none', ALICE.replace('owner', 'root')],
    ['a via that is none', ALICE.replace('session', 'tls')],
    ['a field twice', ALICE.replace('role=owner', 'role=owner&role=administrator')],
    ['a field more', `${ALICE}&session=1`],
    ['another order', 'name=user%3Aalice&v=1&via=session&role=owner&source=192.0.2.9&cluster=eu&service=web'],
    ['an owner of nothing', ALICE.replace('&cluster=eu&service=web', '')],
    ['a scope of a viewer', ALICE.replace('owner', 'viewer')],
    ['no name', ALICE.replace('user%3Aalice', '')],
    ['a name that begins a new line', ALICE.replace('alice', 'a%0Ab')],
    ['a name that turns the writing round', 'v=1&name=%E2%80%AEroot&via=socket&role=administrator&source='],
    ['a user at a socket', 'v=1&name=user%3Aalice&via=socket&role=administrator&source='],
    ['a key at a socket', 'v=1&name=key%3Aci&via=loopback&role=administrator&source='],
    ['root by a session', 'v=1&name=root+%28uid+0%29&via=session&role=administrator&source='],
    ['a viewer at a socket', 'v=1&name=root+%28uid+0%29&via=socket&role=viewer&source='],
    ['a key that is no name', 'v=1&name=key%3A+ci&via=api-key&role=viewer&source='],
    ['a source that is none', ALICE.replace('192.0.2.9', 'localhost')],
    ['a name of a service that is none', ALICE.replace('service=web', 'service=We+b')],
    ['too much', `${ALICE}${'&service=web'.repeat(3_000)}`],
  ])('%s is not taken', (_what, text) => expect(decodeRelayed(text)).toHaveProperty('fault'));

  test('a scope that no header holds is not told, and it is said how long it is', () => {
    const services = Array.from({ length: 999 }, (_, at) => `service-of-a-long-name-${at}-${'x'.repeat(30)}`);
    const told = { ...alice, principal: { ...alice.principal, scope: { clusters: [], services } } };
    expect(encodeRelayed(told)).toMatchObject({ fault: expect.stringContaining(`at most ${RELAYED_MAX_CHARACTERS}`) });
    const shorter = { clusters: [], services: Array.from({ length: 1_000 }, (_, at) => `service-of-name-${at}`) };
    expect(encodeRelayed({ ...alice, principal: { ...alice.principal, scope: shorter } })).toHaveProperty('text');
  });
});

describe('what is passed on', () => {
  test('is what reads, Drain, Undrain, and of the audit log its list and verification', () => {
    expect(METHODS.filter(isRelayable).map((method) => method.slice('marcher.v1.'.length))).toEqual([
      ...['Get', 'List', 'ListObjects', 'Watch', 'History'].map((name) => `ConfigService/${name}`),
      ...['Status', 'Tiers', 'Drain', 'Undrain', 'Backends'].map((name) => `NodeService/${name}`),
      'ObserveService/Observe',
      ...['Stats', 'ListConnections', 'WatchConnections', 'Logs'].map((name) => `TrafficService/${name}`),
      ...['GetMesh', 'ListMembers'].map((name) => `MeshService/${name}`),
      ...['ListRoots', 'ListRevocations', 'ListClusters', 'GetMeshCa'].map((name) => `MeshService/${name}`),
      ...['ListAuditRecords', 'VerifyAudit'].map((name) => `AuditService/${name}`),
      'AccessService/WhoAmI',
      ...['ListCertificates', 'GetCertificate'].map((name) => `CertificateService/${name}`),
    ]);
  });

  test('is nothing of what is no method', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.constantFrom('Drain', 'toString', '')), (method) => {
        expect(isRelayable(method)).toBe(METHODS.includes(method) && isRelayable(method));
      }),
    );
    expect(isRelayable('grpc.reflection.v1.ServerReflection/ServerReflectionInfo')).toBe(false);
    expect(isRelayable('grpc.health.v1.Health/Check')).toBe(false);
  });
});
