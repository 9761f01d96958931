// SPDX-License-Identifier: Apache-2.0
/**
 * The mesh as its operators see it (MeshUseCases), and what carries it: links to other nodes, and gossip. Expected
 * failures of the use cases are ApplicationErrors.
 */
import type { GossipKey } from '../domain/identity/gossip-keyring.js';
import type { NodeRole } from '../domain/identity/join-token.js';
import type { RootRecord, RootSignature } from '../domain/identity/root-statement.js';
import type { ClientCertificate } from '../domain/mesh/client-certificate.js';
import type { KeyTarget, RotationState } from '../domain/mesh/key-rotation.js';
import type { GossipMember, MemberState, MeshMember } from '../domain/mesh/membership.js';
import type { NodeRecord } from '../domain/mesh/node-record.js';
import type { Addressed, NodeId } from '../domain/replication/contract.js';
import type { Caller } from './use-cases.js';

export type { ClientCertificate } from '../domain/mesh/client-certificate.js';
export type { GossipMember, MemberState, MeshMember } from '../domain/mesh/membership.js';

export interface MeshStatus {
  /** Empty: this node is in no mesh. */
  readonly meshId: string;
  readonly meshName: string;
  readonly nodeId: string;
  /** False: still taking over the mesh's state. */
  readonly admitted: boolean;
  /** Of the effective configuration: equal on all nodes that have the same changes. */
  readonly configHash: string;
  /** Whether this node can sign certificates, so that others can join by it. */
  readonly signs: boolean;
  /** That this node is in, by name. */
  readonly clusters: readonly HeldCluster[];
}

export interface HeldCluster {
  readonly name: string;
  /** False: still taking over what is in it. */
  readonly admitted: boolean;
  /** Of all that is in it, 12 hex digits: equal on all nodes of the cluster that have the same changes. */
  readonly digest: string;
}

export interface ClusterView {
  readonly name: string;
  readonly createdMs: number;
  readonly createdBy: string;
  readonly nodes: readonly { readonly nodeId: string; readonly name: string; readonly state: MemberState }[];
  /** Services, guards and policies in it; undefined: this node is not in it, or still taking it over. */
  readonly objects: number | undefined;
}

export interface JoinTokenView {
  readonly id: string;
  readonly role: NodeRole;
  readonly createdMs: number;
  readonly expiresMs: number;
  readonly createdBy: string;
  /** That the node will be in. */
  readonly clusters: readonly string[];
  /** Absent: not used. */
  readonly usedBy?: string;
}

export interface MeshUseCases {
  status(): MeshStatus;
  /** Makes a mesh of this node and its configuration. "conflict": it is in one. */
  init(meshName: string, caller: Caller, intermediate?: OfferedIntermediate): Promise<MeshStatus>;
  /**
   * A key for an intermediate, which stays here. meshName: of the mesh that is to be made; empty: for the one that this node is in.
   * "refused": it is in none; "conflict": it is in one.
   */
  requestIntermediate(meshName: string): Promise<RequestedIntermediate>;
  /** text is shown once, and kept nowhere. address: what `marcherd --join` is to be given. */
  createToken(
    request: { readonly role: NodeRole; readonly lifetimeMs: number; readonly clusters?: readonly string[] },
    caller: Caller,
  ): { readonly text: string; readonly address: string; readonly token: JoinTokenView };
  tokens(): readonly JoinTokenView[];
  /** "not_found". */
  revokeToken(id: string, caller: Caller): void;
  members(): readonly MeshMember[];
  /**
   * By id or by name. It is forgotten, its certificate is revoked, and gossip gets another key unless keepKeys.
   * "not_found", "refused": this node itself.
   */
  remove(node: string, options: { readonly keepKeys: boolean }, caller: Caller): Promise<void>;
  /**
   * This node goes, and goes on alone. "refused": it is the only one that holds the CA's key, "unavailable": nobody is
   * there to be told; force: also then.
   */
  leave(options: { readonly force: boolean }, caller: Caller): Promise<Departure>;
  /** The id of a new key for gossip, which is in use everywhere some seconds later. "unavailable". */
  rotateKey(caller: Caller): Promise<string>;
  keys(): GossipKeysView;
  /** For an operator. request: PKCS #10, DER. "invalid", "refused": this node does not sign. */
  issueCertificate(
    request: { readonly user: string; readonly request: Uint8Array; readonly lifetimeMs: number },
    caller: Caller,
  ): Promise<IssuedClient>;
  /** Of operators, the newest first. */
  certificates(): readonly ClientCertificate[];
  /** "not_found". */
  revokeCertificate(serial: string, caller: Caller): void;
  /** PEM, all that are trusted now. */
  roots(): string;
  /** PEM, one of each node that signs. */
  revocationLists(): readonly string[];
  /** PEM, those that are trusted. */
  intermediates(): readonly string[];
  clusters(): readonly ClusterView[];
  /** "conflict": there is one of that name; "refused": there are too many. */
  createCluster(name: string, caller: Caller): void;
  /** "not_found"; "refused": there is something in it, unless force. */
  deleteCluster(name: string, options: { readonly force: boolean }, caller: Caller): void;
  /** node: id or name. begin: it does not wait for those that have what is in them. "not_found", "refused": too many. */
  assignClusters(
    node: string,
    options: { readonly clusters: readonly string[]; readonly begin: boolean },
    caller: Caller,
  ): void;
  /** "not_found"; "refused": it is the last that has what is in one of them, unless force. */
  unassignClusters(
    node: string,
    options: { readonly clusters: readonly string[]; readonly force: boolean },
    caller: Caller,
  ): void;
  ca(): MeshCaView;
  /**
   * A new root, which is only trusted for so long; now: it signs as soon as all members that are there have it. "refused":
   * this node does not hold the key of the one that signs, or a change is under way. "unavailable". intermediate: that takes
   * over instead, with its root where that is new.
   */
  rotateCa(
    request: {
      readonly overlapMs: number;
      readonly now: boolean;
      readonly intermediate?: OfferedIntermediate;
      readonly endorsement?: OfferedEndorsement;
    },
    caller: Caller,
  ): Promise<{ readonly root: MeshRootView; readonly introduced: boolean }>;
  /**
   * fingerprint: or how it begins. "not_found", "refused"; force: also when certificates in use are of it. revocationList: PEM,
   * of its offline root, for those who do not hear of it otherwise; empty: there is none.
   */
  retireRoot(
    fingerprint: string,
    options: { readonly force: boolean; readonly revocationList?: string },
    caller: Caller,
  ): Promise<{ readonly root: MeshRootView; readonly cutOff: readonly MeshLeafView[] }>;
}

export interface RequestedIntermediate {
  readonly meshId: string;
  readonly meshName: string;
  /** PKCS #10, DER. */
  readonly request: Uint8Array<ArrayBuffer>;
}

/** Of the key that was asked for. DER. */
export interface OfferedIntermediate {
  readonly certificate: Uint8Array;
  /** The offline root that has signed it. */
  readonly root: Uint8Array;
}

/** What an offline root that is trusted says of the one after it. */
export interface OfferedEndorsement {
  readonly by: RootSignature;
  /** Of the statement: from when on the other may sign. */
  readonly plannedMs: number;
}

/** offline: it is trusted, and signs nothing but intermediates. */
export type RootState = 'introduced' | 'signs' | 'trusted' | 'retired' | 'expired' | 'offline';

export interface MeshCaView {
  /** The newest first; offline roots after all others. */
  readonly roots: readonly MeshRootView[];
  /** Names of members that are there and lack the newest, or its key though they sign. */
  readonly waitingFor: readonly string[];
  readonly hastened: boolean;
}

export interface MeshRootView {
  readonly fingerprint: string;
  /** Of an intermediate: fingerprint of its root; else empty. */
  readonly issuer: string;
  readonly serial: string;
  readonly state: RootState;
  readonly createdMs: number;
  readonly expiresMs: number;
  /** undefined: it was not introduced by another. */
  readonly plannedMs: number | undefined;
  readonly signsFromMs: number | undefined;
  readonly retiredMs: number | undefined;
  /** Names of members, by their own word. */
  readonly trustedBy: readonly string[];
  readonly keyHeldBy: readonly string[];
  /** In use, that it has signed. */
  readonly leaves: readonly MeshLeafView[];
}

export interface MeshLeafView {
  readonly kind: 'member' | 'client' | 'service';
  /** Of the member, the user or the certificate. */
  readonly name: string;
  readonly serial: string;
  readonly expiresMs: number;
}

export interface IssuedClient {
  /** PEM: the certificate, then what signed it, up to the root. */
  readonly pem: string;
  /** PEM, all that are trusted. */
  readonly roots: string;
  readonly details: ClientCertificate;
}

/** Of keys only their ids, by which nobody can read anything. */
export interface GossipKeysView {
  readonly state: RotationState;
  /** The newest: it is in use everywhere, or is to be. */
  readonly target: string;
  /** undefined: with the mesh. */
  readonly begunMs: number | undefined;
  /** Id of a node; empty: that which made the mesh. */
  readonly begunBy: string;
  /** Names of members for which the next step waits. */
  readonly waitingFor: readonly string[];
  readonly keys: readonly GossipKeyUse[];
}

export interface GossipKeyUse {
  readonly id: string;
  /** Whether this node seals by it. */
  readonly primary: boolean;
  /** Names of members. */
  readonly heldBy: readonly string[];
  readonly primaryOf: readonly string[];
}

/** What a node tells another one, over TLS of the mesh. */
export interface GossipKeysAnswer {
  readonly keys: readonly GossipKey[];
  readonly primary: string;
  readonly target: KeyTarget | undefined;
}

/** For a node, known by its certificate. Fails as IdentityError. */
export type GiveGossipKeys = (nodeId: string) => GossipKeysAnswer;

/** A CA's key, sealed, for a node that holds one. root: fingerprint. Fails as IdentityError. */
export type GiveAuthorityKey = (nodeId: string, root: string) => string;

/** For anybody: all roots that this node knows, with what proves them. */
export type TellRoots = () => readonly RootRecord[];

export interface Departure {
  readonly meshName: string;
  /** Whether another member is known to have heard of it, or there is none. */
  readonly told: boolean;
  /** The directory where what this node was in the mesh is kept now. */
  readonly identityPath: string;
}

/** What a replica is to its links. */
export interface Exchange {
  receive(from: NodeId, message: Addressed): void;
  /** The next message for that node, when its stream can take one. */
  take(node: NodeId): Addressed | undefined;
  /** Nodes that messages wait for. */
  waiting(): Iterable<NodeId>;
  /** What was sent to that node may have been lost. */
  disconnected(node: NodeId): void;
}

/** Streams to other nodes: dialled when there is something to say, and kept. */
export interface PeerLinks {
  /** Sends what waits. Called after whatever may have given the exchange something to say. */
  flush(): void;
  /** Connections of nodes that are not (any more) among these are closed. */
  keep(nodes: ReadonlySet<NodeId>): void;
  close(): Promise<void>;
}

/** What a machine that wants to join sends to the node whose token it has. */
export interface JoinRequest {
  readonly token: string;
  /** PKCS #10, DER. */
  readonly certificateRequest: Uint8Array;
  readonly name: string;
  readonly meshAddress: string;
  readonly gossipAddress: string;
  /** See NodeRecord. */
  readonly frameKey: Uint8Array;
  readonly frameKeySignature: Uint8Array;
}

export interface JoinGrant {
  readonly nodeId: string;
  readonly role: NodeRole;
  /** PEM: its certificate and what signed it, up to the root. */
  readonly certificatePem: string;
  /** PEM, all that are trusted, the signing one first. */
  readonly roots: readonly string[];
  readonly revocationLists: readonly string[];
  /** The first seals. */
  readonly gossipKeys: readonly Uint8Array[];
  /** Of every node that is or was in the mesh, its own included. */
  readonly nodes: readonly NodeRecord[];
  /** For an authority: the CA's key, sealed; else empty. */
  readonly sealedAuthority: string;
}

/** A node's next certificate, PEM as in a grant, for a request in DER. Fails as IdentityError. */
export type Renew = (nodeId: string, certificateRequest: Uint8Array) => Promise<string>;

export type JoinAnswer =
  | { readonly kind: 'granted'; readonly grant: JoinGrant }
  /** What the joiner's operator is told: nothing that helps to guess. */
  | { readonly kind: 'refused'; readonly reason: string; readonly retryAfterMs?: number };

/** source: the joiner's IP address. */
export type Admit = (request: JoinRequest, source: string) => Promise<JoinAnswer>;

/** Who is alive. */
export interface Gossip {
  members(): readonly GossipMember[];
  /** Exchanges state with these ("192.0.2.1:7401"), and keeps them as seeds. How many answered. */
  join(addresses: readonly string[]): Promise<number>;
  /** Says good-bye, for at most so long; then close(). */
  leave(timeoutMs: number): Promise<void>;
  close(): Promise<void>;
}
