// SPDX-License-Identifier: Apache-2.0
/** The data plane through libmarcher. What blocks there runs off the JavaScript thread, one call at a time and in order. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type ApplyReply,
  ApplyReplySchema,
  type BackendState,
  type ConnectionList,
  ConnectionListSchema,
  type Reply,
  ReplySchema,
  type Request,
  RequestSchema,
  type ServiceLoadElsewhere,
  ServiceLoadElsewhereSchema,
} from '@marcher/proto/marcher/engine/v1/control_pb';
import { type Snapshot, SnapshotSchema } from '@marcher/proto/marcher/engine/v1/snapshot_pb';
import type { Steering } from '../../../domain/steering.js';
import {
  type ApplySnapshotOptions,
  type Dataplane,
  DataplaneError,
  type DataplaneErrorCode,
  type EngineStatus,
  type EventBatch,
  type PackedBackend,
  type SelfCheck,
  type SlotName,
  type SlotStats,
} from '../../../ports/dataplane.js';
import {
  APPLY_TOLERATE_BIND_ERRORS,
  E_REFUSED,
  type Handle,
  Library,
  NativeError,
  type PeerCredentials,
} from './binding.js';
import { EVENT_BYTES, RawEventBatch, SLOT_STATS_BYTES, SlotRecord } from './layout.js';
import { enginePath, libraryPath } from './library.js';
import { packedBackendsOf } from './packed-backends.js';

const DEFAULT_EVENTS = 4096;
const SLOTS_PER_READ = 64;
/** A packet is 64 KiB (dataplane-c/src/ipc/frame.h). */
const REQUEST_BYTES = 60 * 1024;
const ENVELOPE_BYTES = 8;

export interface OpenDataplaneOptions {
  /** Socket, lock, log and last good snapshot of the engine; made with mode 0700. Short: a Unix socket's path is 107 bytes. */
  readonly runDir: string;
  readonly libraryPath?: string | undefined;
  readonly enginePath?: string | undefined;
  /** 0: one per allowed core. */
  readonly workers?: number | undefined;
  readonly cpus?: string | undefined;
  readonly logLevel?: string | undefined;
  readonly requestTimeoutMs?: number | undefined;
  readonly heartbeatMs?: number | undefined;
  /** Whose members may administer the node, for peerCredentials. */
  readonly group?: string | undefined;
  /** Whether sk_lookup steers, and where it is pinned. Not: what an earlier agent has left there goes. */
  readonly steer?: { readonly on: boolean; readonly directory: string } | undefined;
}

export interface OpenedDataplane {
  readonly dataplane: LibmarcherDataplane;
  /** Credentials of the process at the other end of a connected Unix socket. */
  readonly peerCredentials: (fd: number) => PeerCredentials;
}

const CODES: ReadonlySet<string> = new Set<DataplaneErrorCode>([
  'invalid',
  'system',
  'no-engine',
  'timeout',
  'protocol',
  'busy',
  'no-memory',
  'closed',
]);

function asDataplaneError(error: unknown): unknown {
  if (!(error instanceof NativeError)) return error;
  return new DataplaneError(CODES.has(error.code) ? (error.code as DataplaneErrorCode) : 'system', error.message);
}

/** Adopts the engine that runs in runDir, or starts one on the last good snapshot. */
export async function openDataplane(options: OpenDataplaneOptions): Promise<OpenedDataplane> {
  try {
    const library = new Library(libraryPath(options.libraryPath));
    const executable = enginePath(options.enginePath);
    const handle = await library.open({
      workers: options.workers ?? 0,
      request_timeout_ms: options.requestTimeoutMs ?? 0,
      heartbeat_ms: options.heartbeatMs ?? 0,
      engine_path: executable,
      run_dir: options.runDir,
      cpus: options.cpus ?? null,
      log_level: options.logLevel ?? null,
    });
    const group = options.group ?? 'marcher';
    const steering = await steer(library, handle, options.steer);
    return {
      dataplane: new LibmarcherDataplane(library, handle, executable, steering),
      peerCredentials: (fd) => library.peerCredentials(fd, group),
    };
  } catch (error) {
    throw asDataplaneError(error);
  }
}

async function steer(library: Library, handle: Handle, options: OpenDataplaneOptions['steer']): Promise<Steering> {
  const code = options === undefined ? 0 : await library.steer(handle, options.directory, options.on);
  if (!options?.on) return { on: false, reason: 'sk_lookup was not asked for: marcherd --sk-lookup' };
  return code === 0 ? { on: true } : { on: false, reason: library.error(code, handle).message };
}

export class LibmarcherDataplane implements Dataplane {
  readonly steering: Steering;
  readonly #library: Library;
  #handle: Handle | undefined;
  readonly #executable: string;
  /** The end of the queue of blocking calls. */
  #tail: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;
  readonly #eventScratch = new Map<number, Buffer>();

  constructor(library: Library, handle: Handle, executable: string, steering: Steering) {
    this.steering = steering;
    this.#library = library;
    this.#handle = handle;
    this.#executable = executable;
  }

  async apply(snapshot: Snapshot | Uint8Array, options: ApplySnapshotOptions): Promise<ApplyReply> {
    const bytes = snapshot instanceof Uint8Array ? snapshot : toBinary(SnapshotSchema, snapshot);
    return this.#queued(async (handle) => {
      const answer = await this.#library.apply(
        handle,
        bytes,
        options.tolerateBindErrors ? APPLY_TOLERATE_BIND_ERRORS : 0,
      );
      if (answer.code !== 0 && answer.code !== E_REFUSED) throw this.#library.error(answer.code, handle);
      return fromBinary(ApplyReplySchema, answer.reply);
    });
  }

  async connections(service: string, limit: number): Promise<ConnectionList> {
    const reply = await this.#request({ case: 'connections', value: { service, limit } });
    const list = reply.kind.case === 'connections' ? reply.kind.value.list : undefined;
    return list ?? create(ConnectionListSchema);
  }

  async backends(service: string): Promise<BackendState[]> {
    const reply = await this.#request({ case: 'backends', value: { service } });
    return reply.kind.case === 'backends' ? reply.kind.value.backends : [];
  }

  async packedBackends(): Promise<Iterable<PackedBackend>> {
    return packedBackendsOf(await this.#ask({ case: 'backends', value: { service: '' } }));
  }

  async loadElsewhere(services: readonly ServiceLoadElsewhere[], validMs: number): Promise<void> {
    for (const some of packets(services)) {
      await this.#request({ case: 'loadElsewhere', value: { services: some, validMs } });
    }
  }

  status(): EngineStatus {
    const native = this.#now((handle) => this.#library.status(handle));
    return {
      running: native.running === 1,
      pid: native.pid,
      workers: native.workers,
      restarts: native.restarts,
      adopted: native.adopted === 1,
      retiring: native.retiring,
      generation: BigInt(native.generation),
      savedGeneration: BigInt(native.saved_generation),
      setAsideGeneration: BigInt(native.set_aside_generation),
      startedUnixMs: Number(native.started_unix_ms),
      memoryBytes: Number(native.memory_bytes),
      eventsDropped: BigInt(native.events_dropped),
      listeningSockets: native.listening_sockets,
      bankedSockets: native.banked_sockets,
      version: native.version,
      buildId: native.build_id,
      lastError: native.last_error,
    };
  }

  *stats(options: { activeOnly: boolean; passing?: boolean }): Iterable<SlotStats> {
    const cursor: [number] = [0];
    const newBatch = (): Buffer => Buffer.alloc(SLOTS_PER_READ * SLOT_STATS_BYTES);
    const passing = options.passing === true ? newBatch() : undefined;
    for (;;) {
      // Records keep their batch, so each batch has bytes of its own.
      const bytes = passing ?? newBatch();
      const n = this.#now((handle) => this.#library.statsRead(handle, cursor, options.activeOnly, bytes));
      if (n === 0) return;
      for (let i = 0; i < n; i++) yield new SlotRecord(bytes, i);
    }
  }

  slotName(slot: number): SlotName | undefined {
    const bytes = Buffer.alloc(SLOT_STATS_BYTES);
    if (!this.#now((handle) => this.#library.slotName(handle, slot, bytes))) return undefined;
    const { kind, service, name } = new SlotRecord(bytes, 0);
    return { slot, kind, service, name };
  }

  events(max: number = DEFAULT_EVENTS): EventBatch {
    if (!Number.isInteger(max) || max < 1 || max > 1 << 20)
      throw new RangeError(`events: max ${max} is not in 1..1048576`);
    let scratch = this.#eventScratch.get(max);
    if (scratch === undefined) {
      scratch = Buffer.alloc(max * EVENT_BYTES);
      this.#eventScratch.clear(); // one size at a time: callers stay with theirs
      this.#eventScratch.set(max, scratch);
    }
    const into = scratch;
    const dropped: [number | bigint] = [0];
    const n = this.#now((handle) => this.#library.eventsRead(handle, into, dropped));
    return new RawEventBatch(Buffer.from(into.subarray(0, n * EVENT_BYTES)), BigInt(dropped[0]));
  }

  async installedBuildId(): Promise<string> {
    try {
      return createHash('sha256')
        .update(await readFile(this.#executable))
        .digest('hex');
    } catch (error) {
      throw new DataplaneError('system', error instanceof Error ? error.message : String(error));
    }
  }

  async upgrade(options: { enginePath?: string; drainMs: number }): Promise<void> {
    await this.#queued(async (handle) => {
      const code = await this.#library.upgrade(handle, options.enginePath ?? null, options.drainMs);
      if (code !== 0) throw this.#library.error(code, handle);
    });
  }

  async stop(drainMs: number): Promise<void> {
    await this.#queued(async (handle) => {
      const code = await this.#library.stop(handle, drainMs);
      if (code !== 0) throw this.#library.error(code, handle);
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#tail.then(async () => {
      const handle = this.#handle;
      this.#handle = undefined;
      if (handle !== undefined) await this.#library.close(handle);
    });
    return this.#closing;
  }

  selfCheck(): SelfCheck {
    return JSON.parse(this.#library.selfCheck()) as SelfCheck;
  }

  #closed(): DataplaneError {
    return new DataplaneError('closed', 'the data plane was closed');
  }

  /** A call that returns at once. */
  #now<T>(run: (handle: Handle) => T): T {
    if (this.#handle === undefined) throw this.#closed();
    try {
      return run(this.#handle);
    } catch (error) {
      throw asDataplaneError(error);
    }
  }

  /** A call that blocks: after those before it, whatever became of them. */
  async #queued<T>(run: (handle: Handle) => Promise<T>): Promise<T> {
    if (this.#closing !== undefined || this.#handle === undefined) throw this.#closed();
    const handle = this.#handle;
    const result = this.#tail.then(() => run(handle));
    this.#tail = result.catch(() => undefined);
    try {
      return await result;
    } catch (error) {
      throw asDataplaneError(error);
    }
  }

  async #request(kind: RequestInit): Promise<Reply> {
    const reply = fromBinary(ReplySchema, await this.#ask(kind));
    if (reply.error !== '') throw new DataplaneError('protocol', `the engine: ${reply.error}`);
    return reply;
  }

  /** A packed Reply. */
  async #ask(kind: RequestInit): Promise<Uint8Array> {
    const message: Request = create(RequestSchema, { kind });
    return this.#queued(async (handle) => {
      const answer = await this.#library.request(handle, toBinary(RequestSchema, message));
      if (answer.code !== 0) throw this.#library.error(answer.code, handle);
      return answer.reply;
    });
  }
}

type RequestInit =
  | { case: 'connections'; value: { service: string; limit: number } }
  | { case: 'backends'; value: { service: string } }
  | { case: 'loadElsewhere'; value: { services: ServiceLoadElsewhere[]; validMs: number } };

/** As many at a time as a packet of the engine's socket holds: one service has at most 256 backends, and so 36 KiB. */
function* packets(services: readonly ServiceLoadElsewhere[]): Iterable<ServiceLoadElsewhere[]> {
  let some: ServiceLoadElsewhere[] = [];
  let bytes = 0;
  for (const service of services) {
    const size = toBinary(ServiceLoadElsewhereSchema, service).length + ENVELOPE_BYTES;
    if (bytes + size > REQUEST_BYTES && some.length > 0) {
      yield some;
      some = [];
      bytes = 0;
    }
    some.push(service);
    bytes += size;
  }
  if (some.length > 0) yield some;
}
