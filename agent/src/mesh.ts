// SPDX-License-Identifier: Apache-2.0
/**
 * This node's part in a mesh, with its adapters: none until "mesh init" or a join has given it an identity, then
 *
 *   gossip (who is alive) ─┐
 *   nodes (who belongs) ───┴─▶ replication ◀─▶ links and mesh port (TLS) ◀─▶ other agents
 *                                  │
 *                                  └─▶ configuration
 */
import { X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { createMeshServer, type MeshServer } from './adapters/inbound/mesh/mesh-server.js';
import { readCertificate } from './adapters/outbound/identity/certificate-facts.js';
import { JoinTokens } from './adapters/outbound/identity/join-tokens.js';
import { MeshTls } from './adapters/outbound/identity/mesh-tls.js';
import { checkNodeRequest, createNodeRequest } from './adapters/outbound/identity/node-request.js';
import { uniteLists } from './adapters/outbound/identity/revocation-list.js';
import { openTokenFile } from './adapters/outbound/identity/token-records.js';
import { type FrameSigner, FrameVerifier, frameHash, openFrameSigner } from './adapters/outbound/mesh/frame-keys.js';
import { MeshGossip } from './adapters/outbound/mesh/gossip.js';
import { hostPortText, parseHostPort } from './adapters/outbound/mesh/host-port.js';
import { join as joinMesh } from './adapters/outbound/mesh/join-client.js';
import { createPeerLinks, type JudgedPeerLinks } from './adapters/outbound/mesh/peer-links.js';
import { renewBy } from './adapters/outbound/mesh/renew-client.js';
import type { SqliteConfigStore } from './adapters/outbound/sqlite/sqlite-config-store.js';
import { admission } from './application/mesh/admission.js';
import type { Project } from './application/mesh/follower.js';
import { Nodes, recordWrites } from './application/mesh/nodes.js';
import { Projection } from './application/mesh/projection.js';
import { type Replicated, Replication, type ReplicationLog } from './application/mesh/replication.js';
import { LIST_KIND, listWrites, readLists, revokedSince } from './application/mesh/revocations.js';
import type { NodeCondition } from './application/node.js';
import type { MeshSettings } from './config.js';
import { nodeIdOf, nodeNumber } from './domain/identity/names.js';
import { nextCrlNumber, type Revocations } from './domain/identity/revocation.js';
import { renewalOf, trustedRoots } from './domain/identity/trust.js';
import { joinAddresses, type KnownNodes, meshMembers, replicaMembers } from './domain/mesh/membership.js';
import { NODE_KIND, type NodeRecord } from './domain/mesh/node-record.js';
import type { ReplicaStore } from './domain/replication/contract.js';
import { Replica } from './domain/replication/replica.js';
import { IdentityFiles, type MeshIdentity } from './mesh-identity.js';
import { IdentityError, type NodeCredentials } from './ports/identity.js';
import type { JoinTokenView, MeshMember, MeshStatus, MeshUseCases } from './ports/mesh.js';
import { ApplicationError, type Caller } from './ports/use-cases.js';

export interface MeshOptions {
  readonly settings: MeshSettings;
  readonly stateDir: string;
  readonly nodeName: string;
  readonly store: SqliteConfigStore;
  readonly follow: (project: Project) => Promise<void>;
  /** Runs work when no change is being made. */
  readonly exclusively: <T>(work: () => Promise<T>) => Promise<T>;
  readonly log: ReplicationLog & { debug(fields: object, message: string): void };
}

const JOIN_TIMEOUT_MS = 10_000;
const JOIN_PAUSE = { firstMs: 1_000, mostMs: 30_000 } as const;
/** Between two looks for nodes that gossip does not reach. */
const SEEK_MS = 5_000;
const SEEK_ADDRESSES = 3;
/** A node that is removed is told of it, if it is there, before it is cut off. */
const FAREWELL_MS = 2_000;
const TOKEN_FILE_MAX_BYTES = 4_096;
/** A timer can't wait for weeks, and another root may begin to sign. */
const RENEW_LOOK_MS = 3_600_000;
const RENEW_RETRY_MS = 60_000;
const LEAVE_MS = 1_000;
const ADOPT_AUTHOR = 'mesh init';

/** What runs while this node is in a mesh. */
interface Part {
  readonly identity: MeshIdentity;
  readonly cells: ReplicaStore;
  readonly nodes: Nodes;
  readonly replication: Replication;
  readonly verifier: FrameVerifier;
  readonly signer: FrameSigner;
  readonly tls: MeshTls;
  readonly tokens: JoinTokens;
  credentials: NodeCredentials;
  revocations: Revocations;
  lists: readonly string[];
  gossip?: MeshGossip;
  links?: JudgedPeerLinks;
  server?: MeshServer;
}

export class Mesh implements MeshUseCases {
  readonly #options: MeshOptions;
  readonly #files: IdentityFiles;
  #part: Part | undefined;
  #started = false;
  #stopped = false;
  /** Why this node is not in the mesh that it is to join; empty: it is, or it is to join none. */
  #joinFailure = '';
  /** Why its certificate, which is past half of its life, is not renewed; empty: there is no need. */
  #renewFailure = '';
  #timers = new Set<NodeJS.Timeout>();
  #seeks = 0;

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
    this.#part = this.#open(identity, begins);
    if (begins) this.#beginMesh(this.#part, ADOPT_AUTHOR);
  }

  /** undefined: this node is in no mesh. */
  get replicated(): Replicated | undefined {
    return this.#part?.replication;
  }

  /** Opens the mesh port and looks for the others; fails when it can't listen. */
  async start(): Promise<void> {
    this.#started = true;
    if (this.#part !== undefined) await this.#run(this.#part);
    else if (this.#options.settings.join !== undefined) this.#joinInTurn(JOIN_PAUSE.firstMs);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
    const part = this.#part;
    if (part === undefined) return;
    await part.replication.stop();
    // It stops on purpose and comes back: to the others it is down as soon as they are told.
    await part.gossip?.leave(LEAVE_MS);
    await Promise.all([part.gossip?.close(), part.links?.close(), part.server?.close()]);
  }

  conditions(): NodeCondition[] {
    const found: NodeCondition[] = [];
    const add = (type: string, reason: string, message: string): void => {
      found.push({ type, status: false, reason, message });
    };
    if (this.#joinFailure !== '') add('MeshJoined', 'JoinFailed', this.#joinFailure);
    const part = this.#part;
    if (part === undefined) return found;
    if (!part.replication.admitted) {
      add('MeshStateTaken', 'NotAdmitted', "this node has not taken over the mesh's state yet, and takes no changes");
    }
    if (this.#isRemoved(part)) {
      const fix = 'to come back, remove its identity directory and join again';
      add('MeshMember', 'Removed', `this node was removed from mesh "${part.identity.mesh.name}": ${fix}`);
    }
    if (this.#renewFailure !== '') add('MeshCertificate', 'NotRenewed', this.#renewFailure);
    const { exclusions } = part.replication;
    if (exclusions.length > 0) {
      const shown = exclusions.slice(0, 3).map(({ kind, name, message }) => `${kind} ${name}: ${message}`);
      const more = exclusions.length > 3 ? `; and ${exclusions.length - 3} more` : '';
      add('ConfigurationMerged', 'LeftOut', `${shown.join('; ')}${more}`);
    }
    if (part.identity.authorityFault !== '') add('MeshAuthority', 'NotOpened', part.identity.authorityFault);
    return found;
  }

  // What operators ask.

  status(): MeshStatus {
    const part = this.#part;
    const configHash = this.#options.store.hash();
    if (part === undefined) {
      return { meshId: '', meshName: '', nodeId: '', admitted: false, configHash, signs: false };
    }
    const { mesh, nodeId, authority } = part.identity;
    const { admitted } = part.replication;
    return { meshId: mesh.id, meshName: mesh.name, nodeId, admitted, configHash, signs: authority !== undefined };
  }

  async init(meshName: string, caller: Caller): Promise<MeshStatus> {
    if (this.#part !== undefined) {
      throw new ApplicationError('conflict', `this node is in mesh "${this.#part.identity.mesh.name}" already`);
    }
    if (this.#options.settings.join !== undefined) {
      throw new ApplicationError(
        'conflict',
        'this agent was started to join a mesh (--join): start it without, or let it',
      );
    }
    const part = await this.#options.exclusively(async () => {
      try {
        await this.#files.found(meshName);
        const identity = await this.#files.load();
        if (identity === undefined) throw new IdentityError('io', 'what was written is not there');
        const opened = this.#open(identity, true);
        this.#beginMesh(opened, caller.author);
        this.#part = opened;
        return opened;
      } catch (error) {
        throw applicationError(error);
      }
    });
    try {
      if (this.#started) await this.#run(part);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new ApplicationError('unavailable', `the mesh was made, but ${reason}; then start this agent again`);
    }
    this.#options.log.info({ mesh: meshName, author: caller.author }, 'this node is the first of a mesh');
    return this.status();
  }

  createToken({ role, lifetimeMs }: { role: 'member' | 'authority'; lifetimeMs: number }, caller: Caller) {
    const part = this.#partOrThrow();
    if (part.identity.authority === undefined) {
      throw new ApplicationError(
        'refused',
        "this node does not hold the key of the mesh's CA: make the token on one that does",
      );
    }
    const rootFingerprint = part.identity.authority.certificate.fingerprint;
    try {
      const request = { role, lifetimeMs, createdBy: caller.author, rootFingerprint };
      const { text, record } = part.tokens.create(request, Date.now());
      this.#options.log.info({ token: record.id, author: caller.author }, 'a join token was made');
      return { text, address: hostPortText(this.#options.settings.address), token: viewOf(record) };
    } catch (error) {
      throw applicationError(error);
    }
  }

  tokens(): readonly JoinTokenView[] {
    return this.#partOrThrow().tokens.list().map(viewOf);
  }

  revokeToken(id: string, caller: Caller): void {
    if (!this.#partOrThrow().tokens.remove(id)) throw new ApplicationError('not_found', `there is no join token ${id}`);
    this.#options.log.info({ token: id, author: caller.author }, 'a join token was revoked');
  }

  members(): readonly MeshMember[] {
    const part = this.#partOrThrow();
    return meshMembers(this.#known(part), {
      certificateExpiresMs: ({ certificates: [newest] }) =>
        newest === undefined ? 0 : new Date(new X509Certificate(newest).validTo).getTime(),
      behind: (nodeId) => (nodeId === part.identity.nodeId ? 0 : part.replication.behind(nodeNumber(nodeId))),
    });
  }

  async remove(node: string, caller: Caller): Promise<void> {
    const part = this.#partOrThrow();
    const record = part.nodes.find(node);
    if (record === undefined) {
      throw new ApplicationError(
        'not_found',
        `there is no node ${JSON.stringify(node.slice(0, 80))}: see marcher mesh members`,
      );
    }
    if (record.nodeId === part.identity.nodeId) {
      throw new ApplicationError('refused', 'a node does not remove itself: ask another one');
    }
    const removed = { ...record, removedMs: BigInt(Date.now()) };
    part.replication.write(caller.author, `node ${record.name} removed`, recordWrites(removed, false));
    this.#options.log.info({ node: record.nodeId, name: record.name, author: caller.author }, 'a node was removed');
  }

  #partOrThrow(): Part {
    if (this.#part !== undefined) return this.#part;
    const fix = 'make one with marcher mesh init, or start the agent with --join';
    throw new ApplicationError('refused', `this node is in no mesh: ${fix}`);
  }

  // Coming into being.

  #open(identity: MeshIdentity, founds: boolean): Part {
    const { store, log, follow } = this.#options;
    const { nodeId, mesh, roots, credentials, revocations, lists } = identity;
    const cells = store.openReplica();
    const nodes = new Nodes(cells);
    nodes.load();
    nodes.introduce(identity.known);
    const signer = openFrameSigner(this.#files.directory);
    const verifier = new FrameVerifier(mesh.id, (node, reason) => log.warn({ node, reason }, 'a node is not believed'));
    const environment = {
      wallMs: () => Date.now(),
      monotonicMs: () => performance.now(),
      random: () => Math.random(),
      hash: frameHash,
      sign: (hash: Uint8Array) => signer.sign(hash),
      verify: verifier.verify.bind(verifier),
    };
    const replica = new Replica({ node: nodeNumber(nodeId), store: cells, environment, founds });
    const replication = new Replication({
      replica,
      projection: new Projection(cells, store),
      store,
      follow,
      onObjects: (kind, ids) => this.#changed(kind, ids),
      monotonicMs: environment.monotonicMs,
      log,
    });
    const tls = new MeshTls({ meshId: mesh.id, credentials, roots, revocations }, Date.now);
    const tokens = new JoinTokens(openTokenFile(this.#files.directory), nodeId);
    const fixed = { identity, cells, nodes, replication, verifier, signer, tls, tokens };
    const part: Part = { ...fixed, credentials, revocations, lists };
    this.#verifyBy(part);
    if (this.#isRemoved(part)) replication.exclude();
    return part;
  }

  /** Asked when the replicated state is lost: this node goes on without, if it can't be written. */
  #keepKnown({ nodes }: Part): void {
    try {
      this.#files.saveKnown(nodes.known.values());
    } catch (error) {
      this.#options.log.warn({ reason: String(error) }, 'the list of nodes could not be written');
    }
  }

  #verifyBy({ verifier, nodes, identity }: Part): void {
    verifier.update(nodes.known.values(), trustedRoots(identity.roots, Date.now()));
  }

  /** The configuration becomes the mesh's; last of all this node is in it, so that it begins again when it was killed. */
  #beginMesh(part: Part, author: string): void {
    part.replication.adopt(author);
    part.replication.write(author, 'the mesh was made', recordWrites(this.#ownRecord(part), true));
    part.nodes.changed([part.identity.nodeId]);
    this.#verifyBy(part);
    this.#keepKnown(part);
  }

  #ownRecord({ identity, credentials, signer, nodes }: Part): NodeRecord {
    const { nodeId, authority } = identity;
    const { address } = this.#options.settings;
    const [leaf = ''] = credentials.certificatePem.split(/(?<=-----END CERTIFICATE-----\n)/);
    const current = new Uint8Array(new X509Certificate(leaf).raw);
    const before = nodes.known.get(nodeId)?.certificates ?? [];
    return {
      nodeId,
      name: this.#options.nodeName,
      meshAddress: hostPortText(address),
      gossipAddress: hostPortText(gossipOf(address)),
      certificates: [current, ...before.filter((other) => Buffer.compare(other, current) !== 0)].slice(0, 3),
      frameKey: signer.publicKey,
      frameKeySignature: signer.claim(credentials.privateKeyPem),
      role: authority === undefined ? 'member' : 'authority',
      removedMs: 0n,
    };
  }

  /** Fails with everything closed again, so that it can be tried again. */
  async #run(part: Part): Promise<void> {
    try {
      await this.#listen(part);
    } catch (error) {
      await Promise.all([part.gossip?.close(), part.links?.close(), part.server?.close()]);
      delete part.gossip;
      delete part.links;
      delete part.server;
      throw error;
    }
    this.#membersChanged(part);
    await this.#listsChanged(part);
    this.#seek(part);
    this.#sayOwn(part);
    this.#renewInTime(part);
  }

  async #listen(part: Part): Promise<void> {
    const { settings, log, stateDir } = this.#options;
    const { identity, replication, tls } = part;
    const { host, port } = settings.address;
    const server = createMeshServer({
      mesh: tls,
      receive: (from, message) => replication.receive(from, message),
      renew: (nodeId, request) => this.#renewFor(part, nodeId, request),
      admit: this.#admission(part),
      logger: log,
    });
    part.server = server;
    await server.listen(host, port);
    part.links = createPeerLinks({
      mesh: tls,
      self: nodeNumber(identity.nodeId),
      addressOf: (node) => this.#addressOf(part, node),
      exchange: replication,
      logger: log,
    });
    part.gossip = await MeshGossip.open(
      {
        meshId: identity.mesh.id,
        nodeId: identity.nodeId,
        bind: hostPortText(gossipOf(settings.address)),
        keyring: identity.keyring,
        stateDirectory: stateDir,
      },
      {
        onMembers: () => this.#membersChanged(part),
        onEvent: ({ kind, about, count, detail }) => log.info({ kind, about, count, detail }, 'gossip'),
        onDied: (error, againInMs) =>
          log.error({ reason: error.message, againInMs }, 'gossip has stopped; it is started again'),
      },
    );
    replication.start(part.links);
  }

  #addressOf(part: Part, node: bigint): { host: string; port: number } | undefined {
    const record = part.nodes.members.get(nodeIdOf(node));
    return record && parseHostPort(record.meshAddress);
  }

  #admission(part: Part) {
    const { identity, tokens, nodes, replication } = part;
    return admission({
      authority: () => identity.authority,
      redeem: (token, source, nowMs) => tokens.redeem(token, source, nowMs),
      checkRequest: (request) => checkNodeRequest(request),
      revocations: () => part.revocations,
      nodes: () => nodes.members,
      add: (record, author) => {
        replication.write(author, `node ${record.name} joined`, recordWrites(record, true));
      },
      shared: () => ({
        roots: identity.roots.map(({ pem }) => pem),
        revocationLists: part.lists,
        gossipKeys: identity.keyring.keys.map(({ key }) => key),
        nodes: [...nodes.known.values()],
      }),
      sealedAuthority: () => this.#files.sealedAuthority(identity.authority?.certificate.fingerprint ?? ''),
      derOf: (pem) => new Uint8Array(new X509Certificate(pem).raw),
      nowMs: Date.now,
      log: this.#options.log,
    });
  }

  // Joining.

  #joinInTurn(pauseMs: number): void {
    void this.#join().then((done) => {
      if (done || this.#stopped) return;
      this.#after(pauseMs, () => this.#joinInTurn(Math.min(2 * pauseMs, JOIN_PAUSE.mostMs)));
    });
  }

  /** Whether there is nothing left to try. */
  async #join(): Promise<boolean> {
    const { settings, log, store } = this.#options;
    const { join } = settings;
    if (join === undefined) return true;
    const fail = (reason: string, final: boolean): boolean => {
      if (reason !== this.#joinFailure) log.error({ reason, contact: hostPortText(join) }, 'could not join the mesh');
      this.#joinFailure = reason;
      return final;
    };
    if (this.#part === undefined && (store.count() > 0 || store.objects().length > 0)) {
      const fix = 'keep it with marcher export, remove it, and apply what is still wanted once this node has joined';
      return fail(`this node has a configuration of its own, which the mesh's would replace: ${fix}`, false);
    }
    try {
      // It may have its identity already, and not have been able to listen.
      this.#part ??= await this.#joined(join);
      await this.#run(this.#part);
      this.#joinFailure = '';
      const { mesh, nodeId } = this.#part.identity;
      log.info({ mesh: mesh.name, node: nodeId }, 'this node has joined the mesh');
      return true;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      // A token that is refused stays so; who is not there yet may come.
      return fail(reason, error instanceof IdentityError && error.code === 'refused');
    }
  }

  /** What the token gives, on disk. */
  async #joined(join: NonNullable<MeshSettings['join']>): Promise<Part> {
    const { nodeName, settings } = this.#options;
    const { address } = settings;
    const token = tokenOf(join.tokenFile);
    const signer = openFrameSigner(this.#files.directory);
    const request = {
      token,
      address: hostPortText(join),
      name: nodeName,
      meshAddress: hostPortText(address),
      gossipAddress: hostPortText(gossipOf(address)),
      frameKey: signer.publicKey,
      claim: (keyPem: string) => signer.claim(keyPem),
      timeoutMs: JOIN_TIMEOUT_MS,
    };
    const { grant, privateKeyPem } = await joinMesh(request, Date.now);
    this.#files.join(grant, privateKeyPem);
    const identity = await this.#files.load();
    if (identity === undefined) throw new IdentityError('io', 'what was written is not there');
    return this.#open(identity, false);
  }

  // Who is there.

  #known({ identity, nodes, gossip }: Part): KnownNodes {
    return { self: identity.nodeId, records: nodes.members, gossip: gossip?.members() ?? [] };
  }

  /** Of this node's own record: no change of it is taken any more. */
  #isRemoved({ identity, nodes }: Part): boolean {
    return (nodes.known.get(identity.nodeId)?.removedMs ?? 0n) !== 0n;
  }

  #membersChanged(part: Part): void {
    if (part.gossip === undefined || this.#stopped) return;
    const members = replicaMembers(this.#known(part));
    part.replication.setMembers(members);
    part.server?.keep(new Set(members.map(({ node }) => node)));
  }

  #changed(kind: string, ids: readonly string[]): void {
    const part = this.#part;
    if (part === undefined) return;
    if (kind === LIST_KIND) void this.#listsChanged(part);
    if (kind !== NODE_KIND) return;
    part.nodes.changed(ids);
    this.#verifyBy(part);
    this.#keepKnown(part);
    if (this.#isRemoved(part)) part.replication.exclude();
    const goes = ids.some((id) => part.nodes.known.has(id) && !part.nodes.members.has(id));
    const follow = (): void => {
      this.#membersChanged(part);
      void this.#revokeRemoved(part);
    };
    if (goes) this.#after(FAREWELL_MS, follow);
    else follow();
  }

  /** Those that gossip does not reach are looked for, a few at a time. */
  #seek(part: Part): void {
    if (this.#stopped || part.gossip === undefined) return;
    const addresses = joinAddresses(this.#known(part), SEEK_ADDRESSES, this.#seeks++);
    const seeking = addresses.length === 0 ? Promise.resolve(0) : part.gossip.join(addresses);
    void seeking.catch(() => 0).then(() => this.#after(SEEK_MS, () => this.#seek(part)));
  }

  /** What the others know of this node is what it is now. */
  #sayOwn(part: Part): void {
    if (this.#stopped) return;
    const { nodeId } = part.identity;
    const known = part.nodes.members.get(nodeId);
    const own = this.#ownRecord(part);
    const same =
      known !== undefined &&
      known.name === own.name &&
      known.meshAddress === own.meshAddress &&
      known.gossipAddress === own.gossipAddress &&
      sameBytes(known.certificates[0], own.certificates[0]);
    if (known === undefined || same) {
      if (!same) this.#after(SEEK_MS, () => this.#sayOwn(part));
      return;
    }
    try {
      part.replication.write(own.name, `node ${own.name} says what has changed of it`, recordWrites(own, false));
    } catch (error) {
      this.#options.log.debug({ reason: String(error) }, "this node's record is written later");
      this.#after(SEEK_MS, () => this.#sayOwn(part));
    }
  }

  // Revocation.

  /** Nodes that hold the CA's key sign what removals elsewhere ask for. */
  async #revokeRemoved(part: Part): Promise<void> {
    const { identity, nodes, replication } = part;
    const wanted = identity.authority && revokedSince(part.revocations, nodes.known.values(), Date.now());
    if (identity.authority === undefined || wanted === undefined) return;
    try {
      const number = nextCrlNumber(0n, Date.now(), identity.nodeId);
      const list = await identity.authority.signRevocations(wanted, number, Date.now());
      part.revocations = wanted;
      replication.write('mesh', 'certificates of removed nodes are revoked', listWrites(identity.nodeId, list.pem));
      await this.#listsChanged(part);
    } catch (error) {
      this.#options.log.error({ reason: String(error) }, 'a removed node could not be revoked');
    }
  }

  async #listsChanged(part: Part): Promise<void> {
    const { identity, cells } = part;
    const lists = readLists(cells);
    if (lists.length === 0) return;
    const { revocations, refused } = await uniteLists(lists, identity.roots, Date.now());
    for (const reason of refused) this.#options.log.warn({ reason }, 'a revocation list is not used');
    part.revocations = revocations;
    part.lists = lists;
    this.#updateTls(part);
    try {
      this.#files.saveRevocationLists(part.lists);
    } catch (error) {
      // They are with the replicated state, too.
      this.#options.log.warn({ reason: String(error) }, 'the revocation lists could not be written');
    }
  }

  #updateTls(part: Part): void {
    const { identity, tls, credentials, revocations } = part;
    tls.update({ meshId: identity.mesh.id, credentials, roots: identity.roots, revocations });
    part.server?.judgeAgain();
    part.links?.judgeAgain();
  }

  // Renewal.

  #renewInTime(part: Part): void {
    const { atMs, why } = renewalOf(readCertificate(part.credentials.certificatePem), part.identity.roots, Date.now());
    const waitMs = atMs - Date.now();
    if (waitMs > 0) {
      this.#after(Math.min(waitMs, RENEW_LOOK_MS), () => this.#renewInTime(part));
      return;
    }
    void this.renew().then(
      () => {
        this.#renewFailure = '';
        this.#options.log.info({ why }, "this node's certificate was renewed");
        this.#renewInTime(part);
      },
      (error: unknown) => {
        this.#renewFailure = error instanceof Error ? error.message : String(error);
        this.#options.log.warn({ reason: this.#renewFailure }, "this node's certificate could not be renewed yet");
        this.#after(RENEW_RETRY_MS, () => this.#renewInTime(part));
      },
    );
  }

  /** A new key and certificate for this node, at once. Fails as IdentityError, and then the old one stays in force. */
  async renew(): Promise<void> {
    const part = this.#partOrThrow();
    const credentials = await this.#nextCredentials(part);
    this.#files.saveCredentials(credentials);
    part.credentials = credentials;
    this.#updateTls(part);
    part.replication.write(
      this.#options.nodeName,
      'its certificate was renewed',
      recordWrites(this.#ownRecord(part), false),
    );
  }

  async #nextCredentials(part: Part): Promise<NodeCredentials> {
    const { identity, nodes, gossip, tls, revocations } = part;
    const renewing = { meshId: identity.mesh.id, nodeId: identity.nodeId, roots: identity.roots };
    if (identity.authority !== undefined) {
      const { privateKeyPem, request } = await createNodeRequest();
      const { pem } = await identity.authority.issueNode(request, identity.nodeId, revocations, Date.now());
      return { privateKeyPem, certificatePem: pem };
    }
    const alive = new Set(gossip?.members().flatMap(({ nodeId, state }) => (state === 'alive' ? [nodeId] : [])));
    let last = new IdentityError('io', 'no node that signs is alive: start one that holds the key of the CA');
    for (const { nodeId, role, meshAddress } of nodes.members.values()) {
      const target = parseHostPort(meshAddress);
      if (role !== 'authority' || !alive.has(nodeId) || target === undefined) continue;
      try {
        return await renewBy({ target, signer: nodeId, mesh: tls, timeoutMs: JOIN_TIMEOUT_MS }, renewing, Date.now());
      } catch (error) {
        if (!(error instanceof IdentityError)) throw error;
        last = error;
      }
    }
    throw last;
  }

  /** For another node, which is known by the certificate that it has. */
  async #renewFor(part: Part, nodeId: string, request: Uint8Array): Promise<string> {
    const { identity, nodes, revocations } = part;
    if (identity.authority === undefined) {
      throw new IdentityError('refused', "this node does not hold the key of the mesh's CA");
    }
    if (!nodes.members.has(nodeId)) throw new IdentityError('refused', `node ${nodeId} is not in the mesh (any more)`);
    const { pem } = await identity.authority.issueNode(request, nodeId, revocations, Date.now());
    this.#options.log.info({ node: nodeId }, "a node's certificate was renewed");
    return pem;
  }

  #after(ms: number, work: () => void): void {
    if (this.#stopped) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (!this.#stopped) work();
    }, ms);
    this.#timers.add(timer);
  }
}

function sameBytes(one: Uint8Array | undefined, other: Uint8Array | undefined): boolean {
  return one !== undefined && other !== undefined && Buffer.compare(one, other) === 0;
}

function gossipOf({ host, port }: { host: string; port: number }): { host: string; port: number } {
  return { host, port: port + 1 };
}

function tokenOf(path: string): string {
  try {
    if (statSync(path).size > TOKEN_FILE_MAX_BYTES) throw new Error('it is too large to be a token');
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new IdentityError('missing', `the join token can't be read from ${path}: ${reason}`);
  }
}

function viewOf(record: ReturnType<JoinTokens['list']>[number]): JoinTokenView {
  const { id, role, createdMs, expiresMs, createdBy, used } = record;
  return { id, role, createdMs, expiresMs, createdBy, ...(used === undefined ? {} : { usedBy: used.nodeId }) };
}

function applicationError(error: unknown): unknown {
  if (!(error instanceof IdentityError)) return error;
  const code = error.code === 'invalid' ? 'invalid' : error.code === 'io' ? 'unavailable' : 'refused';
  return new ApplicationError(code, error.message);
}
