// SPDX-License-Identifier: Apache-2.0
/**
 * This node's part in a mesh, with its adapters: none until "mesh init" or a join has given it an identity, then
 *
 *   gossip (who is alive) ─┐
 *   nodes (who belongs) ───┴─▶ replication ◀─▶ links and mesh port (TLS) ◀─▶ other agents
 *                                  │
 *                                  └─▶ configuration
 *
 * Here is when it begins and ends; what it consists of is in mesh/, a module for each idea.
 */
import { newMeshId } from './adapters/outbound/identity/new-ids.js';
import type { KnownHeads } from './application/audit/audit.js';
import type { Replicated } from './application/mesh/replication.js';
import type { NodeCondition } from './application/node.js';
import { accessOf } from './mesh/access.js';
import type { MeshCa } from './mesh/ca.js';
import { assignClusters, createCluster, deleteCluster, listClusters, unassignClusters } from './mesh/clusters.js';
import { meshConditions } from './mesh/conditions.js';
import { IntermediateRequests } from './mesh/intermediate-requests.js';
import { createToken, listTokens, revokeToken } from './mesh/invitations.js';
import { Joining } from './mesh/joining.js';
import type { GossipKeys } from './mesh/keys.js';
import { depart, type Goodbye, goodbyeOf, sayGoodbye } from './mesh/leaving.js';
import { membersOf, removeMember } from './mesh/membership.js';
import { beginMesh, openPart } from './mesh/opening.js';
import { intermediatesOf, issueCertificate, revokeCertificate, rootsOf } from './mesh/operators.js';
import { hasLeft } from './mesh/own-record.js';
import { applicationError, type MeshOptions, type Part } from './mesh/part.js';
import { relayOf } from './mesh/relaying.js';
import { renew } from './mesh/renewing.js';
import { end, run } from './mesh/running.js';
import { IdentityFiles } from './mesh-identity.js';
import type { AccessMesh } from './ports/access.js';
import type { CertificateUseCases } from './ports/certificates.js';
import { IdentityError } from './ports/identity.js';
import type {
  ClientCertificate,
  ClusterView,
  Departure,
  GossipKeysView,
  JoinTokenView,
  MeshCaView,
  MeshMember,
  MeshStatus,
  MeshUseCases,
  OfferedIntermediate,
  RequestedIntermediate,
} from './ports/mesh.js';
import type { Relay } from './ports/relay.js';
import { ApplicationError, type Caller } from './ports/use-cases.js';

export type { MeshOptions } from './mesh/part.js';

const ADOPT_AUTHOR = 'mesh init';

export class Mesh implements MeshUseCases {
  readonly #options: MeshOptions;
  readonly #files: IdentityFiles;
  readonly #requests = new IntermediateRequests();
  #part: Part | undefined;
  #joining: Joining | undefined;
  #started = false;
  #departing: Promise<Departure> | undefined;
  /** By what calls about other members reach them. */
  readonly relay: Relay = relayOf(() => this.#part);

  constructor(options: MeshOptions) {
    this.#options = options;
    this.#files = new IdentityFiles(options.stateDir, options.settings.caKeyFile);
  }

  /** Before the configuration is programmed: what an agent was killed in the middle of goes on as the mesh's. */
  async load(): Promise<void> {
    const identity = await this.#files.load();
    if (identity === undefined) return;
    // Killed between its identity and its first record.
    const begins = identity.authority !== undefined && identity.known.length === 0;
    this.#part = openPart(this.#options, this.#files, identity, begins);
    if (begins) beginMesh(this.#part, { author: ADOPT_AUTHOR });
  }

  /** What is known of its nodes' audit logs; undefined: this node is in no mesh. */
  get auditHeads(): KnownHeads | undefined {
    return this.#part?.auditHeads;
  }

  /** undefined: this node is in no mesh. */
  get replicated(): Replicated | undefined {
    return this.#part?.replication;
  }

  /** What users and keys have of it; undefined: this node is in no mesh. */
  get access(): AccessMesh | undefined {
    return this.#part && accessOf(this.#part);
  }

  /** Of services; undefined: this node is in no mesh. */
  get serviceCertificates(): CertificateUseCases | undefined {
    return this.#part?.certificates.services;
  }

  /** Opens the mesh port and looks for the others; fails when it can't listen. */
  async start(): Promise<void> {
    this.#started = true;
    const contact = this.#options.settings.join;
    if (this.#part !== undefined) {
      await run(this.#part);
      // Killed on its way out.
      if (hasLeft(this.#part)) void this.#depart(this.#part, goodbyeOf(this.#part)).catch(() => undefined);
    } else if (contact !== undefined) {
      const opened = (part: Part): void => {
        this.#part = part;
      };
      this.#joining = new Joining({ options: this.#options, files: this.#files, contact, opened });
      this.#joining.start();
    }
  }

  async stop(): Promise<void> {
    this.#joining?.stop();
    await this.#departing?.catch(() => undefined);
    if (this.#part !== undefined) await end(this.#part);
  }

  conditions(): NodeCondition[] {
    return meshConditions(this.#part, this.#joining?.failure ?? '');
  }

  // What operators ask.

  status(): MeshStatus {
    const part = this.#part;
    const configHash = this.#options.store.hash();
    if (part === undefined) {
      return { meshId: '', meshName: '', nodeId: '', admitted: false, configHash, signs: false, clusters: [] };
    }
    const { mesh, nodeId, authority } = part.identity;
    const { admitted, held: clusters } = part.replication;
    const signs = authority !== undefined;
    return { meshId: mesh.id, meshName: mesh.name, nodeId, admitted, configHash, signs, clusters };
  }

  async init(meshName: string, caller: Caller, intermediate?: OfferedIntermediate): Promise<MeshStatus> {
    this.#mayInit();
    const part = await this.#options.exclusively(async () => {
      try {
        this.#options.store.forgetReplica();
        if (intermediate === undefined) await this.#files.found(meshName);
        else await this.#files.foundBy(this.#requests.take(), intermediate);
        const identity = await this.#files.load();
        if (identity === undefined) throw new IdentityError('io', 'what was written is not there');
        const opened = openPart(this.#options, this.#files, identity, true);
        beginMesh(opened, caller);
        this.#part = opened;
        return opened;
      } catch (error) {
        throw applicationError(error);
      }
    });
    try {
      if (this.#started) await run(part);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new ApplicationError('unavailable', `the mesh was made, but ${reason}; then start this agent again`);
    }
    this.#options.log.info({ mesh: meshName, author: caller.author }, 'this node is the first of a mesh');
    return this.status();
  }

  #mayInit(): void {
    if (this.#part !== undefined) {
      throw new ApplicationError('conflict', `this node is in mesh "${this.#part.identity.mesh.name}" already`);
    }
    if (this.#joining === undefined) return;
    throw new ApplicationError(
      'conflict',
      'this agent was started to join a mesh (--join): start it without, or let it',
    );
  }

  async requestIntermediate(meshName: string): Promise<RequestedIntermediate> {
    if (meshName !== '') this.#mayInit();
    const mesh = meshName === '' ? this.#partOrThrow().identity.mesh : { id: newMeshId(), name: meshName };
    const { request } = await this.#requests.make(mesh);
    return { meshId: mesh.id, meshName: mesh.name, request };
  }

  createToken(request: Parameters<MeshUseCases['createToken']>[0], caller: Caller) {
    return createToken(this.#partOrThrow(), request, caller);
  }

  tokens(): readonly JoinTokenView[] {
    return listTokens(this.#partOrThrow());
  }

  revokeToken(id: string, caller: Caller): void {
    revokeToken(this.#partOrThrow(), id, caller);
  }

  members(): readonly MeshMember[] {
    return membersOf(this.#partOrThrow());
  }

  async remove(node: string, { keepKeys }: { readonly keepKeys: boolean }, caller: Caller): Promise<void> {
    const part = this.#partOrThrow();
    removeMember(part, node, keepKeys, caller);
    if (keepKeys) return;
    await part.keys?.rotate().catch((error: unknown) => {
      this.#options.log.warn(
        { reason: String(error) },
        'the key of gossip, which a removed node has, is changed later',
      );
    });
  }

  async rotateKey(caller: Caller): Promise<string> {
    try {
      return await this.#keysOrThrow().rotate(caller);
    } catch (error) {
      throw applicationError(error);
    }
  }

  keys(): GossipKeysView {
    return this.#keysOrThrow().view();
  }

  async leave({ force }: { readonly force: boolean }, caller: Caller): Promise<Departure> {
    const part = this.#partOrThrow();
    if (this.#departing !== undefined) throw new ApplicationError('conflict', 'this node is leaving its mesh already');
    return await this.#depart(part, sayGoodbye(part, force, caller));
  }

  async #depart(part: Part, goodbye: Goodbye): Promise<Departure> {
    const gone = (): void => {
      this.#part = undefined;
      this.#joining = undefined;
    };
    this.#departing = depart(part, goodbye, gone);
    try {
      return await this.#departing;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#options.log.error({ reason }, 'this node has left its mesh, and what it was in it could not be set aside');
      throw new ApplicationError('unavailable', `this node has left, but ${reason}; start the agent again to finish`);
    } finally {
      this.#departing = undefined;
    }
  }

  async issueCertificate(request: Parameters<MeshUseCases['issueCertificate']>[0], caller: Caller) {
    return await issueCertificate(this.#partOrThrow(), request, caller);
  }

  certificates(): readonly ClientCertificate[] {
    return this.#partOrThrow().clients.list();
  }

  revokeCertificate(serial: string, caller: Caller): void {
    revokeCertificate(this.#partOrThrow(), serial, caller);
  }

  roots(): string {
    return rootsOf(this.#partOrThrow());
  }

  revocationLists(): readonly string[] {
    return this.#partOrThrow().lists;
  }

  intermediates(): readonly string[] {
    return intermediatesOf(this.#partOrThrow());
  }

  clusters(): readonly ClusterView[] {
    return listClusters(this.#partOrThrow());
  }

  createCluster(name: string, caller: Caller): void {
    createCluster(this.#partOrThrow(), name, caller);
  }

  deleteCluster(name: string, { force }: { readonly force: boolean }, caller: Caller): void {
    deleteCluster(this.#partOrThrow(), name, force, caller);
  }

  assignClusters(node: string, options: Parameters<MeshUseCases['assignClusters']>[1], caller: Caller): void {
    assignClusters(this.#partOrThrow(), node, options, caller);
  }

  unassignClusters(node: string, options: Parameters<MeshUseCases['unassignClusters']>[1], caller: Caller): void {
    unassignClusters(this.#partOrThrow(), node, options, caller);
  }

  ca(): MeshCaView {
    return this.#caOrThrow().view();
  }

  async rotateCa(request: Parameters<MeshUseCases['rotateCa']>[0], caller: Caller) {
    const { overlapMs, now, intermediate, endorsement } = request;
    const ca = this.#caOrThrow();
    if (intermediate === undefined) return await ca.rotate({ overlapMs, now }, caller);
    const offered = { intermediate, endorsement, requested: () => this.#requests.take() };
    return await ca.introduce(offered, { overlapMs, now }, caller);
  }

  async retireRoot(fingerprint: string, options: Parameters<MeshUseCases['retireRoot']>[1], caller: Caller) {
    return await this.#caOrThrow().retire(fingerprint, options, caller);
  }

  /** A new key and certificate for this node, at once. Fails as IdentityError, and then the old one stays in force. */
  async renew(): Promise<void> {
    await renew(this.#partOrThrow());
  }

  #keysOrThrow(): GossipKeys {
    const { keys } = this.#partOrThrow();
    if (keys !== undefined) return keys;
    throw new ApplicationError('unavailable', 'gossip does not run here yet: marcher status says why');
  }

  #caOrThrow(): MeshCa {
    const { ca } = this.#partOrThrow();
    if (ca !== undefined) return ca;
    throw new ApplicationError('unavailable', 'the mesh port is not open here yet: marcher status says why');
  }

  #partOrThrow(): Part {
    if (this.#part !== undefined) return this.#part;
    const fix = 'make one with marcher mesh init, or start the agent with --join';
    throw new ApplicationError('refused', `this node is in no mesh: ${fix}`);
  }
}
