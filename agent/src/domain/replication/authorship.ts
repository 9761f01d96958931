// SPDX-License-Identifier: Apache-2.0
/**
 * Under which origin this node writes. Numbers must never be used twice, and a disk may have been restored to an older
 * state without anyone having said so. So after a start the old incarnation is only written under once every known
 * member has shown that it holds no more of it than this node does; who must write before that takes a new incarnation.
 */
import type { Context } from './context.js';
import type { NodeId, Origin, OriginKey, VectorState } from './contract.js';
import { nextIncarnation, originKey } from './origin.js';

export class Authorship {
  readonly #context: Context;
  readonly #node: NodeId;
  readonly #confirmed = new Set<NodeId>();
  /** Taken since the start: its numbers cannot have been used by an earlier life. */
  #fresh = false;

  constructor(context: Context, node: NodeId) {
    this.#context = context;
    this.#node = node;
  }

  /**
   * What a member holds. Takes a new incarnation where that is more than this node has of its own. answered: it says so
   * now, and not in a message that an earlier life of this node may have waited for.
   */
  compare(from: NodeId, vector: VectorState, answered: boolean): void {
    const { self } = this.#context.ledger;
    if (self === undefined || this.#fresh) return;
    const key = originKey(self);
    const theirs = vector.heads.get(key)?.sequence ?? 0;
    const isOld = self.incarnation < (vector.floors.get(this.#node) ?? 0);
    if (isOld || theirs > this.#context.ledger.sequence(key)) this.isBehind();
    else if (answered) this.#confirmed.add(from);
  }

  /** A frame of this node came that it does not have itself. */
  isBehind(): void {
    if (!this.#fresh) this.#renew('others hold later frames of this node than its own disk does');
  }

  /**
   * The origin to write under. members undefined: not known yet. Throws ReplicaStoreError where a new one cannot be
   * kept.
   */
  origin(members: Iterable<NodeId> | undefined): Origin {
    const { self } = this.#context.ledger;
    if (self === undefined) return this.#renew('its first write');
    if (this.#fresh) return self;
    for (const member of members ?? [undefined]) {
      if (member === this.#node || (member !== undefined && this.#confirmed.has(member))) continue;
      return this.#renew('written after a start, before every member had confirmed what it holds of this node');
    }
    return self;
  }

  /** One that was taken together with a snapshot. */
  adopted(before: Origin | undefined, now: Origin): void {
    this.#fresh = true;
    this.#context.emit({ type: 'incarnation', before, now, reason: 'joined by a snapshot' });
  }

  /** others: origins besides those of the ledger. */
  next(others: Iterable<OriginKey>): Origin {
    const { ledger, environment } = this.#context;
    const known = [...ledger.heads.keys(), ...others];
    if (ledger.self !== undefined) known.push(originKey(ledger.self));
    const floor = ledger.floors.get(this.#node) ?? 0;
    return { node: this.#node, incarnation: nextIncarnation(this.#node, known, floor, environment.wallMs()) };
  }

  #renew(reason: string): Origin {
    const { ledger, emit } = this.#context;
    const before = ledger.self;
    const now = this.next([]);
    ledger.setSelf(now);
    this.#fresh = true;
    emit({ type: 'incarnation', before, now, reason });
    return now;
  }
}
