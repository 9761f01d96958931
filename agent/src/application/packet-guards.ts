// SPDX-License-Identifier: Apache-2.0
/**
 * The guards' part of the table of the packet tiers. It is packed anew only when a guard changes, for it may have many
 * thousands of prefixes. A guard that the tier refuses does not keep services from changing: the one before stays in the
 * table then, and the guards say why.
 */
import { toBinary } from '@bufbuild/protobuf';
import type { Guard } from '@marcher/model';
import { GuardSchema, type Reason } from '@marcher/proto/marcher/packet/v1/packet_pb';
import { packetGuard } from '../domain/packet-guard.js';
import type { PacketTierState } from '../ports/packet-tier.js';
import type { ObjectStanding } from './configuration.js';
import type { Current } from './current-objects.js';

const PATH = 'guard';
/** Reasons of a refusal that are shown; the rest is counted. */
const SHOWN_MAX = 5;

interface Packed {
  readonly generations: ReadonlyMap<string, bigint>;
  /** undefined: there is no guard. */
  readonly bytes: Uint8Array | undefined;
}

export class PacketGuards {
  readonly #current: () => Current<Guard>;
  #source: Current<Guard> | undefined;
  #wanted: Packed = { generations: new Map(), bytes: undefined };
  #inForce: Packed | undefined;
  /** Of #wanted. */
  #refusal: string | undefined;

  constructor(current: () => Current<Guard>) {
    this.#current = current;
  }

  /** What stands in the table: what is configured, unless that was refused. undefined: no guard. */
  get bytes(): Uint8Array | undefined {
    return this.#offered().bytes;
  }

  get refusal(): string | undefined {
    return this.#refusal;
  }

  /** The tier holds what it was found with, or nothing: nothing is known of it. */
  forget(): void {
    this.#inForce = undefined;
  }

  /** The table was accepted. Returns the guards whose standing is another now. */
  accepted(): string[] {
    const before = this.#inForce?.generations ?? new Map<string, bigint>();
    this.#inForce = this.#offered();
    const { generations } = this.#inForce;
    const names = new Set([...before.keys(), ...generations.keys()]);
    return [...names].filter((name) => before.get(name) !== generations.get(name));
  }

  /** The table was refused, for these reasons alone. True: not for what else is in it; with bytes as they are now it may be
   * accepted. */
  refused(reasons: readonly Reason[]): boolean {
    const { length } = reasons;
    if (length === 0 || !reasons.every(({ path }) => path === PATH || path.startsWith(`${PATH}.`))) return false;
    const shown = reasons.slice(0, SHOWN_MAX).map(({ path, reason }) => `${this.#place(path)}: ${reason}`);
    if (length > SHOWN_MAX) shown.push(`and ${length - SHOWN_MAX} reasons more`);
    const known = this.#refusal !== undefined;
    this.#refusal = shown.join('; ');
    // Without one that was accepted there would be none at all, in place of the one that was found.
    return !known && this.#inForce !== undefined;
  }

  /** Of this generation of a guard, for its Programmed condition. unattached: why XDP is at no interface. */
  standing(
    name: string,
    generation: bigint,
    state: PacketTierState,
    { failure, unattached }: { failure: string | undefined; unattached: string | undefined },
  ): ObjectStanding {
    if (unattached !== undefined) {
      return { status: false, reason: 'NotAttached', message: `nothing is guarded on this node: ${unattached}` };
    }
    if (state.kind !== 'open') {
      const message = `nothing is guarded on this node: ${state.reason}`;
      return { status: false, reason: state.kind === 'off' ? 'NotAttached' : 'Unavailable', message };
    }
    if (this.#inForce?.generations.get(name) === generation) return { status: true, reason: 'Programmed', message: '' };
    if (this.#refusal !== undefined) {
      return { status: false, reason: 'Refused', message: `${this.#refusal}; the guards before stay in force` };
    }
    if (failure !== undefined) return { status: false, reason: 'NotApplied', message: failure };
    return { status: false, reason: 'Pending', message: 'it is being handed to the packet tier' };
  }

  #offered(): Packed {
    this.#read();
    return this.#refusal !== undefined && this.#inForce !== undefined ? this.#inForce : this.#wanted;
  }

  #read(): void {
    const current = this.#current();
    if (this.#source === current) return;
    this.#source = current;
    const names = [...current.keys()].sort();
    const generations = new Map(names.map((name) => [name, current.get(name)?.generation ?? 0n]));
    const known = this.#wanted.generations;
    if (known.size === generations.size && names.every((name) => known.get(name) === generations.get(name))) return;
    const guard = packetGuard(names.flatMap((name) => current.get(name)?.value ?? []));
    this.#wanted = { generations, bytes: guard && toBinary(GuardSchema, guard) };
    this.#refusal = undefined;
  }

  /** "guard.rules[7].ports" by the name of the guard that the rule is of. */
  #place(path: string): string {
    const [, digits, rest] = /^guard\.rules\[(\d+)\](.*)$/.exec(path) ?? [];
    if (digits === undefined || this.#source === undefined) return path;
    let index = Number(digits);
    for (const name of [...this.#source.keys()].sort()) {
      const { length } = this.#source.get(name)?.value.rules ?? [];
      if (index < length) return `guard ${name}: rules[${index}]${rest}`;
      index -= length;
    }
    return path;
  }
}
