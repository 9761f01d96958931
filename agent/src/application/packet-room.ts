// SPDX-License-Identifier: Apache-2.0
/** Which of the services that the packet tiers might carry do not fit into their tables: found anew when anything differs. */
import type { Service } from '@marcher/model';
import { leftVips } from '../domain/left-vips.js';
import { unfitOf } from '../domain/packet-room.js';
import type { Claim } from '../domain/port-ownership.js';

export type Candidates = ReadonlyMap<string, { readonly service: Service }>;
type Claims = Iterable<[service: string, claims: readonly Claim[]]>;

export class PacketRoom {
  #facts: readonly unknown[] = [];
  #unfit: ReadonlyMap<string, string> = new Map();

  /**
   * By name, why not. facts: what candidates and claims follow from. there: services that the tables have already.
   *
   * What is left to the stack within a wide VIP takes of the room as if all candidates were carried: the answer must not
   * depend on itself.
   */
  unfit(
    facts: readonly unknown[],
    candidates: () => Candidates,
    claims: () => Claims,
    there: () => ReadonlySet<string>,
  ): ReadonlyMap<string, string> {
    if (facts.length === this.#facts.length && facts.every((fact, i) => fact === this.#facts[i])) return this.#unfit;
    const known = candidates();
    const others = function* (): Iterable<Claim> {
      for (const [name, own] of claims()) if (!known.has(name)) yield* own;
    };
    const left = leftVips(
      Array.from(known.values(), ({ service }) => service),
      others(),
    );
    this.#facts = facts;
    this.#unfit = unfitOf(known, left.length, there());
    return this.#unfit;
  }
}
