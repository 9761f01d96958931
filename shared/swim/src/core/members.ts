// SPDX-License-Identifier: Apache-2.0
import type { Address, MemberState, NodeState, Versions } from '../wire/message.js';
import { below, type Random, shuffle } from './random.js';

/** What this node knows of a member, itself among them. */
export interface Member {
  readonly name: string;
  address: Address;
  meta: Uint8Array;
  incarnation: number;
  state: MemberState;
  versions: Versions;
  /** When the state was last changed, by this node's clock. */
  changedMs: number;
}

export function isGone(member: Member): boolean {
  return member.state === 'dead' || member.state === 'left';
}

export function stateOf(member: Member): NodeState {
  const { name, address, meta, incarnation, state, versions } = member;
  return { name, address, meta, incarnation, state, versions };
}

/**
 * Members by name, and in the order in which they are probed: round-robin over a list that is shuffled after each
 * round, new ones at a random place, which bounds the time to the first probe of each (SWIM, Das, Gupta and Motivala
 * 2002, section 4.3).
 */
export class MemberTable {
  readonly #byName = new Map<string, Member>();
  #ring: Member[] = [];
  #cursor = 0;

  /**
   * Including this node and those that are gone but not yet forgotten, as memberlist estimates the size of the cluster.
   */
  get size(): number {
    return this.#ring.length;
  }

  get(name: string): Member | undefined {
    return this.#byName.get(name);
  }

  all(): readonly Member[] {
    return this.#ring;
  }

  insert(member: Member, random: Random): void {
    this.#byName.set(member.name, member);
    const end = this.#ring.length;
    const offset = below(random, end + 1);
    this.#ring.push(member);
    const other = this.#ring[offset] as Member;
    this.#ring[offset] = member;
    this.#ring[end] = other;
  }

  /**
   * The next that may be probed; undefined when there is none. Each full round forgets who has been gone since before
   * goneBeforeMs.
   */
  nextProbe(
    mayProbe: (member: Member) => boolean,
    goneBeforeMs: number,
    random: Random,
    forgotten: (name: string) => void,
  ): Member | undefined {
    for (let seen = 0; seen <= this.#ring.length; seen++) {
      if (this.#cursor >= this.#ring.length) {
        this.#forget(goneBeforeMs, forgotten);
        shuffle(this.#ring, random);
        this.#cursor = 0;
      }
      const member = this.#ring[this.#cursor++];
      if (member && mayProbe(member)) return member;
    }
    return undefined;
  }

  /**
   * Up to count different members, at random. Of many, it looks at three times as many as there are (memberlist,
   * util.go).
   */
  pick(count: number, random: Random, accept: (member: Member) => boolean): Member[] {
    const picked: Member[] = [];
    const total = this.#ring.length;
    if (total < count * 3) {
      const order = [...this.#ring];
      shuffle(order, random);
      for (const member of order) {
        if (picked.length >= count) break;
        if (accept(member)) picked.push(member);
      }
      return picked;
    }
    for (let tries = 0; tries < 3 * total && picked.length < count; tries++) {
      const member = this.#ring[below(random, total)] as Member;
      if (accept(member) && !picked.includes(member)) picked.push(member);
    }
    return picked;
  }

  #forget(goneBeforeMs: number, forgotten: (name: string) => void): void {
    const old = this.#ring.filter((member) => isGone(member) && member.changedMs < goneBeforeMs);
    if (old.length === 0) return;
    const names = new Set(old.map(({ name }) => name));
    this.#ring = this.#ring.filter(({ name }) => !names.has(name));
    for (const name of names) {
      this.#byName.delete(name);
      forgotten(name);
    }
  }
}
