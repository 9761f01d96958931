// SPDX-License-Identifier: Apache-2.0
import type { Alive, Dead, NodeState, Suspect } from '../wire/message.js';
import type { Finished } from './broadcast-queue.js';
import { type Context, malformed, sameAddress, sameBytes, sameVersions } from './context.js';
import { INCARNATION_MAX } from './contract.js';
import type { Gossip } from './gossip.js';
import { isGone, type Member, stateOf } from './members.js';
import type { Rejoin } from './rejoin.js';
import { suspicionTimeoutMs } from './scaling.js';
import { Suspicion } from './suspicion.js';
import type { Timer } from './timers.js';

/**
 * What becomes of a member when somebody says something about it (memberlist, state.go):
 *
 *   said      holds if its incarnation is      then
 *   alive     greater than the known one       alive; a suspicion ends
 *   suspect   the known one or greater         alive → suspect, or one more confirmation of a suspicion
 *   dead      the known one or greater         dead; left, when the member itself says so
 *
 * What is news is gossiped on. Only the member itself raises its incarnation: to refute that it is suspect or dead.
 * State exchanges say the same three things, but a death that comes that way is only a suspicion here.
 */
export class Membership {
  readonly #context: Context;
  readonly #gossip: Gossip;
  readonly #rejoin: Rejoin;
  readonly #suspicions = new Map<string, { readonly suspicion: Suspicion; timer: Timer }>();

  constructor(context: Context, gossip: Gossip, rejoin: Rejoin) {
    this.#context = context;
    this.#gossip = gossip;
    this.#rejoin = rejoin;
  }

  /** This node is there, or its metadata has changed: said to all under an incarnation of its own. */
  announceSelf(finished?: Finished): void {
    const { self, members, random, nowMs } = this.#context;
    if (!members.get(self.name)) {
      self.changedMs = nowMs;
      members.insert(self, random);
    }
    const { name: node, address, meta, versions, incarnation } = self;
    this.#gossip.broadcast(node, { type: 'alive', incarnation, node, address, meta, versions }, finished);
  }

  raiseIncarnation(above: number): void {
    const { self } = this.#context;
    self.incarnation = Math.min(INCARNATION_MAX, Math.max(self.incarnation, above) + 1);
    this.#context.tell({ type: 'incarnation', incarnation: self.incarnation });
  }

  alive(message: Alive): void {
    const { members, self, hooks } = this.#context;
    const { node: name, address, meta, incarnation, versions } = message;
    if (name === self.name && this.#context.leaving) return;
    if (incarnation > INCARNATION_MAX) return;
    const known = members.get(name);
    // Most of what gossip brings has been heard before.
    const older = known !== undefined && known !== self && incarnation <= known.incarnation;
    if (older && sameAddress(known.address, address)) return;
    const said: NodeState = { name, address, meta, incarnation, state: 'alive', versions };
    const reason = malformed(said) ?? hooks.refuse?.(said);
    if (reason !== undefined) {
      this.#context.refused(name, `alive message not accepted: ${reason}`);
      return;
    }
    if (name === self.name) this.#aliveSelf(said);
    else this.#aliveOther(said, known, message);
  }

  suspect(message: Suspect): void {
    const { members, self, tuning } = this.#context;
    const { node: name, incarnation, from } = message;
    const member = members.get(name);
    if (!member || incarnation < member.incarnation || incarnation > INCARNATION_MAX) return;
    const running = this.#suspicions.get(name);
    if (running) {
      if (!running.suspicion.confirm(from)) return;
      // Passed on, so that others count this accuser too.
      this.#gossip.broadcast(name, message);
      this.#context.timers.cancel(running.timer);
      running.timer = this.#expireAt(name, running.suspicion.deadlineMs);
      return;
    }
    if (member.state !== 'alive') return;
    if (member === self) {
      if (!this.#context.leaving) this.#refute(incarnation);
      return;
    }
    this.#gossip.broadcast(name, message);
    member.incarnation = incarnation;
    this.#change(member, 'suspect');
    const total = members.size;
    const minMs = suspicionTimeoutMs(tuning.suspicionMultiplier, total, tuning.probeIntervalMs);
    const dynamic = tuning.suspicionMaxMultiplier > 1;
    // Two probe intervals less than the timeout has are enough for others to find out by themselves. All but this node
    // and the suspect count.
    const confirmers = Math.floor(tuning.suspicionMultiplier) - 2;
    const wanted = dynamic && total - 2 >= confirmers ? confirmers : 0;
    const bounds = { wanted, minMs, maxMs: minMs * tuning.suspicionMaxMultiplier };
    const suspicion = new Suspicion(from, bounds, this.#context.nowMs);
    this.#suspicions.set(name, { suspicion, timer: this.#expireAt(name, suspicion.deadlineMs) });
    this.#context.tell({ type: 'suspect', node: stateOf(member), from });
  }

  dead(message: Dead, finished?: Finished): void {
    const { members, self } = this.#context;
    const { node: name, incarnation, from } = message;
    const member = members.get(name);
    if (!member || incarnation < member.incarnation || incarnation > INCARNATION_MAX || isGone(member)) return;
    if (member === self && !this.#context.leaving) {
      this.#refute(incarnation);
      return;
    }
    this.#clearSuspicion(name);
    this.#gossip.broadcast(name, message, finished);
    member.incarnation = incarnation;
    this.#change(member, from === name ? 'left' : 'dead');
    if (member === self) return;
    this.#rejoin.gone(member);
    const node = stateOf(member);
    this.#context.tell(member.state === 'left' ? { type: 'left', node } : { type: 'dead', node, from });
  }

  /** What another node thinks, from a state exchange. */
  merge(states: readonly NodeState[]): void {
    const { self } = this.#context;
    for (const { name: node, address, meta, incarnation, state, versions } of states) {
      if (state === 'alive') this.alive({ type: 'alive', incarnation, node, address, meta, versions });
      else if (state === 'left') this.dead({ type: 'dead', incarnation, node, from: node });
      else this.suspect({ type: 'suspect', incarnation, node, from: self.name });
    }
  }

  #aliveSelf(said: NodeState): void {
    const { self } = this.#context;
    if (!sameAddress(said.address, self.address)) {
      this.#context.notice(self.name, { type: 'conflict', existing: stateOf(self), other: said });
      return;
    }
    if (said.incarnation < self.incarnation) return;
    // The same incarnation with other contents: this node was killed and has come back with a new configuration.
    const same = sameBytes(said.meta, self.meta) && sameVersions(said.versions, self.versions);
    if (said.incarnation === self.incarnation && same) return;
    this.#refute(said.incarnation);
  }

  #aliveOther(said: NodeState, known: Member | undefined, message: Alive): void {
    const { members, limits, nowMs } = this.#context;
    if (!known) {
      if (members.size >= limits.members) {
        this.#context.refused(said.name, `a new member beyond the limit of ${limits.members} (limits.members)`);
        return;
      }
      const member: Member = { ...said, state: 'alive', changedMs: nowMs };
      members.insert(member, this.#context.random);
      this.#gossip.broadcast(said.name, message);
      this.#rejoin.back(member);
      this.#context.tell({ type: 'join', node: said });
      return;
    }
    const moved = !sameAddress(known.address, said.address);
    if (moved && !this.#mayMove(known)) {
      this.#context.notice(said.name, { type: 'conflict', existing: stateOf(known), other: said });
      return;
    }
    if (said.incarnation <= known.incarnation && !moved) return;
    this.#clearSuspicion(said.name);
    this.#gossip.broadcast(said.name, message);
    const was = known.state;
    const changed = !sameBytes(known.meta, said.meta);
    known.incarnation = said.incarnation;
    known.meta = said.meta;
    known.address = said.address;
    known.versions = said.versions;
    if (was !== 'alive') this.#change(known, 'alive');
    this.#rejoin.back(known);
    const node = stateOf(known);
    if (was === 'dead' || was === 'left') {
      this.#context.tell({ type: 'join', node });
      return;
    }
    if (was === 'suspect') this.#context.tell({ type: 'refuted', node });
    if (changed) this.#context.tell({ type: 'update', node });
  }

  #mayMove(known: Member): boolean {
    if (known.state === 'left') return true;
    const { tuning, nowMs } = this.#context;
    return known.state === 'dead' && tuning.deadReclaimMs > 0 && nowMs - known.changedMs > tuning.deadReclaimMs;
  }

  /** That others have to be contradicted says something of this node's health, too. */
  #refute(accused: number): void {
    this.raiseIncarnation(accused);
    this.#context.health(1);
    this.announceSelf();
  }

  #expireAt(name: string, atMs: number): Timer {
    return this.#context.timers.at(atMs, () => {
      const member = this.#context.members.get(name);
      if (member?.state !== 'suspect') return;
      this.dead({ type: 'dead', incarnation: member.incarnation, node: name, from: this.#context.self.name });
    });
  }

  #clearSuspicion(name: string): void {
    const running = this.#suspicions.get(name);
    if (!running) return;
    this.#context.timers.cancel(running.timer);
    this.#suspicions.delete(name);
  }

  #change(member: Member, state: Member['state']): void {
    member.state = state;
    member.changedMs = this.#context.nowMs;
  }
}
