// SPDX-License-Identifier: Apache-2.0
/** A mesh in memory for tests of what operators ask of it: one node, whoever is said to be a member, and its tokens. */
import type {
  ClientCertificate,
  ClusterView,
  Departure,
  GossipKeysView,
  JoinTokenView,
  MeshCaView,
  MeshMember,
  MeshRootView,
  MeshStatus,
  MeshUseCases,
  RequestedIntermediate,
} from '../../../ports/mesh.js';
import { ApplicationError, type Caller } from '../../../ports/use-cases.js';

const HOUR_MS = 3_600_000;

export class InMemoryMesh implements MeshUseCases {
  readonly nodeId = '00000000000000a1';
  meshName = '';
  admitted = true;
  onlyAuthority = false;
  readonly others: MeshMember[] = [];
  readonly made: JoinTokenView[] = [];
  /** Texts of the tokens that were made. */
  readonly texts: string[] = [];
  /** Ids of nodes by cluster, and how many objects each has. */
  readonly clusterNodes = new Map<string, Set<string>>();
  clusterObjects = 0;
  readonly callers: Caller[] = [];
  readonly removed: string[] = [];
  readonly issued: ClientCertificate[] = [];
  readonly keepingKeys: string[] = [];
  keyView: GossipKeysView = {
    state: 'done',
    target: '11'.repeat(8),
    begunMs: undefined,
    begunBy: '',
    waitingFor: [],
    keys: [{ id: '11'.repeat(8), primary: true, heldBy: ['north'], primaryOf: ['north'] }],
  };

  readonly rotations: Parameters<MeshUseCases['rotateCa']>[0][] = [];
  caWaiting: string[] = [];
  readonly caRoots: MeshRootView[] = [
    {
      fingerprint: 'a1'.repeat(32),
      issuer: '',
      serial: '5a',
      state: 'signs',
      createdMs: Date.UTC(2026, 10, 22),
      expiresMs: Date.UTC(2036, 10, 21),
      plannedMs: undefined,
      signsFromMs: Date.UTC(2026, 10, 22),
      retiredMs: undefined,
      trustedBy: ['north', 'south'],
      keyHeldBy: ['north'],
      leaves: [
        { kind: 'member', name: 'south', serial: 'ab', expiresMs: Date.UTC(2026, 11, 22) },
        { kind: 'client', name: 'alice', serial: 'cd', expiresMs: Date.UTC(2027, 1, 20) },
      ],
    },
  ];

  member(
    nodeId: string,
    name: string,
    state: MeshMember['state'],
    behind?: number,
    said: MeshMember['said'] = undefined,
  ): void {
    const address = `192.0.2.${this.others.length + 2}:7400`;
    const certificateExpiresMs = Date.now() + 30 * 24 * HOUR_MS;
    this.others.push({ nodeId, name, state, address, certificateExpiresMs, behind, said, clusters: [] });
  }

  status(): MeshStatus {
    const { meshName, nodeId, admitted } = this;
    if (meshName === '') {
      return { meshId: '', meshName, nodeId: '', admitted: false, configHash: '', signs: false, clusters: [] };
    }
    const clusters = this.#clustersOf(nodeId).map((name) => ({ name, admitted: true, digest: '0c0ffee0c0ff' }));
    const configHash = 'c0ffee'.repeat(8);
    return { meshId: 'ab'.repeat(16), meshName, nodeId, admitted, configHash, signs: true, clusters };
  }

  async init(meshName: string, caller: Caller): Promise<MeshStatus> {
    if (this.meshName !== '') throw new ApplicationError('conflict', `this node is in mesh ${this.meshName}`);
    this.meshName = meshName;
    this.callers.push(caller);
    return this.status();
  }

  async requestIntermediate(meshName: string): Promise<RequestedIntermediate> {
    return { meshId: '1'.repeat(32), meshName: meshName || this.meshName, request: Uint8Array.of(0x30) };
  }

  intermediates(): readonly string[] {
    return this.between;
  }

  createToken(request: Parameters<MeshUseCases['createToken']>[0], caller: Caller) {
    const count = this.made.length + 1;
    const createdMs = Date.UTC(2026, 10, 22);
    const token: JoinTokenView = {
      id: count.toString(16).padStart(16, '0'),
      role: request.role,
      createdMs,
      expiresMs: createdMs + request.lifetimeMs,
      createdBy: caller.author,
      clusters: request.clusters ?? [],
    };
    const text = `marcher1secret${count}`;
    this.made.push(token);
    this.texts.push(text);
    this.callers.push(caller);
    return { text, address: '192.0.2.1:7400', token };
  }

  tokens(): readonly JoinTokenView[] {
    return this.made;
  }

  revokeToken(id: string, caller: Caller): void {
    const at = this.made.findIndex((token) => token.id === id);
    if (at === -1) throw new ApplicationError('not_found', `this node made no join token ${id}`);
    this.made.splice(at, 1);
    this.callers.push(caller);
  }

  members(): readonly MeshMember[] {
    if (this.meshName === '') return [];
    const certificateExpiresMs = Date.now() - HOUR_MS;
    const own: MeshMember = {
      nodeId: this.nodeId,
      name: 'north',
      state: 'self',
      address: '192.0.2.1:7400',
      certificateExpiresMs,
      behind: 0,
      said: undefined,
      clusters: this.#clustersOf(this.nodeId),
    };
    return [own, ...this.others.map((other) => ({ ...other, clusters: this.#clustersOf(other.nodeId) }))];
  }

  async issueCertificate(
    { user, request, lifetimeMs }: Parameters<MeshUseCases['issueCertificate']>[0],
    caller: Caller,
  ) {
    if (request.length === 0) throw new ApplicationError('invalid', 'the certificate request is empty');
    const serial = (this.issued.length + 1).toString(16);
    const issuedMs = Date.UTC(2026, 10, 22);
    const expiresMs = issuedMs + lifetimeMs;
    const details = {
      serial,
      user,
      issuedMs,
      expiresMs,
      issuedBy: caller.author,
      issuerKeyId: '',
      revokedMs: undefined,
    };
    this.issued.unshift(details);
    this.callers.push(caller);
    return { pem: `certificate of ${user}\n`, roots: this.roots(), details };
  }

  certificates(): readonly ClientCertificate[] {
    return this.issued;
  }

  revokeCertificate(serial: string, caller: Caller): void {
    const at = this.issued.findIndex((certificate) => certificate.serial === serial);
    const found = this.issued[at];
    if (found === undefined) throw new ApplicationError('not_found', `there is no client certificate ${serial}`);
    this.issued[at] = { ...found, revokedMs: found.issuedMs + HOUR_MS };
    this.callers.push(caller);
  }

  roots(): string {
    return 'root of the mesh\n';
  }

  lists: readonly string[] = ['list of a\n', 'list of b\n'];
  /** PEM. */
  between: string[] = [];

  revocationLists(): readonly string[] {
    return this.lists;
  }

  ca(): MeshCaView {
    return { roots: this.caRoots, waitingFor: this.caWaiting, hastened: this.caWaiting.length > 0 };
  }

  async rotateCa(request: Parameters<MeshUseCases['rotateCa']>[0], caller: Caller) {
    const [signing] = this.caRoots;
    if (signing === undefined) throw new ApplicationError('refused', "this node does not hold the mesh's CA");
    this.rotations.push(request);
    this.callers.push(caller);
    const plannedMs = signing.createdMs + request.overlapMs;
    const [fingerprint, keyHeldBy] = ['b2'.repeat(32), ['north']];
    const made = { ...signing, fingerprint, plannedMs, signsFromMs: undefined, keyHeldBy, trustedBy: ['north'] };
    const root: MeshRootView = { ...made, state: 'introduced', leaves: [] };
    this.caRoots.unshift(root);
    return { root, introduced: true };
  }

  async retireRoot(fingerprint: string, { force }: { readonly force: boolean }, caller: Caller) {
    const at = this.caRoots.findIndex((root) => root.fingerprint.startsWith(fingerprint));
    const root = this.caRoots[at];
    if (root === undefined) throw new ApplicationError('not_found', `there is no root ${fingerprint}`);
    if (root.leaves.length > 0 && !force) throw new ApplicationError('refused', 'it has signed certificates in use');
    const retired: MeshRootView = { ...root, state: 'retired', retiredMs: root.createdMs + HOUR_MS };
    this.caRoots[at] = retired;
    this.callers.push(caller);
    return { root: retired, cutOff: root.leaves };
  }

  async remove(node: string, { keepKeys }: { readonly keepKeys: boolean }, caller: Caller): Promise<void> {
    if (node === this.nodeId || node === 'north') throw new ApplicationError('refused', 'a node can not remove itself');
    const at = this.others.findIndex(({ nodeId, name }) => nodeId === node || name === node);
    if (at === -1) throw new ApplicationError('not_found', `there is no member "${node}"`);
    this.others.splice(at, 1);
    this.removed.push(node);
    if (keepKeys) this.keepingKeys.push(node);
    this.callers.push(caller);
  }

  async leave({ force }: { readonly force: boolean }, caller: Caller): Promise<Departure> {
    if (this.meshName === '') throw new ApplicationError('refused', 'this node is in no mesh');
    if (this.onlyAuthority && !force) throw new ApplicationError('refused', 'this node is the only one that signs');
    const { meshName } = this;
    this.meshName = '';
    this.callers.push(caller);
    return { meshName, told: this.others.length > 0, identityPath: '/var/lib/marcher/identity-left-1' };
  }

  async rotateKey(caller: Caller): Promise<string> {
    if (this.meshName === '') throw new ApplicationError('refused', 'this node is in no mesh');
    this.callers.push(caller);
    return '22'.repeat(8);
  }

  keys(): GossipKeysView {
    if (this.meshName === '') throw new ApplicationError('refused', 'this node is in no mesh');
    return this.keyView;
  }

  #clustersOf(node: string): string[] {
    return [...this.clusterNodes].filter(([, nodes]) => nodes.has(node)).map(([name]) => name);
  }

  #nodeOf(node: string): MeshMember {
    const found = this.members().find(({ nodeId, name }) => nodeId === node || name === node);
    if (found === undefined) throw new ApplicationError('not_found', `there is no node "${node}"`);
    return found;
  }

  #clusterOf(name: string): Set<string> {
    const nodes = this.clusterNodes.get(name);
    if (nodes === undefined) throw new ApplicationError('not_found', `there is no cluster "${name}"`);
    return nodes;
  }

  clusters(): readonly ClusterView[] {
    const members = this.members();
    return [...this.clusterNodes].map(([name, nodes]) => ({
      name,
      createdMs: Date.UTC(2026, 10, 22),
      createdBy: 'root (uid 0)',
      nodes: members.filter(({ nodeId }) => nodes.has(nodeId)),
      objects: nodes.has(this.nodeId) ? this.clusterObjects : undefined,
    }));
  }

  createCluster(name: string, caller: Caller): void {
    if (this.clusterNodes.has(name)) throw new ApplicationError('conflict', `there is a cluster "${name}" already`);
    this.clusterNodes.set(name, new Set());
    this.callers.push(caller);
  }

  deleteCluster(name: string, { force }: { readonly force: boolean }, caller: Caller): void {
    this.#clusterOf(name);
    if (this.clusterObjects > 0 && !force) throw new ApplicationError('refused', `cluster ${name} has objects`);
    this.clusterNodes.delete(name);
    this.callers.push(caller);
  }

  assignClusters(node: string, { clusters }: Parameters<MeshUseCases['assignClusters']>[1], caller: Caller): void {
    const { nodeId } = this.#nodeOf(node);
    for (const name of clusters) this.#clusterOf(name).add(nodeId);
    this.callers.push(caller);
  }

  unassignClusters(
    node: string,
    { clusters, force }: Parameters<MeshUseCases['unassignClusters']>[1],
    caller: Caller,
  ): void {
    const { nodeId } = this.#nodeOf(node);
    for (const name of clusters) {
      if (this.#clusterOf(name).size === 1 && this.clusterObjects > 0 && !force) {
        throw new ApplicationError('refused', `node ${node} is the last one of cluster ${name}`);
      }
    }
    for (const name of clusters) this.#clusterOf(name).delete(nodeId);
    this.callers.push(caller);
  }
}
