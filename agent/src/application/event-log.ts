// SPDX-License-Identifier: Apache-2.0
/**
 * The last events of the data plane, and new ones to whoever follows. Events stay as the engine wrote them, 256 bytes
 * each in batches, and become messages only when somebody reads them: a node that opens 50,000 connections per second
 * writes 100,000 events, which nobody may be looking at.
 *
 * An event names service and backend by their slots. Slots change owner when services come and go, so their names are
 * looked up before that (settle()), and else when an event is decoded.
 */
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { type LogEntry, LogEntrySchema, LogKind } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { CloseReason, type EngineEvent, type EventBatch, EventKind, type SlotName } from '../ports/dataplane.js';

const KEPT_MAX = 10_000;
/** Entries that a follower may be behind before it loses some. */
const FOLLOWER_QUEUE_MAX = 4_096;

const CLOSE_REASONS: Readonly<Record<number, string>> = {
  [CloseReason.normal]: 'closed',
  [CloseReason.clientReset]: 'client-reset',
  [CloseReason.backendReset]: 'backend-reset',
  [CloseReason.idleTimeout]: 'idle-timeout',
  [CloseReason.halfClosedTimeout]: 'half-closed-timeout',
  [CloseReason.connectTimeout]: 'connect-timeout',
  [CloseReason.connectFailed]: 'connect-failed',
  [CloseReason.noBackend]: 'no-backend',
  [CloseReason.limit]: 'limit',
  [CloseReason.proxyHeader]: 'proxy-header',
  [CloseReason.drained]: 'drained',
  [CloseReason.noMemory]: 'no-memory',
  [CloseReason.engineStop]: 'engine-stop',
  [CloseReason.rate]: 'rate',
};

const KINDS: Readonly<Record<number, LogKind>> = {
  [EventKind.connectionOpened]: LogKind.CONNECTION_OPENED,
  [EventKind.connectionClosed]: LogKind.CONNECTION_CLOSED,
  [EventKind.healthChanged]: LogKind.HEALTH_CHANGED,
  [EventKind.listenerChanged]: LogKind.LISTENER_CHANGED,
  [EventKind.backendEjected]: LogKind.BACKEND_EJECTED,
  [EventKind.dnsChanged]: LogKind.DNS_CHANGED,
  [EventKind.engine]: LogKind.ENGINE,
};

const NOTICED: ReadonlySet<number> = new Set([
  EventKind.listenerChanged,
  EventKind.healthChanged,
  EventKind.backendEjected,
]);

function reasonText(event: EngineEvent): string {
  switch (event.kind) {
    case EventKind.connectionClosed:
      return CLOSE_REASONS[event.reason] ?? `reason ${event.reason}`;
    case EventKind.healthChanged:
      return event.reason === 1 ? 'healthy' : 'unhealthy';
    case EventKind.listenerChanged:
      return event.reason === 1 ? 'bound' : 'not-bound';
    default:
      return '';
  }
}

interface Kept {
  readonly batch: EventBatch;
  /** Slots' names, once these may have changed since. */
  names?: ReadonlyMap<number, SlotName | undefined>;
}

interface Follower {
  readonly service: string;
  readonly queue: LogEntry[];
  dropped: bigint;
  wake: () => void;
}

export interface EventSource {
  events(max?: number): EventBatch;
  slotName(slot: number): SlotName | undefined;
}

/** Told while events are collected. */
export interface EventCallbacks {
  readonly onListener: (change: ListenerChange) => void;
  /** An address of a backend of the service became healthy or unhealthy. */
  readonly onHealth?: (service: string) => void;
  /** A backend of the service takes no connections for a while, because of what it answered. */
  readonly onEjected?: (service: string) => void;
}

export interface ListenerChange {
  readonly service: string;
  readonly bound: boolean;
  readonly message: string;
}

export class EventLog {
  readonly #source: EventSource;
  readonly #callbacks: EventCallbacks;
  #batches: Kept[] = [];
  #kept = 0;
  #dropped = 0n;
  readonly #followers = new Set<Follower>();

  constructor(source: EventSource, callbacks: EventCallbacks) {
    this.#source = source;
    this.#callbacks = callbacks;
  }

  /** Moves what the rings have into the log; to be called often enough for them not to fill up. Returns how many. */
  collect(max?: number): number {
    const batch = this.#source.events(max);
    const lost = batch.dropped - this.#dropped;
    if (lost > 0n) {
      this.#dropped = batch.dropped;
      for (const follower of this.#followers) follower.dropped += lost;
    }
    if (batch.length === 0) return 0;
    const kept: Kept = { batch };
    this.#batches.push(kept);
    this.#kept += batch.length;
    while (this.#kept - (this.#batches[0]?.batch.length ?? 0) >= KEPT_MAX) {
      this.#kept -= this.#batches.shift()?.batch.length ?? 0;
    }
    this.#notice(batch);
    if (this.#followers.size > 0) {
      for (let i = 0; i < batch.length; i++) this.#distribute(this.#decode(kept, i));
    }
    return batch.length;
  }

  /** Listeners concern the status of the node, health what the packet tiers forward to, and all that what consoles show. */
  #notice(batch: EventBatch): void {
    const { onListener, onHealth, onEjected } = this.#callbacks;
    for (let i = 0; i < batch.length; i++) {
      const kind = batch.kind(i);
      if (!NOTICED.has(kind)) continue;
      const event = batch.at(i);
      const service = this.#source.slotName(event.serviceSlot)?.service ?? '';
      if (service === '') continue;
      if (kind === EventKind.listenerChanged)
        onListener({ service, bound: event.reason === 1, message: event.message });
      else if (kind === EventKind.healthChanged) onHealth?.(service);
      else onEjected?.(service);
    }
  }

  #distribute(entry: LogEntry): void {
    for (const follower of this.#followers) {
      if (follower.service !== '' && follower.service !== entry.service) continue;
      if (follower.queue.length >= FOLLOWER_QUEUE_MAX) follower.dropped++;
      else follower.queue.push(entry);
      follower.wake();
    }
  }

  #decode({ batch, names }: Kept, index: number): LogEntry {
    const event = batch.at(index);
    const nameOf = (slot: number): SlotName | undefined => {
      if (slot === 0) return undefined;
      return names === undefined ? this.#source.slotName(slot) : names.get(slot);
    };
    const service = nameOf(event.serviceSlot);
    const backend = nameOf(event.backendSlot);
    return create(LogEntrySchema, {
      time: timestampFromMs(Number(event.timeUnixUs / 1_000n)),
      kind: KINDS[event.kind] ?? LogKind.UNSPECIFIED,
      service: service?.service ?? '',
      backend: backend?.name ?? '',
      client: event.client,
      local: event.local,
      upstream: event.upstream,
      transport: event.transport,
      bytesReceived: event.bytesReceived,
      bytesSent: event.bytesSent,
      durationUs: event.durationUs,
      connectUs: BigInt(event.connectUs),
      retries: event.retries,
      reason: reasonText(event),
      message: event.message,
      connectionId: event.connectionId,
    });
  }

  /** Looks up the names that stand in events so far: slots are about to change owner. */
  settle(): void {
    const names = new Map<number, SlotName | undefined>();
    for (const kept of this.#batches) {
      if (kept.names !== undefined) continue;
      for (let i = 0; i < kept.batch.length; i++) {
        const { serviceSlot, backendSlot } = kept.batch.at(i);
        for (const slot of [serviceSlot, backendSlot]) {
          if (slot !== 0 && !names.has(slot)) names.set(slot, this.#source.slotName(slot));
        }
      }
      kept.names = names;
    }
  }

  #tail(service: string, count: number): LogEntry[] {
    const out: LogEntry[] = [];
    for (let b = this.#batches.length - 1; b >= 0 && out.length < count; b--) {
      const kept = this.#batches[b] as Kept;
      for (let i = kept.batch.length - 1; i >= 0 && out.length < count; i--) {
        const entry = this.#decode(kept, i);
        if (service === '' || entry.service === service) out.push(entry);
      }
    }
    return out.reverse();
  }

  /** The last entries, then (follow) new ones until the signal aborts. */
  async *read(
    query: { service: string; tail: number; follow: boolean },
    signal: AbortSignal,
  ): AsyncGenerator<{ entry: LogEntry; dropped: bigint }> {
    const follower: Follower = { service: query.service, queue: [], dropped: 0n, wake: () => undefined };
    const past = this.#tail(query.service, Math.min(query.tail, KEPT_MAX));
    const wake = (): void => follower.wake();
    if (query.follow) {
      this.#followers.add(follower);
      signal.addEventListener('abort', wake);
    }
    try {
      for (const entry of past) {
        if (signal.aborted) return;
        yield { entry, dropped: 0n };
      }
      while (query.follow && !signal.aborted) {
        const entries = follower.queue.splice(0);
        for (const entry of entries) {
          const { dropped } = follower;
          follower.dropped = 0n;
          yield { entry, dropped };
          if (signal.aborted) return;
        }
        if (follower.queue.length === 0 && !signal.aborted) {
          await new Promise<void>((resolve) => {
            follower.wake = resolve;
          });
          follower.wake = () => undefined;
        }
      }
    } finally {
      signal.removeEventListener('abort', wake);
      this.#followers.delete(follower);
    }
  }
}
