// SPDX-License-Identifier: Apache-2.0
/** What a node has of a mesh, while it is in one; the other modules here each do one thing with it. */
import type { Tuning } from '@marcher/swim';
import type { MeshServer } from '../adapters/inbound/mesh/mesh-server.js';
import type { RelayDoorOptions } from '../adapters/inbound/mesh/relay-door.js';
import type { JoinTokens } from '../adapters/outbound/identity/join-tokens.js';
import type { MeshTls, MeshTlsMaterial } from '../adapters/outbound/identity/mesh-tls.js';
import type { FrameSigner, FrameVerifier } from '../adapters/outbound/mesh/frame-keys.js';
import type { MeshGossip } from '../adapters/outbound/mesh/gossip.js';
import type { JudgedPeerLinks } from '../adapters/outbound/mesh/peer-links.js';
import type { RelayLinks } from '../adapters/outbound/mesh/relay-links.js';
import type { SqliteConfigStore } from '../adapters/outbound/sqlite/sqlite-config-store.js';
import type { AuditHeads } from '../application/audit/heads.js';
import type { BackendLoads } from '../application/mesh/backend-loads.js';
import type { ClientCertificates } from '../application/mesh/client-certificates.js';
import type { Clusters } from '../application/mesh/clusters.js';
import type { ReplicationLog } from '../application/mesh/event-log.js';
import type { Project } from '../application/mesh/follower.js';
import type { Nodes } from '../application/mesh/nodes.js';
import type { CellsByCluster } from '../application/mesh/projection.js';
import type { Replication } from '../application/mesh/replication.js';
import type { MeshSettings } from '../config.js';
import type { GossipKeyring } from '../domain/identity/gossip-keyring.js';
import type { Revocations } from '../domain/identity/revocation.js';
import type { NodeState } from '../domain/mesh/node-state.js';
import type { ReplicaStore } from '../domain/replication/contract.js';
import type { IdentityFiles, MeshIdentity } from '../mesh-identity.js';
import type { AuditLog, AuditTrail } from '../ports/audit.js';
import { IdentityError, type NodeCredentials } from '../ports/identity.js';
import { ApplicationError } from '../ports/use-cases.js';
import type { SharedLoads } from './backend-loads.js';
import type { MeshCa } from './ca.js';
import type { Certificates } from './certificates.js';
import type { GossipKeys } from './keys.js';
import type { Timers } from './timers.js';

export interface MeshOptions {
  readonly settings: MeshSettings;
  readonly stateDir: string;
  readonly nodeName: string;
  readonly store: SqliteConfigStore;
  readonly follow: (project: Project) => Promise<void>;
  /** Runs work when no change is being made. */
  readonly exclusively: <T>(work: () => Promise<T>) => Promise<T>;
  /** What this node shows to operators elsewhere, and whom it takes for one: at first, and when it changes. */
  readonly onMaterial?: ((material: MeshTlsMaterial) => void) | undefined;
  /** Users or API keys have changed, here or elsewhere. */
  readonly onAccess?: () => void;
  /** The API's, for calls that other members pass on. Absent: they are not taken. */
  readonly answer?: RelayDoorOptions['answer'];
  /** How this node is doing. */
  readonly observe: () => Promise<NodeState>;
  /** What is open to backends here, and elsewhere. Absent: nothing of it is shared. */
  readonly loads?: () => BackendLoads;
  /** Backends in its configuration. */
  readonly backends: () => number;
  /** Absent: that of a local network. */
  readonly gossipTuning?: Tuning;
  /** How long replaced keys of gossip still open what comes in; absent: as GossipKeys has it. */
  readonly keepKeysMs?: number;
  /** How long a root has signed before those before it are retired; absent: as MeshCa has it. */
  readonly settleRootsMs?: number;
  readonly log: ReplicationLog & { debug(fields: object, message: string): void };
  /** Absent: nothing is audited. */
  readonly audit?: { readonly log: AuditLog; readonly trail: AuditTrail };
}

export interface Part {
  readonly options: MeshOptions;
  readonly files: IdentityFiles;
  readonly timers: Timers;
  readonly identity: MeshIdentity;
  readonly cells: ReplicaStore;
  /** Of each cluster that this node is in; '': cells. */
  readonly stores: CellsByCluster;
  readonly nodes: Nodes;
  readonly clusters: Clusters;
  readonly clients: ClientCertificates;
  /** Of services. */
  readonly certificates: Certificates;
  readonly replication: Replication;
  readonly verifier: FrameVerifier;
  readonly signer: FrameSigner;
  readonly tls: MeshTls;
  readonly tokens: JoinTokens;
  /** undefined: nothing is audited. */
  readonly auditHeads: AuditHeads | undefined;
  credentials: NodeCredentials;
  keyring: GossipKeyring;
  revocations: Revocations;
  lists: readonly string[];
  /** Why its certificate, which is past half of its life, is not renewed; empty: there is no need. */
  renewFailure: string;
  /** From when it runs. */
  keys?: GossipKeys;
  ca?: MeshCa;
  loads?: SharedLoads;
  gossip?: MeshGossip;
  links?: JudgedPeerLinks;
  relays?: RelayLinks;
  server?: MeshServer;
}

/** What the use cases fail with. */
export function applicationError(error: unknown): unknown {
  if (!(error instanceof IdentityError)) return error;
  const code = error.code === 'invalid' ? 'invalid' : error.code === 'io' ? 'unavailable' : 'refused';
  return new ApplicationError(code, error.message);
}
