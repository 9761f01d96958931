// SPDX-License-Identifier: Apache-2.0
/**
 * Whom the packet tiers fail, by their counters (domain/tier-health.ts): a service whose packets cannot be sent on to its
 * backends, or everybody, by what is counted for no service: errors of a driver, drops of programs that do not know whose
 * packet it is. Of these the relay carries what it can meanwhile. Each is judged for itself: one that has few packets is
 * not lost among others, and one that has many does not take the others along.
 */
import type { ServiceTraffic, Status } from '@marcher/proto/marcher/packet/v1/packet_pb';
import { type Demotion, GOOD, judge, type TierHealth, type TierSample } from '../domain/tier-health.js';
import type { ConfigurationLog } from './configuration.js';

/** Drops that say that the tier can't send, and that sockets might. */
const FAILURES: ReadonlySet<string> = new Set(['no-route', 'no-neighbour', 'forwarding-off', 'no-headroom']);
/** What drivers report is of XDP alone. */
const UNSENT = "errors of the interface's driver";
/** Services that are named; the rest is counted. */
const NAMED_MAX = 5;
const NONE: ReadonlySet<string> = new Set();

interface Count {
  readonly reason: string;
  readonly packets: bigint;
}

interface Judged {
  readonly generation: bigint;
  readonly health: TierHealth;
}

export class PacketDemotion {
  readonly #log: ConfigurationLog;
  readonly #nowMs: () => number;
  #whole: TierHealth = GOOD;
  /** Of services that have had failures. */
  #each = new Map<string, Judged>();
  /** Failures by service when it was looked last, and those of all since the beginning. */
  #known = new Map<string, bigint>();
  #attributed = 0n;
  #names = NONE;
  #unsent = false;

  constructor(log: ConfigurationLog, nowMs: () => number) {
    this.#log = log;
    this.#nowMs = nowMs;
  }

  /** Services that the relay carries meanwhile. The same set as long as it has the same names. */
  get names(): ReadonlySet<string> {
    return this.#names;
  }

  /** Of the tiers as a whole. */
  get whole(): Demotion | undefined {
    return this.#whole.demotion;
  }

  /** XDP cannot send meanwhile: tc carries open flows of NAT as it carries others, and needs no relay. */
  get unsent(): boolean {
    return this.#unsent && this.whole !== undefined;
  }

  /** Services that fail for themselves, whether the relay can carry them or not. */
  get failing(): [name: string, demotion: Demotion][] {
    return [...this.#each].flatMap(
      ([
        name,
        {
          health: { demotion },
        },
      ]) => (demotion === undefined ? [] : [[name, demotion]]),
    );
  }

  /** Why the relay carries a service; undefined: it does not for such a reason. */
  of(name: string): Demotion | undefined {
    return this.#names.has(name) ? (this.#each.get(name)?.health.demotion ?? this.whole) : undefined;
  }

  /** The tiers are not open: there is nothing to judge. */
  forget(): void {
    this.#whole = GOOD;
    this.#each.clear();
    this.#known.clear();
    this.#names = NONE;
  }

  /** relayable: those that the relay can carry, but for those of NAT where these need it not. True: services have been
   * demoted. */
  look(
    status: Status,
    services: ReadonlyMap<string, { readonly generation: bigint }>,
    relayable: (butNat: boolean) => ReadonlySet<string>,
  ): boolean {
    const before = { whole: this.whole, failing: new Map(this.failing), names: this.#names };
    const ms = this.#nowMs();
    this.#lookAtEach(status, services, ms);
    const all = this.#sampleOfAll(status, ms);
    if (this.whole === undefined) this.#unsent = all.cause === UNSENT;
    this.#whole = judge(this.#whole, all);
    const failing = this.failing;
    const able = failing.length > 0 ? relayable(false) : NONE;
    const everybody = this.whole === undefined ? NONE : relayable(this.#unsent);
    const names = [...new Set([...failing.map(([name]) => name).filter((name) => able.has(name)), ...everybody])];
    const same = names.length === before.names.size && names.every((name) => before.names.has(name));
    if (!same) this.#names = new Set(names);
    this.#tell(before.whole, before.failing, failing);
    return names.some((name) => !before.names.has(name));
  }

  #lookAtEach(status: Status, services: ReadonlyMap<string, { readonly generation: bigint }>, ms: number): void {
    const traffic = new Map<string, ServiceTraffic>();
    for (const service of status.services) if (service.failures.length > 0) traffic.set(service.name, service);
    for (const name of this.#each.keys()) if (!services.has(name)) this.#each.delete(name);
    for (const name of new Set([...traffic.keys(), ...this.#each.keys()])) {
      const generation = services.get(name)?.generation;
      if (generation === undefined) continue;
      const judged = this.#each.get(name);
      // A change of its configuration is a reason to try at once.
      const health = judged?.generation === generation ? judged.health : GOOD;
      const now = traffic.get(name);
      const sample = {
        ms,
        forwarded: now?.traffic?.packets ?? 0n,
        failed: sum(now?.failures ?? []),
        cause: worst(now?.failures ?? []),
      };
      this.#each.set(name, { generation, health: judge(health, sample) });
    }
  }

  /** What is counted for a service is among all packets here, but not among those that fail. */
  #sampleOfAll({ services, drops, interfaces }: Status, ms: number): TierSample {
    const known = this.#known;
    this.#known = new Map();
    for (const { name, failures } of services) {
      const now = sum(failures);
      if (now === 0n) continue;
      const last = known.get(name) ?? 0n;
      // Less: counted anew, as of another service of this name.
      this.#attributed += now < last ? now : now - last;
      this.#known.set(name, now);
    }
    const unsent = interfaces.reduce((total, { sendErrors }) => total + sendErrors, 0n);
    const failures = [...drops.filter(({ reason }) => FAILURES.has(reason)), { reason: UNSENT, packets: unsent }];
    const forwarded = services.reduce((total, { traffic }) => total + (traffic?.packets ?? 0n), 0n);
    return {
      ms,
      forwarded: forwarded + this.#attributed,
      failed: sum(failures) - this.#attributed,
      cause: worst(failures),
    };
  }

  #tell(whole: Demotion | undefined, before: ReadonlyMap<string, Demotion>, now: readonly [string, Demotion][]): void {
    if (this.whole !== whole) {
      const services = this.#names.size;
      if (this.whole === undefined) this.#log.info({}, 'the packet tier is tried again');
      else
        this.#log.warn({ reason: this.whole.reason, services }, 'the packet tier fails: the relay carries what it can');
    }
    const fallen = now.filter(([name, demotion]) => before.get(name) !== demotion);
    if (fallen.length > 0) {
      const services = fallen.slice(0, NAMED_MAX).map(([name, { reason }]) => `${name}: ${reason}`);
      this.#log.warn(
        { services, count: fallen.length },
        'the packet tier cannot send the packets of services on: the relay carries those that it can',
      );
    }
    const failing = new Set(now.map(([name]) => name));
    const risen = [...before.keys()].filter((name) => !failing.has(name));
    if (risen.length === 0) return;
    this.#log.info(
      { services: risen.slice(0, NAMED_MAX), count: risen.length },
      'the packet tier is tried again for services',
    );
  }
}

function sum(counts: readonly Count[]): bigint {
  return counts.reduce((total, { packets }) => total + packets, 0n);
}

function worst(counts: readonly Count[]): string {
  return counts.reduce((a, b) => (b.packets > a.packets ? b : a), { reason: '', packets: -1n }).reason;
}
