// SPDX-License-Identifier: Apache-2.0
/**
 * What gossip remembers over the end of this process, in a record file: its incarnation, and where the members were. A
 * mesh that is restarted as a whole finds itself again by it, though no seed is up. It is no secret and can be done
 * without: what can't be read is begun anew, and what can't be written is tried again.
 */
import { isIP } from 'node:net';
import { INCARNATION_MAX, type RememberedMember } from '@marcher/swim';
import { isNodeId } from '../../../domain/identity/names.js';
import { IdentityError } from '../../../ports/identity.js';
import { readRecord, writeRecord } from '../identity/record-file.js';

interface Remembered extends RememberedMember {
  /** Unix time when it died or left, or from when on this life has not seen it; undefined: it is there. */
  readonly goneMs?: number | undefined;
}

interface Memory {
  readonly incarnation: number;
  readonly members: ReadonlyMap<string, Remembered>;
}

const KIND = 'gossip-members';
/** As many as SWIM tries again; each takes about 100 bytes. */
const MEMBERS_MAX = 4_096;
const FILE_MAX_BYTES = 1024 * 1024;
const WRITE_EVERY_MS = 1_000;
const WRITE_AGAIN_MS = 30_000;
/** A mesh may be off for days. SWIM tries each for one day of every life (Tuning.reconnectForMs). */
const GONE_FOR_MS = 7 * 24 * 3600_000;

export class MemberMemory {
  readonly #path: string;
  readonly #failed: (reason: string) => void;
  readonly #members: Map<string, Remembered>;
  #incarnation: number;
  #timer: NodeJS.Timeout | undefined;

  /** failed: what could not be read (now) or written (later), and what becomes of it. */
  constructor(path: string, failed: (reason: string) => void) {
    this.#path = path;
    this.#failed = failed;
    const { incarnation, members } = this.#read();
    this.#incarnation = incarnation;
    const nowMs = Date.now();
    // Until they are seen again: one that was removed meanwhile would be looked for at every start.
    this.#members = new Map(
      Array.from(members, ([name, known]) => [name, { ...known, goneMs: known.goneMs ?? nowMs }]),
    );
  }

  /** Greater than all before; undefined: nothing is known of any. */
  get nextIncarnation(): number | undefined {
    return this.#incarnation === 0 ? undefined : Math.min(INCARNATION_MAX, this.#incarnation + 1);
  }

  /**
   * Those that have left are among them: whoever stops a whole mesh in good order makes all of them leave, one after
   * another.
   */
  remembered(): readonly RememberedMember[] {
    this.#forgetOld();
    return [...this.#members.values()].map(({ name, address }) => ({ name, address }));
  }

  took(incarnation: number): void {
    if (incarnation <= this.#incarnation) return;
    this.#incarnation = incarnation;
    this.#changed();
  }

  saw(name: string, { host, port }: RememberedMember['address']): void {
    const known = this.#members.get(name);
    if (known?.goneMs === undefined && known?.address.host === host && known.address.port === port) return;
    if (!isNodeId(name) || isIP(host) === 0 || port === 0) return;
    if (known === undefined && this.#members.size >= MEMBERS_MAX && !this.#makeRoom()) return;
    this.#members.set(name, { name, address: { host, port } });
    this.#changed();
  }

  lost(name: string): void {
    const known = this.#members.get(name);
    if (known === undefined || known.goneMs !== undefined) return;
    this.#members.set(name, { ...known, goneMs: Date.now() });
    this.#changed();
  }

  /** What is not written yet is written now. */
  close(): void {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#write();
  }

  #changed(): void {
    this.#timer ??= this.#later(WRITE_EVERY_MS);
  }

  #later(ms: number): NodeJS.Timeout {
    return setTimeout(() => {
      this.#timer = this.#write() ? undefined : this.#later(WRITE_AGAIN_MS);
    }, ms).unref();
  }

  #write(): boolean {
    this.#forgetOld();
    const members = Array.from(this.#members.values(), ({ name, address: { host, port }, goneMs }) => {
      return goneMs === undefined ? { name, host, port } : { name, host, port, goneMs };
    });
    try {
      writeRecord(this.#path, KIND, `${JSON.stringify({ incarnation: this.#incarnation, members })}\n`);
      return true;
    } catch (error) {
      const { message } = error as Error;
      this.#failed(`${message}; the members of the mesh are not remembered until it can be: tried again in 30 s`);
      return false;
    }
  }

  #read(): Memory {
    try {
      const body = readRecord(this.#path, KIND, FILE_MAX_BYTES);
      if (body === undefined) {
        this.#failed(`there is no ${this.#path}: no members are remembered yet`);
        return NOTHING;
      }
      const memory = parse(body);
      if (memory !== undefined) return memory;
      this.#failed(`${this.#path} is damaged: what is in it is not of the expected form; ${ANEW}`);
    } catch (error) {
      // That one would restore it from a backup is said of files that are worth it.
      const damaged = error instanceof IdentityError && error.code === 'damaged';
      this.#failed(`${damaged ? `${this.#path} is damaged` : (error as Error).message}; ${ANEW}`);
    }
    return NOTHING;
  }

  #forgetOld(): void {
    const beforeMs = Date.now() - GONE_FOR_MS;
    for (const [name, { goneMs }] of this.#members) {
      if (goneMs !== undefined && goneMs < beforeMs) this.#members.delete(name);
    }
  }

  /** Whoever has been gone for longest makes way; whoever is there does not. */
  #makeRoom(): boolean {
    let longest: Remembered | undefined;
    for (const member of this.#members.values()) {
      if (member.goneMs !== undefined && member.goneMs < (longest?.goneMs ?? Number.POSITIVE_INFINITY))
        longest = member;
    }
    return longest !== undefined && this.#members.delete(longest.name);
  }
}

const NOTHING: Memory = { incarnation: 0, members: new Map() };
const ANEW = 'the members of the mesh are remembered anew, and the file is replaced';

function parse(body: string): Memory | undefined {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return undefined;
  }
  const { incarnation, members } = (value ?? {}) as { readonly incarnation?: unknown; readonly members?: unknown };
  if (!isCount(incarnation, INCARNATION_MAX) || !Array.isArray(members) || members.length > MEMBERS_MAX)
    return undefined;
  const found = new Map<string, Remembered>();
  for (const entry of members as (Partial<Record<'name' | 'host' | 'port' | 'goneMs', unknown>> | null)[]) {
    const { name, host, port, goneMs } = entry ?? {};
    if (typeof name !== 'string' || !isNodeId(name) || typeof host !== 'string' || isIP(host) === 0) return undefined;
    if (!isCount(port, 65_535) || (goneMs !== undefined && !isCount(goneMs, Number.MAX_SAFE_INTEGER))) return undefined;
    found.set(name, { name, address: { host, port }, goneMs });
  }
  return { incarnation, members: found };
}

function isCount(value: unknown, most: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most;
}
