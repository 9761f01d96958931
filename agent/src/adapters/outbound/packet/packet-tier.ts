// SPDX-License-Identifier: Apache-2.0
/** The packet tiers through libmarcher. What blocks there runs off the JavaScript thread, one call at a time. */
import { existsSync, readFileSync } from 'node:fs';
import { fromBinary } from '@bufbuild/protobuf';
import {
  type ApplyReply,
  ApplyReplySchema,
  type Interface,
  type Probe,
  ProbeSchema,
  type Status,
  StatusSchema,
} from '@marcher/proto/marcher/packet/v1/packet_pb';
import { NO_PROOF, type PacketProof } from '../../../domain/packet-proof.js';
import {
  type PacketTier,
  PacketTierError,
  type PacketTierErrorCode,
  type PacketTierState,
} from '../../../ports/packet-tier.js';
import { E_REFUSED, type Handle, NativeError } from '../dataplane/binding.js';
import { libraryPath } from '../dataplane/library.js';
import { EGRESS_SHAPING, PacketLibrary, XDP_MODE } from './binding.js';
import { both, type Proof, proofOf } from './proof.js';

export interface PacketTierOptions {
  /** None: the tier is off. */
  readonly interfaces: readonly string[];
  /** Below a mounted bpffs. */
  readonly pinDir: string;
  readonly xdpMode: keyof typeof XDP_MODE;
  /** What may have packets over a rate wait; auto unless said. */
  readonly egressShaping?: keyof typeof EGRESS_SHAPING | undefined;
  readonly libraryPath?: string | undefined;
  /** Entries of the flow table when it is made now; 0: the library's choice. */
  readonly flows?: number | undefined;
  /** Flows that NAT's tables have room for when they are made now; 0: the library's choice, by the memory. */
  readonly natFlows?: number | undefined;
}

const CODES: ReadonlySet<string> = new Set<PacketTierErrorCode>([
  'not-open',
  'invalid',
  'system',
  'busy',
  'no-memory',
  'timeout',
  'protocol',
]);

function asPacketTierError(error: unknown): unknown {
  if (!(error instanceof NativeError)) return error;
  return new PacketTierError(CODES.has(error.code) ? (error.code as PacketTierErrorCode) : 'system', error.message);
}

export const NOT_ASKED_FOR = 'no interface was named: marcherd --interfaces eth0, or MARCHER_INTERFACES';

function initialState({ interfaces, pinDir }: PacketTierOptions): PacketTierState {
  if (interfaces.length > 0) return { kind: 'unavailable', reason: 'it has not been opened yet', retry: true };
  const left = existsSync(pinDir)
    ? `; programs of an earlier agent are still pinned in ${pinDir} and go on forwarding: name the interfaces again, or take them off with: marcher uninstall-dataplane --bpf-dir ${pinDir}`
    : '';
  return { kind: 'off', reason: NOT_ASKED_FOR + left };
}

/** Of the network namespace that this process is in, which /sys need not be of. */
function interfaceExists(name: string): boolean {
  return existsSync(`/proc/sys/net/ipv4/conf/${name}`);
}

function forwardingIsOff(family: 'ipv4' | 'ipv6', name: string): boolean {
  try {
    return readFileSync(`/proc/sys/net/${family}/conf/${name}/forwarding`, 'utf8').trim() === '0';
  } catch {
    return false;
  }
}

/** By library: what passed once passes as long as this kernel runs. */
const passed = new Map<string, Probe>();

async function prove(library: PacketLibrary, path: string, xdp: boolean): Promise<Proof> {
  const known = passed.get(path);
  if (known !== undefined) return proofOf(known, xdp);
  const first = fromBinary(ProbeSchema, await library.probe());
  const proof = proofOf(first, xdp);
  const lost = proof.xdp.lost.size + proof.tc.lost.size;
  if (proof.failure !== '') return proof;
  if (lost > 0) return both(proof, proofOf(fromBinary(ProbeSchema, await library.probe()), xdp));
  passed.set(path, first);
  return proof;
}

export class LibmarcherPacketTier implements PacketTier {
  readonly #options: PacketTierOptions;
  #library: PacketLibrary | undefined;
  #handle: Handle | undefined;
  #state: PacketTierState;
  /** The end of the queue of blocking calls. */
  #tail: Promise<unknown> = Promise.resolve();
  #busy = 0;
  /** What status() answers while a blocking call holds the handle. */
  #lastStatus: Status | undefined;
  #closing: Promise<void> | undefined;
  #proof: PacketProof = NO_PROOF;

  constructor(options: PacketTierOptions) {
    this.#options = options;
    this.#state = initialState(options);
  }

  get state(): PacketTierState {
    return this.#state;
  }

  get proof(): PacketProof {
    return this.#proof;
  }

  async open(): Promise<PacketTierState> {
    if (this.#state.kind === 'off' || this.#closing !== undefined) return this.#state;
    await this.#queued(async () => {
      if (this.#closing !== undefined || !this.#incomplete()) return;
      try {
        const path = libraryPath(this.#options.libraryPath);
        this.#library ??= new PacketLibrary(path);
        const { pinDir, xdpMode, egressShaping = 'auto' } = this.#options;
        const proof = await prove(this.#library, path, xdpMode !== 'off');
        this.#proof = proof;
        this.#release();
        // What is pinned forwards already, whatever was seen just now: it is adopted, so that it follows what is configured.
        if (proof.failure !== '' && !existsSync(pinDir)) {
          this.#state = { kind: 'unavailable', reason: proof.failure, retry: true };
          return;
        }
        this.#handle = await this.#library.open({
          xdp_mode: XDP_MODE[xdpMode],
          flows: this.#options.flows ?? 0,
          nat_flows: this.#options.natFlows ?? 0,
          pin_dir: pinDir,
          interfaces: this.#options.interfaces.join(','),
          egress_shaping: EGRESS_SHAPING[egressShaping],
        });
        this.#state = { kind: 'open' };
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        // Another library comes with another agent only.
        const retry = this.#library !== undefined;
        this.#state = { kind: 'unavailable', reason, retry };
      }
    });
    return this.#state;
  }

  /** Not open, or an interface is there and not attached to: it was not there before, or is another of the same name. */
  #incomplete(): boolean {
    if (this.#handle === undefined) return true;
    try {
      const { interfaces } = this.#read(this.#handle);
      // When none is left, opening fails, and that is the state then.
      const lacks = ({ mode, tc }: Interface): boolean => mode === '' || (mode === 'off' && tc === '');
      if (interfaces.every(lacks)) return true;
      return interfaces.some((one) => lacks(one) && interfaceExists(one.name));
    } catch {
      return true;
    }
  }

  apply(table: Uint8Array): Promise<ApplyReply> {
    return this.#queued(async () => {
      const { library, handle } = this.#opened();
      const answer = await library.apply(handle, table);
      if (answer.code !== 0 && answer.code !== E_REFUSED) throw library.error(answer.code, handle);
      return fromBinary(ApplyReplySchema, answer.reply);
    });
  }

  tend(): Promise<void> {
    return this.#queued(async () => {
      const { library, handle } = this.#opened();
      await library.tend(handle);
    });
  }

  status(): Status {
    const { handle } = this.#opened();
    // The library serialises its calls: this thread would wait for the one that is under way.
    if (this.#busy > 0 && this.#lastStatus !== undefined) return this.#lastStatus;
    try {
      return this.#read(handle);
    } catch (error) {
      throw asPacketTierError(error);
    }
  }

  #read(handle: Handle): Status {
    if (this.#library === undefined) throw this.#notOpen();
    const status = fromBinary(StatusSchema, this.#library.status(handle));
    this.#lastStatus = status;
    return status;
  }

  obstacles(families: { readonly ipv4: boolean; readonly ipv6: boolean }): string[] {
    const out: string[] = [];
    for (const family of ['ipv4', 'ipv6'] as const) {
      for (const name of families[family] ? this.#options.interfaces : []) {
        if (!forwardingIsOff(family, name)) continue;
        const variable = `net/${family}/conf/${name}/forwarding`;
        out.push(
          `${name}: the kernel finds no way for packets that it does not forward itself: sysctl -w ${variable}=1`,
        );
      }
    }
    return out;
  }

  close(): Promise<void> {
    this.#closing ??= this.#tail.then(() => {
      this.#release();
      if (this.#state.kind === 'open') this.#state = { kind: 'unavailable', reason: 'it was closed', retry: false };
    });
    return this.#closing;
  }

  #release(): void {
    const handle = this.#handle;
    this.#handle = undefined;
    this.#lastStatus = undefined;
    if (handle !== undefined) this.#library?.close(handle);
  }

  #opened(): { library: PacketLibrary; handle: Handle } {
    if (this.#library === undefined || this.#handle === undefined) throw this.#notOpen();
    return { library: this.#library, handle: this.#handle };
  }

  #notOpen(): PacketTierError {
    const why = this.#state.kind === 'open' ? 'it was closed' : this.#state.reason;
    return new PacketTierError('not-open', `the packet tier is not open: ${why}`);
  }

  /** A call that blocks: after those before it, whatever became of them. */
  async #queued<T>(run: () => Promise<T>): Promise<T> {
    this.#busy++;
    const result = this.#tail.then(run).finally(() => {
      this.#busy--;
    });
    this.#tail = result.catch(() => undefined);
    try {
      return await result;
    } catch (error) {
      throw asPacketTierError(error);
    }
  }
}
