// SPDX-License-Identifier: Apache-2.0
import type { Address, NodeState, PushPull } from '../wire/message.js';
import { type Context, SwimOptionsError, sameAddress } from './context.js';
import type { JoinFailure } from './contract.js';
import type { Exchanges, Outcome } from './exchanges.js';
import { stateOf } from './members.js';
import type { Membership } from './membership.js';
import type { Rejoin } from './rejoin.js';
import { pushPullIntervalMs } from './scaling.js';

/** Addresses of one join that are tried at a time. */
const JOIN_AT_ONCE = 4;
const JOIN_FAILURES_TOLD = 100;

/**
 * The whole state, there and back, over a stream: to join, and now and then so that what gossip has missed is known as
 * well.
 */
export class StateExchange {
  readonly #context: Context;
  readonly #exchanges: Exchanges;
  readonly #membership: Membership;
  readonly #rejoin: Rejoin;

  constructor(context: Context, exchanges: Exchanges, membership: Membership, rejoin: Rejoin) {
    this.#context = context;
    this.#exchanges = exchanges;
    this.#membership = membership;
    this.#rejoin = rejoin;
  }

  start(): void {
    this.#rejoin.start((to, join) => this.#with(to, join, () => {}));
    const { tuning, random, timers, nowMs } = this.#context;
    if (tuning.pushPullIntervalMs === 0) return;
    // A node that comes waits up to one interval longer, so that those started together do not stay in step.
    timers.at(nowMs + random() * tuning.pushPullIntervalMs, () => this.#round(false));
  }

  /**
   * Tries every address, also after one has answered: several seeds may stand for several sides of a split. Its own is
   * left out.
   */
  join(id: number, addresses: readonly Address[]): void {
    const { limits, self } = this.#context;
    if (addresses.length > limits.joinTargets) {
      throw new SwimOptionsError(`join of ${addresses.length} addresses: expected at most ${limits.joinTargets}`);
    }
    const targets = addresses.filter((address) => !sameAddress(address, self.address));
    this.#rejoin.keepSeeds(targets);
    const failures: JoinFailure[] = [];
    let reached = 0;
    let next = 0;
    let open = 0;
    const proceed = (): void => {
      while (open < JOIN_AT_ONCE && next < targets.length) {
        const address = targets[next++] as Address;
        open++;
        this.#with(address, true, (failure) => {
          open--;
          if (failure === undefined) reached++;
          else if (failures.length < JOIN_FAILURES_TOLD) failures.push({ address, reason: failure });
          proceed();
        });
      }
      if (open === 0 && next === targets.length) {
        next = -1;
        this.#context.tell({ type: 'joined', id, reached, failures });
      }
    };
    proceed();
  }

  /** Somebody's state has come on a stream, and wants this node's. */
  answer(stream: number, request: PushPull): void {
    const refusal = this.#refusal(request);
    if (refusal !== undefined) {
      this.#context.refused('state exchange', refusal);
      this.#context.emit({ type: 'reply', stream, message: { type: 'error', message: refusal } });
      return;
    }
    this.#context.emit({ type: 'reply', stream, message: this.#local(request.join) });
    this.#take(request);
  }

  #round(due: boolean): void {
    const { timers, tuning, members, random, self, nowMs } = this.#context;
    timers.at(nowMs + pushPullIntervalMs(tuning.pushPullIntervalMs, members.size), () => this.#round(true));
    if (!due) return;
    const [member] = members.pick(1, random, (other) => other !== self && other.state === 'alive');
    if (member) this.#with(member.address, false, () => {});
  }

  #with(address: Address, join: boolean, done: (failure: string | undefined) => void): void {
    const deadlineMs = this.#context.nowMs + this.#context.tuning.streamTimeoutMs;
    this.#exchanges.open(address, this.#local(join), true, deadlineMs, (outcome) => {
      const failure = this.#outcome(outcome, join);
      if (failure !== undefined)
        this.#context.refused(`${address.host} port ${address.port}`, `state exchange: ${failure}`);
      done(failure);
    });
  }

  #outcome(outcome: Outcome, join: boolean): string | undefined {
    if (typeof outcome === 'string') return outcome;
    if (outcome?.type === 'error') return `refused by the other side: ${outcome.message}`;
    if (outcome?.type !== 'push-pull')
      return `the other side answered with ${outcome?.type ?? 'nothing'}: expected its state`;
    const refusal = this.#refusal({ ...outcome, join });
    if (refusal === undefined) this.#take({ ...outcome, join });
    return refusal;
  }

  #take(remote: PushPull): void {
    this.#membership.merge(remote.nodes);
    if (remote.user.length > 0) {
      this.#context.tell({ type: 'remote-state', state: remote.user, join: remote.join });
    }
  }

  #local(join: boolean): PushPull {
    const { members, hooks } = this.#context;
    const user = hooks.localState?.(join) ?? new Uint8Array();
    return { type: 'push-pull', nodes: members.all().map(stateOf), user, join };
  }

  #refusal(remote: PushPull): string | undefined {
    const mine = this.#context.members.all();
    return (
      incompatible(remote.nodes, mine) ?? (remote.join ? this.#context.hooks.refuseMerge?.(remote.nodes) : undefined)
    );
  }
}

/**
 * Every node must speak a version of the protocol, and of the user's messages, that all understand: between the
 * greatest minimum and the least maximum of all that are alive on both sides (memberlist, state.go, verifyProtocol;
 * which also holds the gone to it).
 */
function incompatible(remote: readonly NodeState[], mine: readonly NodeState[]): string | undefined {
  for (const which of ['protocol', 'delegate'] as const) {
    let least = 0;
    let most = 255;
    for (const nodes of [remote, mine]) {
      for (const { state, versions } of nodes) {
        if (state !== 'alive') continue;
        least = Math.max(least, versions[which][0]);
        most = Math.min(most, versions[which][1]);
      }
    }
    for (const nodes of [remote, mine]) {
      for (const { name, state, versions } of nodes) {
        const current = versions[which][2];
        if (state !== 'alive' || (current >= least && current <= most)) continue;
        return `${name} speaks ${which} version ${current}: all understand only ${least} to ${most}`;
      }
    }
  }
  return undefined;
}
