// SPDX-License-Identifier: Apache-2.0
import type { Address } from '../wire/message.js';
import { type Context, sameAddress } from './context.js';
import { isGone, type Member } from './members.js';
import { below } from './random.js';

/** Asked of the state exchange, which lies above. */
export type Contact = (to: Address, join: boolean) => void;

interface Remembered {
  readonly address: Address;
  readonly sinceMs: number;
}

/** A node that is alone tries so many at a time, and waits no more probe intervals than that in between. */
const ALONE_TRIES = 3;
const ALONE_PROBE_INTERVALS = 5;

/**
 * Failed members, tried again now and then long after gossip has given them up, so that two sides of a long partition
 * find each other and a cluster that was restarted as a whole heals. One is tried at each interval with the probability
 * failed / alive (at most 1), so that a cluster as a whole tries about each failed member once an interval (serf,
 * serf.go). A node that is alone tries its seeds, too.
 */
export class Rejoin {
  readonly #context: Context;
  readonly #failed = new Map<string, Remembered>();
  #seeds: readonly Address[] = [];
  #contact: Contact = () => {};

  constructor(context: Context) {
    this.#context = context;
  }

  start(contact: Contact): void {
    this.#contact = contact;
    const { tuning, timers, random, nowMs } = this.#context;
    if (tuning.reconnectIntervalMs === 0) return;
    // Soon, for a node that was started again: it may be alone. If it is not, the next round is far.
    timers.at(nowMs + random() * tuning.probeIntervalMs, () => this.#round());
  }

  /** What this node was told to join: tried again whenever it is alone. */
  keepSeeds(seeds: readonly Address[]): void {
    this.#seeds = seeds;
  }

  /** From the list that this node kept in its last life: its members count as failed until they are heard of. */
  remember(name: string, address: Address): void {
    const { self, members, limits, nowMs } = this.#context;
    const known = members.get(name);
    if (name === self.name || (known && !isGone(known))) return;
    this.#failed.delete(name);
    if (this.#failed.size >= limits.remembered) {
      this.#failed.delete(this.#failed.keys().next().value as string);
    }
    this.#failed.set(name, { address, sinceMs: nowMs });
  }

  gone(member: Member): void {
    if (member.state === 'dead') this.remember(member.name, member.address);
    else this.#failed.delete(member.name);
  }

  back(member: Member): void {
    this.#failed.delete(member.name);
  }

  get failed(): number {
    return this.#failed.size;
  }

  #round(): void {
    const { tuning, timers, members, random, self, nowMs, leaving } = this.#context;
    const others = members.all().filter((member) => member !== self && !isGone(member)).length;
    const aloneMs = Math.min(tuning.reconnectIntervalMs, ALONE_PROBE_INTERVALS * tuning.probeIntervalMs);
    timers.at(nowMs + (others === 0 ? aloneMs : tuning.reconnectIntervalMs), () => this.#round());
    if (leaving) return;
    for (const [name, { sinceMs }] of this.#failed) {
      if (nowMs - sinceMs > tuning.reconnectForMs) this.#failed.delete(name);
    }
    const failed = [...this.#failed.values()].map(({ address }) => address);
    if (others === 0) {
      const candidates = [...this.#seeds, ...failed].filter((address) => !sameAddress(address, self.address));
      for (let tries = 0; tries < ALONE_TRIES && candidates.length > 0; tries++) {
        const [address] = candidates.splice(below(random, candidates.length), 1);
        this.#contact(address as Address, true);
      }
      return;
    }
    if (failed.length === 0 || random() > failed.length / others) return;
    this.#contact(failed[below(random, failed.length)] as Address, false);
  }
}
