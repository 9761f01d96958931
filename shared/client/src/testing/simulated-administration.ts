// SPDX-License-Identifier: Apache-2.0
/** What all nodes of a simulated mesh know beside the configuration: users, keys, certificates, clusters, tokens, roots. */
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, type ServiceImpl } from '@connectrpc/connect';
import {
  AccessRole,
  type AccessService,
  type ApiKey,
  ApiKeySchema,
  type User,
  UserSchema,
} from '@marcher/proto/marcher/v1/access_service_pb';
import {
  type Certificate,
  CertificateSchema,
  type CertificateService,
  CertificateSource,
  CertificateUsage,
} from '@marcher/proto/marcher/v1/certificate_service_pb';
import {
  type Cluster,
  ClusterNodeSchema,
  ClusterSchema,
  type JoinToken,
  JoinTokenSchema,
  KeyRotationState,
  MemberState,
  MeshRootState,
  type MeshService,
} from '@marcher/proto/marcher/v1/mesh_service_pb';

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const BY = 'root (uid 0)';

interface Node {
  readonly id: string;
  readonly name: string;
}

export class SimulatedAdministration {
  readonly #nowMs: () => number;
  readonly #nodes: () => readonly Node[];
  readonly #remove: (node: string) => void;
  readonly users = new Map<string, User>();
  readonly keys = new Map<string, ApiKey>();
  readonly certificates = new Map<string, Certificate>();
  readonly clusters = new Map<string, Cluster>();
  readonly tokens = new Map<string, JoinToken>();
  #gossipKey = '5a0b7d1e93c4f286';
  #roots: string[] = ['4f0c1a77d2e845b6'.repeat(4)];
  #made = 0;

  constructor(nowMs: () => number, nodes: () => readonly Node[], remove: (node: string) => void) {
    this.#nowMs = nowMs;
    this.#nodes = nodes;
    this.#remove = remove;
  }

  /** Some of each, as an operator has them. */
  fill(): void {
    const [nowMs, nodes] = [this.#nowMs(), this.#nodes()];
    const { ADMINISTRATOR, OWNER, VIEWER } = AccessRole;
    this.#addUser({ name: 'alice', role: ADMINISTRATOR, hasPassword: true, hasSecondFactor: true });
    this.#addUser({ name: 'bob', role: OWNER, hasPassword: true, scope: { clusters: ['eu'], services: [] } });
    this.#addUser({ name: 'dora', role: VIEWER });
    this.#addKey({ name: 'ci', role: OWNER, scope: { clusters: [], services: ['service-0001'] } }, 200);
    this.#addKey({ name: 'dashboard', role: VIEWER }, 12);
    const imported = { source: CertificateSource.IMPORTED, renews: undefined, keyType: 'RSA 2048' };
    this.#addCertificate({ name: 'web' }, 320);
    this.#addCertificate({ name: 'api' }, 190);
    this.#addCertificate({ name: 'legacy', ...imported }, 12);
    this.#addCertificate({ name: 'old', revoked: timestampFromMs(nowMs - DAY_MS) }, 90);
    const made = { created: timestampFromMs(nowMs - 9 * DAY_MS), createdBy: BY };
    for (const [name, some, objects] of [
      ['eu', nodes.slice(0, 2), 4n],
      ['us', nodes.slice(2, 3), undefined],
    ] as const) {
      const held = some.map(({ id, name: of }) => ({ nodeId: id, name: of, state: MemberState.ALIVE }));
      const counted = objects === undefined ? {} : { objects };
      this.clusters.set(name, create(ClusterSchema, { name, nodes: held, ...counted, ...made }));
    }
    this.#addToken(HOUR_MS, []);
  }

  access(): Partial<ServiceImpl<typeof AccessService>> {
    return {
      whoAmI: () => ({ name: BY, via: 'socket', role: AccessRole.ADMINISTRATOR }),
      listUsers: () => ({ users: [...this.users.values()] }),
      createUser: ({ name, role, scope, password }) => {
        taken(this.users, name, 'user');
        return { user: this.#addUser({ name, role, scope, hasPassword: password !== '' }) };
      },
      setRole: ({ name, role, scope }) => {
        const user = create(UserSchema, { ...there(this.users, name, 'user'), role, ...(scope && { scope }) });
        this.users.set(name, user);
        return { user };
      },
      setPassword: ({ name, resetSecondFactor }) => {
        const user = there(this.users, name, 'user');
        const hasSecondFactor = user.hasSecondFactor && !resetSecondFactor;
        this.users.set(name, create(UserSchema, { ...user, hasPassword: true, hasSecondFactor }));
        return {};
      },
      resetSecondFactor: ({ name }) => {
        this.users.set(name, create(UserSchema, { ...there(this.users, name, 'user'), hasSecondFactor: false }));
        return {};
      },
      removeUser: ({ name }) => {
        there(this.users, name, 'user');
        this.users.delete(name);
        return {};
      },
      revokeSessions: ({ name }) => {
        there(this.users, name, 'user');
        return {};
      },
      listApiKeys: () => ({ keys: [...this.keys.values()] }),
      createApiKey: ({ name, role, scope, lifetimeMs }) => {
        const details = this.#addKey({ name, role, scope }, Number(lifetimeMs) / DAY_MS || 365);
        return { key: this.#secretOf(details), details };
      },
      rotateApiKey: ({ id, overlapMs }) => {
        const rotated = timestampFromMs(this.#nowMs());
        const until = this.#nowMs() + Number(overlapMs ?? BigInt(DAY_MS));
        const previous = overlapMs === 0n ? {} : { previousUntil: timestampFromMs(until) };
        const details = create(ApiKeySchema, { ...there(this.keys, id, 'API key'), rotated, ...previous });
        this.keys.set(id, details);
        return { key: this.#secretOf(details), details };
      },
      revokeApiKey: ({ id }) => {
        there(this.keys, id, 'API key');
        this.keys.delete(id);
        return {};
      },
    };
  }

  certificatesApi(): Partial<ServiceImpl<typeof CertificateService>> {
    const { certificates } = this;
    return {
      listCertificates: () => ({ certificates: [...certificates.values()] }),
      getCertificate: ({ name }) => ({ certificate: there(certificates, name, 'certificate') }),
      issueCertificate: ({ name, names, days, usage }) => {
        taken(certificates, name, 'certificate');
        return { certificate: this.#addCertificate({ name, names, usage }, days || 365) };
      },
      importCertificate: ({ name, replace, chain }) => {
        if (!replace) taken(certificates, name, 'certificate');
        if (!chain.includes('BEGIN CERTIFICATE')) {
          throw new ConnectError('chain: there is no certificate in it', Code.InvalidArgument);
        }
        const imported = { source: CertificateSource.IMPORTED, renews: undefined };
        return { certificate: this.#addCertificate({ name, ...imported }, 90) };
      },
      renewCertificate: ({ name }) => {
        const { names, usage } = there(certificates, name, 'certificate');
        return { certificate: this.#addCertificate({ name, names, usage }, 365) };
      },
      revokeCertificate: ({ name }) => {
        const revoked = timestampFromMs(this.#nowMs());
        const certificate = create(CertificateSchema, { ...there(certificates, name, 'certificate'), revoked });
        certificates.set(name, certificate);
        return { certificate };
      },
      deleteCertificate: ({ name }) => {
        there(certificates, name, 'certificate');
        certificates.delete(name);
        return {};
      },
    };
  }

  mesh(): Partial<ServiceImpl<typeof MeshService>> {
    const { clusters, tokens } = this;
    return {
      listClusters: () => ({ clusters: [...clusters.values()] }),
      createCluster: ({ name }) => {
        taken(clusters, name, 'cluster');
        const created = timestampFromMs(this.#nowMs());
        clusters.set(name, create(ClusterSchema, { name, created, createdBy: BY }));
        return {};
      },
      deleteCluster: ({ name, force }) => {
        const { objects = 0n } = there(clusters, name, 'cluster');
        if (objects > 0n && !force) {
          throw new ConnectError(`cluster ${name} has ${objects} objects: use --force`, Code.FailedPrecondition);
        }
        clusters.delete(name);
        return {};
      },
      assignClusters: ({ node, clusters: names }) => {
        const found = this.#node(node);
        for (const name of names) {
          const cluster = there(clusters, name, 'cluster');
          const added = create(ClusterNodeSchema, { nodeId: found.id, name: found.name, state: MemberState.ALIVE });
          const nodes = [...cluster.nodes, added];
          clusters.set(name, create(ClusterSchema, { ...cluster, nodes }));
        }
        return {};
      },
      unassignClusters: ({ node, clusters: names }) => {
        const { id } = this.#node(node);
        for (const name of names) {
          const cluster = there(clusters, name, 'cluster');
          const nodes = cluster.nodes.filter(({ nodeId }) => nodeId !== id);
          clusters.set(name, create(ClusterSchema, { ...cluster, nodes }));
        }
        return {};
      },
      listJoinTokens: () => ({ tokens: [...tokens.values()] }),
      createJoinToken: ({ lifetimeMs, clusters: into }) => {
        const details = this.#addToken(lifetimeMs || HOUR_MS, into);
        return { token: `mt_${details.id}_${'simulated'.repeat(3)}`, address: '192.0.2.1:7400', details };
      },
      revokeJoinToken: ({ id }) => {
        there(tokens, id, 'join token');
        tokens.delete(id);
        return {};
      },
      removeMember: ({ node }) => {
        this.#remove(this.#node(node).id);
        return {};
      },
      listGossipKeys: () => {
        const names = this.#nodes().map(({ name }) => name);
        const keys = [{ keyId: this.#gossipKey, primary: true, heldBy: names, primaryOf: names }];
        return { state: KeyRotationState.DONE, target: this.#gossipKey, keys };
      },
      rotateGossipKey: () => {
        this.#gossipKey = (++this.#made).toString(16).padStart(16, '7');
        return { keyId: this.#gossipKey };
      },
      getMeshCa: () => {
        const names = this.#nodes().map(({ name }) => name);
        return {
          roots: this.#roots.map((fingerprint, at) => ({
            fingerprint,
            state: at === this.#roots.length - 1 ? MeshRootState.SIGNS : MeshRootState.INTRODUCED,
            created: timestampFromMs(this.#nowMs() - 300 * DAY_MS),
            expires: timestampFromMs(this.#nowMs() + 3_300 * DAY_MS),
            planned: timestampFromMs(this.#nowMs() + DAY_MS),
            trustedBy: names,
            keyHeldBy: names.slice(0, 2),
            leaves: names.map((member) => ({ member, expires: timestampFromMs(this.#nowMs() + 40 * DAY_MS) })),
          })),
        };
      },
      rotateMeshCa: ({ overlapMs }) => {
        if (this.#roots.length > 1) throw new ConnectError('a change is under way', Code.FailedPrecondition);
        const fingerprint = (++this.#made).toString(16).padStart(16, '9').repeat(4);
        this.#roots.unshift(fingerprint);
        const planned = timestampFromMs(this.#nowMs() + overlapMs);
        return { root: { fingerprint, state: MeshRootState.INTRODUCED, planned }, introduced: true };
      },
      retireMeshRoot: ({ fingerprint }) => {
        this.#roots = this.#roots.filter((one) => one !== fingerprint);
        return { root: { fingerprint, state: MeshRootState.RETIRED } };
      },
      listClientCertificates: () => ({
        certificates: [
          {
            serial: '5a0b7d1e93c4f2865a0b7d1e93c4f286',
            user: 'dora',
            created: timestampFromMs(this.#nowMs() - 20 * DAY_MS),
            expires: timestampFromMs(this.#nowMs() + 70 * DAY_MS),
            issuedBy: BY,
          },
        ],
      }),
    };
  }

  #node(nameOrId: string): Node {
    const found = this.#nodes().find(({ id, name }) => id === nameOrId || name === nameOrId);
    if (found === undefined) throw new ConnectError(`there is no node ${nameOrId}`, Code.NotFound);
    return found;
  }

  #addUser(user: Parameters<typeof create<typeof UserSchema>>[1] & { readonly name: string }): User {
    const created = timestampFromMs(this.#nowMs());
    const made = create(UserSchema, { created, createdBy: BY, ...user });
    this.users.set(user.name, made);
    return made;
  }

  #addKey(key: Parameters<typeof create<typeof ApiKeySchema>>[1] & { readonly name: string }, days: number): ApiKey {
    const nowMs = this.#nowMs();
    const id = (0x5a0b7d1e00000000n + BigInt(++this.#made)).toString(16).padStart(16, '0');
    const [created, expires] = [timestampFromMs(nowMs), timestampFromMs(nowMs + days * DAY_MS)];
    const made = create(ApiKeySchema, { id, created, createdBy: BY, expires, rotated: created, ...key });
    this.keys.set(id, made);
    return made;
  }

  #secretOf({ id }: ApiKey): string {
    return `mk_${id}_simulated${++this.#made}`;
  }

  #addCertificate(
    certificate: Parameters<typeof create<typeof CertificateSchema>>[1] & { readonly name: string },
    days: number,
  ): Certificate {
    const nowMs = this.#nowMs();
    const serial = (0x4f1d0c7a2b00n + BigInt(++this.#made)).toString(16);
    const made = create(CertificateSchema, {
      source: CertificateSource.ISSUED,
      usage: CertificateUsage.SERVER,
      names: [`${certificate.name}.example.net`],
      notBefore: timestampFromMs(nowMs - 30 * DAY_MS),
      notAfter: timestampFromMs(nowMs + days * DAY_MS),
      renews: timestampFromMs(nowMs + (days / 2) * DAY_MS),
      serial,
      fingerprint: serial.padStart(64, 'ab'),
      issuer: 'O=simulated, CN=Marcher mesh CA 0123456789abcdef',
      keyType: 'EC secp384r1',
      written: timestampFromMs(nowMs),
      writtenBy: BY,
      keyAvailable: true,
      ...certificate,
    });
    this.certificates.set(certificate.name, made);
    return made;
  }

  #addToken(lifetimeMs: number, clusters: readonly string[]): JoinToken {
    const nowMs = this.#nowMs();
    const id = (0x7c00000000000000n + BigInt(++this.#made)).toString(16);
    const [created, expires] = [timestampFromMs(nowMs), timestampFromMs(nowMs + lifetimeMs)];
    const made = create(JoinTokenSchema, { id, created, expires, createdBy: BY, clusters: [...clusters] });
    this.tokens.set(id, made);
    return made;
  }
}

function there<T>(all: ReadonlyMap<string, T>, key: string, what: string): T {
  const found = all.get(key);
  if (found === undefined) throw new ConnectError(`there is no ${what} ${key}`, Code.NotFound);
  return found;
}

function taken(all: ReadonlyMap<string, unknown>, key: string, what: string): void {
  if (all.has(key)) throw new ConnectError(`there is a ${what} ${key} already`, Code.Aborted);
}
