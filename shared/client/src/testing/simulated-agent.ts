// SPDX-License-Identifier: Apache-2.0
/** One agent without an engine, a network or a disk: what a console asks of it is answered from what a test has set. */
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import {
  Code,
  ConnectError,
  type ConnectRouter,
  createRouterTransport,
  type HandlerContext,
} from '@connectrpc/connect';
import { AccessService } from '@marcher/proto/marcher/v1/access_service_pb';
import { CertificateService } from '@marcher/proto/marcher/v1/certificate_service_pb';
import { ConfigService, type Revision } from '@marcher/proto/marcher/v1/config_service_pb';
import { type Member, MemberSchema, MemberState, MeshService } from '@marcher/proto/marcher/v1/mesh_service_pb';
import type { Service } from '@marcher/proto/marcher/v1/model_pb';
import {
  type BackendStatus,
  BackendStatusSchema,
  Health,
  NodeService,
  type ServiceTier,
  ServiceTierSchema,
  type StatusResponse,
  StatusResponseSchema,
  type TierAvailability,
  TierAvailabilitySchema,
} from '@marcher/proto/marcher/v1/node_service_pb';
import {
  type ObservedNode,
  ObservedNodeSchema,
  type ObserveRequest,
  type ObserveResponse,
  ObserveService,
} from '@marcher/proto/marcher/v1/observe_service_pb';
import {
  type LogsRequest,
  type LogsResponse,
  type StatsRequest,
  type StatsResponse,
  StatsResponseSchema,
  TrafficService,
} from '@marcher/proto/marcher/v1/traffic_service_pb';
import { agentCalls } from '../agent-calls.js';
import type { AgentCalls, Ambient } from '../fleet/contract.js';
import { ChangedKeys } from './changed-keys.js';
import type { SimulatedAdministration } from './simulated-administration.js';
import { SimulatedConfiguration, type StoredObject } from './simulated-configuration.js';
import { connectionsOf, logsOf } from './simulated-log.js';
import { SimulatedReader } from './simulated-observe.js';
import { SimulatedTraffic } from './simulated-traffic.js';

/** After the batch before: changes of the configuration come no sooner. */
const CHANGES_MS = 100;

/** What a simulated agent knows of the others. */
export interface SimulatedMesh {
  readonly id: string;
  readonly name: string;
  agents(): readonly SimulatedAgent[];
  /** Another has decided this. */
  replicate(from: SimulatedAgent, steps: Parameters<SimulatedConfiguration['take']>[0], revision: Said): void;
  /** What all of them know beside the configuration. */
  readonly administration: SimulatedAdministration;
  /** Calls beyond those that are simulated, such as of the audit log; or instead of those. */
  extra(router: ConnectRouter, agent: SimulatedAgent): void;
}

type Said = Pick<Revision, 'author' | 'origin' | 'message'>;

/** up; down: nobody answers; silent: streams are open and say nothing; refusing: it lets nobody in. */
export type Condition = 'up' | 'down' | 'silent' | 'refusing';

export class SimulatedAgent {
  readonly id: string;
  readonly name: string;
  readonly clock: Ambient;
  readonly configuration: SimulatedConfiguration;
  readonly traffic = new SimulatedTraffic();
  readonly #mesh: SimulatedMesh;
  readonly #startedMs: number;
  /** By "service/backend". */
  readonly #backends = new Map<string, BackendStatus>();
  /** Keys of a service's. */
  readonly #backendsOf = new Map<string, readonly string[]>();
  /** As of backends(). */
  readonly changedBackends = new ChangedKeys();
  readonly #unhealthy = new Set<string>();
  /** Told when health or a drain is another. */
  readonly #turned = new Set<() => void>();
  /** How often that was. */
  turns = 0;
  readonly #drained = new Set<string>();
  #backendsAt = { version: -1n, clusters: '', ms: -1 };
  #stop = new AbortController();
  #condition: Condition = 'up';
  #runs = 0;
  clusters: string[] = [];
  memberState: MemberState = MemberState.ALIVE;
  isDraining = false;
  /** Changes of other nodes do not come here. */
  isCutOff = false;
  /** Observe streams that are open. */
  streams = 0;

  constructor(id: string, name: string, clock: Ambient, mesh: SimulatedMesh) {
    this.id = id;
    this.name = name;
    this.clock = clock;
    this.#mesh = mesh;
    this.#startedMs = clock.nowMs();
    this.configuration = new SimulatedConfiguration(clock.nowMs);
  }

  get run(): string {
    return `${this.id}-${this.#runs}`;
  }

  get condition(): Condition {
    return this.#condition;
  }

  /** Nobody answers, streams end. */
  kill(): void {
    this.#enter('down');
    this.memberState = MemberState.DEAD;
    this.#stop.abort();
  }

  /** After kill: another run of the agent, whose engine begins anew. */
  start(): void {
    this.#runs++;
    this.#stop = new AbortController();
    this.traffic.restart(this.clock.nowMs());
    this.memberState = MemberState.ALIVE;
    this.#enter('up');
  }

  /** Streams stay open and say nothing, calls are not answered. */
  silence(): void {
    this.#enter('silent');
  }

  /** Lets nobody in, and ends what is open. */
  refuse(): void {
    this.#enter('refusing');
    this.#stop.abort();
    this.#stop = new AbortController();
  }

  /** After silence and refuse: as if nothing had been. */
  recover(): void {
    this.#enter('up');
  }

  /** Streams break, the agent goes on: the next call resumes. */
  breakStreams(): void {
    this.#stop.abort();
    this.#stop = new AbortController();
  }

  /** What probes find of a backend. */
  setHealthy(service: string, backend: string, healthy: boolean): void {
    const key = `${service}/${backend}`;
    if (healthy) this.#unhealthy.delete(key);
    else this.#unhealthy.add(key);
    this.#turn(service);
  }

  /** entry: the one that it is reached through. */
  calls(entry: SimulatedAgent = this): AgentCalls {
    const where = entry === this ? `node ${this.name}` : `node ${this.name}, through ${entry.name}`;
    const transport = createRouterTransport((router) => this.routes(router, entry));
    return agentCalls(transport, where);
  }

  holds({ declared }: StoredObject): boolean {
    const cluster = declared.kind === 'Service' ? declared.value.cluster : (declared.value.object.value?.cluster ?? '');
    return cluster === '' || this.clusters.includes(cluster);
  }

  observedNode(): ObservedNode {
    const { id: meshId, name: meshName } = this.#mesh;
    const nodeId = meshId === '' ? '' : this.id;
    return create(ObservedNodeSchema, { nodeId, name: this.name, meshId, meshName, run: this.run });
  }

  status(): StatusResponse {
    const nowMs = this.clock.nowMs();
    const services = this.#held();
    const memoryBytes = BigInt(96 + (Math.floor(nowMs / 10_000) % 5)) << 20n;
    return create(StatusResponseSchema, {
      nodeName: this.name,
      region: 'eu',
      country: 'DE',
      version: '0.1.0',
      started: timestampFromMs(this.#startedMs),
      pid: 1_000 + this.#runs,
      configVersion: this.configuration.version,
      configHash: this.configuration.hash,
      services: services.length,
      backends: services.reduce((sum, { backends }) => sum + backends.length, 0),
      listeners: services.reduce((sum, { listeners }) => sum + listeners.length, 0),
      draining: this.isDraining,
      ready: !this.isDraining,
      memoryBytes,
      engine: { running: true, pid: 2_000 + this.#runs, version: '0.1.0', workers: 2, memoryBytes: 4n << 20n },
      traffic: [{ tier: 'relay', services: services.length }],
    });
  }

  availability(): TierAvailability[] {
    return [
      create(TierAvailabilitySchema, { tier: 'xdp', available: false, reason: 'no interface was named' }),
      create(TierAvailabilitySchema, { tier: 'relay', available: true, reason: 'the engine relays TCP and UDP' }),
    ];
  }

  tiers(): ServiceTier[] {
    return this.#held().map(tierOf);
  }

  /** undefined: the service is not there, or not held here. */
  tier(service: string): ServiceTier | undefined {
    const stored = this.configuration.objects.get(`Service/${service}`);
    return stored?.declared.kind === 'Service' && this.holds(stored) ? tierOf(stored.declared.value) : undefined;
  }

  /** By "service/backend"; a message that is as it was is the same object. */
  backends(): ReadonlyMap<string, BackendStatus> {
    const nowMs = this.clock.nowMs();
    const { version } = this.configuration;
    const at = this.#backendsAt;
    const clusters = this.clusters.join(' ');
    if (at.version !== version || at.clusters !== clusters) {
      const changed = at.clusters === clusters ? this.configuration.changedSince(at.version) : undefined;
      const names = changed === undefined ? this.#allServices() : servicesAmong(changed);
      for (const name of names) this.#setBackends(name, nowMs);
    }
    if (at.ms !== nowMs) for (const name of this.traffic.moving()) this.#setBackends(name, nowMs);
    this.#backendsAt = { version, clusters, ms: nowMs };
    return this.#backends;
  }

  /** With those that are no more. */
  #allServices(): Iterable<string> {
    return new Set([...this.#backendsOf.keys(), ...this.configuration.services().map(({ name }) => name)]);
  }

  members(): Member[] {
    if (this.#mesh.id === '') return [];
    return this.#mesh.agents().map((agent) =>
      create(MemberSchema, {
        nodeId: agent.id,
        name: agent.name,
        state: agent === this ? MemberState.SELF : agent.memberState,
        address: `192.0.2.${(Number.parseInt(agent.id, 16) % 250) + 1}:7400`,
        clusters: agent.clusters,
        behind: 0n,
        status: { version: '0.1.0', ready: true, draining: agent.isDraining },
      }),
    );
  }

  #enter(condition: Condition): void {
    this.#condition = condition;
  }

  #held(): Service[] {
    return this.configuration.services().filter(({ cluster }) => cluster === '' || this.clusters.includes(cluster));
  }

  #setBackends(name: string, nowMs: number): void {
    const stored = this.configuration.objects.get(`Service/${name}`);
    const service = stored !== undefined && this.holds(stored) ? (stored.declared.value as Service) : undefined;
    const keys = service === undefined ? [] : service.backends.map((backend) => `${name}/${backend.name}`);
    for (const key of this.#backendsOf.get(name) ?? []) {
      if (!keys.includes(key) && this.#backends.delete(key)) this.changedBackends.add(key);
    }
    if (service === undefined) {
      this.#backendsOf.delete(name);
      return;
    }
    this.#backendsOf.set(name, keys);
    const { backends } = service;
    const open = this.traffic.open(name, nowMs);
    backends.forEach((backend, at) => {
      const key = keys[at] as string;
      const health = this.#unhealthy.has(key) ? Health.UNHEALTHY : Health.HEALTHY;
      const draining = backend.drain || this.#drained.has(key);
      const weight = backend.weight ?? 1;
      const connections = BigInt(Math.floor((open + at) / backends.length));
      const before = this.#backends.get(key);
      if (
        before?.connections === connections &&
        before.draining === draining &&
        before.weight === weight &&
        before.endpoints[0]?.health === health
      ) {
        return;
      }
      const reason = health === Health.HEALTHY ? 'connected' : 'connection refused';
      const status = create(BackendStatusSchema, {
        service: name,
        backend: backend.name,
        weight,
        draining,
        connections,
        endpoints: [{ address: backend.address, health, reason, connections }],
      });
      this.#backends.set(key, status);
      this.changedBackends.add(key);
    });
  }

  /** Waits as long as the agent is silent; ConnectError where it does not answer, or not this caller. */
  async #admit(entry: SimulatedAgent, signal: AbortSignal): Promise<void> {
    for (const agent of new Set([entry, this])) {
      if (agent.#condition === 'down') throw new ConnectError(`nobody listens at ${agent.name}`, Code.Unavailable);
    }
    if (this.#condition === 'refusing') {
      throw new ConnectError(`node ${this.name} does not let you in: ask an administrator`, Code.PermissionDenied);
    }
    while (this.#condition === 'silent' && !signal.aborted) await this.#sleep(1_000, signal);
  }

  #sleep(ms: number, signal: AbortSignal): Promise<void> {
    return this.#wait(ms, signal, () => () => undefined);
  }

  /** Until then, or until another configuration is in force, or health or a drain is another. */
  #changeWithin(ms: number, signal: AbortSignal): Promise<void> {
    return this.#wait(ms, signal, (end) => {
      const leave = this.configuration.onChange(end);
      this.#turned.add(end);
      return () => {
        leave();
        this.#turned.delete(end);
      };
    });
  }

  #turn(service?: string): void {
    this.turns++;
    if (service !== undefined) this.#setBackends(service, this.clock.nowMs());
    for (const end of [...this.#turned]) end();
  }

  /** until: told what ends it, gives what takes that back. */
  #wait(ms: number, signal: AbortSignal, until: (end: () => void) => () => void): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const end = (): void => {
        cancel();
        forget();
        signal.removeEventListener('abort', end);
        resolve();
      };
      const cancel = this.clock.after(ms, end);
      const forget = until(end);
      signal.addEventListener('abort', end, { once: true });
    });
  }

  async *#observe(
    request: ObserveRequest,
    context: HandlerContext,
    entry: SimulatedAgent,
  ): AsyncIterable<ObserveResponse> {
    const stop = AbortSignal.any([this.#stop.signal, entry.#stop.signal]);
    const signal = AbortSignal.any([context.signal, stop]);
    await this.#admit(entry, signal);
    const intervalMs = request.intervalMs === 0 ? 1_000 : request.intervalMs;
    if (intervalMs < 100 || intervalMs > 60_000) {
      throw new ConnectError(`interval_ms is ${intervalMs}: expected 100 to 60000`, Code.OutOfRange);
    }
    this.streams++;
    // A reader that goes while a batch is on its way never comes back for the next one: the signal says that it has gone.
    signal.addEventListener('abort', () => this.streams--, { once: true });
    const reader = new SimulatedReader(this, request);
    yield* reader.begin();
    while (!signal.aborted) {
      const dueMs = this.clock.nowMs() + intervalMs;
      // Changes of the configuration, of health and of drains don't wait for the interval.
      for (let leftMs = intervalMs; leftMs > 0 && !signal.aborted; leftMs = dueMs - this.clock.nowMs()) {
        await this.#sleep(Math.min(leftMs, CHANGES_MS), signal);
        leftMs = dueMs - this.clock.nowMs();
        if (leftMs > 0 && !reader.hasChanges) await this.#changeWithin(leftMs, signal);
        const changes = dueMs > this.clock.nowMs() && this.#condition === 'up' ? reader.changes() : undefined;
        if (changes !== undefined && !signal.aborted) yield changes;
      }
      if (signal.aborted || this.#condition === 'silent') continue;
      const batch = reader.next();
      if (batch !== undefined) yield batch;
    }
    if (stop.aborted && !context.signal.aborted) throw new ConnectError('the agent ends', Code.Unavailable);
  }

  async *#logs(request: LogsRequest, context: HandlerContext, entry: SimulatedAgent): AsyncIterable<LogsResponse> {
    const stop = AbortSignal.any([this.#stop.signal, entry.#stop.signal]);
    const signal = AbortSignal.any([context.signal, stop]);
    await this.#admit(entry, signal);
    yield* logsOf(this, request, (ms) => this.#sleep(ms, signal), signal);
    if (stop.aborted && !context.signal.aborted) throw new ConnectError('the agent ends', Code.Unavailable);
  }

  async *#stats(request: StatsRequest, context: HandlerContext, entry: SimulatedAgent): AsyncIterable<StatsResponse> {
    const stop = AbortSignal.any([this.#stop.signal, entry.#stop.signal]);
    const signal = AbortSignal.any([context.signal, stop]);
    await this.#admit(entry, signal);
    do {
      const nowMs = this.clock.nowMs();
      const names = request.service === '' ? [...this.traffic.moving()] : [request.service];
      const services = names.map((service) => ({ service, counters: this.traffic.counters(service, nowMs) }));
      yield create(StatsResponseSchema, { time: timestampFromMs(nowMs), services });
      if (request.intervalMs > 0) await this.#sleep(request.intervalMs, signal);
    } while (request.intervalMs > 0 && !signal.aborted);
    if (stop.aborted && !context.signal.aborted) throw new ConnectError('the agent ends', Code.Unavailable);
  }

  /** Its API. entry: the one that it is reached through. */
  routes(router: ConnectRouter, entry: SimulatedAgent): void {
    const admit = (context: HandlerContext): Promise<void> => this.#admit(entry, context.signal);
    const { configuration } = this;
    const by = (message: string, origin: string): Said => ({ author: 'simulated', origin, message });
    router.service(ObserveService, {
      observe: (request, context) => this.#observe(request, context, entry),
    });
    router.service(ConfigService, {
      plan: async ({ change }, context) => {
        await admit(context);
        if (change === undefined) throw new ConnectError('change is missing', Code.InvalidArgument);
        return { version: configuration.version, ...configuration.plan(change) };
      },
      apply: async ({ change, expectedVersion, message, omitDiff }, context) => {
        await admit(context);
        if (change === undefined) throw new ConnectError('change is missing', Code.InvalidArgument);
        const said = by(message, 'api');
        const steps = configuration.apply(change, expectedVersion, said);
        this.#mesh.replicate(this, steps, said);
        const diffs = omitDiff ? [] : configuration.diffs(steps);
        return { version: configuration.version, diffs, changed: steps.length > 0, timing: { validateMs: 1 } };
      },
      revert: async ({ version, expectedVersion, message }, context) => {
        await admit(context);
        const said = by(message, 'revert');
        const steps = configuration.revert(version, expectedVersion, said);
        this.#mesh.replicate(this, steps, said);
        return { version: configuration.version, diffs: configuration.diffs(steps) };
      },
      get: async ({ name }, context) => {
        await admit(context);
        const stored = configuration.objects.get(`Service/${name}`);
        if (stored?.declared.kind !== 'Service') throw new ConnectError(`there is no service ${name}`, Code.NotFound);
        const resource = { service: stored.declared.value, generation: stored.generation, conditions: [] };
        return { resource, version: configuration.version };
      },
      list: async ({ pageSize, pageToken }, context) => {
        await admit(context);
        const all = [...configuration.objects.values()].filter(({ declared }) => declared.kind === 'Service');
        const from = pageToken === '' ? 0 : Number(pageToken);
        const to = from + (pageSize === 0 ? 500 : Math.min(1_000, pageSize));
        const resources = all.slice(from, to).map(({ declared, generation }) => ({
          service: declared.value as Service,
          generation,
          conditions: [],
        }));
        const nextPageToken = to < all.length ? String(to) : '';
        return { resources, nextPageToken, version: configuration.version, total: BigInt(all.length) };
      },
      listObjects: async ({ kind, name }, context) => {
        await admit(context);
        const resources = [...configuration.objects.values()].flatMap(({ declared, generation }) => {
          if (declared.kind === 'Service' || (kind !== '' && declared.kind !== kind)) return [];
          if (name !== '' && declared.value.object.value?.name !== name) return [];
          return [{ object: declared.value, generation, conditions: [] }];
        });
        return { resources, version: configuration.version };
      },
      history: async ({ limit, beforeVersion, withDiff }, context) => {
        await admit(context);
        return { revisions: configuration.history(limit, beforeVersion, withDiff) };
      },
    });
    router.service(NodeService, {
      status: async (_, context) => {
        await admit(context);
        return this.status();
      },
      tiers: async ({ service }, context) => {
        await admit(context);
        const services = this.tiers().filter((tier) => service === '' || tier.service === service);
        return { services, tiers: this.availability() };
      },
      backends: async ({ service }, context) => {
        await admit(context);
        const backends = [...this.backends().values()].filter((one) => service === '' || one.service === service);
        return { backends };
      },
      drain: async ({ service, backend }, context) => {
        await admit(context);
        return { connections: this.#drain(service, backend, true) };
      },
      undrain: async ({ service, backend }, context) => {
        await admit(context);
        this.#drain(service, backend, false);
        return {};
      },
    });
    router.service(TrafficService, {
      listConnections: async ({ service, limit }, context) => {
        await admit(context);
        const connections = connectionsOf(this, service);
        return { connections: connections.slice(0, limit === 0 ? 1_000 : limit), total: BigInt(connections.length) };
      },
      logs: (request, context) => this.#logs(request, context, entry),
      stats: (request, context) => this.#stats(request, context, entry),
    });
    router.service(MeshService, {
      getMesh: async (_, context) => {
        await admit(context);
        const { id: meshId, name: meshName } = this.#mesh;
        return { mesh: { meshId, meshName, nodeId: this.id, admitted: true, configHash: configuration.hash } };
      },
      listMembers: async (_, context) => {
        await admit(context);
        return { members: this.members() };
      },
      ...admitted(this.#mesh.administration.mesh(), admit),
    });
    router.service(AccessService, admitted(this.#mesh.administration.access(), admit));
    router.service(CertificateService, admitted(this.#mesh.administration.certificatesApi(), admit));
    this.#mesh.extra(router, this);
  }

  #drain(service: string, backend: string, drained: boolean): bigint {
    if (service === '') {
      this.isDraining = drained;
      this.#turn();
      return [...this.backends().values()].reduce((sum, { connections }) => sum + connections, 0n);
    }
    const key = `${service}/${backend}`;
    const status = this.backends().get(key);
    if (status === undefined) {
      throw new ConnectError(`there is no backend ${backend} of a service ${service}`, Code.NotFound);
    }
    if (drained) this.#drained.add(key);
    else this.#drained.delete(key);
    this.#turn(service);
    return status.connections;
  }
}

const RELAY_REASONS = ['nothing in the configuration needs more than packet forwarding, but forwarding.mode is relay'];
const FASTER_IF = ['XDP was available: no interface was named: marcherd --interfaces eth0, or MARCHER_INTERFACES'];

const tiers = new WeakMap<Service, ServiceTier>();

/** One for all agents: fifty of 5,000 services are asked for again with each page that is loaded. */
function tierOf(service: Service): ServiceTier {
  let tier = tiers.get(service);
  if (tier === undefined) {
    const { name } = service;
    tier = create(ServiceTierSchema, { service: name, tier: 'relay', reasons: RELAY_REASONS, fasterIf: FASTER_IF });
    tiers.set(service, tier);
  }
  return tier;
}

/** Names of services by keys of objects. */
function servicesAmong(keys: Iterable<string>): readonly string[] {
  return [...keys].filter((key) => key.startsWith('Service/')).map((key) => key.slice('Service/'.length));
}

type Handler = (request: unknown, context: HandlerContext) => unknown;

/** The same calls, for whom the agent lets in. */
function admitted<T extends object>(calls: T, admit: (context: HandlerContext) => Promise<void>): T {
  const handlers = Object.entries(calls as Readonly<Record<string, Handler>>).map(([name, handler]) => {
    const guarded: Handler = async (request, context) => {
      await admit(context);
      return await handler(request, context);
    };
    return [name, guarded];
  });
  return Object.fromEntries(handlers) as T;
}
