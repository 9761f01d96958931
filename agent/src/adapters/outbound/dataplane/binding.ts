// SPDX-License-Identifier: Apache-2.0
/**
 * marcher.h for JavaScript, and nothing more: it knows the header, not the product. Functions marked [blocks] there are
 * asynchronous here (they run on a thread of libuv's pool). Results are the library's codes; `fail` turns one into an error with
 * the library's sentence. Statistics and events are filled into the caller's bytes as they stand (layout.ts reads them).
 */
import koffi from 'koffi';

/** MARCHER_ABI_VERSION of the header that this file was written for. */
export const ABI_VERSION = 1;

export const APPLY_TOLERATE_BIND_ERRORS = 1;
export const E_REFUSED = -6;

export interface NativeOptions {
  readonly workers: number;
  readonly request_timeout_ms: number;
  readonly heartbeat_ms: number;
  readonly engine_path: string;
  readonly run_dir: string;
  readonly cpus: string | null;
  readonly log_level: string | null;
}

export interface NativeStatus {
  running: number;
  pid: number;
  workers: number;
  restarts: number;
  adopted: number;
  retiring: number;
  generation: number | bigint;
  started_unix_ms: number | bigint;
  memory_bytes: number | bigint;
  events_dropped: number | bigint;
  saved_generation: number | bigint;
  set_aside_generation: number | bigint;
  listening_sockets: number;
  banked_sockets: number;
  version: string;
  build_id: string;
  last_error: string;
}

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  readonly member: boolean;
}

/** struct marcher *. */
export type Handle = bigint;

export class NativeError extends Error {
  /** As marcher_error_name() has it: "busy", "timeout" … */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.name = 'NativeError';
    this.code = code;
  }
}

const SLOT_STATS_BYTES = 712;
const EVENT_BYTES = 256;
const SELF_CHECK_BYTES = 64 * 1024;

// Anonymous types: koffi's names are global to the process, and a library may be loaded twice (tests).
const text = (bytes: number) => koffi.array('char', bytes, 'String');
const OPTIONS = koffi.struct({
  size: 'uint32_t',
  workers: 'uint32_t',
  request_timeout_ms: 'uint32_t',
  heartbeat_ms: 'uint32_t',
  engine_path: 'str',
  run_dir: 'str',
  cpus: 'str',
  log_level: 'str',
});
const STATUS = koffi.struct({
  running: 'int32_t',
  pid: 'int32_t',
  workers: 'uint32_t',
  restarts: 'uint32_t',
  adopted: 'int32_t',
  retiring: 'uint32_t',
  generation: 'uint64_t',
  started_unix_ms: 'uint64_t',
  memory_bytes: 'uint64_t',
  events_dropped: 'uint64_t',
  saved_generation: 'uint64_t',
  set_aside_generation: 'uint64_t',
  listening_sockets: 'uint32_t',
  banked_sockets: 'uint32_t',
  version: text(32),
  build_id: text(72),
  last_error: text(256),
});

const HANDLE = 'void *';
const outPointer = koffi.out(koffi.pointer('void *'));
const outSize = koffi.out(koffi.pointer('size_t'));
const outInt = koffi.out(koffi.pointer('int32_t'));
const outUint = koffi.out(koffi.pointer('uint32_t'));
const outUint64 = koffi.out(koffi.pointer('uint64_t'));

type Native = ReturnType<ReturnType<typeof koffi.load>['func']>;

/** Calls on a thread of the pool. */
function call(native: Native, ...args: unknown[]): Promise<number> {
  return new Promise((resolve, reject) => {
    native.async(...args, (error: Error | null, result: number) => (error ? reject(error) : resolve(result)));
  });
}

export interface Answer {
  readonly code: number;
  readonly reply: Uint8Array;
}

export class Library {
  readonly path: string;
  readonly version: string;
  readonly #open: Native;
  readonly #close: Native;
  readonly #lastError: Native;
  readonly #errorName: Native;
  readonly #apply: Native;
  readonly #request: Native;
  readonly #bufferFree: Native;
  readonly #status: Native;
  readonly #statsRead: Native;
  readonly #slotName: Native;
  readonly #eventsRead: Native;
  readonly #upgrade: Native;
  readonly #steer: Native;
  readonly #unsteer: Native;
  readonly #stop: Native;
  readonly #selfCheck: Native;
  readonly #peerCredentials: Native;

  /** Throws NativeError: 'load' when there is no such library, 'abi' when it is of another version. */
  constructor(path: string) {
    this.path = path;
    let library: ReturnType<typeof koffi.load>;
    try {
      library = koffi.load(path);
    } catch (error) {
      throw new NativeError('load', `loading ${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
    let abi: number;
    try {
      abi = library.func('marcher_abi_version', 'uint32_t', [])() as number;
    } catch {
      throw new NativeError('abi', `${path} is not libmarcher: it has no marcher_abi_version`);
    }
    if (abi !== ABI_VERSION) {
      throw new NativeError(
        'abi',
        `${path} has version ${abi} of the interface and this agent needs ${ABI_VERSION}: install the libmarcher that was built with the agent`,
      );
    }
    this.version = library.func('marcher_library_version', 'str', [])() as string;
    this.#open = library.func('marcher_open', 'int', [koffi.pointer(OPTIONS), outPointer]);
    this.#close = library.func('marcher_close', 'void', [HANDLE]);
    this.#lastError = library.func('marcher_last_error', 'str', [HANDLE]);
    this.#errorName = library.func('marcher_error_name', 'str', ['int']);
    this.#apply = library.func('marcher_apply', 'int', [
      HANDLE,
      'uint8_t *',
      'size_t',
      'uint32_t',
      outPointer,
      outSize,
    ]);
    this.#request = library.func('marcher_request', 'int', [HANDLE, 'uint8_t *', 'size_t', outPointer, outSize]);
    this.#bufferFree = library.func('marcher_buffer_free', 'void', ['void *']);
    this.#status = library.func('marcher_engine_status', 'int', [HANDLE, koffi.out(koffi.pointer(STATUS))]);
    this.#statsRead = library.func('marcher_stats_read', 'int', [
      HANDLE,
      koffi.inout(koffi.pointer('uint32_t')),
      'uint32_t',
      'void *',
      'uint32_t',
    ]);
    this.#slotName = library.func('marcher_slot_name', 'int', [HANDLE, 'uint32_t', 'void *']);
    this.#eventsRead = library.func('marcher_events_read', 'int', [HANDLE, 'void *', 'uint32_t', outUint64]);
    this.#upgrade = library.func('marcher_upgrade', 'int', [HANDLE, 'str', 'uint32_t']);
    this.#steer = library.func('marcher_steer', 'int', [HANDLE, 'str']);
    this.#unsteer = library.func('marcher_unsteer', 'int', [HANDLE, 'str']);
    this.#stop = library.func('marcher_stop', 'int', [HANDLE, 'uint32_t']);
    this.#selfCheck = library.func('marcher_self_check', 'int', ['void *', 'size_t']);
    this.#peerCredentials = library.func('marcher_peer_credentials', 'int', [
      'int',
      'str',
      outInt,
      outUint,
      outUint,
      outInt,
    ]);
  }

  /** The error for a code, with what the library says about its last failure. */
  error(code: number, handle: Handle | null): NativeError {
    return new NativeError(this.#errorName(code) as string, this.#lastError(handle) as string);
  }

  async open(options: NativeOptions): Promise<Handle> {
    const handle: (Handle | null)[] = [null];
    const code = await call(this.#open, { size: koffi.sizeof(OPTIONS), ...options }, handle);
    const opened = handle[0];
    if (code !== 0 || opened === null || opened === undefined) throw this.error(code, null);
    return opened;
  }

  /** Waits for the supervisor's thread and the disk. The handle is gone afterwards. */
  async close(handle: Handle): Promise<void> {
    await call(this.#close, handle);
  }

  /** A refusal has both code and reply. */
  apply(handle: Handle, snapshot: Uint8Array, flags: number): Promise<Answer> {
    return this.#answer((reply, length) => call(this.#apply, handle, snapshot, snapshot.length, flags, reply, length));
  }

  request(handle: Handle, request: Uint8Array): Promise<Answer> {
    return this.#answer((reply, length) => call(this.#request, handle, request, request.length, reply, length));
  }

  async #answer(run: (reply: (bigint | null)[], length: (number | bigint)[]) => Promise<number>): Promise<Answer> {
    const reply: (bigint | null)[] = [null];
    const length: (number | bigint)[] = [0];
    const code = await run(reply, length);
    const pointer = reply[0];
    if (!pointer) return { code, reply: new Uint8Array(0) };
    try {
      const bytes = Number(length[0]);
      return { code, reply: bytes === 0 ? new Uint8Array(0) : new Uint8Array(koffi.view(pointer, bytes)).slice() };
    } finally {
      this.#bufferFree(pointer);
    }
  }

  status(handle: Handle): NativeStatus {
    const status = {} as NativeStatus;
    const code = this.#status(handle, status) as number;
    if (code !== 0) throw this.error(code, handle);
    return status;
  }

  /** Fills whole slots (712 bytes each) from cursor[0] on, which it moves. Returns how many; 0 at the end. */
  statsRead(handle: Handle, cursor: [number], activeOnly: boolean, out: Uint8Array): number {
    const n = this.#statsRead(
      handle,
      cursor,
      activeOnly ? 1 : 0,
      out,
      Math.floor(out.length / SLOT_STATS_BYTES),
    ) as number;
    if (n < 0) throw this.error(n, handle);
    return n;
  }

  /** False when the slot is free. */
  slotName(handle: Handle, slot: number, out: Uint8Array): boolean {
    if (out.length < SLOT_STATS_BYTES) throw new RangeError(`slotName needs ${SLOT_STATS_BYTES} bytes`);
    return this.#slotName(handle, slot, out) === 0;
  }

  /** Fills whole events (256 bytes each). dropped[0]: lost since the handle was opened. */
  eventsRead(handle: Handle, out: Uint8Array, dropped: [number | bigint]): number {
    const n = this.#eventsRead(handle, out, Math.floor(out.length / EVENT_BYTES), dropped) as number;
    if (n < 0) throw this.error(n, handle);
    return n;
  }

  upgrade(handle: Handle, enginePath: string | null, drainMs: number): Promise<number> {
    return call(this.#upgrade, handle, enginePath, drainMs);
  }

  /** on false: what was pinned there goes. */
  steer(handle: Handle, pinDir: string, on: boolean): Promise<number> {
    return call(on ? this.#steer : this.#unsteer, handle, pinDir);
  }

  stop(handle: Handle, drainMs: number): Promise<number> {
    return call(this.#stop, handle, drainMs);
  }

  /** JSON, also when something resolves to where it should not. */
  selfCheck(): string {
    const out = Buffer.alloc(SELF_CHECK_BYTES);
    const code = this.#selfCheck(out, out.length) as number;
    const end = out.indexOf(0);
    if (end <= 0) throw this.error(code, null);
    return out.toString('utf8', 0, end);
  }

  peerCredentials(fd: number, group: string): PeerCredentials {
    const pid = [0];
    const uid = [0];
    const gid = [0];
    const member = [0];
    const code = this.#peerCredentials(fd, group, pid, uid, gid, member) as number;
    if (code !== 0) throw this.error(code, null);
    return { pid: pid[0] ?? 0, uid: uid[0] ?? 0, gid: gid[0] ?? 0, member: member[0] === 1 };
  }
}
