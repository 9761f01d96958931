// SPDX-License-Identifier: Apache-2.0
/**
 * A mesh as a console shows it: what all of its agents say, merged, and of each how well it is known. Runs in a browser as
 * well as in Node.js: sockets, clocks and chance come from outside.
 *
 *   entry agent ──members──▶ Fleet ──one Observe stream per node──▶ NodeView ──merge──▶ FleetState ──▶ console
 *
 * Everything in a FleetState is immutable, and what has not changed is the same object as before, so that a view that
 * compares by identity draws what has changed and nothing else.
 */
import type { Client } from '@connectrpc/connect';
import type { AccessService } from '@marcher/proto/marcher/v1/access_service_pb';
import type { AuditService } from '@marcher/proto/marcher/v1/audit_service_pb';
import type { CertificateService } from '@marcher/proto/marcher/v1/certificate_service_pb';
import type { Condition, ConfigService } from '@marcher/proto/marcher/v1/config_service_pb';
import type { Member, MeshService } from '@marcher/proto/marcher/v1/mesh_service_pb';
import type { Object$, Service } from '@marcher/proto/marcher/v1/model_pb';
import type {
  BackendStatus,
  NodeService,
  ServiceTier,
  StatusResponse,
  TierAvailability,
} from '@marcher/proto/marcher/v1/node_service_pb';
import type { ObserveService } from '@marcher/proto/marcher/v1/observe_service_pb';
import type { TrafficService } from '@marcher/proto/marcher/v1/traffic_service_pb';

/** The calls of one agent. Failures are AgentErrors. */
export interface AgentCalls {
  readonly observe: Client<typeof ObserveService>;
  readonly config: Client<typeof ConfigService>;
  readonly node: Client<typeof NodeService>;
  readonly traffic: Client<typeof TrafficService>;
  readonly mesh: Client<typeof MeshService>;
  readonly audit: Client<typeof AuditService>;
  readonly access: Client<typeof AccessService>;
  readonly certificates: Client<typeof CertificateService>;
}

/** How agents are reached. */
export interface Reach {
  /** The one that the person has chosen. */
  readonly entry: AgentCalls;
  /** Another member, by its id: on a way of its own, or through the entry agent. */
  node(nodeId: string): AgentCalls;
}

/** Time and chance. */
export interface Ambient {
  /** Unix time. */
  nowMs(): number;
  /** Gives what cancels it. */
  after(ms: number, run: () => void): () => void;
  /** 0 to 1. */
  random(): number;
}

/** A node's id (16 hex digits), or where it is in no mesh its name after "name:". */
export type NodeKey = string;

/** How well what is shown of a node is known. */
export type Link =
  /** Nothing has been heard yet. */
  | { readonly kind: 'connecting'; readonly sinceMs: number }
  | { readonly kind: 'live'; readonly sinceMs: number }
  /** What is shown is as it was then; it is tried again. */
  | { readonly kind: 'stale'; readonly sinceMs: number; readonly reason: string; readonly retryAtMs: number }
  /** It does not want this caller, or is too old to be observed: tried again when asked to, and seldom. */
  | { readonly kind: 'refused'; readonly sinceMs: number; readonly reason: string; readonly retryAtMs: number };

/** Per second, over the last batches. */
export interface Rates {
  readonly connections: number;
  /** From clients, and to them. */
  readonly bytesReceived: number;
  readonly bytesSent: number;
  /** Datagrams and frames, from clients, and to them. */
  readonly packetsReceived: number;
  readonly packetsSent: number;
  /** Connections that a client was let down with: no backend, limit, connect failure, reset by the backend. */
  readonly failures: number;
}

/** Open connections, and how fast things move. */
export interface Flow extends Rates {
  readonly open: number;
}

export interface NodeView {
  readonly key: NodeKey;
  readonly name: string;
  /** The one that this console was started with. */
  readonly isEntry: boolean;
  readonly link: Link;
  /** Unix time of what is shown, by the clock of this machine. undefined: nothing is. */
  readonly heardMs: number | undefined;
  /** As the entry agent sees it. undefined: it is in no mesh, or not a member any more. */
  readonly member: Member | undefined;
  readonly status: StatusResponse | undefined;
  /** Of the configuration there. */
  readonly version: bigint;
  readonly availability: readonly TierAvailability[];
  /** All of its services together. */
  readonly flow: Flow | undefined;
  /** The last totals of flow, oldest first, one per publication that moved it: for sparklines. At most HISTORY_MAX. */
  readonly history: readonly Flow[];
}

/** An object on one node. */
export interface ObjectOnNode {
  readonly generation: bigint;
  /** Whether it declares there what most of the fresh nodes have. */
  readonly same: boolean;
  readonly unmet: readonly Condition[];
}

interface ObjectViewOf<Declared> {
  readonly name: string;
  /** As the entry agent has it, or else another that is asked for whole. undefined: nobody has said it yet. */
  readonly declared: Declared | undefined;
  readonly nodes: ReadonlyMap<NodeKey, ObjectOnNode>;
  /** 'differs': fresh nodes have it in several forms, or some that hold its cluster lack it. */
  readonly agreement: 'same' | 'differs';
}

export interface ServiceView extends ObjectViewOf<Service> {
  readonly kind: 'Service';
  /** By node. */
  readonly tiers: ReadonlyMap<NodeKey, ServiceTier>;
  readonly flows: ReadonlyMap<NodeKey, Flow>;
  /** Over nodes that are live. */
  readonly flow: Flow;
  /** Of services that somebody watches; of others empty. */
  readonly history: readonly Flow[];
  /** Of its backends: how many at least one live node finds healthy, how many of those another one finds unhealthy, and how many there are. */
  readonly healthyBackends: number;
  readonly mixedBackends: number;
  readonly backends: number;
}

export interface ObjectView extends ObjectViewOf<Object$> {
  readonly kind: 'Guard' | 'TrafficPolicy';
}

export interface BackendView {
  /** "service/backend" */
  readonly key: string;
  readonly service: string;
  readonly backend: string;
  readonly nodes: ReadonlyMap<NodeKey, BackendStatus>;
  /** Over nodes that are live. */
  readonly connections: number;
  readonly health: 'healthy' | 'unhealthy' | 'mixed' | 'unknown';
  readonly draining: 'no' | 'yes' | 'some';
}

/** "47 of 50 nodes; 3 stale for 12 s" */
export interface Coverage {
  readonly nodes: number;
  readonly live: number;
  readonly stale: number;
  readonly refused: number;
  readonly connecting: number;
  /** The one that was heard of longest ago. undefined: all are live, or never were. */
  readonly oldestMs: number | undefined;
}

export interface FleetState {
  /** Grows with each state that differs from the one before. */
  readonly revision: number;
  readonly atMs: number;
  readonly mesh: { readonly id: string; readonly name: string } | undefined;
  readonly coverage: Coverage;
  /** By name. */
  readonly nodes: ReadonlyMap<NodeKey, NodeView>;
  readonly services: ReadonlyMap<string, ServiceView>;
  /** By "Kind/name". */
  readonly objects: ReadonlyMap<string, ObjectView>;
  readonly backends: ReadonlyMap<string, BackendView>;
  readonly flow: Flow;
  readonly history: readonly Flow[];
  /** Different digests of the effective configuration among nodes that are live and in the same clusters; 1: they agree. */
  readonly configurations: number;
  readonly paused: boolean;
}

export const HISTORY_MAX = 120;

export interface FleetOptions {
  readonly reach: Reach;
  readonly ambient: Ambient;
  /**
   * Between two states, and what agents are asked for: 100 to 10,000. Default 500. Of more than 12 nodes at 500 each is asked more seldom, so
   * that all of them send 25 batches a second.
   */
  readonly intervalMs?: number;
  /** Nodes whose stream is opened at the same time. Default 16. */
  readonly dialsMax?: number;
}
