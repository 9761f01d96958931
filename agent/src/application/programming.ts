// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps the data plane on what the store says. Every snapshot has a generation that rises over restarts of agent and
 * engine alike; the store remembers the last accepted one, so that a fresh agent sees whether the engine it adopts
 * already runs the stored configuration.
 */
import type { Service, TrafficPolicy } from '@marcher/model';
import type { ApplyReply, Reason } from '@marcher/proto/marcher/engine/v1/control_pb';
import { type NodeFacts, SnapshotWriter } from '../domain/compile.js';
import { isAuto, packetModeOf } from '../domain/packet-service.js';
import type { Steering } from '../domain/steering.js';
import { policyFor } from '../domain/traffic-policy.js';
import { backendName } from '../domain/validate.js';
import type { ConfigStore } from '../ports/config-store.js';
import type { Dataplane } from '../ports/dataplane.js';
import { unpackObject } from './object-codec.js';
import { unpackService } from './service-codec.js';

export type Identity = Omit<NodeFacts, 'draining'>;

/** In place of the version that the engine runs: it is that version, but perhaps with other backends drained. */
const DRAINS_CHANGED = 0n;
/** What a writer may keep between two snapshots; a larger buffer is given back. */
const WRITER_KEPT_BYTES = 1 << 20;

export interface Outcome {
  readonly accepted: boolean;
  readonly reasons: readonly Reason[];
}

/** The traffic policy of a name; undefined: there is none, or the name is empty. */
export type PolicyOf = (name: string) => TrafficPolicy | undefined;

/** Which services the engine is only to probe the backends of, since their packets pass it by. */
export interface PacketCarriage {
  /** The packet tier that it asks for has it now. */
  carries(service: Service): boolean;
  /** Names of the stored services that ask for one, or that sk_lookup would steer. */
  services(): Iterable<string>;
}

const RELAY_ALONE: PacketCarriage = { carries: () => false, services: () => [] };

export class Programming {
  readonly #dataplane: Dataplane;
  readonly #store: ConfigStore;
  readonly #identity: Identity;
  readonly #carriage: PacketCarriage;
  #writer = new SnapshotWriter();
  /** Generation that the engine runs by our knowledge; 0n: unknown, a complete snapshot is due. */
  #generation = 0n;
  /** Process that told us which listeners it could not bind; another one may have lost some. */
  #pid = 0;
  #nodeDraining: boolean;
  readonly #drained = new Map<string, Set<string>>();
  /** Listeners that could not be bound yet: service -> what the engine says. */
  readonly #unbound = new Map<string, string[]>();
  #failure = 'the configuration has not been handed to the data plane yet';

  constructor(dataplane: Dataplane, store: ConfigStore, identity: Identity, carriage: PacketCarriage = RELAY_ALONE) {
    this.#dataplane = dataplane;
    this.#store = store;
    this.#identity = identity;
    this.#carriage = carriage;
    this.#nodeDraining = store.nodeDraining();
    for (const { service, backend } of store.drainedBackends()) this.#drainedOf(service).add(backend);
  }

  get nodeDraining(): boolean {
    return this.#nodeDraining;
  }

  /** Why the engine does not run what the store says; empty when it does. */
  get failure(): string {
    return this.#failure;
  }

  get steering(): Steering {
    return this.#dataplane.steering;
  }

  unboundOf(service: string): readonly string[] {
    return this.#unbound.get(service) ?? [];
  }

  get unboundServices(): ReadonlyMap<string, readonly string[]> {
    return this.#unbound;
  }

  isDrained(service: string, backend: string): boolean {
    return this.#drained.get(service)?.has(backend) ?? false;
  }

  /** The engine runs what we gave it last, so that a delta fits. */
  get inStep(): boolean {
    const status = this.#dataplane.status();
    return this.#generation !== 0n && status.running && status.generation === this.#generation;
  }

  #drainedOf(service: string): Set<string> {
    const known = this.#drained.get(service);
    if (known !== undefined) return known;
    const backends = new Set<string>();
    this.#drained.set(service, backends);
    return backends;
  }

  #facts(): NodeFacts {
    return { ...this.#identity, draining: this.#nodeDraining };
  }

  #nextGeneration(): bigint {
    const { generation, savedGeneration } = this.#dataplane.status();
    const known = [generation, savedGeneration, this.#generation, this.#store.programmed().generation];
    let highest = 0n;
    for (const one of known) if (one > highest) highest = one;
    return highest + 1n;
  }

  #compile(service: Service, policy: TrafficPolicy | undefined): void {
    const listens = isAuto(service) || packetModeOf(service) === undefined || !this.#carriage.carries(service);
    this.#writer.service(
      service,
      policyFor(service, policy),
      this.#drained.get(service.name),
      listens,
      this.#dataplane.steering.on,
    );
  }

  /** Of the stored policies those that are asked for, each decoded once for a snapshot. */
  #storedPolicies(): PolicyOf {
    const known = new Map<string, TrafficPolicy | undefined>([['', undefined]]);
    return (name) => {
      if (known.has(name)) return known.get(name);
      const stored = this.#store.object('TrafficPolicy', name);
      const { object } = stored === undefined ? {} : unpackObject('TrafficPolicy', stored.body);
      const policy = object?.case === 'trafficPolicy' ? object.value : undefined;
      known.set(name, policy);
      return policy;
    };
  }

  /** A delta with all services whose listeners depend on what this node has: that may have changed. */
  packetDelta(withNode: boolean): Delta {
    const delta = this.delta(withNode);
    for (const name of this.#carriage.services()) {
      const stored = this.#store.get(name);
      if (stored !== undefined) delta.service(unpackService(stored.body));
    }
    return delta;
  }

  /** A delta on what the engine runs. Services are compiled as they come; nothing is sent before send(). */
  delta(withNode = false): Delta {
    const writer = this.#writer;
    const base = this.#generation;
    const generation = this.#nextGeneration();
    const policyOf = this.#storedPolicies();
    writer.begin(generation, base, withNode ? this.#facts() : undefined);
    return {
      service: (service, policy = policyOf(service.trafficPolicy)) => this.#compile(service, policy),
      removed: (name) => writer.removed(name),
      send: async (tolerateBindErrors) => {
        const { pid } = this.#dataplane.status();
        const reply = await this.#dataplane.apply(writer.bytes(), { tolerateBindErrors });
        if (reply.accepted) this.#accepted(generation, reply, pid);
        // The engine has restarted, or somebody else programmed it: the delta does not fit, and says nothing of the change.
        const fits = reply.accepted || reply.generation === base;
        this.#trim();
        return fits ? outcome(reply) : undefined;
      },
    };
  }

  /**
   * A complete snapshot of what the store's readers see, with some services replaced (or removed: undefined). Listeners
   * that can't be bound are tolerated, except those of the replaced services, which make the outcome a refusal. policyOf:
   * traffic policies as they will be.
   */
  async complete(
    replaced: ReadonlyMap<string, Uint8Array | undefined> = new Map(),
    policyOf: PolicyOf = this.#storedPolicies(),
  ): Promise<Outcome> {
    const generation = this.#nextGeneration();
    const writer = this.#writer;
    writer.begin(generation, 0n, this.#facts());
    const compile = (body: Uint8Array): void => {
      const service = unpackService(body);
      this.#compile(service, policyOf(service.trafficPolicy));
    };
    const seen = new Set<string>();
    for (const { name, body } of this.#store.scan()) {
      seen.add(name);
      const bytes = replaced.has(name) ? replaced.get(name) : body;
      if (bytes !== undefined) compile(bytes);
    }
    for (const [name, bytes] of replaced) {
      if (bytes !== undefined && !seen.has(name)) compile(bytes);
    }
    const { pid } = this.#dataplane.status();
    const reply = await this.#dataplane.apply(writer.bytes(), { tolerateBindErrors: true });
    this.#trim();
    if (!reply.accepted) {
      this.#failure = `the data plane refused the configuration: ${reply.reasons.map((r) => `${r.path}: ${r.reason}`).join('; ')}`;
      return outcome(reply);
    }
    this.#accepted(generation, reply, pid);
    const mine = reply.unbound.filter(({ service }) => replaced.has(service));
    return mine.length > 0 ? { accepted: false, reasons: mine } : { accepted: true, reasons: [] };
  }

  /**
   * The store never had a configuration, and the engine runs one: state was lost, or put aside as damaged. The engine
   * carries on with it until there is a configuration to replace it by.
   */
  get holding(): boolean {
    if (this.#store.version !== 0n || this.#store.pendingVersion !== 0n) return false;
    const { running, generation } = this.#dataplane.status();
    const ours = generation === this.#generation || generation === this.#store.programmed().generation;
    return running && generation !== 0n && !ours;
  }

  /** The engine could not live with the stored configuration: programming it again would only end it again. */
  get condemned(): boolean {
    const stored = this.#store.programmed();
    const { setAsideGeneration } = this.#dataplane.status();
    const current = stored.version === this.#store.version || stored.version === DRAINS_CHANGED;
    return setAsideGeneration !== 0n && setAsideGeneration === stored.generation && current;
  }

  /** Brings an adopted engine, or one that has restarted, to the store's state. Throws when it can't be reached. */
  async reconcile(): Promise<'unchanged' | 'adopted' | 'programmed' | 'refused'> {
    const status = this.#dataplane.status();
    if (this.inStep) {
      if (status.pid === this.#pid) return 'unchanged';
      // It restarted on what it had, or was replaced. Its answer says which listeners it could not bind.
      if ((await this.delta(true).send(true))?.accepted === true) return 'adopted';
      this.#generation = 0n;
    }
    if (this.condemned) {
      this.#generation = 0n;
      this.#failure = `the stored configuration kept ending the engine and was set aside; the one before it runs: change the configuration, and report this with snapshot.aside of the run directory`;
      return 'unchanged';
    }
    if (this.holding) {
      this.#failure = '';
      return 'unchanged';
    }
    const stored = this.#store.programmed();
    const current = stored.version === this.#store.version && this.#store.pendingVersion === 0n;
    if (current && stored.generation !== 0n && status.running && status.generation === stored.generation) {
      // It runs the stored configuration. Facts about the node come from flags, which may differ from last time's, and
      // so may whether there is a packet tier.
      this.#generation = stored.generation;
      if ((await this.packetDelta(true).send(true))?.accepted === true) return 'adopted';
      this.#generation = 0n;
    }
    return (await this.complete()).accepted ? 'programmed' : 'refused';
  }

  /** Each answer lists every listener that is not bound, not only those of the snapshot. */
  #accepted(generation: bigint, reply: ApplyReply, pid: number): void {
    this.#generation = generation;
    this.#pid = pid;
    this.#failure = '';
    this.#unbound.clear();
    for (const { service, path, reason } of reply.unbound) {
      const known = this.#unbound.get(service);
      const text = reason === '' ? path : reason;
      if (known === undefined) this.#unbound.set(service, [text]);
      else if (!known.includes(text)) known.push(text);
    }
  }

  /** Writes down that the engine runs this version. */
  record(version: bigint): void {
    this.#store.setProgrammed({ generation: this.#generation, version });
  }

  /** To the engine the second version is the first: what runs it, or could not live with it, does so with both. */
  carryOver(from: bigint, to: bigint): void {
    const { generation, version } = this.#store.programmed();
    if (version === from) this.#store.setProgrammed({ generation, version: to });
  }

  /** The last snapshot says nothing of what the engine runs now. */
  forget(reason: string): void {
    this.#generation = 0n;
    this.#failure = reason;
  }

  listenerBound(service: string, text: string): void {
    const known = this.#unbound.get(service);
    if (known === undefined) return;
    const left = known.filter((reason) => !(text !== '' && reason.includes(`${text}:`)));
    // One that can't be told from the others: the engine retries all of them every second, so the rest comes too.
    if (left.length === known.length) left.pop();
    if (left.length === 0) this.#unbound.delete(service);
    else this.#unbound.set(service, left);
  }

  /** alongside: see ConfigStore.setDrained(). */
  setNodeDraining(draining: boolean, alongside?: () => void): void {
    this.#store.setDrained({ service: '', backend: '' }, draining, alongside);
    this.#nodeDraining = draining;
  }

  setBackendDrained(service: string, backend: string, drained: boolean, alongside?: () => void): void {
    // Until the engine has been told it must not be taken for one that runs what is stored, by whichever agent.
    if (!this.condemned) this.#store.setProgrammed({ ...this.#store.programmed(), version: DRAINS_CHANGED });
    this.#keepDrained(service, backend, drained, alongside);
  }

  #keepDrained(service: string, backend: string, drained: boolean, alongside?: () => void): void {
    this.#store.setDrained({ service, backend }, drained, alongside);
    if (drained) this.#drainedOf(service).add(backend);
    else {
      this.#drained.get(service)?.delete(backend);
      if (this.#drained.get(service)?.size === 0) this.#drained.delete(service);
    }
  }

  /** A backend that has gone is no longer drained: one that later has its name is another. */
  dropStaleDrains(name: string, body: Uint8Array | undefined): void {
    const drained = this.#drained.get(name);
    if (drained === undefined) return;
    const left = new Set(body === undefined ? [] : unpackService(body).backends.map(backendName));
    for (const backend of [...drained]) if (!left.has(backend)) this.#keepDrained(name, backend, false);
  }

  #trim(): void {
    if (this.#writer.length > WRITER_KEPT_BYTES) this.#writer = new SnapshotWriter();
  }
}

export interface Delta {
  /** policy: the one that the service names, where it is not the stored one. */
  service(service: Service, policy?: TrafficPolicy): void;
  removed(name: string): void;
  /** undefined: the engine does not run the base any more. */
  send(tolerateBindErrors: boolean): Promise<Outcome | undefined>;
}

function outcome(reply: ApplyReply): Outcome {
  return { accepted: reply.accepted, reasons: reply.reasons };
}
