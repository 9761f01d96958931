// SPDX-License-Identifier: Apache-2.0
/**
 * Between the data plane and what nodes say of their connections: what is open here to the backends of the services that are
 * balanced by the load of the mesh, and what is open to these elsewhere.
 */
import { create } from '@bufbuild/protobuf';
import {
  BackendLoadElsewhereSchema,
  type ServiceLoadElsewhere,
  ServiceLoadElsewhereSchema,
} from '@marcher/proto/marcher/engine/v1/control_pb';
import { LIMITS } from '../../domain/defaults.js';
import { backendKey, lastingShare, type OpenConnections } from '../../domain/mesh/backend-load.js';
import { backendName } from '../../domain/validate.js';
import type { ConfigStore } from '../../ports/config-store.js';
import type { Dataplane } from '../../ports/dataplane.js';
import { unpackService } from '../service-codec.js';

export interface BackendLoadsOptions {
  /** Names of the services that are balanced by the load of the mesh. */
  readonly services: () => ReadonlySet<string>;
  readonly store: Pick<ConfigStore, 'get' | 'version'>;
  readonly dataplane: Pick<Dataplane, 'backends' | 'loadElsewhere'>;
  readonly hash: (bytes: Uint8Array) => Uint8Array;
  readonly monotonicMs: () => number;
}

/** By backend's name. */
type Keys = ReadonlyMap<string, bigint>;

/** How many connections had been opened at some time. */
interface Mark {
  readonly ms: number;
  readonly opened: bigint;
}

/** The rate of new connections is that since one mark, which is one to two pauses ago; the other takes its place. */
interface Arrivals {
  readonly from: Mark;
  readonly next: Mark;
  /** Of what is open, that is said. */
  readonly share: number;
}

/** What the data plane is told counts so long; it is told again well before that. */
const VALID_MS = 15_000;
const AGAIN_MS = 5_000;

export class BackendLoads {
  readonly #options: BackendLoadsOptions;
  /** By service, of that version of the configuration. */
  #keys: ReadonlyMap<string, Keys> = new Map();
  #version = '';
  /** By service. */
  #arrivals: ReadonlyMap<string, Arrivals> = new Map();
  #told: ReadonlyMap<string, ServiceLoadElsewhere> = new Map();
  #toldMs = Number.NEGATIVE_INFINITY;

  constructor(options: BackendLoadsOptions) {
    this.#options = options;
  }

  /** Of no service, and nothing is left of what was: there is nothing to do. */
  get isIdle(): boolean {
    return this.#options.services().size === 0 && this.#told.size === 0;
  }

  /** Services that are balanced by their own connections alone, since there are too many. */
  get leftOut(): readonly string[] {
    const { services } = this.#options;
    const known = this.#known();
    return [...services()].filter((name) => !known.has(name)).sort();
  }

  /**
   * What is to be said: of connections that are soon gone less (lastingShare). undefined: of some service that is not known
   * yet, as it was looked at for the first time. pauseMs: between words. Fails while the engine does not answer.
   */
  async open(pauseMs: number): Promise<OpenConnections | undefined> {
    const { dataplane, monotonicMs } = this.#options;
    const open = new Map<bigint, number>();
    const arrivals = new Map<string, Arrivals>();
    for (const [service, keys] of this.#known()) {
      const states = await dataplane.backends(service);
      const now = { ms: monotonicMs(), opened: states.reduce((sum, { opened }) => sum + opened, 0n) };
      const total = states.reduce((sum, { connections }) => sum + Number(connections), 0);
      const arrived = arrivalsSince(this.#arrivals.get(service), now, total, pauseMs);
      arrivals.set(service, arrived);
      for (const { backend, connections } of states) {
        const key = keys.get(backend);
        const said = Math.round(Number(connections) * arrived.share);
        if (key !== undefined && said > 0) open.set(key, said);
      }
    }
    const isKnown = [...arrivals.keys()].every((service) => this.#arrivals.has(service));
    this.#arrivals = arrivals;
    return isKnown ? open : undefined;
  }

  /** Tells the data plane what is open elsewhere, if it does not know. Fails while the engine does not answer. */
  async tell(elsewhere: OpenConnections): Promise<void> {
    const now = new Map<string, ServiceLoadElsewhere>();
    for (const [service, keys] of this.#known()) {
      const backends = [...keys].flatMap(([backend, key]) => {
        const connections = elsewhere.get(key) ?? 0;
        return connections > 0 ? [create(BackendLoadElsewhereSchema, { backend, connections })] : [];
      });
      now.set(service, create(ServiceLoadElsewhereSchema, { service, backends }));
    }
    const nowMs = this.#options.monotonicMs();
    const isDue = nowMs - this.#toldMs >= AGAIN_MS;
    const changed = [...now.values()].filter((load) => isDue || !isSame(this.#told.get(load.service), load));
    for (const service of this.#told.keys()) {
      if (!now.has(service)) changed.push(create(ServiceLoadElsewhereSchema, { service }));
    }
    if (changed.length === 0) return;
    await this.#options.dataplane.loadElsewhere(changed, VALID_MS);
    this.#told = now;
    if (isDue) this.#toldMs = nowMs;
  }

  /** Those of each node that has the same services are the same, so that what nodes say is about the same backends. */
  #known(): ReadonlyMap<string, Keys> {
    const { store, services } = this.#options;
    const asking = services();
    // Which ones ask is known a moment before their version is in force, or after.
    const version = `${store.version} ${asking.size}`;
    if (this.#version === version) return this.#keys;
    const known = new Map<string, Keys>();
    let room: number = LIMITS.meshLoadBackendsPerNode;
    for (const name of [...asking].sort()) {
      const stored = store.get(name);
      if (stored === undefined) continue;
      const { cluster, backends } = unpackService(stored.body);
      room -= backends.length;
      if (room < 0 || known.size === LIMITS.meshLoadServices) break;
      const key = (backend: string, address: string): bigint =>
        backendKey([cluster, name, backend, address], this.#options.hash);
      known.set(
        name,
        new Map(backends.map((backend) => [backendName(backend), key(backendName(backend), backend.address)])),
      );
    }
    this.#keys = known;
    this.#version = version;
    return known;
  }
}

function isSame(told: ServiceLoadElsewhere | undefined, now: ServiceLoadElsewhere): boolean {
  if (told === undefined) return now.backends.length === 0;
  if (told.backends.length !== now.backends.length) return false;
  return now.backends.every(({ backend, connections }, i) => {
    const before = told.backends[i];
    return before?.backend === backend && before.connections === connections;
  });
}

function arrivalsSince(before: Arrivals | undefined, now: Mark, open: number, pauseMs: number): Arrivals {
  // Less than before: it is another engine, which counts anew, or a backend has gone.
  if (before === undefined || now.opened < before.next.opened) {
    return { from: now, next: now, share: before?.share ?? 0 };
  }
  const { from, next } = now.ms - before.next.ms < pauseMs ? before : { from: before.next, next: now };
  const perSecond = (Number(now.opened - from.opened) * 1_000) / Math.max(1, now.ms - from.ms);
  return { from, next, share: lastingShare(open, perSecond, pauseMs) };
}
