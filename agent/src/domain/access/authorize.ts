// SPDX-License-Identifier: Apache-2.0
/**
 * Who may call what. Denied is whatever no table names: the compiler asks for a rule for each method of the services
 * below, and a service that is not among them has none.
 *
 * Reading is not scoped: owners and viewers see the whole configuration, which has no secrets; of certificates without their keys. Changes are, object by
 * object, where it is known what a change makes of the configuration (application/configuration.ts).
 */
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
import { type Principal, type Scope, userOf } from './principal.js';

type Rule =
  /** Also who has not said who it is. */
  | 'anyone'
  /** Every role. */
  | 'read'
  /** Administrators; owners, as far as all that is touched is theirs. */
  | 'change'
  | 'administer'
  /** Administrators who are persons: an API key that has leaked does not make itself another one. */
  | 'manage-access'
  /** The user itself, and as "manage-access". */
  | 'account'
  /** Whoever has a session, for itself. */
  | 'session';

/** An object as a change touches it. */
export interface Touched {
  /** Service, Guard, TrafficPolicy, Node, User */
  readonly kind: string;
  readonly name: string;
  /** Its cluster before and after, where it is there; empty where it is of none. */
  readonly clusters: readonly string[];
}

export type Verdict =
  | { readonly allowed: true }
  | {
      readonly allowed: false;
      readonly reason: string;
      /** It would do to say who calls. */
      readonly unauthenticated: boolean;
    };

const ALLOWED: Verdict = { allowed: true };

interface Described {
  readonly typeName: string;
  readonly method: Readonly<Record<string, { readonly name: string }>>;
}

const RULES = new Map<string, Rule>();

function table<S extends Described>(service: S, rules: Readonly<Record<keyof S['method'], Rule>>): void {
  for (const [key, { name }] of Object.entries(service.method)) {
    const rule = rules[key];
    if (rule !== undefined) RULES.set(`${service.typeName}/${name}`, rule);
  }
}

table(ConfigService, {
  plan: 'change',
  apply: 'change',
  get: 'read',
  list: 'read',
  listObjects: 'read',
  watch: 'read',
  history: 'read',
  revert: 'change',
});
table(NodeService, {
  status: 'read',
  tiers: 'read',
  drain: 'change',
  undrain: 'change',
  backends: 'read',
});
table(TrafficService, {
  stats: 'read',
  listConnections: 'read',
  watchConnections: 'read',
  logs: 'read',
});
table(ObserveService, { observe: 'read' });
table(MeshService, {
  getMesh: 'read',
  initMesh: 'administer',
  createJoinToken: 'administer',
  listJoinTokens: 'administer',
  revokeJoinToken: 'administer',
  listMembers: 'read',
  removeMember: 'administer',
  leaveMesh: 'administer',
  rotateGossipKey: 'administer',
  listGossipKeys: 'administer',
  // Who issues one for another user acts as that.
  issueClientCertificate: 'manage-access',
  listClientCertificates: 'administer',
  revokeClientCertificate: 'manage-access',
  listRoots: 'read',
  listRevocations: 'read',
  createCluster: 'administer',
  listClusters: 'read',
  deleteCluster: 'administer',
  assignClusters: 'administer',
  unassignClusters: 'administer',
  getMeshCa: 'read',
  rotateMeshCa: 'administer',
  requestMeshIntermediate: 'administer',
  retireMeshRoot: 'administer',
});
table(AuditService, {
  listAuditRecords: 'administer',
  verifyAudit: 'administer',
  exportAudit: 'administer',
});
table(AccessService, {
  login: 'anyone',
  renew: 'session',
  logout: 'session',
  whoAmI: 'read',
  listUsers: 'manage-access',
  createUser: 'manage-access',
  setRole: 'manage-access',
  setPassword: 'account',
  resetSecondFactor: 'manage-access',
  enrolTotp: 'account',
  confirmTotp: 'account',
  createRecoveryCodes: 'account',
  removeUser: 'manage-access',
  revokeSessions: 'account',
  listApiKeys: 'manage-access',
  createApiKey: 'manage-access',
  rotateApiKey: 'manage-access',
  revokeApiKey: 'manage-access',
});
table(CertificateService, {
  listCertificates: 'read',
  getCertificate: 'read',
  issueCertificate: 'administer',
  importCertificate: 'administer',
  renewCertificate: 'administer',
  revokeCertificate: 'administer',
  deleteCertificate: 'administer',
  // A key that has leaked does not take all others with it.
  exportPrivateKey: 'manage-access',
});
// Not Watch: who is not known would keep one of the open streams.
table(Health, { check: 'anyone', list: 'anyone', watch: 'read' });
table(ServerReflection, { serverReflectionInfo: 'read' });
table(ServerReflectionAlpha, { serverReflectionInfo: 'read' });

/** Whether it changes nothing, and every role may call it. method: as of authorize(). */
export function isRead(method: string): boolean {
  return RULES.get(method) === 'read';
}

/**
 * method: "marcher.v1.ConfigService/Apply". principal: undefined: nobody has said who calls. touched: what the call
 * would change; undefined: that is not known yet, and denied is what would be denied whatever it is.
 */
export function authorize(principal: Principal | undefined, method: string, touched?: Iterable<Touched>): Verdict {
  const rule = RULES.get(method);
  if (rule === undefined) return denied(`nobody may call ${method}: no rule names it`);
  if (rule === 'anyone') return ALLOWED;
  if (principal === undefined) {
    const reason = 'who calls is not known: show a client certificate, or send "authorization: Bearer" and a token';
    return { allowed: false, reason, unauthenticated: true };
  }
  const { role, name, via } = principal;
  switch (rule) {
    case 'read':
      return known(principal) ? ALLOWED : denied(`${name} has no role that this agent knows`);
    case 'change':
      if (role === 'administrator') return ALLOWED;
      if (role !== 'owner') return denied(`${name} is a ${role} and may change nothing: ${short(method)}`);
      return touched === undefined ? ALLOWED : within(principal, touched);
    case 'administer':
      return role === 'administrator' ? ALLOWED : denied(needsAdministrator(principal, method));
    case 'manage-access':
      return managesAccess(principal) ? ALLOWED : denied(needsPerson(principal, method));
    case 'account':
      if (managesAccess(principal)) return ALLOWED;
      return own(principal, touched) ? ALLOWED : denied(needsPerson(principal, method));
    case 'session':
      if (via === 'session') return ALLOWED;
      return denied(`${short(method)} is for callers with a session, and ${name} has none`);
  }
}

function known({ role }: Principal): boolean {
  return role === 'administrator' || role === 'owner' || role === 'viewer';
}

function managesAccess({ role, via }: Principal): boolean {
  return role === 'administrator' && via !== 'api-key';
}

/** undefined: a user, who has an account to call it for. */
function own(principal: Principal, touched: Iterable<Touched> | undefined): boolean {
  const user = userOf(principal);
  if (user === undefined || !known(principal)) return false;
  return touched === undefined || [...touched].every(({ kind, name }) => kind === 'User' && name === user);
}

/** How many objects a reason names. */
const NAMED_MAX = 3;

function within({ name, scope }: Principal, touched: Iterable<Touched>): Verdict {
  const others: string[] = [];
  let count = 0;
  for (const object of touched) {
    if (isWithin(scope, object)) continue;
    count++;
    if (others.length < NAMED_MAX) others.push(`${object.kind} ${JSON.stringify(object.name)}`);
  }
  if (count === 0) return ALLOWED;
  const more = count > NAMED_MAX ? ` and ${count - NAMED_MAX} more` : '';
  return denied(`${others.join(', ')}${more}: not within what ${name} may change; nothing was changed`);
}

/** An owner for everything would be an administrator: one without a scope is for nothing. */
function isWithin(scope: Scope | 'all', { kind, name, clusters }: Touched): boolean {
  // A guard is for all that comes to a node, whatever cluster it is of.
  if (scope === 'all' || (kind !== 'Service' && kind !== 'TrafficPolicy')) return false;
  if (kind === 'Service' && scope.services.includes(name)) return true;
  return clusters.length > 0 && clusters.every((cluster) => cluster !== '' && scope.clusters.includes(cluster));
}

function needsAdministrator({ name, role }: Principal, method: string): string {
  return `${short(method)} is for administrators, and ${name} is ${role === 'owner' ? 'an' : 'a'} ${role}`;
}

function needsPerson(principal: Principal, method: string): string {
  if (principal.role !== 'administrator') return needsAdministrator(principal, method);
  return `${short(method)} is not for API keys: be at the node's socket, or log in as an administrator`;
}

/** "ConfigService/Apply" */
function short(method: string): string {
  return method.slice(method.lastIndexOf('.') + 1);
}

function denied(reason: string): Verdict {
  return { allowed: false, reason, unauthenticated: false };
}
