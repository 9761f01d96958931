// SPDX-License-Identifier: Apache-2.0
import { Health } from '@marcher/proto/grpc/health/v1/health_pb';
import { ServerReflection } from '@marcher/proto/grpc/reflection/v1/reflection_pb';
import { ServerReflection as ServerReflectionAlpha } from '@marcher/proto/grpc/reflection/v1alpha/reflection_pb';
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
import { authorize, type Touched } from './authorize.js';
import { type Principal, ROLES, type Role, type Via } from './principal.js';

const VIAS: readonly Via[] = ['socket', 'loopback', 'certificate', 'session', 'api-key'];
const scope = { clusters: ['eu'], services: ['web'] };

function principal(role: Role, via: Via): Principal {
  const name = via === 'api-key' ? 'key:ci' : via === 'socket' || via === 'loopback' ? 'root (uid 0)' : 'user:alice';
  return { name, via, role, scope: role === 'owner' ? scope : 'all' };
}

/**
 * Who may call what, before it is known what the call touches: A, O, V for administrator, owner, viewer, in the order of
 * the vias above; "-" nobody known, "*" also who is not known.
 */
const ALL = 'AOV AOV AOV AOV AOV';
const CHANGE = 'AO. AO. AO. AO. AO.';
const ADMINISTER = 'A.. A.. A.. A.. A..';
const PERSON = 'A.. A.. A.. A.. ...';
const ACCOUNT = 'A.. A.. AOV AOV ...';
const SESSION = '... ... ... AOV ...';
const PUBLIC = `${ALL} *`;

const EXPECTED: Readonly<Record<string, string>> = {
  'marcher.v1.ConfigService/Plan': CHANGE,
  'marcher.v1.ConfigService/Apply': CHANGE,
  'marcher.v1.ConfigService/Get': ALL,
  'marcher.v1.ConfigService/List': ALL,
  'marcher.v1.ConfigService/ListObjects': ALL,
  'marcher.v1.ConfigService/Watch': ALL,
  'marcher.v1.ConfigService/History': ALL,
  'marcher.v1.ConfigService/Revert': CHANGE,
  'marcher.v1.NodeService/Status': ALL,
  'marcher.v1.NodeService/Tiers': ALL,
  'marcher.v1.NodeService/Drain': CHANGE,
  'marcher.v1.NodeService/Undrain': CHANGE,
  'marcher.v1.NodeService/Backends': ALL,
  'marcher.v1.TrafficService/Stats': ALL,
  'marcher.v1.TrafficService/ListConnections': ALL,
  'marcher.v1.TrafficService/WatchConnections': ALL,
  'marcher.v1.TrafficService/Logs': ALL,
  'marcher.v1.ObserveService/Observe': ALL,
  'marcher.v1.MeshService/GetMesh': ALL,
  'marcher.v1.MeshService/InitMesh': ADMINISTER,
  'marcher.v1.MeshService/CreateJoinToken': ADMINISTER,
  'marcher.v1.MeshService/ListJoinTokens': ADMINISTER,
  'marcher.v1.MeshService/RevokeJoinToken': ADMINISTER,
  'marcher.v1.MeshService/ListMembers': ALL,
  'marcher.v1.MeshService/RemoveMember': ADMINISTER,
  'marcher.v1.MeshService/LeaveMesh': ADMINISTER,
  'marcher.v1.MeshService/RotateGossipKey': ADMINISTER,
  'marcher.v1.MeshService/GetMeshCa': ALL,
  'marcher.v1.MeshService/RotateMeshCa': ADMINISTER,
  'marcher.v1.MeshService/RequestMeshIntermediate': ADMINISTER,
  'marcher.v1.MeshService/RetireMeshRoot': ADMINISTER,
  'marcher.v1.MeshService/ListGossipKeys': ADMINISTER,
  'marcher.v1.MeshService/IssueClientCertificate': PERSON,
  'marcher.v1.MeshService/ListClientCertificates': ADMINISTER,
  'marcher.v1.MeshService/RevokeClientCertificate': PERSON,
  'marcher.v1.MeshService/ListRoots': ALL,
  'marcher.v1.MeshService/ListRevocations': ALL,
  'marcher.v1.MeshService/CreateCluster': ADMINISTER,
  'marcher.v1.MeshService/ListClusters': ALL,
  'marcher.v1.MeshService/DeleteCluster': ADMINISTER,
  'marcher.v1.MeshService/AssignClusters': ADMINISTER,
  'marcher.v1.MeshService/UnassignClusters': ADMINISTER,
  'marcher.v1.AuditService/ListAuditRecords': ADMINISTER,
  'marcher.v1.AuditService/VerifyAudit': ADMINISTER,
  'marcher.v1.AuditService/ExportAudit': ADMINISTER,
  'marcher.v1.AccessService/Login': PUBLIC,
  'marcher.v1.AccessService/Renew': SESSION,
  'marcher.v1.AccessService/Logout': SESSION,
  'marcher.v1.AccessService/WhoAmI': ALL,
  'marcher.v1.AccessService/ListUsers': PERSON,
  'marcher.v1.AccessService/CreateUser': PERSON,
  'marcher.v1.AccessService/SetRole': PERSON,
  'marcher.v1.AccessService/SetPassword': ACCOUNT,
  'marcher.v1.AccessService/ResetSecondFactor': PERSON,
  'marcher.v1.AccessService/EnrolTotp': ACCOUNT,
  'marcher.v1.AccessService/ConfirmTotp': ACCOUNT,
  'marcher.v1.AccessService/CreateRecoveryCodes': ACCOUNT,
  'marcher.v1.AccessService/RemoveUser': PERSON,
  'marcher.v1.AccessService/RevokeSessions': ACCOUNT,
  'marcher.v1.AccessService/ListApiKeys': PERSON,
  'marcher.v1.AccessService/CreateApiKey': PERSON,
  'marcher.v1.AccessService/RotateApiKey': PERSON,
  'marcher.v1.AccessService/RevokeApiKey': PERSON,
  'marcher.v1.CertificateService/ListCertificates': ALL,
  'marcher.v1.CertificateService/GetCertificate': ALL,
  'marcher.v1.CertificateService/IssueCertificate': ADMINISTER,
  'marcher.v1.CertificateService/ImportCertificate': ADMINISTER,
  'marcher.v1.CertificateService/RenewCertificate': ADMINISTER,
  'marcher.v1.CertificateService/RevokeCertificate': ADMINISTER,
  'marcher.v1.CertificateService/DeleteCertificate': ADMINISTER,
  'marcher.v1.CertificateService/ExportPrivateKey': PERSON,
  'grpc.health.v1.Health/Check': PUBLIC,
  'grpc.health.v1.Health/List': PUBLIC,
  'grpc.health.v1.Health/Watch': ALL,
  'grpc.reflection.v1.ServerReflection/ServerReflectionInfo': ALL,
  'grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo': ALL,
};

const SERVICES = [
  ConfigService,
  NodeService,
  TrafficService,
  ObserveService,
  MeshService,
  AuditService,
  AccessService,
  CertificateService,
  Health,
  ServerReflection,
  ServerReflectionAlpha,
];
const METHODS = SERVICES.flatMap(({ typeName, methods }) => methods.map(({ name }) => `${typeName}/${name}`));

function observed(method: string): string {
  const letters: Readonly<Record<Role, string>> = { administrator: 'A', owner: 'O', viewer: 'V' };
  const columns = VIAS.map((via) =>
    ROLES.map((role) => (authorize(principal(role, via), method).allowed ? letters[role] : '.')).join(''),
  );
  return columns.join(' ') + (authorize(undefined, method).allowed ? ' *' : '');
}

describe('every method, role and transport', () => {
  test('the table names the methods that are served, and no others', () => {
    expect(Object.keys(EXPECTED).sort()).toEqual([...METHODS].sort());
  });

  test.each(METHODS)('%s', (method) => expect(observed(method)).toBe(EXPECTED[method]));

  test('what no table names is denied to everybody', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.constantFrom('marcher.v1.ConfigService/apply', 'toString')), (method) => {
        if (METHODS.includes(method)) return;
        expect(observed(method)).toBe('... ... ... ... ...');
      }),
    );
  });

  test('a role that is none may call nothing but what anyone may', () => {
    const odd = { ...principal('viewer', 'session'), role: 'root' as Role };
    const allowed = METHODS.filter((method) => authorize(odd, method).allowed);
    const forItself = ['marcher.v1.AccessService/Renew', 'marcher.v1.AccessService/Logout'];
    expect(allowed.filter((method) => EXPECTED[method] !== PUBLIC)).toEqual(forItself);
  });

  test('who is not known is told to say who it is, who is known is told that it may not', () => {
    expect(authorize(undefined, METHODS[0] ?? '')).toMatchObject({ allowed: false, unauthenticated: true });
    const denied = authorize(principal('viewer', 'session'), 'marcher.v1.ConfigService/Apply');
    expect(denied).toEqual({
      allowed: false,
      unauthenticated: false,
      reason: 'user:alice is a viewer and may change nothing: ConfigService/Apply',
    });
  });
});

describe('what a change touches', () => {
  const apply = 'marcher.v1.ConfigService/Apply';
  const service = (name: string, ...clusters: string[]): Touched => ({ kind: 'Service', name, clusters });
  const owner = principal('owner', 'session');
  const may = (...touched: Touched[]): boolean => authorize(owner, apply, touched).allowed;

  test.each([
    ['nothing', true, []],
    ['a service of its own, by name', true, [service('web', '')]],
    ['one by name, wherever it is', true, [service('web', 'us', 'asia')]],
    ['one of its cluster', true, [service('mail', 'eu', 'eu')]],
    ['a new one in its cluster', true, [service('mail', 'eu')]],
    ["another's", false, [service('mail', 'us')]],
    ['one of no cluster', false, [service('mail', '')]],
    ['one of which nothing is known', false, [service('mail')]],
    ['one that it takes into its cluster', false, [service('mail', 'us', 'eu')]],
    ['one that it takes out of its cluster', false, [service('mail', 'eu', 'us')]],
    ['one that it takes out of every cluster', false, [service('mail', 'eu', '')]],
    ["its own and another's", false, [service('web', ''), service('mail', '')]],
    ['a guard', false, [{ kind: 'Guard', name: 'web', clusters: [] }]],
    ['a guard of its cluster', false, [{ kind: 'Guard', name: 'web', clusters: ['eu'] }]],
    ['a traffic policy of its cluster', true, [{ kind: 'TrafficPolicy', name: 'gold', clusters: ['eu', 'eu'] }]],
    [
      'a traffic policy of no cluster, by the name of a service',
      false,
      [{ kind: 'TrafficPolicy', name: 'web', clusters: [''] }],
    ],
    ['the node', false, [{ kind: 'Node', name: 'web', clusters: ['eu'] }]],
  ])('an owner and %s', (_what, expected, touched) => expect(may(...(touched as Touched[]))).toBe(expected));

  test('an owner for everything, or for nothing, is for nothing', () => {
    for (const nothing of ['all', { clusters: [], services: [] }, { clusters: [''], services: [] }] as const) {
      expect(authorize({ ...owner, scope: nothing }, apply, [service('web', '')]).allowed).toBe(false);
    }
  });

  test('administrators are not asked what it is, and viewers may not even change nothing', () => {
    const never: Iterable<Touched> = {
      [Symbol.iterator]: () => {
        throw new Error('looked at');
      },
    };
    expect(authorize(principal('administrator', 'api-key'), apply, never).allowed).toBe(true);
    expect(authorize(principal('viewer', 'socket'), apply, []).allowed).toBe(false);
  });

  test('some of what it may not touch is named', () => {
    const touched = ['a', 'b', 'web', 'c', 'd', 'e'].map((name) => service(name, 'us'));
    expect(authorize(owner, apply, touched)).toMatchObject({
      reason:
        'Service "a", Service "b", Service "c" and 2 more: not within what user:alice may change; nothing was changed',
    });
  });

  test('an account is its own or an administrator’s, and a key has none', () => {
    const method = 'marcher.v1.AccessService/SetPassword';
    const alice: Touched = { kind: 'User', name: 'alice', clusters: [] };
    const bob: Touched = { kind: 'User', name: 'bob', clusters: [] };
    for (const role of ROLES) {
      for (const via of ['session', 'certificate'] as const) {
        expect(authorize(principal(role, via), method, [alice]).allowed).toBe(true);
        expect(authorize(principal(role, via), method, [bob]).allowed).toBe(role === 'administrator');
        expect(authorize(principal(role, via), method, [alice, bob]).allowed).toBe(role === 'administrator');
      }
    }
    // The name alone is not what makes a user.
    const posing = { ...principal('viewer', 'api-key'), name: 'user:alice' };
    expect(authorize(posing, method, [alice]).allowed).toBe(false);
  });
});
