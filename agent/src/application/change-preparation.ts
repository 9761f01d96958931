// SPDX-License-Identifier: Apache-2.0
/**
 * From a requested change to what has to be stored and compiled, or everything that is wrong with it. Only services that
 * differ from what is stored are looked at further; the rest of the configuration is known by the ports it owns.
 */

import { create } from '@bufbuild/protobuf';
import type { Service } from '@marcher/model';
import { type Violation, ViolationSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { LIMITS } from '../domain/defaults.js';
import { packetModeOf } from '../domain/packet-service.js';
import { type Claim, type Conflict, PortOwnership } from '../domain/port-ownership.js';
import { claimsOf, Faults, validateService } from '../domain/validate.js';
import type { CommitChange, ConfigStore } from '../ports/config-store.js';
import type { RequestedChange } from '../ports/use-cases.js';
import { packedName, packService, repackService, sameBytes, unpackService } from './service-codec.js';

/** What is remembered of a service while its body rests in the store. */
interface Footprint {
  readonly claims: readonly Claim[];
  readonly backends: number;
  /** Asks for a packet tier. */
  readonly packets: boolean;
}

export interface PreparedChange {
  readonly changes: readonly CommitChange[];
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
  readonly #store: ConfigStore;
  readonly #footprints = new Map<string, Footprint>();
  readonly #packets = new Set<string>();
  #ports = new PortOwnership();
  #backends = 0;
  #listeners = 0;

  constructor(store: ConfigStore) {
    this.#store = store;
  }

  /** Reads everything once. */
  load(): void {
    this.#footprints.clear();
    this.#packets.clear();
    this.#ports = new PortOwnership();
    this.#backends = 0;
    this.#listeners = 0;
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
  }

  /**
   * Takes over the change: an array of services is emptied as they are packed, so that a large one is not held twice.
   * compile() is called for each service that is new or differs. accept() or reject() must follow before the next call.
   */
  prepare(change: RequestedChange, compile?: (service: Service) => void): PreparedChange | { violations: Violation[] } {
    const started = performance.now();
    let compileMs = 0;
    const faults = new Faults();
    const touched: Touched[] = [];
    const changes: CommitChange[] = [];
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
      if (faults.list.length > known) continue;
      touch(name, path, service);
      changes.push({ name, before: stored?.body, after: body });
      if (compile !== undefined && faults.list.length === 0) {
        const before = performance.now();
        compile(service);
        compileMs += performance.now() - before;
      }
    }
    this.#prepareRemovals(change, seen, faults, (name) => {
      const stored = this.#store.get(name);
      if (stored === undefined) return;
      touch(name, '', undefined);
      changes.push({ name, before: stored.body, after: undefined });
    });
    const size =
      this.#footprints.size +
      changes.reduce((sum, { before, after }) => {
        return sum + (after === undefined ? -1 : before === undefined ? 1 : 0);
      }, 0);
    if (size > LIMITS.services) {
      faults.add('services', `would be ${size} services`, `keep at most ${LIMITS.services} on a node`);
    }

    const undo = this.#move(touched, faults);
    if (faults.list.length > 0) {
      undo();
      return { violations: faults.list.map((fault) => create(ViolationSchema, fault)) };
    }
    return {
      changes,
      compileMs,
      validateMs: performance.now() - started - compileMs,
      accept: () => {
        for (const { name, footprint } of touched) this.#set(name, footprint);
      },
      reject: undo,
    };
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

function footprintOf(service: Service): Footprint {
  const packets = packetModeOf(service) !== undefined;
  return { claims: claimsOf(service), backends: service.backends.length, packets };
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
