// SPDX-License-Identifier: Apache-2.0
/** What is known of the other members: whom they have acknowledged, whether they are stale, how their clocks go. */
import { type ClockJudgement, clockOffset, judgeClock } from './clock-judge.js';
import type { Member, NodeId, Summary, VectorState } from './contract.js';
import type { Acknowledged } from './upkeep.js';

export class Peers {
  readonly #self: NodeId;
  #alive = new Map<NodeId, boolean>();
  #known = false;
  readonly #acknowledged = new Map<NodeId, VectorState>();
  readonly #stale = new Set<NodeId>();
  readonly #offsets = new Map<NodeId, number>();
  /** Members in an order of chance, so that each is compared with once in as many rounds as there are members. */
  #round: NodeId[] = [];

  constructor(self: NodeId) {
    this.#self = self;
  }

  /** False: nobody has said yet who is a member. */
  get known(): boolean {
    return this.#known;
  }

  set(members: readonly Member[]): void {
    this.#known = true;
    const now = new Map<NodeId, boolean>();
    for (const { node, alive } of members) if (node !== this.#self) now.set(node, alive);
    this.#alive = now;
    for (const known of [this.#acknowledged, this.#stale, this.#offsets]) {
      for (const node of known.keys()) if (!this.#alive.has(node)) known.delete(node);
    }
  }

  isMember(node: NodeId): boolean {
    return this.#alive.has(node);
  }

  isAlive(node: NodeId): boolean {
    return this.#alive.get(node) === true;
  }

  /** All but this node. */
  all(): Iterable<NodeId> {
    return this.#alive.keys();
  }

  alive(): NodeId[] {
    const alive: NodeId[] = [];
    for (const [node, answers] of this.#alive) if (answers) alive.push(node);
    return alive;
  }

  /** The member to compare with next; undefined: none is alive. */
  next(random: () => number): NodeId | undefined {
    for (let tries = 0; tries < 2; tries++) {
      for (let node = this.#round.pop(); node !== undefined; node = this.#round.pop())
        if (this.isAlive(node)) return node;
      this.#round = this.alive();
      for (let i = this.#round.length - 1; i > 0; i--) {
        const j = Math.floor(random() * (i + 1));
        [this.#round[i], this.#round[j]] = [this.#round[j] as NodeId, this.#round[i] as NodeId];
      }
    }
    return undefined;
  }

  /** It is compared with next. However often one comes and goes, it has one place. */
  putFirst(node: NodeId): void {
    this.#round = [...this.#round.filter((other) => other !== node), node];
  }

  heard(node: NodeId, { heads, floors, echo, wallMs }: Summary, nowWallMs: number): void {
    this.#stale.delete(node);
    this.#acknowledged.set(node, { heads, floors });
    if (echo !== undefined) this.#offsets.set(node, clockOffset(echo.wallMs, nowWallMs, wallMs));
  }

  vectorOf(node: NodeId): VectorState | undefined {
    return this.#acknowledged.get(node);
  }

  /** Holds what may have been deleted, or nothing yet: counts as not having acknowledged anything. */
  setStale(node: NodeId): void {
    this.#stale.add(node);
    this.#acknowledged.delete(node);
  }

  isStale(node: NodeId): boolean {
    return this.#stale.has(node);
  }

  acknowledged(): Acknowledged {
    return Array.from(this.#alive.keys(), (node) => this.#acknowledged.get(node));
  }

  /** Members that are known to have that frame. */
  countOf(has: (vector: VectorState) => boolean): number {
    let count = 0;
    for (const vector of this.#acknowledged.values()) if (has(vector)) count++;
    return count;
  }

  /** By the living members' clocks, as last compared. */
  judgeClock(boundMs: number): ClockJudgement {
    const offsets = [...this.#offsets].filter(([node]) => this.isAlive(node)).map(([, offset]) => offset);
    return judgeClock(offsets, boundMs);
  }
}
