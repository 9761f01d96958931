/**
 * What the inbound adapters (gRPC, HTTP, file watch) may ask of the application. Messages are those of the API
 * (shared/proto), so that nothing is mapped twice; expected failures are thrown as ApplicationError.
 */
import type { Object$, ObjectKind, Service } from '@marcher/model';
import type {
  ApplyTiming,
  Condition,
  ObjectDiff,
  ObjectResource,
  Revision,
  ServiceResource,
  Violation,
} from '@marcher/proto/marcher/v1/config_service_pb';
import type {
  BackendStatus,
  ServiceTier,
  StatusResponse,
  TierAvailability,
} from '@marcher/proto/marcher/v1/node_service_pb';
import type { Connection, LogEntry, ServiceStats } from '@marcher/proto/marcher/v1/traffic_service_pb';
import type { Touched, Verdict } from '../domain/access/authorize.js';
import type { AccessUseCases, Via } from './access.js';
import type { AuditUseCases } from './audit.js';
import type { CertificateUseCases } from './certificates.js';
import type { MeshUseCases } from './mesh.js';
import type { ObserveUseCases } from './observe.js';

/** Who asks, as the transport has established it. Goes into the history. */
export interface Caller {
  /** "root (uid 0)", "file:/etc/marcher/config.yaml", "tcp:127.0.0.1:40112" */
  readonly author: string;
  readonly origin: 'api' | 'file' | 'revert';
  /** How that was established; "tls": it was not, of somebody from elsewhere. Absent: it was the agent itself. */
  readonly via?: Via | 'file' | 'tls';
  /** IP address; absent or empty: this machine. */
  readonly source?: string;
  /** Whether it may change all of these. Absent: it is this machine's own, such as its file, and may change everything. */
  readonly permits?: (touched: Iterable<Touched>) => Verdict;
}

/**
 * marcher.v1.Change; services may also be packed, as they came, or be made one by one as they are needed: a large
 * configuration needs not be in memory decoded. Packed ones are not even decoded when they are what is stored already.
 */
export interface RequestedChange {
  readonly upsert: Iterable<Service | Uint8Array>;
  readonly remove: readonly string[];
  /** Those that are not in upsert and upsertObjects are removed. */
  readonly replaceAll: boolean;
  /** Of the other kinds. */
  readonly upsertObjects?: Iterable<Object$>;
  readonly removeObjects?: readonly { readonly kind: string; readonly name: string }[];
}

export interface PlanResult {
  readonly version: bigint;
  readonly diffs: ObjectDiff[];
  readonly violations: Violation[];
}

/** Of other nodes of the mesh that have a change on disk. */
export interface Acks {
  readonly count: number;
  /** The answer does not wait longer for them. */
  readonly timeoutMs: number;
}

export interface RevertOptions {
  /** 0n: whatever the version is now. */
  readonly expectedVersion: bigint;
  readonly message: string;
  /** Absent: nobody is waited for. */
  readonly acks?: Acks | undefined;
}

export interface ApplyOptions extends RevertOptions {
  readonly omitDiff: boolean;
}

export interface ApplyResult {
  readonly version: bigint;
  readonly changed: boolean;
  readonly diffs: ObjectDiff[];
  readonly timing: ApplyTiming;
  /** How many acknowledged it in time; 0 when that was not asked for. The change is in force anyway. */
  readonly acks: number;
}

export type WatchEvent =
  | { readonly kind: 'upsert'; readonly resource: ServiceResource; readonly version: bigint }
  | { readonly kind: 'remove'; readonly name: string; readonly version: bigint }
  | { readonly kind: 'upsertObject'; readonly resource: ObjectResource; readonly version: bigint }
  | {
      readonly kind: 'removeObject';
      readonly key: { readonly kind: ObjectKind; readonly name: string };
      readonly version: bigint;
    }
  | { readonly kind: 'synced'; readonly version: bigint }
  | { readonly kind: 'heartbeat'; readonly version: bigint }
  | { readonly kind: 'resync'; readonly version: bigint };

export interface ConfigUseCases {
  /** Told of what the caller may not change in the same words as by apply(). */
  plan(change: RequestedChange, caller?: Caller): Promise<PlanResult>;
  apply(change: RequestedChange, options: ApplyOptions, caller: Caller): Promise<ApplyResult>;
  get(name: string): ServiceResource | undefined;
  list(query: { pageSize: number; pageToken: string; labels: Readonly<Record<string, string>> }): {
    resources: ServiceResource[];
    nextPageToken: string;
    total: number;
    version: bigint;
  };
  /** Absent: of every kind, and of every name. */
  listObjects(query: { kind: ObjectKind | undefined; name: string | undefined }): {
    resources: ObjectResource[];
    version: bigint;
  };
  /** Ends when the signal aborts. Bounded: a reader that is too slow gets 'resync' and a new snapshot. */
  watch(resumeVersion: bigint, signal: AbortSignal): AsyncIterable<WatchEvent>;
  history(query: { limit: number; beforeVersion: bigint; withDiff: boolean }): Revision[];
  revert(
    version: bigint,
    options: RevertOptions,
    caller: Caller,
  ): Promise<Pick<ApplyResult, 'version' | 'diffs' | 'acks'>>;
  readonly version: bigint;
}

export interface NodeUseCases {
  /** With traffic: what each tier has carried, counted over all services. */
  status(options?: { withTraffic: boolean }): StatusResponse;
  tiers(service: string): { services: ServiceTier[]; tiers: TierAvailability[] };
  /** Both empty: the node. Kept over restarts. Returns the connections that are open now. */
  drain(target: { service: string; backend: string }, caller: Caller): Promise<number>;
  undrain(target: { service: string; backend: string }, caller: Caller): Promise<void>;
  backends(service: string): Promise<BackendStatus[]>;
  /** Empty when the node is ready for traffic; otherwise why not. */
  unreadiness(): Condition[];
}

/** What XDP has forwarded and dropped since its maps were made. */
export interface PacketTraffic {
  readonly backends: readonly {
    readonly tier: 'xdp' | 'tc';
    readonly service: string;
    readonly backend: string;
    readonly packets: bigint;
    readonly bytes: bigint;
    /** From the backend; 0 where it answers past this node. */
    readonly returnedPackets: bigint;
    readonly returnedBytes: bigint;
  }[];
  readonly drops: readonly { readonly reason: string; readonly packets: bigint }[];
}

export interface TrafficUseCases {
  /** Counters of one service, or all, summed over workers. */
  stats(service: string, withBackends: boolean): ServiceStats[];
  packets(): PacketTraffic;
  readonly eventsDropped: bigint;
  connections(service: string, limit: number): Promise<{ connections: Connection[]; total: number }>;
  /** The last entries, then (follow) new ones until the signal aborts. */
  logs(
    query: { service: string; tail: number; follow: boolean },
    signal: AbortSignal,
  ): AsyncIterable<{ entry: LogEntry; dropped: bigint }>;
}

export interface UseCases {
  readonly config: ConfigUseCases;
  readonly node: NodeUseCases;
  readonly traffic: TrafficUseCases;
  /** Absent: nobody can (in tests). */
  readonly observe?: ObserveUseCases | undefined;
  /** Absent: the agent was started without --mesh. */
  readonly mesh?: MeshUseCases | undefined;
  /** Absent: nothing is audited (in tests). */
  readonly audit?: AuditUseCases | undefined;
  /** Of services. Absent: the agent was started without --mesh. */
  readonly certificates?: CertificateUseCases | undefined;
  /** Absent: nobody is known but by the socket. */
  readonly access?: AccessUseCases | undefined;
}

export type ApplicationErrorCode =
  | 'not_found'
  | 'conflict' // the version has moved
  | 'invalid' // violations say why
  | 'refused' // by the data plane; violations say why
  | 'denied' // this caller may not
  | 'slowed' // after too many attempts: not before a time
  | 'unavailable'; // store or engine can't serve now

/** An expected failure: what was wrong, and what to do. */
export class ApplicationError extends Error {
  readonly code: ApplicationErrorCode;
  readonly violations: readonly Violation[];

  constructor(code: ApplicationErrorCode, message: string, violations: readonly Violation[] = []) {
    super(message);
    this.name = 'ApplicationError';
    this.code = code;
    this.violations = violations;
  }
}
