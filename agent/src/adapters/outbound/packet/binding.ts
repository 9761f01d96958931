// SPDX-License-Identifier: Apache-2.0
/**
 * marcher_packet_* of marcher.h for JavaScript, and nothing more, by the rules of ../dataplane/binding.ts. Its own file
 * and its own load, since the packet tiers have a handle of their own and work without an engine.
 */
import koffi from 'koffi';
import { type Answer, type Handle, NativeError } from '../dataplane/binding.js';

/** enum marcher_xdp_mode. */
export const XDP_MODE = { auto: 0, native: 1, generic: 2, off: 3 } as const;

/** enum marcher_egress_shaping. */
export const EGRESS_SHAPING = { auto: 0, fq: 1, htb: 2, off: 3 } as const;

export interface NativePacketOptions {
  readonly xdp_mode: number;
  /** 0: the library's choice. */
  readonly flows: number;
  readonly pin_dir: string;
  readonly interfaces: string;
  readonly egress_shaping: number;
  /** 0: the library's choice. */
  readonly nat_flows: number;
}

// Anonymous: koffi's names are global to the process.
const OPTIONS = koffi.struct({
  size: 'uint32_t',
  xdp_mode: 'uint32_t',
  flows: 'uint32_t',
  pin_dir: 'str',
  interfaces: 'str',
  egress_shaping: 'uint32_t',
  nat_flows: 'uint32_t',
});

const HANDLE = 'void *';
const outPointer = koffi.out(koffi.pointer('void *'));
const outSize = koffi.out(koffi.pointer('size_t'));

type Native = ReturnType<ReturnType<typeof koffi.load>['func']>;

/** Calls on a thread of the pool. */
function call(native: Native, ...args: unknown[]): Promise<number> {
  return new Promise((resolve, reject) => {
    native.async(...args, (error: Error | null, result: number) => (error ? reject(error) : resolve(result)));
  });
}

export class PacketLibrary {
  readonly #open: Native;
  readonly #close: Native;
  readonly #lastError: Native;
  readonly #errorName: Native;
  readonly #apply: Native;
  readonly #status: Native;
  readonly #tend: Native;
  readonly #probe: Native;
  readonly #installed: Native;
  readonly #uninstall: Native;
  readonly #bufferFree: Native;

  /** Throws NativeError: 'load' when there is no such library, 'abi' when it has no packet tiers. */
  constructor(path: string) {
    let library: ReturnType<typeof koffi.load>;
    try {
      library = koffi.load(path);
    } catch (error) {
      throw new NativeError('load', `loading ${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
    try {
      this.#open = library.func('marcher_packet_open', 'int', [koffi.pointer(OPTIONS), outPointer]);
      this.#close = library.func('marcher_packet_close', 'void', [HANDLE]);
      this.#lastError = library.func('marcher_packet_last_error', 'str', [HANDLE]);
      this.#errorName = library.func('marcher_error_name', 'str', ['int']);
      this.#apply = library.func('marcher_packet_apply', 'int', [HANDLE, 'uint8_t *', 'size_t', outPointer, outSize]);
      this.#status = library.func('marcher_packet_status', 'int', [HANDLE, outPointer, outSize]);
      this.#tend = library.func('marcher_packet_tend', 'int', [HANDLE]);
      this.#probe = library.func('marcher_packet_probe', 'int', [outPointer, outSize]);
      this.#installed = library.func('marcher_packet_installed', 'int', ['str', outPointer, outSize]);
      this.#uninstall = library.func('marcher_packet_uninstall', 'int', ['str']);
      this.#bufferFree = library.func('marcher_buffer_free', 'void', ['void *']);
    } catch {
      throw new NativeError(
        'abi',
        `${path} was built without the packet tiers: install the libmarcher that was built with the agent`,
      );
    }
  }

  /** The error for a code, with what the library says about its last failure; null: of an open that failed. */
  error(code: number, handle: Handle | null): NativeError {
    return new NativeError(this.#errorName(code) as string, this.#lastError(handle) as string);
  }

  async open(options: NativePacketOptions): Promise<Handle> {
    const handle: (Handle | null)[] = [null];
    const code = await call(this.#open, { size: koffi.sizeof(OPTIONS), ...options }, handle);
    const opened = handle[0];
    if (code !== 0 || opened === null || opened === undefined) throw this.error(code, null);
    return opened;
  }

  /** The handle is gone afterwards. */
  close(handle: Handle): void {
    this.#close(handle);
  }

  /** A refusal has both code and reply. */
  async apply(handle: Handle, table: Uint8Array): Promise<Answer> {
    const reply: (bigint | null)[] = [null];
    const length: (number | bigint)[] = [0];
    const code = await call(this.#apply, handle, table, table.length, reply, length);
    return { code, reply: this.#take(reply[0], length[0]) };
  }

  /** A serialised marcher.packet.v1.Status. */
  status(handle: Handle): Uint8Array {
    const reply: (bigint | null)[] = [null];
    const length: (number | bigint)[] = [0];
    const code = this.#status(handle, reply, length) as number;
    const bytes = this.#take(reply[0], length[0]);
    if (code !== 0) throw this.error(code, handle);
    return bytes;
  }

  async tend(handle: Handle): Promise<void> {
    const code = await call(this.#tend, handle);
    if (code !== 0) throw this.error(code, handle);
  }

  /** A serialised marcher.packet.v1.Probe. */
  async probe(): Promise<Uint8Array> {
    const reply: (bigint | null)[] = [null];
    const length: (number | bigint)[] = [0];
    const code = await call(this.#probe, reply, length);
    const bytes = this.#take(reply[0], length[0]);
    if (code !== 0) throw this.error(code, null);
    return bytes;
  }

  /** A serialised marcher.packet.v1.Installed: what uninstall would take away. Blocks, for a moment. */
  installed(pinDir: string): Uint8Array {
    const reply: (bigint | null)[] = [null];
    const length: (number | bigint)[] = [0];
    const code = this.#installed(pinDir, reply, length) as number;
    const bytes = this.#take(reply[0], length[0]);
    if (code !== 0) throw this.error(code, null);
    return bytes;
  }

  /** Blocks until it is done: for a command that does nothing else. */
  uninstall(pinDir: string): void {
    const code = this.#uninstall(pinDir) as number;
    if (code !== 0) throw this.error(code, null);
  }

  #take(pointer: bigint | null | undefined, length: number | bigint | undefined): Uint8Array {
    if (!pointer) return new Uint8Array(0);
    try {
      const bytes = Number(length);
      return bytes === 0 ? new Uint8Array(0) : new Uint8Array(koffi.view(pointer, bytes)).slice();
    } finally {
      this.#bufferFree(pointer);
    }
  }
}
