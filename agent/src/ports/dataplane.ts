/**
 * The data plane as the application sees it: one engine that runs a snapshot, keeps serving without us, and tells what
 * happened. Two adapters pass the same compliance suite: libmarcher (adapters/outbound/dataplane/dataplane.ts) and a
 * deterministic in-memory one for tests (in-memory.ts).
 *
 * A refused snapshot is an answer (`accepted: false` with reasons), not an error. Everything else that fails is a
 * DataplaneError.
 */
import type {
  ApplyReply,
  BackendState,
  ConnectionList,
  ServiceLoadElsewhere,
} from '@marcher/proto/marcher/engine/v1/control_pb';
import type { Snapshot } from '@marcher/proto/marcher/engine/v1/snapshot_pb';
import type { Steering } from '../domain/steering.js';

export interface ApplySnapshotOptions {
  /** A listener that can't be bound is retried by the engine instead of refusing the snapshot. For restores. */
  readonly tolerateBindErrors: boolean;
}

export interface EngineStatus {
  /** Connected and answering. */
  readonly running: boolean;
  readonly pid: number;
  readonly workers: number;
  /** Restarts after crashes or hangs since this process opened the data plane. */
  readonly restarts: number;
  /** It was running before this process. */
  readonly adopted: boolean;
  /** Older engines that still drain. */
  readonly retiring: number;
  readonly generation: bigint;
  /** Generation of the last good snapshot that the engine would restart on; 0n: none. */
  readonly savedGeneration: bigint;
  /** The last snapshot that kept ending the engine, so that it went back to the one before; 0n: none. */
  readonly setAsideGeneration: bigint;
  readonly startedUnixMs: number;
  readonly memoryBytes: number;
  readonly eventsDropped: bigint;
  /** Listening sockets of the engine, and how many of them are kept open here in case it crashes (all or none). */
  readonly listeningSockets: number;
  readonly bankedSockets: number;
  readonly version: string;
  /** SHA-256 of the executable. */
  readonly buildId: string;
  /** What is wrong now or was last, for operators; empty when nothing was. */
  readonly lastError: string;
}

export const SlotKind = { service: 1, backend: 2, listener: 3 } as const;
export type SlotKind = (typeof SlotKind)[keyof typeof SlotKind];

/** Indices into a slot's counters. */
export const Counter = {
  connectionsOpened: 0,
  connectionsClosed: 1,
  bytesReceived: 2,
  bytesSent: 3,
  connectFailures: 4,
  connectRetries: 5,
  rejected: 6,
  noBackend: 7,
  resetsClient: 8,
  resetsBackend: 9,
  idleTimeouts: 10,
  udpPacketsReceived: 11,
  udpPacketsSent: 12,
  udpDropped: 13,
  healthPassed: 14,
  healthFailed: 15,
  ejections: 16,
  splicedBytes: 17,
  connectUsSum: 18,
  proxyHeaderErrors: 19,
  halfClosedTimeouts: 20,
  drainClosed: 21,
  throttledUs: 22,
  throttledBytes: 23,
  rateDropped: 24,
  rateRefused: 25,
  ecnMarked: 26,
} as const;
export type Counter = (typeof Counter)[keyof typeof Counter];

export interface SlotName {
  readonly slot: number;
  readonly kind: SlotKind;
  readonly service: string;
  /** Backend or listener; empty for a service. */
  readonly name: string;
}

/** Counters of one service, backend or listener, summed over workers. They restart at 0 with a new engine. */
export interface SlotStats extends SlotName {
  counter(index: Counter): bigint;
  /** Connect times: bucket i counts [2^i, 2^(i+1)) µs; the first from 0, the last (31) open. */
  connectUs(bucket: number): bigint;
  /** All of these as they stand in memory: equal bytes where nothing was counted. */
  readonly counts: Uint8Array;
}

/** A BackendState that is not decoded. */
export interface PackedBackend {
  readonly service: string;
  readonly backend: string;
  /** Equal bytes where nothing has changed. */
  readonly packed: Uint8Array;
}

export const CONNECT_US_BUCKETS = 32;

export const EventKind = {
  connectionOpened: 1,
  connectionClosed: 2,
  healthChanged: 3,
  listenerChanged: 4,
  backendEjected: 5,
  dnsChanged: 6,
  engine: 7,
} as const;
export type EventKind = (typeof EventKind)[keyof typeof EventKind];

export const CloseReason = {
  normal: 0,
  clientReset: 1,
  backendReset: 2,
  idleTimeout: 3,
  halfClosedTimeout: 4,
  connectTimeout: 5,
  connectFailed: 6,
  noBackend: 7,
  limit: 8,
  proxyHeader: 9,
  drained: 10,
  noMemory: 11,
  engineStop: 12,
  rate: 13,
} as const;
export type CloseReason = (typeof CloseReason)[keyof typeof CloseReason];

export interface EngineEvent {
  readonly timeUnixUs: bigint;
  readonly connectionId: bigint;
  /** For slotName(); stays valid for 10 s after the engine that wrote it has ended and its events were read. */
  readonly serviceSlot: number;
  /** 0: none. */
  readonly backendSlot: number;
  readonly kind: EventKind;
  /** A CloseReason; for health: 0 unhealthy, 1 healthy; for listeners: 1 bound. */
  readonly reason: number;
  readonly transport: 'tcp' | 'udp' | '';
  /** 255: the engine's main thread. */
  readonly worker: number;
  readonly retries: number;
  /** "203.0.113.7:40112", "[2001:db8::1]:443", "unix", or empty. */
  readonly client: string;
  readonly local: string;
  readonly upstream: string;
  readonly bytesReceived: bigint;
  readonly bytesSent: bigint;
  readonly durationUs: bigint;
  readonly connectUs: number;
  readonly message: string;
}

/** Events as they came, 256 bytes each; one is decoded only when it is asked for. */
export interface EventBatch {
  readonly length: number;
  /** Lost since the data plane was opened, because a ring was full. */
  readonly dropped: bigint;
  at(index: number): EngineEvent;
  /** at(index).kind, for less: there may be a hundred thousand events per second. */
  kind(index: number): EventKind;
}

export interface SelfCheck {
  readonly ok: boolean;
  readonly libraries: readonly { symbol: string; expected: string; resolved: string; ok: boolean }[];
  /** Symbols or libraries of TLS or HTTP that must not be there. */
  readonly forbidden: readonly string[];
}

export interface Dataplane {
  /** Whether prefixes and ranges of ports can be steered to one group of sockets each. */
  readonly steering: Steering;
  /** Resolves with the engine's answer, also when it refused. One call at a time is in flight; others wait. */
  apply(snapshot: Snapshot | Uint8Array, options: ApplySnapshotOptions): Promise<ApplyReply>;
  /** Empty service: all. */
  connections(service: string, limit: number): Promise<ConnectionList>;
  backends(service: string): Promise<BackendState[]>;
  /** All of them, decoded by whoever needs that: there may be a hundred thousand. */
  packedBackends(): Promise<Iterable<PackedBackend>>;
  /**
   * What other nodes have open to backends, for least connections: replaces what was said of these services, and counts for
   * so long, at most a minute. A service that does not run is passed over. Rejects as protocol by an engine before 0024.
   */
  loadElsewhere(services: readonly ServiceLoadElsewhere[], validMs: number): Promise<void>;
  status(): EngineStatus;
  /**
   * Read in batches while it is iterated; activeOnly leaves out what never counted anything (and is cheap for it). passing:
   * a record is good until the next one is asked for, and costs no memory.
   */
  stats(options: { activeOnly: boolean; passing?: boolean }): Iterable<SlotStats>;
  slotName(slot: number): SlotName | undefined;
  /** Moves up to max events (default 4,096) out of the rings. Those of an engine that has ended come first. */
  events(max?: number): EventBatch;
  /** SHA-256 of the executable that an upgrade would start now, as hexadecimal digits. */
  installedBuildId(): Promise<string>;
  /** Replaces the engine without losing a connection; the old one drains. On failure the old one stays. */
  upgrade(options: { enginePath?: string; drainMs: number }): Promise<void>;
  /** Tells the engine to drain and end. It is not restarted. */
  stop(drainMs: number): Promise<void>;
  /** Lets go; the engine carries on. */
  close(): Promise<void>;
  selfCheck(): SelfCheck;
}

export type DataplaneErrorCode =
  | 'invalid'
  | 'system'
  | 'no-engine'
  | 'timeout'
  | 'protocol'
  | 'busy' // another agent holds this run directory
  | 'no-memory'
  | 'closed';

export class DataplaneError extends Error {
  readonly code: DataplaneErrorCode;

  constructor(code: DataplaneErrorCode, message: string) {
    super(message);
    this.name = 'DataplaneError';
    this.code = code;
  }
}
