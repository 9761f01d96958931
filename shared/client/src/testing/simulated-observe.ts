// SPDX-License-Identifier: Apache-2.0
/** What one reader of a simulated agent's Observe has been told, and what it is to be told next. */
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import {
  type ObservedObject,
  ObservedObjectSchema,
  type ObserveRequest,
  type ObserveResponse,
  ObserveResponseSchema,
  Topic,
} from '@marcher/proto/marcher/v1/observe_service_pb';
import type { SimulatedAgent } from './simulated-agent.js';
import type { StoredObject } from './simulated-configuration.js';

const HEARTBEAT_MS = 15_000;
/** About 64 KiB, as agents send them. */
const ENTRIES_PER_PART = 500;
const LISTS = ['objects', 'backends', 'tiers', 'traffic'] as const;

export class SimulatedReader {
  readonly #agent: SimulatedAgent;
  readonly #request: ObserveRequest;
  readonly #backends = new Set<string>();
  readonly #tiers = new Set<string>();
  readonly #traffic = new Map<string, bigint>();
  readonly #members = new Map<string, string>();
  #version = 0n;
  #tiersAt = { version: 0n, clusters: '' };
  #backendsAt: number | undefined;
  #status = '';
  #sentMs = 0;
  #turns = 0;

  constructor(agent: SimulatedAgent, request: ObserveRequest) {
    this.#agent = agent;
    this.#request = request;
  }

  /** The state, in parts where it is large. */
  *begin(): Iterable<ObserveResponse> {
    const { run, configuration } = this.#agent;
    const { resumeRun, resumeVersion } = this.#request;
    const goesOn = resumeRun === run && resumeVersion <= configuration.version && resumeVersion > 0n;
    if (goesOn) this.#version = resumeVersion;
    this.#sentMs = this.#agent.clock.nowMs();
    const whole = this.#batch();
    whole.node = this.#agent.observedNode();
    whole.forget = !goesOn;
    whole.availability = this.#wants(Topic.TIERS) ? this.#agent.availability() : [];
    yield* inParts(whole, goesOn ? resumeVersion : 0n);
  }

  get hasChanges(): boolean {
    return this.#isConfiguredAnew || this.#turns !== this.#agent.turns;
  }

  get #isConfiguredAnew(): boolean {
    return this.#wants(Topic.CONFIGURATION) && this.#version !== this.#agent.configuration.version;
  }

  /** Of the configuration, health and drains alone. undefined: it is as it was. */
  changes(): ObserveResponse | undefined {
    if (!this.hasChanges) return undefined;
    const { version } = this.#agent.configuration;
    this.#sentMs = this.#agent.clock.nowMs();
    const batch = create(ObserveResponseSchema, { time: timestampFromMs(this.#sentMs), version });
    if (this.#isConfiguredAnew) {
      this.#tellObjects(batch);
      this.#version = version;
    }
    if (this.#turns !== this.#agent.turns) {
      if (this.#wants(Topic.STATUS)) this.#tellStatus(batch);
      if (this.#wants(Topic.BACKENDS)) this.#tellBackends(batch);
      this.#turns = this.#agent.turns;
    }
    return batch;
  }

  /** What is new since the batch before. undefined: nothing, and no heartbeat is due. */
  next(): ObserveResponse | undefined {
    const batch = this.#batch();
    const isEmpty =
      batch.status === undefined &&
      batch.objects.length +
        batch.goneObjects.length +
        batch.backends.length +
        batch.goneBackends.length +
        batch.tiers.length +
        batch.goneTiers.length +
        batch.traffic.length +
        batch.goneTraffic.length +
        batch.members.length +
        batch.goneMembers.length ===
        0;
    if (isEmpty && this.#agent.clock.nowMs() - this.#sentMs < HEARTBEAT_MS) return undefined;
    this.#sentMs = this.#agent.clock.nowMs();
    return batch;
  }

  #wants(topic: Topic): boolean {
    return this.#request.topics.length === 0 || this.#request.topics.includes(topic);
  }

  #batch(): ObserveResponse {
    const agent = this.#agent;
    const nowMs = agent.clock.nowMs();
    const { version } = agent.configuration;
    const batch = create(ObserveResponseSchema, { time: timestampFromMs(nowMs), version });
    const isChanged = this.#version !== version;
    if (this.#wants(Topic.CONFIGURATION) && isChanged) this.#tellObjects(batch);
    if (this.#wants(Topic.STATUS)) this.#tellStatus(batch);
    if (this.#wants(Topic.BACKENDS)) this.#tellBackends(batch);
    if (this.#wants(Topic.TIERS)) this.#tellTiers(batch);
    if (this.#wants(Topic.TRAFFIC)) this.#tellTraffic(batch);
    if (this.#wants(Topic.MEMBERS)) this.#tellMembers(batch);
    this.#version = version;
    this.#turns = agent.turns;
    return batch;
  }

  #tellObjects(batch: ObserveResponse): void {
    const { objects, gone } = this.#agent.configuration;
    const changed = this.#agent.configuration.changedSince(this.#version);
    for (const key of changed ?? objects.keys()) {
      const object = objects.get(key);
      if (object !== undefined && object.generation > this.#version && this.#agent.holds(object)) {
        batch.objects.push(this.#observed(object));
      }
    }
    for (const key of changed ?? gone.keys()) {
      const [kind = '', name = ''] = key.split('/');
      if ((gone.get(key) ?? 0n) > this.#version) {
        batch.goneObjects.push({ $typeName: 'marcher.v1.ObjectKey', kind, name });
      }
    }
  }

  #observed(stored: StoredObject): ObservedObject {
    if (this.#request.summaries) return summaryOf(stored);
    const { declared } = stored;
    const observed = create(ObservedObjectSchema, headOf(stored));
    observed.declared =
      declared.kind === 'Service'
        ? { case: 'service', value: declared.value }
        : { case: 'object', value: declared.value };
    return observed;
  }

  #tellStatus(batch: ObserveResponse): void {
    const { configuration, isDraining } = this.#agent;
    // Memory moves all the time, which is told every 10 s.
    const tens = Math.floor(this.#agent.clock.nowMs() / 10_000);
    const status = `${configuration.version} ${configuration.hash} ${isDraining} ${tens}`;
    if (status === this.#status) return;
    this.#status = status;
    batch.status = this.#agent.status();
  }

  #tellBackends(batch: ObserveResponse): void {
    const backends = this.#agent.backends();
    const { changedBackends } = this.#agent;
    const changed = this.#backendsAt === undefined ? undefined : changedBackends.since(this.#backendsAt);
    this.#backendsAt = changedBackends.end;
    for (const key of changed ?? new Set([...this.#backends, ...backends.keys()])) {
      const status = backends.get(key);
      if (status !== undefined) {
        this.#backends.add(key);
        batch.backends.push(status);
      } else if (this.#backends.delete(key)) {
        const [service = '', backend = ''] = key.split('/');
        batch.goneBackends.push({ $typeName: 'marcher.v1.BackendName', service, backend });
      }
    }
  }

  #tellTiers(batch: ObserveResponse): void {
    const { configuration } = this.#agent;
    const clusters = this.#agent.clusters.join(' ');
    const at = this.#tiersAt;
    if (at.version === configuration.version && at.clusters === clusters) return;
    const changed = at.clusters === clusters ? configuration.changedSince(at.version) : undefined;
    this.#tiersAt = { version: configuration.version, clusters };
    const all = (): Iterable<string> =>
      new Set([...this.#tiers, ...configuration.services().map(({ name }) => name)].map((name) => `Service/${name}`));
    for (const key of changed ?? all()) {
      const [kind, name = ''] = key.split('/');
      if (kind !== 'Service') continue;
      const tier = this.#agent.tier(name);
      if (tier === undefined) {
        if (this.#tiers.delete(name)) batch.goneTiers.push(name);
      } else if (!this.#tiers.has(name)) {
        this.#tiers.add(name);
        batch.tiers.push(tier);
      }
    }
  }

  #tellTraffic(batch: ObserveResponse): void {
    const { traffic, clock, configuration } = this.#agent;
    const nowMs = clock.nowMs();
    for (const service of traffic.moving()) {
      if (configuration.service(service) === undefined) continue;
      const counters = traffic.counters(service, nowMs);
      const sum = counters.connectionsOpened * 7n + counters.connectionsClosed + counters.noBackend * 13n;
      if (this.#traffic.get(service) === sum) continue;
      this.#traffic.set(service, sum);
      batch.traffic.push({ $typeName: 'marcher.v1.ServiceStats', service, counters, backends: [] });
    }
    for (const service of this.#traffic.keys()) {
      if (configuration.service(service) !== undefined) continue;
      this.#traffic.delete(service);
      batch.goneTraffic.push(service);
    }
  }

  #tellMembers(batch: ObserveResponse): void {
    const members = this.#agent.members();
    for (const member of members) {
      const said = `${member.name} ${member.state} ${member.clusters.join(' ')}`;
      if (this.#members.get(member.nodeId) === said) continue;
      this.#members.set(member.nodeId, said);
      batch.members.push(member);
    }
    if (this.#members.size === members.length) return;
    const ids = new Set(members.map(({ nodeId }) => nodeId));
    for (const id of this.#members.keys()) {
      if (ids.has(id)) continue;
      this.#members.delete(id);
      batch.goneMembers.push(id);
    }
  }
}

const summaries = new WeakMap<StoredObject, ObservedObject>();

/** One for all agents that have it. */
function summaryOf(stored: StoredObject): ObservedObject {
  let summary = summaries.get(stored);
  if (summary === undefined) {
    summary = create(ObservedObjectSchema, headOf(stored));
    summaries.set(stored, summary);
  }
  return summary;
}

function headOf({ key, generation, digest }: StoredObject) {
  const [kind = '', name = ''] = key.split('/');
  return { kind, name, generation, digest };
}

/** The last one says that it is. version: of those before it. */
function* inParts(whole: ObserveResponse, version: bigint): Iterable<ObserveResponse> {
  const lists = LISTS.map((list) => whole[list] as unknown[]);
  for (const list of LISTS) whole[list] = [];
  let part = whole;
  let left = ENTRIES_PER_PART;
  for (const [i, list] of LISTS.entries()) {
    for (const entry of lists[i] ?? []) {
      if (left === 0) {
        const { time, version: atEnd } = part;
        part.version = version;
        yield part;
        part = create(ObserveResponseSchema, { version: atEnd, ...(time === undefined ? {} : { time }) });
        left = ENTRIES_PER_PART;
      }
      (part[list] as unknown[]).push(entry);
      left--;
    }
  }
  part.synced = true;
  yield part;
}
