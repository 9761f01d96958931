// SPDX-License-Identifier: Apache-2.0
/**
 * From a requested change to what has to be stored and compiled, or everything that is wrong with it. Only services that
 * differ from what is stored are looked at further; the rest of the configuration is known by the ports it owns and the
 * traffic policies it names.
 */

import { create } from '@bufbuild/protobuf';
import { LoadOf, nearest, type Service, type TrafficPolicy } from '@marcher/model';
import { type Violation, ViolationSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { LIMITS } from '../domain/defaults.js';
import { Faults } from '../domain/faults.js';
import { added, excesses, fixedSize, NO_SIZE, type PacketSize } from '../domain/packet-room.js';
import { packetModeOf } from '../domain/packet-service.js';
import { type Claim, type Conflict, isLayered, PortOwnership } from '../domain/port-ownership.js';
import { steeredSize } from '../domain/steering.js';
import { limitsAnswers, policyFor, validatePolicyOf } from '../domain/traffic-policy.js';
import { claimsOf, validateService } from '../domain/validate.js';
import type { CommitChange, ConfigReader } from '../ports/config-store.js';
import type { RequestedChange } from '../ports/use-cases.js';
import { ObjectPreparation } from './object-preparation.js';
import { packedName, packService, repackService, sameBytes, unpackService } from './service-codec.js';

/** What is remembered of a service while its body rests in the store. */
interface Footprint {
  readonly claims: readonly Claim[];
  readonly backends: number;
  /** Asks for a packet tier. */
  readonly packets: boolean;
  /** What it takes of their tables, whatever else is there. */
  readonly size: PacketSize;
  /** What the engine is to listen on depends on whether sk_lookup steers here: for so much of it. */
  readonly steered: { readonly ranges: number; readonly ports: number };
  /** Name of its traffic policy; empty: none. */
  readonly policy: string;
  /** It is balanced by what all nodes of the mesh have open. */
  readonly meshLoad: boolean;
}

/** Given each service that is new or differs, or whose traffic policy does, with its policy as it will be. */
export type Compile = (service: Service, policy: TrafficPolicy | undefined) => void;

export interface PreparedChange {
  /** Services after the other kinds. */
  readonly changes: readonly CommitChange[];
  /** Traffic policies as they will be. */
  readonly policyOf: (name: string) => TrafficPolicy | undefined;
  /** compile() has been given, or would have been, at least one service; or one is removed. */
  readonly concernsServices: boolean;
  readonly validateMs: number;
  readonly compileMs: number;
  /** The change is in force: what it claims stays claimed. */
  accept(): void;
  /** The change is not made: everything is as before. */
  reject(): void;
}

export interface Inventory {
  readonly services: number;
  readonly backends: number;
  readonly listeners: number;
}

interface Touched {
  readonly name: string;
  readonly path: string;
  readonly footprint: Footprint | undefined;
}

export class ConfigurationIndex {
  readonly #store: ConfigReader;
  readonly #steers: () => boolean;
  readonly #footprints = new Map<string, Footprint>();
  readonly #packets = new Set<string>();
  readonly #steered = new Set<string>();
  readonly #meshLoad = new Set<string>();
  /** Names of services by the traffic policy that they name. */
  readonly #byPolicy = new Map<string, Set<string>>();
  #ports = new PortOwnership();
  #backends = 0;
  #listeners = 0;
  #steeredRanges = 0;
  #steeredPorts = 0;
  #packetSize = NO_SIZE;

  /** steers: sk_lookup does, whose maps have so many places. */
  constructor(store: ConfigReader, steers: () => boolean = () => false) {
    this.#store = store;
    this.#steers = steers;
  }

  /** Reads everything once. */
  load(): void {
    this.#footprints.clear();
    this.#packets.clear();
    this.#steered.clear();
    this.#meshLoad.clear();
    this.#byPolicy.clear();
    this.#ports = new PortOwnership();
    this.#backends = 0;
    this.#listeners = 0;
    this.#steeredRanges = 0;
    this.#steeredPorts = 0;
    this.#packetSize = NO_SIZE;
    for (const { name, body } of this.#store.scan()) {
      const service = unpackService(body);
      const footprint = footprintOf(service);
      for (const claim of footprint.claims) this.#ports.claim(name, claim);
      this.#set(name, footprint);
    }
  }

  has(name: string): boolean {
    return this.#footprints.has(name);
  }

  /** Names of the services that ask for a packet tier. */
  get packets(): ReadonlySet<string> {
    return this.#packets;
  }

  /** Names of the services that sk_lookup would steer. */
  get steered(): ReadonlySet<string> {
    return this.#steered;
  }

  /** Names of the services that are balanced by what all nodes of the mesh have open. */
  get meshLoad(): ReadonlySet<string> {
    return this.#meshLoad;
  }

  /** Whether the relay could serve all of it without sk_lookup. */
  needsSteering(name: string): boolean {
    return this.#footprints.get(name)?.claims.some(isLayered) ?? false;
  }

  /** What each service listens on. */
  *claims(): Iterable<[service: string, claims: readonly Claim[]]> {
    for (const [name, { claims }] of this.#footprints) yield [name, claims];
  }

  /** Names of the services that name a traffic policy. */
  naming(policy: string): ReadonlySet<string> {
    return this.#byPolicy.get(policy) ?? NO_NAMES;
  }

  /** Name of the traffic policy that the service names; empty: none. */
  policyOf(service: string): string {
    return this.#footprints.get(service)?.policy ?? '';
  }

  get inventory(): Inventory {
    return { services: this.#footprints.size, backends: this.#backends, listeners: this.#listeners };
  }

  #set(name: string, footprint: Footprint | undefined): void {
    const old = this.#footprints.get(name);
    this.#backends += (footprint?.backends ?? 0) - (old?.backends ?? 0);
    this.#listeners += (footprint?.claims.length ?? 0) - (old?.claims.length ?? 0);
    if (footprint === undefined) this.#footprints.delete(name);
    else this.#footprints.set(name, footprint);
    if (footprint?.packets) this.#packets.add(name);
    else this.#packets.delete(name);
    this.#packetSize = added(added(this.#packetSize, old?.size ?? NO_SIZE, -1), footprint?.size ?? NO_SIZE);
    this.#steeredRanges += (footprint?.steered.ranges ?? 0) - (old?.steered.ranges ?? 0);
    this.#steeredPorts += (footprint?.steered.ports ?? 0) - (old?.steered.ports ?? 0);
    if (footprint !== undefined && footprint.steered.ranges > 0) this.#steered.add(name);
    else this.#steered.delete(name);
    if (footprint?.meshLoad) this.#meshLoad.add(name);
    else this.#meshLoad.delete(name);
    if (old?.policy !== footprint?.policy) this.#setPolicy(name, old?.policy ?? '', footprint?.policy ?? '');
  }

  #setPolicy(name: string, old: string, policy: string): void {
    const before = this.#byPolicy.get(old);
    if (before?.delete(name) && before.size === 0) this.#byPolicy.delete(old);
    if (policy === '') return;
    const names = this.#byPolicy.get(policy) ?? new Set();
    this.#byPolicy.set(policy, names.add(name));
  }

  /**
   * Takes over the change: an array of services is emptied as they are packed, so that a large one is not held twice.
   * accept() or reject() must follow before the next call.
   */
  prepare(change: RequestedChange, compile?: Compile): PreparedChange | { violations: Violation[] } {
    const started = performance.now();
    let compileMs = 0;
    const faults = new Faults();
    const objects = new ObjectPreparation(this.#store, change, faults);
    const touched: Touched[] = [];
    const changes: CommitChange[] = [...objects.changes];
    /** Whose policy was looked at; the others name what they named before. */
    const judged = new Set<string>();
    const compiled = (service: Service, policy: TrafficPolicy | undefined): void => {
      if (compile === undefined || faults.list.length > 0) return;
      const before = performance.now();
      compile(service, policy);
      compileMs += performance.now() - before;
    };
    const seen = new Map<string, string>();
    const touch = (name: string, path: string, service: Service | undefined): void => {
      const footprint = service && footprintOf(service);
      touched.push({ name, path, footprint });
    };

    let i = -1;
    for (const item of consumed(change.upsert)) {
      if (faults.full) break;
      i++;
      const path = `services[${i}]`;
      const known = faults.list.length;
      // What is stored has one encoding: bytes that equal it need no decoding, and their name is where it is expected.
      const unchanged = item instanceof Uint8Array ? this.#storedAs(item) : undefined;
      const service = unchanged === undefined ? decoded(item, path, faults) : undefined;
      const name = unchanged ?? service?.name;
      if (name === undefined) continue;
      const earlier = seen.get(name);
      if (earlier !== undefined) {
        faults.add(`${path}.name`, `${JSON.stringify(name)} is also ${earlier}`, 'give each service its own name');
        continue;
      }
      seen.set(name, path);
      if (service === undefined) continue;
      const stored = this.#footprints.has(name) ? this.#store.get(name) : undefined;
      const body = item instanceof Uint8Array ? repackService(item, service) : packService(service);
      if (stored !== undefined && sameBytes(stored.body, body)) continue;
      validateService(service, path, faults);
      const policy = service.trafficPolicy === '' ? undefined : this.#policyOf(service, path, objects, faults);
      validatePolicyOf(service, policy, (reason, fix) => faults.add(`${path}.trafficPolicy`, reason, fix));
      judged.add(name);
      if (faults.list.length > known) continue;
      touch(name, path, service);
      changes.push({ kind: 'Service', name, before: stored?.body, after: body });
      compiled(service, policy);
    }
    this.#prepareRemovals(change, seen, faults, (name) => {
      const stored = this.#store.get(name);
      if (stored === undefined) return;
      touch(name, '', undefined);
      judged.add(name);
      changes.push({ kind: 'Service', name, before: stored.body, after: undefined });
    });
    this.#checkRemovedPolicies(objects, judged, seen, faults);
    let follow = 0;
    for (const [policyName, at] of objects.changedPolicies) {
      const policy = objects.policy(policyName);
      for (const name of this.naming(policyName)) {
        const stored = judged.has(name) ? undefined : this.#store.get(name);
        if (stored === undefined) continue;
        follow++;
        if (compile === undefined && !limitsAnswers(policy)) continue;
        const service = unpackService(stored.body);
        validatePolicyOf(service, policy, (reason, fix) =>
          faults.add(at, `service ${JSON.stringify(name)} names it, but ${reason}`, fix),
        );
        if (compile !== undefined) compiled(service, policy);
      }
    }
    const size =
      this.#footprints.size +
      changes.reduce((sum, { kind, before, after }) => {
        if (kind !== 'Service') return sum;
        return sum + (after === undefined ? -1 : before === undefined ? 1 : 0);
      }, 0);
    if (size > LIMITS.services) {
      faults.add('services', `would be ${size} services`, `keep at most ${LIMITS.services} on a node`);
    }

    if (this.#steers()) this.#checkSteered(touched, faults);
    this.#checkPackets(touched, faults);

    const undo = this.#move(touched, faults);
    if (faults.list.length > 0) {
      undo();
      return { violations: faults.list.map((fault) => create(ViolationSchema, fault)) };
    }
    return {
      changes,
      policyOf: (name) => objects.policy(name),
      concernsServices: follow > 0 || changes.length > objects.changes.length,
      compileMs,
      validateMs: performance.now() - started - compileMs,
      accept: () => {
        for (const { name, footprint } of touched) this.#set(name, footprint);
      },
      reject: undo,
    };
  }

  /** Changes of services that are valid each by itself; undefined: one would share a port. accept() or reject() must follow. */
  adopt(changes: readonly CommitChange[]): Pick<PreparedChange, 'accept' | 'reject'> | undefined {
    const touched: Touched[] = [];
    for (const { kind, name, after } of changes) {
      if (kind === 'Service') touched.push({ name, path: '', footprint: after && footprintOf(unpackService(after)) });
    }
    const faults = new Faults();
    const undo = this.#move(touched, faults);
    if (faults.list.length > 0) {
      undo();
      return undefined;
    }
    return {
      accept: () => {
        for (const { name, footprint } of touched) this.#set(name, footprint);
      },
      reject: undo,
    };
  }

  #policyOf(service: Service, path: string, objects: ObjectPreparation, faults: Faults): TrafficPolicy | undefined {
    const name = service.trafficPolicy;
    const policy = objects.policy(name);
    if (policy === undefined) faults.add(`${path}.trafficPolicy`, ...noPolicy(name, objects.policyNames));
    else if (policyFor(service, policy) === undefined) {
      const where = service.cluster === '' ? 'in no cluster' : `in cluster ${JSON.stringify(service.cluster)}`;
      const reason = `traffic policy ${JSON.stringify(name)} is of cluster ${JSON.stringify(policy.cluster)}, and the service is ${where}`;
      faults.add(`${path}.trafficPolicy`, reason, 'name one of the same cluster, or one without a cluster');
    }
    return policy;
  }

  /** A policy must not go while services that stay as they are name it. */
  #checkRemovedPolicies(
    objects: ObjectPreparation,
    judged: ReadonlySet<string>,
    seen: ReadonlyMap<string, string>,
    faults: Faults,
  ): void {
    for (const [policy, path] of objects.removedPolicies) {
      const left = [...this.naming(policy)].filter((name) => !judged.has(name));
      for (const name of left) {
        const at = seen.get(name);
        if (at !== undefined) faults.add(`${at}.trafficPolicy`, ...noPolicy(policy, objects.policyNames));
      }
      const unseen = left.filter((name) => !seen.has(name));
      if (unseen.length === 0) continue;
      const some = unseen.slice(0, 3).map((name) => JSON.stringify(name));
      const rest = unseen.length > 3 ? ` and ${unseen.length - 3} more` : '';
      const reason = `traffic policy ${JSON.stringify(policy)} is named by ${unseen.length === 1 ? 'service' : 'services'} ${some.join(', ')}${rest}`;
      faults.add(path, reason, 'give them another policy, or none, in the same change');
    }
  }

  /** Name of the stored service that these bytes are. */
  #storedAs(packed: Uint8Array): string | undefined {
    const name = packedName(packed);
    if (name === undefined || !this.#footprints.has(name)) return undefined;
    const stored = this.#store.get(name);
    return stored !== undefined && sameBytes(stored.body, packed) ? name : undefined;
  }

  #prepareRemovals(
    change: RequestedChange,
    seen: Map<string, string>,
    faults: Faults,
    remove: (name: string) => void,
  ): void {
    const removed = new Set<string>();
    change.remove.forEach((name, i) => {
      const path = `remove[${i}]`;
      if (seen.has(name)) {
        faults.add(path, `${JSON.stringify(name)} is to be created or replaced too`, 'ask for one of the two');
      } else if (!this.#footprints.has(name)) {
        faults.add(path, `there is no service ${JSON.stringify(name)}`, 'look at the names with: marcher get services');
      } else if (!removed.has(name)) {
        removed.add(name);
        remove(name);
      }
    });
    if (!change.replaceAll || faults.list.length > 0) return;
    for (const name of this.#footprints.keys()) if (!seen.has(name) && !removed.has(name)) remove(name);
  }

  /** More than its maps have room for would keep all others from being steered. */
  #checkSteered(touched: readonly Touched[], faults: Faults): void {
    let ranges = 0;
    let ports = 0;
    for (const { name, footprint } of touched) {
      const before = this.#footprints.get(name)?.steered;
      ranges += (footprint?.steered.ranges ?? 0) - (before?.ranges ?? 0);
      ports += (footprint?.steered.ports ?? 0) - (before?.ports ?? 0);
    }
    const all = this.#steeredPorts + ports;
    const reason = (count: number, what: string) => `would be ${count} ${what} that sk_lookup leads to the relay`;
    // What was there before this agent began to steer may become less, step by step.
    if (ranges > 0 && this.#steeredRanges + ranges > LIMITS.steeredRanges) {
      const fix = `keep at most ${LIMITS.steeredRanges} prefixes and ranges of more than 16 ports on a node`;
      faults.add('services', reason(this.#steeredRanges + ranges, 'prefixes and ranges of ports'), fix);
    } else if (ports > 0 && all > LIMITS.steeredPorts) {
      const fix = `keep at most ${LIMITS.steeredPorts} on a node, or write every port as "1-65535", which is one entry`;
      faults.add('services', reason(all, 'ports'), fix);
    }
  }

  /** More than the tables of packet tiers have room for would keep them from taking any change. */
  #checkPackets(touched: readonly Touched[], faults: Faults): void {
    let change = NO_SIZE;
    for (const { name, footprint } of touched) {
      change = added(added(change, this.#footprints.get(name)?.size ?? NO_SIZE, -1), footprint?.size ?? NO_SIZE);
    }
    for (const { reason, fix } of excesses(added(this.#packetSize, change), change))
      faults.add('services', reason, fix);
  }

  /** Moves ports from their old owners to the new ones. Returns what takes that back. */
  #move(touched: readonly Touched[], faults: Faults): () => void {
    const released: [string, Claim][] = [];
    const claimed: [string, Claim][] = [];
    for (const { name } of touched) {
      for (const claim of this.#footprints.get(name)?.claims ?? []) {
        this.#ports.release(name, claim);
        released.push([name, claim]);
      }
    }
    for (const { name, path, footprint } of touched) {
      for (const [index, claim] of (footprint?.claims ?? []).entries()) {
        const conflict = this.#ports.claim(name, claim);
        if (conflict === undefined) claimed.push([name, claim]);
        else this.#report(path, name, index, claim, conflict, faults);
      }
    }
    return () => {
      for (const [name, claim] of claimed) this.#ports.release(name, claim);
      for (const [name, claim] of released) this.#ports.claim(name, claim);
    };
  }

  #report(path: string, name: string, index: number, claim: Claim, conflict: Conflict, faults: Faults): void {
    const transport = claim.udp ? 'udp' : 'tcp';
    const on =
      conflict.address === claim.address
        ? ''
        : `, on ${conflict.address === '' ? 'every address' : 'an address that this one covers or is covered by'}`;
    const whose =
      conflict.owner === name
        ? 'listed twice in this service'
        : `the port of service ${JSON.stringify(conflict.owner)}${on}`;
    const at =
      claim.first === claim.last ? `port ${claim.first}` : `port ${conflict.port} of ${claim.first}-${claim.last}`;
    const fix =
      conflict.owner === name
        ? 'list it once'
        : 'choose another port, or take it from the other service in the same change';
    faults.add(`${path}.listeners[${index}]`, `${transport} ${at} is ${whose}`, fix);
  }
}

const NO_NAMES: ReadonlySet<string> = new Set();
/** As many as a message can name. */
const NAMED_MAX = 5;

function noPolicy(name: string, names: readonly string[]): [reason: string, fix: string] {
  const meant = nearest(name, names);
  const some = names.slice(0, NAMED_MAX).join(', ');
  const there = names.length === 0 ? '' : `; there ${names.length === 1 ? 'is' : 'are'} ${some}`;
  const more = names.length > NAMED_MAX ? ` and ${names.length - NAMED_MAX} more` : '';
  const reason = `there is no traffic policy ${JSON.stringify(name.slice(0, 80))}`;
  const fix = `add it to trafficPolicies, or name another${there}${more}`;
  return [reason, meant === undefined ? fix : `did you mean ${meant}? Otherwise ${fix}`];
}

function footprintOf(service: Service): Footprint {
  const packets = packetModeOf(service) !== undefined;
  const steered = steeredSize(service);
  return {
    claims: claimsOf(service),
    backends: service.backends.length,
    packets,
    size: fixedSize(service),
    steered,
    policy: service.trafficPolicy,
    meshLoad: service.balance?.loadOf === LoadOf.MESH,
  };
}

function decoded(item: Service | Uint8Array, path: string, faults: Faults): Service | undefined {
  try {
    return item instanceof Uint8Array ? unpackService(item) : item;
  } catch (error) {
    const reason = `is not a readable marcher.v1.Service: ${error instanceof Error ? error.message : String(error)}`;
    faults.add(path, reason, 'send it as shared/proto of this version defines it');
    return undefined;
  }
}

function* consumed(services: Iterable<Service | Uint8Array>): Iterable<Service | Uint8Array> {
  if (!Array.isArray(services)) {
    yield* services;
    return;
  }
  const held: (Service | Uint8Array | undefined)[] = services;
  for (let i = 0; i < held.length; i++) {
    const service = held[i] as Service | Uint8Array;
    held[i] = undefined;
    yield service;
  }
  held.length = 0;
}
