// SPDX-License-Identifier: Apache-2.0
/** What the node is and how it is; taking it or one backend out of service. */
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { BackendState } from '@marcher/proto/marcher/engine/v1/control_pb';
import type { GuardStatus, Traffic as PacketCounts } from '@marcher/proto/marcher/packet/v1/packet_pb';
import { type Condition, ConditionSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import {
  type BackendStatus,
  BackendStatusSchema,
  EngineStatusSchema,
  type GuardTraffic,
  GuardTrafficSchema,
  Health,
  type ServiceTier,
  ServiceTierSchema,
  type StatusResponse,
  StatusResponseSchema,
  type TierAvailability,
  TierAvailabilitySchema,
  type TierTraffic,
  TierTrafficSchema,
  XdpDropSchema,
  XdpInterfaceSchema,
} from '@marcher/proto/marcher/v1/node_service_pb';
import type { Touched } from '../domain/access/authorize.js';
import { ACTION } from '../domain/audit/actions.js';
import { classify, tiersOf } from '../domain/classify.js';
import { policyFor } from '../domain/traffic-policy.js';
import { backendName } from '../domain/validate.js';
import type { AuditTrail, Told } from '../ports/audit.js';
import type { ConfigStore } from '../ports/config-store.js';
import { Counter, type Dataplane, DataplaneError, type PackedBackend, SlotKind } from '../ports/dataplane.js';
import { ApplicationError, type Caller, type NodeUseCases } from '../ports/use-cases.js';
import { clusterOf } from './cluster-of.js';
import type { Configuration, ConfigurationLog } from './configuration.js';
import type { PacketForwarding } from './packet-forwarding.js';
import { checkTouched } from './permission.js';
import type { Identity, Programming } from './programming.js';
import { unpackService } from './service-codec.js';
import { guarded, unavailable } from './unavailable.js';

/** What other parts have to say about the node: the file source, the store. */
export interface NodeCondition {
  readonly type: string;
  readonly status: boolean;
  readonly reason: string;
  readonly message: string;
}

export interface NodeOptions {
  readonly configuration: Configuration;
  readonly programming: Programming;
  readonly packets: PacketForwarding;
  readonly store: ConfigStore;
  readonly dataplane: Dataplane;
  readonly identity: Identity;
  readonly version: string;
  readonly startedMs: number;
  readonly log: ConfigurationLog;
  readonly memoryBytes: () => number;
  readonly pid: number;
  readonly conditions: () => readonly NodeCondition[];
  /** Told of each drain in its transaction. Absent: nobody is. */
  readonly audit?: AuditTrail;
  /** After something was drained or undrained. */
  readonly onDrained: () => void;
}

const HEALTH: Readonly<Record<string, Health>> = {
  unknown: Health.UNKNOWN,
  healthy: Health.HEALTHY,
  unhealthy: Health.UNHEALTHY,
};

/** What the packet tiers say of it they say of every service that they know nothing about. */
const NO_SERVICE = '';

/** Services named in one condition; the rest is counted. */
const NAMED_MAX = 10;

export class Node implements NodeUseCases {
  readonly #options: NodeOptions;

  constructor(options: NodeOptions) {
    this.#options = options;
  }

  status({ withTraffic }: { withTraffic: boolean } = { withTraffic: false }): StatusResponse {
    const { configuration, identity, store, programming, packets } = this.#options;
    const xdp = packets.status();
    const engine = this.#options.dataplane.status();
    const inventory = configuration.inventory;
    const unready = this.unreadiness();
    const { hash, damage } = this.#hash();
    // One of a type: what is wrong now says more than what was recovered from.
    const others = this.#shortcomings().filter(({ type }) => !damage.some((condition) => condition.type === type));
    return create(StatusResponseSchema, {
      nodeName: identity.name,
      region: identity.region,
      country: identity.country,
      version: this.#options.version,
      started: timestampFromMs(this.#options.startedMs),
      pid: this.#options.pid,
      configVersion: store.version,
      configHash: hash,
      services: inventory.services,
      backends: inventory.backends,
      listeners: inventory.listeners,
      draining: programming.nodeDraining,
      ready: unready.length === 0,
      conditions: [...unready, ...damage, ...others],
      engine: create(EngineStatusSchema, {
        running: engine.running,
        pid: engine.pid,
        version: engine.version,
        buildId: engine.buildId,
        workers: engine.workers,
        generation: engine.generation,
        started: timestampFromMs(engine.startedUnixMs),
        restarts: engine.restarts,
        adopted: engine.adopted,
        memoryBytes: BigInt(engine.memoryBytes),
        lastError: engine.lastError,
      }),
      memoryBytes: BigInt(this.#options.memoryBytes()),
      xdpInterfaces: (xdp?.interfaces ?? []).map(
        ({ name, mode, reason, tc, tcReason, decapsulation, shaping, shapingReason, nat, natReason }) =>
          create(XdpInterfaceSchema, {
            name,
            mode,
            reason,
            tc,
            tcReason,
            decapsulation,
            shaping,
            shapingReason,
            nat,
            natReason,
          }),
      ),
      traffic: withTraffic ? this.#traffic() : [],
      xdpDrops: withTraffic
        ? (xdp?.drops ?? []).map(({ reason, packets }) => create(XdpDropSchema, { reason, packets }))
        : [],
      ...(withTraffic && xdp?.guard !== undefined ? { guard: guardTraffic(xdp.guard) } : {}),
    });
  }

  #traffic(): TierTraffic[] {
    const { configuration, dataplane, packets } = this.#options;
    const counts = packets.counts();
    const tiers = {
      xdp: create(TierTrafficSchema, { tier: 'xdp', services: counts.xdp }),
      tc: create(TierTrafficSchema, { tier: 'tc', services: counts.tc }),
    };
    for (const { name, traffic, fast } of packets.status()?.services ?? []) {
      const tier = tiers[packets.tierOf(name)];
      // Open flows of a service that tc carries may be XDP's.
      for (const [of, part, sign] of [
        [tier, traffic, 1n],
        [tier, fast, -1n],
        [tiers.xdp, fast, 1n],
      ] as const) {
        of.packets += sign * (part?.packets ?? 0n);
        of.bytes += sign * (part?.bytes ?? 0n);
        of.bytesReturned += sign * (part?.returnedBytes ?? 0n);
      }
    }
    const relay = create(TierTrafficSchema, {
      tier: 'relay',
      services: configuration.inventory.services - counts.xdp - counts.tc,
    });
    for (const slot of dataplane.stats({ activeOnly: true, passing: true })) {
      if (slot.kind !== SlotKind.service) continue;
      relay.packets += slot.counter(Counter.udpPacketsReceived);
      relay.bytes += slot.counter(Counter.bytesReceived);
      relay.bytesReturned += slot.counter(Counter.bytesSent);
    }
    const offers = packets.offers();
    const shown = [tiers.xdp, tiers.tc].filter(({ tier, services, packets: carried }) => {
      return offers[tier === 'tc' ? 'tc' : 'xdp'].available || services > 0 || carried > 0n;
    });
    return [...shown, relay];
  }

  /** A store that can't be read must not keep the status from being told. */
  #hash(): { hash: string; damage: Condition[] } {
    try {
      return { hash: this.#options.store.hash(), damage: [] };
    } catch (error) {
      const message = `the database can't be read: ${error instanceof Error ? error.message : String(error)}`;
      return { hash: '', damage: [this.#condition('StoreIntact', false, 'Unreadable', message)] };
    }
  }

  unreadiness(): Condition[] {
    const { programming, dataplane } = this.#options;
    const out: Condition[] = [];
    const engine = dataplane.status();
    if (!engine.running) {
      const why = engine.lastError === '' ? '' : `: ${engine.lastError}`;
      out.push(
        this.#condition(
          'EngineRunning',
          false,
          'NotRunning',
          `the engine does not answer${why}; it is being restarted`,
        ),
      );
    }
    if (programming.failure !== '' && !programming.condemned) {
      out.push(
        this.#condition('Programmed', false, 'NotProgrammed', `${programming.failure}; trying again every second`),
      );
    }
    if (programming.nodeDraining) {
      const message = 'the node takes no new connections; put it back with: marcher undrain';
      out.push(this.#condition('InService', false, 'Draining', message));
    }
    return out;
  }

  /** What the node runs without; it is ready all the same. */
  #shortcomings(): Condition[] {
    const out = this.#options
      .conditions()
      .map(({ type, status, reason, message }) => this.#condition(type, status, reason, message));
    const { programming, packets } = this.#options;
    const packetTier = packets.condition();
    if (packetTier !== undefined) {
      out.push(this.#condition(packetTier.type, packetTier.status, packetTier.reason, packetTier.message));
    }
    if (programming.condemned) out.push(this.#condition('Programmed', false, 'SetAside', programming.failure));
    if (programming.holding) {
      const message =
        'there is no stored configuration, and the engine carries on with the one it was given before: apply the whole configuration again';
      out.push(this.#condition('ConfigurationStored', false, 'Lost', message));
    }
    const unbound = [...programming.unboundServices];
    if (unbound.length > 0) {
      const named = unbound.slice(0, NAMED_MAX).map(([name, reasons]) => `${name}: ${reasons.join(', ')}`);
      const rest = unbound.length > NAMED_MAX ? `; and ${unbound.length - NAMED_MAX} services more` : '';
      const message = `${named.join('; ')}${rest}; the engine tries again every second`;
      out.push(this.#condition('ListenersBound', false, 'ListenerNotBound', message));
    }
    return out;
  }

  #condition(type: string, status: boolean, reason: string, message: string): Condition {
    return create(ConditionSchema, { type, status, reason, message, observedGeneration: this.#options.store.version });
  }

  tiers(service: string): { services: ServiceTier[]; tiers: TierAvailability[] } {
    const { store } = this.#options;
    const services: ServiceTier[] = [];
    guarded(() => {
      const carried = this.#carried();
      if (service === '') for (const { name, body } of store.scan()) services.push(this.#tierOf(name, body, carried));
      else {
        const stored = store.get(service);
        if (stored === undefined) throw notFound(service);
        services.push(this.#tierOf(service, stored.body, carried));
      }
    });
    return { services, tiers: this.availability() };
  }

  availability(): TierAvailability[] {
    return tiersOf(this.#options.packets.offers()).map((tier) => create(TierAvailabilitySchema, tier));
  }

  /** Of these, as far as they are there; each is worked out when it is asked for. */
  *tiersOf(names: Iterable<string>): Iterable<ServiceTier> {
    const carried = this.#carried();
    for (const name of names) {
      const stored = guarded(() => this.#options.store.get(name));
      if (stored !== undefined) yield this.#tierOf(name, stored.body, carried);
    }
  }

  /** What the tier of a service that asks for none but the relay depends on beside the configuration, in some words. */
  tierBasis(): string {
    const { packets, dataplane } = this.#options;
    return JSON.stringify([packets.offers(NO_SERVICE), dataplane.steering]);
  }

  #carried(): ReadonlyMap<string, PacketCounts | undefined> {
    return new Map((this.#options.packets.status()?.services ?? []).map(({ name, traffic }) => [name, traffic]));
  }

  #tierOf(name: string, body: Uint8Array, carried: ReadonlyMap<string, PacketCounts | undefined>): ServiceTier {
    const { configuration, packets, dataplane } = this.#options;
    const decoded = unpackService(body);
    const policy = policyFor(decoded, configuration.objects.trafficPolicies.get(decoded.trafficPolicy)?.value);
    const { tier, reasons, fasterIf } = classify(decoded, packets.offers(name), dataplane.steering, policy);
    const traffic = carried.get(name);
    return create(ServiceTierSchema, {
      service: name,
      tier,
      reasons: [...reasons, ...packets.segmentAdvice(decoded)],
      fasterIf,
      xdpPackets: traffic?.packets ?? 0n,
      xdpBytes: traffic?.bytes ?? 0n,
      bytesReturned: traffic?.returnedBytes ?? 0n,
    });
  }

  async drain(target: { service: string; backend: string }, caller: Caller): Promise<number> {
    await this.#setDrained(target, true, caller).catch(rethrow);
    return this.#openConnections(target);
  }

  async undrain(target: { service: string; backend: string }, caller: Caller): Promise<void> {
    await this.#setDrained(target, false, caller).catch(rethrow);
  }

  #checkTouched(told: Told, caller: Caller, object: Touched): void {
    try {
      checkTouched(caller, [object]);
    } catch (error) {
      this.#options.audit?.denied({ ...told, message: (error as Error).message });
      throw error;
    }
  }

  #setDrained(
    { service, backend }: { service: string; backend: string },
    drained: boolean,
    caller: Caller,
  ): Promise<void> {
    const { configuration, programming, store, log } = this.#options;
    return configuration.exclusively(async () => {
      if ((service === '') !== (backend === '')) {
        throw new ApplicationError('invalid', 'name a service and a backend, or neither to mean the node');
      }
      const told: Told = {
        ...{ action: drained ? ACTION.drain : ACTION.undrain, by: caller },
        objects: [service === '' ? `Node/${this.#options.identity.name}` : `Backend/${service}/${backend}`],
      };
      const alongside = (): void => this.#options.audit?.record('done', told);
      if (service === '') {
        this.#checkTouched(told, caller, { kind: 'Node', name: this.#options.identity.name, clusters: [] });
        programming.setNodeDraining(drained, alongside);
      } else {
        const stored = store.get(service);
        if (stored === undefined) throw notFound(service);
        this.#checkTouched(told, caller, {
          kind: 'Service',
          name: service,
          clusters: [clusterOf('Service', stored.body)],
        });
        const known = unpackService(stored.body).backends.map(backendName);
        if (!known.includes(backend)) {
          const some = known.slice(0, NAMED_MAX).join(', ');
          throw new ApplicationError(
            'not_found',
            `service ${service} has no backend ${JSON.stringify(backend)}; it has ${some}`,
          );
        }
        programming.setBackendDrained(service, backend, drained, alongside);
      }
      log.info(
        { service, backend, drained, author: caller.author },
        drained ? 'taken out of service' : 'put back into service',
      );
      this.#options.onDrained();
      await this.#program(service);
    });
  }

  /** The decision is kept already: when the engine can't be reached now, the next reconciliation brings it there. */
  async #program(service: string): Promise<void> {
    const { programming, store } = this.#options;
    const kept = (until: string) =>
      new ApplicationError('unavailable', `${until}: this is kept, and takes effect then`);
    if (programming.holding) {
      throw kept('the configuration of this node was lost, and has to be applied again');
    }
    if (programming.condemned) {
      throw kept('the stored configuration kept ending the engine and was set aside, and has to be changed');
    }
    let accepted: boolean;
    try {
      accepted = await this.#tell(service);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      programming.forget(reason);
      if (!(error instanceof DataplaneError)) throw error;
      throw new ApplicationError(
        'unavailable',
        `${reason}; it is kept, and takes effect as soon as the engine answers`,
      );
    }
    if (!accepted) {
      const { failure } = programming;
      programming.forget(failure);
      throw new ApplicationError(
        'unavailable',
        `${failure}; it is kept, and takes effect as soon as the engine takes it`,
      );
    }
    programming.record(store.version);
  }

  /** Whether the engine has accepted it. */
  async #tell(service: string): Promise<boolean> {
    const { programming, store } = this.#options;
    if (programming.inStep) {
      const delta = programming.delta(service === '');
      const stored = service === '' ? undefined : store.get(service);
      if (stored !== undefined) delta.service(unpackService(stored.body));
      if ((await delta.send(true))?.accepted === true) return true;
    }
    return (await programming.complete()).accepted;
  }

  async #openConnections({ service, backend }: { service: string; backend: string }): Promise<number> {
    const { dataplane } = this.#options;
    try {
      if (service === '') return Number((await dataplane.connections('', 1)).total);
      const states = await dataplane.backends(service);
      return Number(states.find((state) => state.backend === backend)?.connections ?? 0n);
    } catch {
      return 0;
    }
  }

  async backends(service: string): Promise<BackendStatus[]> {
    const { store, dataplane, configuration } = this.#options;
    if (service !== '' && guarded(() => store.get(service)) === undefined) throw notFound(service);
    const states = await dataplane.backends(service).catch(rethrow);
    return states.map((state) => backendStatus(state, configuration.meshLoadServices.has(state.service)));
  }

  /** Of all services, not decoded. */
  packedBackends(): Promise<Iterable<PackedBackend>> {
    return this.#options.dataplane.packedBackends().catch(rethrow);
  }
}

/** mesh: the service is balanced by what all nodes have open. */
export function backendStatus(state: BackendState, mesh: boolean): BackendStatus {
  return create(BackendStatusSchema, {
    service: state.service,
    backend: state.backend,
    weight: state.weight,
    draining: state.draining,
    connections: state.connections,
    ...(mesh ? { elsewhere: state.elsewhere } : {}),
    endpoints: state.endpoints.map(({ address, health, reason, ejected, connections }) => ({
      address,
      health: HEALTH[health] ?? Health.UNSPECIFIED,
      reason,
      ejected,
      connections,
    })),
  });
}

function rethrow(error: unknown): never {
  throw unavailable(error);
}

function notFound(service: string): ApplicationError {
  return new ApplicationError('not_found', `there is no service ${JSON.stringify(service)}: see marcher get services`);
}

function guardTraffic({ rules, defaultTraffic, synCookies }: GuardStatus): GuardTraffic {
  return create(GuardTrafficSchema, {
    rules: rules.map(({ guard, position, traffic, problem }) => ({
      guard,
      position,
      packets: traffic?.packets ?? 0n,
      bytes: traffic?.bytes ?? 0n,
      problem,
    })),
    defaultDeniedPackets: defaultTraffic?.packets ?? 0n,
    ...(synCookies === undefined
      ? {}
      : {
          synCookies: {
            active: synCookies.active,
            synsPerSecond: synCookies.synsPerSecond,
            sent: synCookies.sent,
            left: synCookies.left,
            valid: synCookies.valid,
            limits: synCookies.limits,
          },
        }),
  });
}
