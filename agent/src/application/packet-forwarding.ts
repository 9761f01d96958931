// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps the packet tiers on what the store says and on how backends are. Level-triggered: each run builds the table anew
 * from the stored services, the drains and the health that the engine's probes see, and hands it over when it is not the
 * one that is in force. A run follows each change, each health event, and each reconciliation, so that one that was
 * missed or failed is made up for.
 *
 * While the tier is available, the engine has these services without listeners: it probes, and packets pass it by. While
 * it is not, the engine relays them.
 */
import type { Guard, Service } from '@marcher/model';
import type { ApplyReply, ServiceTraffic, Status } from '@marcher/proto/marcher/packet/v1/packet_pb';
import { parseIp } from '../domain/address.js';
import type { PacketOffers } from '../domain/classify.js';
import { disproof, fastPathLost } from '../domain/packet-proof.js';
import { isAuto, isNat, type Vip, vipsOf } from '../domain/packet-service.js';
import { segmentAdvice } from '../domain/segment-advice.js';
import { unsteerable } from '../domain/steering.js';
import type { Demotion } from '../domain/tier-health.js';
import type { Dataplane } from '../ports/dataplane.js';
import type { PacketTier } from '../ports/packet-tier.js';
import type { ConfigurationLog, ObjectStanding } from './configuration.js';
import type { Current } from './current-objects.js';
import { PacketDemotion } from './packet-demotion.js';
import { PacketGuards } from './packet-guards.js';
import { OFF, tcOffer, xdpOffer } from './packet-offers.js';
import { type Decoded, PacketPacking, type PacketPackingOptions } from './packet-packing.js';
import { PacketRoom } from './packet-room.js';
import { PacketVerdicts } from './packet-verdicts.js';
import { sameBytes, unpackService } from './service-codec.js';

export interface PacketForwardingOptions extends PacketPackingOptions {
  readonly tier: PacketTier;
  readonly dataplane: Dataplane;
  readonly log: ConfigurationLog;
  readonly nowMs: () => number;
  /** Names of the stored services that are to be forwarded by packets. */
  readonly services: () => ReadonlySet<string>;
  /** IP addresses of this node: the relay can take a service over whose addresses are all among them. */
  readonly localAddresses: () => readonly string[];
  /** The operator wants tc to carry open flows of NAT, too. */
  readonly natByTc: boolean;
  /** The guards that are in force by the store. */
  readonly guards: () => Current<Guard>;
  /** What the tier carries has changed: the engine is to have these services without listeners, or with. */
  readonly onAvailable: () => Promise<void>;
  /** These services are in force now, or no longer. */
  readonly onStanding: (services: string[]) => void;
  /** The same of guards. */
  readonly onGuardStanding: (guards: string[]) => void;
  readonly retryMs?: number;
}

/** Of one service, for its Programmed condition. */
export interface PacketStanding {
  /** The engine carries it, so that its word counts too. */
  readonly relayed: boolean;
  readonly status: boolean;
  readonly reason: string;
  readonly message: string;
}

/** Between two attempts to open the tier, or to attach it where it is missing. */
const RETRY_MS = 7_000;
/** One answer of the API or of /metrics asks several times, and each counter is one per core. */
const STATUS_KEPT_MS = 100;
/** An unchanged table is put in force again: routes and VLAN devices, which the library looks at then, may have changed. */
const REFRESH_MS = 15_000;
/** A service that the tier has not taken for so long, since a table fails, goes to the relay until it has. */
const STRANDED_MS = 10_000;
/** Reasons of a refusal that are shown; the rest is counted. */
const SHOWN_MAX = 5;

export class PacketForwarding {
  readonly #options: PacketForwardingOptions;
  #openedMs = Number.NEGATIVE_INFINITY;
  #lastReason = '';
  /** Services as they are stored, until the configuration changes. */
  #decoded = new Map<string, Decoded>();
  #decodedVersion = -1n;
  #inForce: Uint8Array | undefined;
  #appliedMs = Number.NEGATIVE_INFINITY;
  /** Generation of each service in the table that is in force. */
  #carried = new Map<string, bigint>();
  #failure:
    | { reason: 'Refused' | 'NotApplied' | 'Held'; message: string; services: ReadonlyMap<string, string> }
    | undefined;
  /** What the tiers carried when the engine was told last what to listen for. */
  #told = '';
  /** Services that no table in force has yet: they stay in the one that is tried again. */
  #stranded: ReadonlySet<string> = new Set();
  /** Services of mode auto that the tier has left to the relay alone, and why. */
  #leftOut: ReadonlyMap<string, string> = new Map();
  #failingSinceMs: number | undefined;
  #running: Promise<void> | undefined;
  #again = false;
  #stopped = false;
  #lastRead: { readonly status: Status; readonly ms: number } | undefined;
  #traffic: { readonly status?: Status; readonly byName: ReadonlyMap<string, ServiceTraffic> } = { byName: new Map() };

  readonly #guards: PacketGuards;
  readonly #room = new PacketRoom();
  readonly #verdicts: PacketVerdicts;
  readonly #packing: PacketPacking;
  readonly #demotion: PacketDemotion;

  constructor(options: PacketForwardingOptions) {
    this.#options = options;
    this.#guards = new PacketGuards(options.guards);
    this.#verdicts = new PacketVerdicts(options.dataplane, options.nowMs);
    this.#packing = new PacketPacking(options);
    this.#demotion = new PacketDemotion(options.log, options.nowMs);
  }

  /** Packets of services that ask for it pass by the engine. */
  get available(): boolean {
    return this.#options.tier.state.kind === 'open';
  }

  /** This service's do, if it asks for it. */
  carries(service: Service): boolean {
    const { name } = service;
    // Nobody else is left out: the name may have been an auto service's before.
    const leftOut = isAuto(service) && this.#leftOut.has(name);
    return this.#mayCarry(service) && !this.#stranded.has(name) && !leftOut && !this.#unfit().has(name);
  }

  /** Services that there is no room for, and why. */
  #unfit(): ReadonlyMap<string, string> {
    const { store, claims } = this.#options;
    const candidates = () => new Map([...this.#services()].filter(([, { service }]) => this.#mayCarry(service)));
    const facts = [store.version, this.#tiers(), this.#demotion.names];
    return this.#room.unfit(facts, candidates, claims, () => this.#packing.names);
  }

  #mayCarry(service: Service): boolean {
    if (!this.available || this.#demotion.names.has(service.name)) return false;
    if (disproof(this.#options.tier.proof, service) !== undefined) return false;
    return isNat(service) ? this.#tcAttached() : this.#xdpAttached();
  }

  #xdpAttached(): boolean {
    // Until it can be read: whoever opened it was content.
    const interfaces = this.#read()?.interfaces ?? [];
    return interfaces.length === 0 || !interfaces.every(({ mode }) => mode === 'off');
  }

  #tcAttached(): boolean {
    return this.#read()?.interfaces.some(({ tc }) => tc !== '') ?? false;
  }

  /** How many services each tier is to carry. */
  counts(): { xdp: number; tc: number } {
    const counts = { xdp: 0, tc: 0 };
    if (!this.available) return counts;
    for (const { service } of this.#services().values()) {
      if (this.carries(service)) counts[isNat(service) ? 'tc' : 'xdp']++;
    }
    return counts;
  }

  /** Whose traffic the tier's counters of a service are; a name that is not stored any more is XDP's. */
  tierOf(name: string): 'xdp' | 'tc' {
    const known = this.#services().get(name);
    return known !== undefined && isNat(known.service) ? 'tc' : 'xdp';
  }

  /** Opens the tier for the first time, before the engine is told which services it is to listen for. */
  async start(): Promise<void> {
    await this.#open();
  }

  /** The engine is programmed now, by what carries() says. */
  engineTold(): void {
    this.#told = this.#carriage();
  }

  /** Now and then: opens the tier when it is not open, and puts the table in force. */
  async reconcile(): Promise<void> {
    const { tier, nowMs, retryMs, onAvailable } = this.#options;
    const { state } = tier;
    const worthIt = state.kind === 'open' || (state.kind === 'unavailable' && state.retry);
    if (worthIt && nowMs() - this.#openedMs >= (retryMs ?? RETRY_MS)) await this.#open();
    // Who is to carry packets takes them over before the other one lets go.
    if (this.#look()) await this.#tell(onAvailable);
    await this.sync();
    await this.#tend();
    await this.#tell(onAvailable);
  }

  /** Whether the engine is to listen for a service is another question since it was told last. */
  async #tell(onAvailable: () => Promise<void>): Promise<void> {
    const carried = this.#carriage();
    if (carried === this.#told) return;
    this.#told = carried;
    await onAvailable();
  }

  #carriage(): string {
    if (!this.available) return '';
    const others = [...this.#demotion.names, ...this.#stranded, ...this.#unfit().keys()];
    return [this.#tiers(), 'all but', ...others.sort()].join(' ');
  }

  /** What #mayCarry() goes by, but for who is demoted. */
  #tiers(): string {
    if (!this.available) return '';
    const { xdp, tc } = this.#options.tier.proof;
    const lost = [...xdp.lost.keys(), ...tc.lost.keys()];
    return [this.#xdpAttached() ? 'xdp' : '', this.#tcAttached() ? 'tc' : '', ...lost].join(' ');
  }

  /** Those that were never in force while tables fail, and that the relay can carry. */
  #findStranded(): void {
    const now = this.#options.nowMs();
    const failing = this.available && this.#failure !== undefined && this.#failure.reason !== 'Held';
    this.#failingSinceMs = failing ? (this.#failingSinceMs ?? now) : undefined;
    const stranded = this.#failingSinceMs !== undefined && now - this.#failingSinceMs >= STRANDED_MS;
    this.#stranded = stranded
      ? new Set([...this.#relayable()].filter((name) => !this.#carried.has(name)))
      : new Set<string>();
  }

  /** Judges what the tiers do. True: services were demoted. */
  #look(): boolean {
    this.#findStranded();
    if (!this.available) {
      this.#demotion.forget();
      return false;
    }
    const status = this.#read();
    return status !== undefined && this.#demotion.look(status, this.#services(), (but) => this.#relayable(but));
  }

  /** Those whose addresses are this node's: for others the relay could not listen. */
  #relayable(withoutNat = false): ReadonlySet<string> {
    const local = new Set(this.#options.localAddresses().map((address) => parseIp(address)?.join()));
    const names = new Set<string>();
    for (const [name, { service }] of this.#services()) {
      if (withoutNat && isNat(service)) continue;
      const here = ({ address, prefixLength }: Vip): boolean => prefixLength === 0 && local.has(address.join());
      if (Array.from(vipsOf(service)).every(here)) names.add(name);
    }
    return names;
  }

  /** Nothing depends on it at once: what fails is tried again with the next reconciliation. */
  async #tend(): Promise<void> {
    const { tier, log } = this.#options;
    if (!this.available) return;
    try {
      await tier.tend();
    } catch (error) {
      log.warn({ reason: text(error) }, 'the upkeep of the packet tier failed; trying again');
    }
  }

  async #open(): Promise<void> {
    const { tier, log, nowMs } = this.#options;
    const before = this.available;
    const state = await tier.open();
    this.#lastRead = undefined;
    this.#openedMs = nowMs();
    if (state.kind !== 'open') {
      this.#inForce = undefined;
      this.#guards.forget();
      this.#carried.clear();
      this.#failure = undefined;
      if (state.kind === 'unavailable' && state.reason !== this.#lastReason) {
        log.warn({ reason: state.reason }, 'the packet tier is not available: the relay carries its services');
      }
      this.#lastReason = state.kind === 'unavailable' ? state.reason : '';
      return;
    }
    this.#lastReason = '';
    // Another handle: what is in force is what was pinned, which need not be what this agent gave last.
    if (!before) {
      this.#inForce = undefined;
      this.#guards.forget();
      log.info({ tier: this.offers().xdp.reason }, 'the packet tier is open');
    }
  }

  /** Puts the table in force when it is another than before. Runs once more when it was asked for meanwhile. */
  sync(): Promise<void> {
    if (this.#running !== undefined) {
      this.#again = true;
      return this.#running;
    }
    const run = async (): Promise<void> => {
      do {
        this.#again = false;
        try {
          await this.#sync();
        } catch (error) {
          this.#failed(text(error));
        }
      } while (this.#again && !this.#stopped);
    };
    this.#running = run().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** The probes of this service came to another verdict. */
  healthChanged(service: string): void {
    this.#verdicts.changed(service);
    void this.sync();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #sync(): Promise<void> {
    if (this.#stopped || !this.available) return;
    const { tier, log } = this.#options;
    if (this.#holding()) {
      const message = 'there is no stored configuration, and the packet tier carries on with what it was given before';
      this.#failure = { reason: 'Held', message, services: new Map() };
      return;
    }
    let generations: Map<string, bigint>;
    let bytes: Uint8Array;
    try {
      const services = this.#carriedOf(this.#services());
      await this.#verdicts.ask(services);
      generations = new Map(Array.from(services, ([name, { generation }]) => [name, generation]));
      bytes = this.#table(services);
    } catch (error) {
      this.#failed(`the table could not be made: ${text(error)}`);
      return;
    }
    const now = this.#options.nowMs();
    // Also when the clock was set back.
    const fresh = Math.abs(now - this.#appliedMs) < REFRESH_MS;
    if (fresh && this.#inForce !== undefined && sameBytes(this.#inForce, bytes)) {
      if (this.#failure !== undefined) log.info({}, 'the packet tier has what is configured again');
      this.#inStep(generations, bytes);
      return;
    }
    let reply: ApplyReply;
    try {
      reply = await tier.apply(bytes);
      if (!reply.accepted && this.#guards.refused(reply.reasons)) {
        log.error({ reasons: this.#guards.refusal }, 'the packet tier refused the guards; those before stay in force');
        bytes = this.#table(this.#services());
        reply = await tier.apply(bytes);
      }
    } catch (error) {
      // It may or may not have taken effect: the next run makes sure.
      this.#inForce = undefined;
      this.#failed(text(error));
      return;
    }
    if (!reply.accepted) {
      this.#refused(reply, generations);
      return;
    }
    if (reply.migratedFrom > 0) this.#tellMigration(reply);
    if (this.#failure !== undefined) log.info({}, 'the packet tier has what is configured again');
    this.#appliedMs = now;
    const before = this.#leftOut;
    this.#leftOut = this.#leftOutOf(reply);
    this.#inStep(generations, bytes);
    const turned = [...before.keys(), ...this.#leftOut.keys()].filter(
      (name) => before.has(name) !== this.#leftOut.has(name),
    );
    if (turned.length > 0) this.#options.onStanding(turned);
  }

  #tellMigration({ migratedFrom, migratedFlows, migratedNatFlows, lostNatFlows, lost }: ApplyReply): void {
    const flows = { flows: Number(migratedFlows), natFlows: Number(migratedNatFlows) };
    this.#options.log.info(
      { layout: migratedFrom, ...flows },
      'the packet tier was taken over from a build with another layout of maps; its flows stay',
    );
    if (lost.length === 0) return;
    const which = lost.map(({ service, path, reason }) => [service, path, reason].filter((part) => part).join(': '));
    this.#options.log.warn({ natFlows: Number(lostNatFlows), lost: which }, 'not all of its connections stay');
  }

  /** Of many the reply names the first: the others are those that are not in force. */
  #leftOutOf({ leftOut, services }: ApplyReply): ReadonlyMap<string, string> {
    const known = new Map(
      leftOut.map(({ service, path, reason }) => [service, path === '' ? reason : `${path}: ${reason}`]),
    );
    const [first] = known;
    const { names } = this.#packing;
    const count = names.size - services;
    if (first === undefined || count === known.size) return known;
    this.#lastRead = undefined;
    const status = this.#read();
    if (status === undefined) return known;
    const inForce = new Set(status.services.map(({ name }) => name));
    const why = `answers would not come back through tc; of ${count} such services the first is ${first[0]}: ${first[1]}`;
    for (const name of names) if (!inForce.has(name) && !known.has(name)) known.set(name, why);
    return known;
  }

  #inStep(generations: Map<string, bigint>, bytes: Uint8Array): void {
    this.#failure = undefined;
    if (this.#inForce !== bytes) this.#lastRead = undefined;
    this.#inForce = bytes;
    this.#carry(generations);
    const guards = this.#guards.accepted();
    if (guards.length > 0) this.#options.onGuardStanding(guards);
  }

  /** The store never had a configuration and programs that were found pinned carry services: the state was lost. */
  #holding(): boolean {
    const { store } = this.#options;
    if (this.#inForce !== undefined || store.version !== 0n || store.pendingVersion !== 0n) return false;
    const status = this.#read();
    return status !== undefined && (status.services.length > 0 || status.guard !== undefined);
  }

  #carry(generations: Map<string, bigint>): void {
    const before = this.#carried;
    this.#carried = generations;
    const names = new Set([...before.keys(), ...generations.keys()]);
    const changed = [...names].filter((name) => before.get(name) !== generations.get(name));
    if (changed.length > 0) this.#options.onStanding(changed);
  }

  #failed(message: string): void {
    if (this.#failure?.message !== message) {
      this.#options.log.error({ reason: message }, 'the packet tier could not be brought in step; trying again');
    }
    this.#failure = { reason: 'NotApplied', message, services: new Map() };
  }

  #refused(reply: ApplyReply, generations: ReadonlyMap<string, bigint>): void {
    const services = new Map<string, string>();
    for (const { service, path, reason } of reply.reasons) {
      if (service !== '' && !services.has(service)) services.set(service, `${path}: ${reason}`);
    }
    const shown = reply.reasons.slice(0, SHOWN_MAX).map(({ service, path, reason }) => {
      return [service === '' ? '' : `service ${service}: `, path === '' ? '' : `${path}: `, reason].join('');
    });
    if (reply.reasons.length > SHOWN_MAX) shown.push(`and ${reply.reasons.length - SHOWN_MAX} reasons more`);
    const message = shown.join('; ');
    if (this.#failure?.message === message) return;
    this.#options.log.error({ reasons: shown }, 'the packet tier refused the table; the one before stays in force');
    this.#failure = { reason: 'Refused', message, services };
    this.#options.onStanding([...generations.keys()]);
  }

  #table(services: ReadonlyMap<string, Decoded>): Uint8Array {
    const unfit = this.#unfit();
    const carried = [...services].filter(([name, { service }]) => this.#mayCarry(service) && !unfit.has(name));
    const natByTc = this.#options.natByTc || this.#demotion.unsent || fastPathLost(this.#options.tier.proof);
    return this.#packing.pack(new Map(carried), { verdicts: this.#verdicts, guard: this.#guards.bytes, natByTc });
  }

  #carriedOf(services: ReadonlyMap<string, Decoded>): ReadonlyMap<string, Decoded> {
    if (this.#demotion.names.size === 0) return services;
    return new Map([...services].filter(([name]) => !this.#demotion.names.has(name)));
  }

  /** Sorted by name: equal configurations make equal bytes. */
  #services(): ReadonlyMap<string, Decoded> {
    const { store, services } = this.#options;
    if (this.#decodedVersion === store.version) return this.#decoded;
    const known = this.#decoded;
    const { version } = store;
    this.#decoded = new Map();
    for (const name of [...services()].sort()) {
      const stored = store.get(name);
      if (stored === undefined) continue;
      const earlier = known.get(name);
      if (earlier?.generation === stored.generation) this.#decoded.set(name, earlier);
      else {
        this.#decoded.set(name, { service: unpackService(stored.body), generation: stored.generation });
        this.#verdicts.changed(name);
      }
    }
    this.#decodedVersion = version;
    return this.#decoded;
  }

  /** What its backends are to tell clients about the size of segments; empty: nothing, or it is not known here. */
  segmentAdvice(service: Service): string[] {
    if (!this.available || !this.carries(service)) return [];
    const carried = this.#trafficOf(service.name);
    return segmentAdvice(service, new Map(carried?.backends.map(({ name, pathMtu }) => [name, pathMtu])));
  }

  /** Of a service that asks for a packet tier, as of this generation of it. */
  standing(name: string, generation: bigint): PacketStanding {
    const { state } = this.#options.tier;
    const service = this.#services().get(name)?.service;
    const relayed = (why: string): PacketStanding => {
      const { steering } = this.#options.dataplane;
      const unserved = steering.on || service === undefined ? [] : unsteerable(service);
      if (!steering.on && unserved.length > 0) {
        const message = `nothing carries ${unserved.join(', ')}${why}; and the relay does by sk_lookup alone: ${steering.reason}`;
        return { relayed: true, status: false, reason: 'PrefixNotSteered', message };
      }
      return { relayed: true, status: true, reason: 'Relayed', message: `carried by the relay${why}` };
    };
    if (state.kind !== 'open') return relayed(`, since the packet tier is not available: ${state.reason}`);
    const demotion = this.#demotion.of(name);
    if (demotion !== undefined) return relayed(` ${told(demotion)}`);
    if (service !== undefined && !this.#mayCarry(service)) {
      const { xdp, tc } = this.offers(name);
      return relayed(
        isNat(service) ? `, since tc is not available: ${tc.reason}` : `, since XDP is not available: ${xdp.reason}`,
      );
    }
    const unfit = this.#unfit().get(name);
    if (unfit !== undefined) return relayed(`, since the packet tier has ${unfit}`);
    const why = this.#leftOut.get(name);
    if (why !== undefined) return relayed(`: ${why}`);
    if (this.#carried.get(name) === generation) {
      return { relayed: service !== undefined && isAuto(service), status: true, reason: 'Programmed', message: '' };
    }
    const failure = this.#failure;
    if (failure === undefined) {
      return { relayed: false, status: false, reason: 'Pending', message: 'it is being handed to the packet tier' };
    }
    const own = failure.services.get(name);
    const stranded = this.#stranded.has(name);
    const meanwhile = stranded ? 'the relay carries it meanwhile' : 'what was in force before stays';
    const message = `${own ?? failure.message}; ${meanwhile}, and it is tried again every second`;
    return { relayed: stranded, status: false, reason: `PacketTier${failure.reason}`, message };
  }

  /** The same of a guard. */
  guardStanding(name: string, generation: bigint): ObjectStanding {
    const { state } = this.#options.tier;
    return this.#guards.standing(name, generation, state, {
      failure: this.#failure?.message,
      unattached: this.#unattached(),
    });
  }

  /** Why XDP is at no interface, though the tier is open (tc may be): guards are XDP's. */
  #unattached(): string | undefined {
    const interfaces = this.#read()?.interfaces ?? [];
    if (interfaces.length === 0 || interfaces.some(({ mode }) => mode !== '' && mode !== 'off')) return undefined;
    return interfaces.map(({ name, mode, reason }) => `${name}: ${mode === 'off' ? OFF : reason}`).join('; ');
  }

  /** What is wrong with the tier, for the status of the node; undefined: nothing, or nobody needs it. */
  condition(): { type: string; status: boolean; reason: string; message: string } | undefined {
    const of = (reason: string, message: string) => ({ type: 'PacketTier', status: false, reason, message });
    const { tier, services } = this.#options;
    const { state } = tier;
    const count = services().size;
    const whose = `${count} ${count === 1 ? 'service that asks' : 'services that ask'} for it`;
    const without = [
      ...(count === 0 ? [] : [`the relay carries ${whose}`]),
      ...(this.#options.guards().size === 0 ? [] : ['nothing is guarded']),
    ].join(', and ');
    if (state.kind === 'off') {
      return without === '' ? undefined : of('Off', `${without}: ${state.reason}`);
    }
    if (state.kind === 'unavailable') {
      return of('Unavailable', `${without === '' ? '' : `${without}: `}${state.reason}`);
    }
    if (this.#guards.refusal !== undefined) {
      return of('GuardRefused', `the guards before stay in force: ${this.#guards.refusal}`);
    }
    if (this.#failure?.reason === 'Refused') {
      return of('Refused', `the table before stays in force: ${this.#failure.message}`);
    }
    if (this.#failure?.reason === 'Held')
      return of('Held', `${this.#failure.message}: apply the whole configuration again`);
    if (this.#failure !== undefined) return of('NotApplied', `${this.#failure.message}; trying again every second`);
    const missing = this.#read()?.interfaces.filter(({ mode }) => mode === '') ?? [];
    if (missing.length > 0) {
      const named = missing.map(({ name, reason }) => `${name}: ${reason}`).join('; ');
      return of('NotAttached', `${named}; trying again every few seconds`);
    }
    const untc = this.#natWanted() ? (this.#read()?.interfaces.filter(({ tc }) => tc === '') ?? []) : [];
    if (untc.length > 0) {
      const named = untc.map(({ name, tcReason }) => `${name}: ${tcReason}`).join('; ');
      return of(
        'NotAttached',
        `tc, which services of forwarding.mode nat need: ${named}; trying again every few seconds`,
      );
    }
    const { names, whole, failing } = this.#demotion;
    if (whole !== undefined) {
      const left = count - names.size;
      const others = `${left} of ${count} ${left === 1 ? 'stays' : 'stay'} with it, since the relay could only listen on addresses of this node`;
      const kept = left === 0 ? '' : `; ${others}`;
      return names.size === 0
        ? of('Failing', `${whole.reason}${kept}`)
        : of('Demoted', `the relay carries services ${told(whole)}${kept}`);
    }
    if (failing.length > 0) {
      const carriedFirst = failing.sort(([a], [b]) => Number(names.has(b)) - Number(names.has(a)));
      const listed = carriedFirst.slice(0, SHOWN_MAX).map(([name, demotion]) => {
        return `${name}${names.has(name) ? '' : ' (of no address of this node, where the relay could listen)'} ${told(demotion)}`;
      });
      if (failing.length > SHOWN_MAX) listed.push(`and ${failing.length - SHOWN_MAX} more`);
      return names.size === 0
        ? of('Failing', `services fail: ${listed.join('; ')}`)
        : of('Demoted', `the relay carries ${names.size} of ${whose}: ${listed.join('; ')}`);
    }
    const unfit = [...this.#unfit()];
    if (unfit[0] !== undefined) {
      const [first, why] = unfit[0];
      return of('Full', `the relay carries ${unfit.length} of ${whose}; ${first}: ${why}`);
    }
    const unattached = this.#options.guards().size === 0 ? undefined : this.#unattached();
    if (unattached !== undefined) return of('NothingGuarded', unattached);
    const broken = (this.#read()?.guard?.rules ?? []).filter(({ problem }) => problem !== '');
    if (broken.length > 0) {
      const shown = broken
        .slice(0, SHOWN_MAX)
        .map(({ guard, position, problem }) => `${guard}, rules[${position}]: ${problem}`);
      return of('GuardObstructed', shown.join('; '));
    }
    const obstacles = tier.obstacles(this.#packing.families);
    return obstacles.length === 0 ? undefined : of('Obstructed', obstacles.join('; '));
  }

  /** undefined: the tier is not open, or can't be read now. */
  status(): Status | undefined {
    return this.#read();
  }

  #read(): Status | undefined {
    if (!this.available) return undefined;
    const now = this.#options.nowMs();
    const known = this.#lastRead;
    if (known !== undefined && now >= known.ms && now - known.ms < STATUS_KEPT_MS) return known.status;
    try {
      const status = this.#options.tier.status();
      this.#lastRead = { status, ms: now };
      return status;
    } catch {
      return undefined;
    }
  }

  /** Of one service, found at once: explaining asks for that of each. */
  #trafficOf(service: string): ServiceTraffic | undefined {
    const status = this.#read();
    if (status === undefined) return undefined;
    if (this.#traffic.status !== status) {
      this.#traffic = { status, byName: new Map(status.services.map((one) => [one.name, one])) };
    }
    return this.#traffic.byName.get(service);
  }

  #natWanted(): boolean {
    for (const { service } of this.#services().values()) if (isNat(service)) return true;
    return false;
  }

  /** To one service, or to all. */
  offers(service?: string): PacketOffers {
    const { state } = this.#options.tier;
    const { names, whole } = this.#demotion;
    const demotion = service !== undefined ? this.#demotion.of(service) : names.size > 0 ? whole : undefined;
    const none = (reason: string): PacketOffers => {
      const offer = { available: false, reason, fasterIf: [] };
      return { xdp: offer, tc: offer };
    };
    if (state.kind !== 'open') return none(state.reason);
    if (demotion !== undefined) return none(`demoted ${told(demotion)}`);
    if (service !== undefined && this.#stranded.has(service) && this.#failure !== undefined) {
      return none(`it has not taken this service: ${this.#failure.message}`);
    }
    const unfit = service === undefined ? undefined : this.#unfit().get(service);
    if (unfit !== undefined) return none(`it has ${unfit}`);
    const why = service === undefined ? undefined : this.#leftOut.get(service);
    if (why !== undefined) return none(`it leaves this service to the relay: ${why}`);
    const interfaces = this.#read()?.interfaces ?? [];
    const { proof } = this.#options.tier;
    const offers = {
      xdp: xdpOffer(interfaces, this.#xdpAttached(), proof.xdp),
      tc: tcOffer(interfaces, proof.tc),
    };
    const known = service === undefined ? undefined : this.#services().get(service)?.service;
    const lost = known && disproof(proof, known);
    if (known === undefined || lost === undefined) return offers;
    const offer = { available: false, reason: lost, fasterIf: [] };
    return isNat(known) ? { ...offers, tc: offer } : { ...offers, xdp: offer };
  }
}

function told({ sinceMs, untilMs, reason }: Demotion): string {
  const time = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`;
  return `since ${time(sinceMs)}: ${reason}; it is tried again at ${time(untilMs)}`;
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
