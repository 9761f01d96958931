// SPDX-License-Identifier: Apache-2.0
/** What one node says of itself, from its batches: its own part is kept here, what it says of objects goes to the merge. */
import type { Timestamp } from '@bufbuild/protobuf/wkt';
import type { Member } from '@marcher/proto/marcher/v1/mesh_service_pb';
import type { StatusResponse, TierAvailability } from '@marcher/proto/marcher/v1/node_service_pb';
import type { ObserveResponse } from '@marcher/proto/marcher/v1/observe_service_pb';
import type { Flow, Link, NodeKey, NodeView } from './contract.js';
import { NO_FLOW, NO_HISTORY, settledFlow, withFlow } from './flow.js';
import { Holding, type Merge } from './merge.js';
import { Rates } from './rates.js';

/** A node that says more than this is not observed: a console must not run out of memory by what one agent says. */
export const OBJECTS_MAX = 200_000;
const BACKENDS_MAX = 1_000_000;
const MEMBERS_MAX = 10_000;
/** Names have at most 63 characters, backends may be called by their address. */
const NAME_MAX = 512;

/** What an agent says is not what was asked for, or more than is taken. */
export class NotTaken extends Error {}

/** Keys that were said since a stream has begun: what is kept and is not among them when the state is complete is no more. */
interface Said {
  readonly objects: Set<string> | undefined;
  readonly tiers: Set<string>;
  readonly traffic: Set<string>;
  readonly backends: Set<string>;
  readonly members: Set<string>;
}

export class NodeRecord {
  readonly key: NodeKey;
  readonly isEntry: boolean;
  readonly #merge: Merge;
  readonly #holding: Holding;
  readonly #members = new Map<string, Member>();
  readonly #rates = new Rates();
  /** undefined: the state is complete, or there is nothing that it may lack. */
  #said: Said | undefined;
  #isComplete = true;
  #view: NodeView;
  #next: NodeView;
  #run = '';
  #flowMoved = false;
  /** Between its batches. */
  #paceMs: number;

  constructor(key: NodeKey, name: string, isEntry: boolean, merge: Merge, link: Link, paceMs: number) {
    this.key = key;
    this.#paceMs = paceMs;
    this.isEntry = isEntry;
    this.#merge = merge;
    this.#holding = new Holding(key);
    this.#view = {
      key,
      name,
      isEntry,
      link,
      heardMs: undefined,
      member: undefined,
      status: undefined,
      version: 0n,
      availability: [],
      flow: undefined,
      history: NO_HISTORY,
    };
    this.#next = this.#view;
  }

  /** With what has come since the last publication. */
  get now(): NodeView {
    return this.#next;
  }

  /** Of this run of the agent: versions are comparable within it. */
  get run(): string {
    return this.#run;
  }

  /** As this node sees them, by id. */
  get members(): ReadonlyMap<string, Member> {
    return this.#members;
  }

  get #isEmpty(): boolean {
    const { objects, tiers, backends } = this.#holding;
    return objects + tiers + backends + this.#rates.size + this.#members.size === 0;
  }

  get isMoving(): boolean {
    return this.#rates.isMoving;
  }

  set(values: Partial<Pick<NodeView, 'name' | 'link' | 'member' | 'heardMs'>>): void {
    for (const [field, value] of Object.entries(values)) {
      if (this.#next[field as keyof NodeView] !== value) {
        this.#next = { ...this.#next, ...values };
        return;
      }
    }
  }

  /** A stream has begun, whose first batches are the state. paceMs: between those after them, as they were asked for. */
  begin(paceMs: number): void {
    this.#paceMs = paceMs;
    this.#isComplete = false;
    this.#said = this.#isEmpty ? undefined : saidSets(undefined);
  }

  /** NotTaken: nothing more of this node can be taken. */
  take(batch: ObserveResponse, nowMs: number): void {
    if (batch.node !== undefined) {
      this.#run = batch.node.run;
      if (batch.node.name !== '') this.set({ name: batch.node.name });
    }
    // Kept until the state is complete, so that nothing flickers; what is not said again is dropped then.
    if (batch.forget) {
      this.#isComplete = false;
      this.#said = this.#isEmpty ? undefined : saidSets(new Set());
    }
    this.#takeConfiguration(batch);
    this.#takeBackends(batch);
    this.#takeTraffic(batch, nowMs);
    this.#takeMembers(batch);
    if (batch.synced) this.#sync();
    const availability: readonly TierAvailability[] = batch.availability;
    const { version } = batch;
    const status: StatusResponse | undefined = batch.status ?? this.#next.status;
    const isNews =
      batch.status !== undefined ||
      availability.length > 0 ||
      version !== this.#next.version ||
      this.#next.heardMs === undefined;
    if (isNews) {
      this.#next = {
        ...this.#next,
        status,
        version,
        availability: availability.length > 0 ? availability : this.#next.availability,
      };
    }
    this.#heardMs = nowMs;
  }

  /** Of the last batch, by the clock of this machine. */
  get heardMs(): number | undefined {
    return this.#heardMs;
  }
  #heardMs: number | undefined;

  /** Silence means that nothing has moved: after three intervals rates are zero. */
  settle(nowMs: number): void {
    if (!this.#rates.isMoving || this.#heardMs === undefined || nowMs - this.#heardMs < 3 * this.#paceMs) return;
    this.#tellFlows(this.#rates.settle());
  }

  /** The same view as before where nothing has changed but when it was heard last. */
  publish(): NodeView {
    if (this.#flowMoved) {
      this.#flowMoved = false;
      const before = this.#next.flow;
      const flow = settledFlow(before ?? NO_FLOW, this.#rates.total());
      if (before === undefined || flow !== before) {
        this.#next = { ...this.#next, flow, history: withFlow(this.#next.history, flow) };
      }
    }
    if (this.#next !== this.#view) {
      if (this.#next.heardMs !== this.#heardMs) this.#next = { ...this.#next, heardMs: this.#heardMs };
      this.#view = this.#next;
    }
    return this.#view;
  }

  /** Takes what it has said out of the merge. */
  drop(): void {
    const [merge, holding] = [this.#merge, this.#holding];
    for (const key of merge.objectsOf(holding)) merge.dropObject(holding, key);
    for (const name of merge.tiersOf(holding)) merge.dropTier(holding, name);
    for (const key of merge.backendsOf(holding)) merge.dropBackend(holding, key);
    for (const name of this.#rates.services()) merge.setFlow(holding, name, undefined);
  }

  #takeConfiguration({ objects, goneObjects }: ObserveResponse): void {
    for (const object of objects) {
      checkName(object.name);
      const key = this.#merge.setObject(this.#holding, object);
      if (key !== undefined) this.#said?.objects?.add(key);
    }
    for (const { kind, name } of goneObjects) {
      const key = `${kind}/${name}`;
      this.#said?.objects?.delete(key);
      this.#merge.dropObject(this.#holding, key);
    }
    if (this.#holding.objects > OBJECTS_MAX) throw tooMany('objects', OBJECTS_MAX);
  }

  #takeBackends({ backends, goneBackends }: ObserveResponse): void {
    for (const status of backends) {
      checkName(status.service);
      checkName(status.backend);
      const key = this.#merge.setBackend(this.#holding, status);
      this.#said?.backends.add(key);
    }
    for (const { service, backend } of goneBackends) {
      const key = `${service}/${backend}`;
      this.#said?.backends.delete(key);
      this.#merge.dropBackend(this.#holding, key);
    }
    if (this.#holding.backends > BACKENDS_MAX) throw tooMany('backends', BACKENDS_MAX);
  }

  #takeTraffic(batch: ObserveResponse, nowMs: number): void {
    const { tiers, goneTiers, traffic, goneTraffic } = batch;
    for (const tier of tiers) {
      checkName(tier.service);
      tier.service = this.#merge.setTier(this.#holding, tier);
      this.#said?.tiers.add(tier.service);
    }
    for (const stats of traffic) {
      checkName(stats.service);
      // One text for all nodes, as of tiers.
      stats.service = this.#merge.nameOf(stats.service);
      this.#said?.traffic.add(stats.service);
    }
    const measure = this.#isComplete;
    const timeMs = batch.time === undefined ? nowMs : millisOf(batch.time);
    this.#tellFlows(this.#rates.take(timeMs, traffic, tiers, { measure, intervalMs: this.#paceMs }));
    for (const { service } of traffic) {
      // Also of one that stands still: that it is known to have no traffic is said by a flow of zero.
      this.#merge.setFlow(this.#holding, service, this.#rates.flow(service));
    }
    for (const name of goneTiers) this.#dropTier(name);
    for (const name of goneTraffic) this.#dropTraffic(name);
    if (this.#holding.tiers > OBJECTS_MAX || this.#rates.size > OBJECTS_MAX) throw tooMany('services', OBJECTS_MAX);
  }

  #dropTier(name: string): void {
    this.#said?.tiers.delete(name);
    if (!this.#merge.dropTier(this.#holding, name)) return;
    this.#rates.forget(name, 'tier');
    this.#tellFlow(name);
  }

  #dropTraffic(name: string): void {
    this.#said?.traffic.delete(name);
    if (!this.#rates.counts(name)) return;
    this.#rates.forget(name, 'counters');
    this.#tellFlow(name);
  }

  #tellFlows(services: Iterable<string>): void {
    for (const service of services) this.#tellFlow(service);
  }

  #tellFlow(service: string): void {
    const flow: Flow | undefined = this.#rates.has(service) ? this.#rates.flow(service) : undefined;
    this.#merge.setFlow(this.#holding, service, flow);
    this.#flowMoved = true;
  }

  #takeMembers({ members, goneMembers }: ObserveResponse): void {
    for (const member of members) {
      checkName(member.nodeId);
      checkName(member.name);
      this.#members.set(member.nodeId, member);
      this.#said?.members.add(member.nodeId);
    }
    for (const id of goneMembers) this.#members.delete(id);
    if (this.#members.size > MEMBERS_MAX) throw tooMany('members', MEMBERS_MAX);
  }

  #sync(): void {
    const said = this.#said;
    this.#said = undefined;
    this.#isComplete = true;
    this.#flowMoved = true;
    if (said === undefined) return;
    const [merge, holding] = [this.#merge, this.#holding];
    if (said.objects !== undefined) {
      for (const key of missing(merge.objectsOf(holding), said.objects)) merge.dropObject(holding, key);
    }
    for (const key of missing(merge.backendsOf(holding), said.backends)) merge.dropBackend(holding, key);
    for (const name of missing(merge.tiersOf(holding), said.tiers)) this.#dropTier(name);
    for (const name of missing(this.#rates.counted(), said.traffic)) this.#dropTraffic(name);
    for (const id of missing(this.#members.keys(), said.members)) this.#members.delete(id);
  }
}

function saidSets(objects: Set<string> | undefined): Said {
  return { objects, tiers: new Set(), traffic: new Set(), backends: new Set(), members: new Set() };
}

function missing(kept: Iterable<string>, said: ReadonlySet<string>): string[] {
  return [...kept].filter((key) => !said.has(key));
}

function checkName(name: string): void {
  if (name.length > NAME_MAX) {
    throw new NotTaken(`it names something with ${name.length} characters, where at most ${NAME_MAX} are taken`);
  }
}

function tooMany(what: string, max: number): NotTaken {
  return new NotTaken(`it has more than ${max} ${what}, which is more than this console takes`);
}

function millisOf({ seconds, nanos }: Timestamp): number {
  return Number(seconds) * 1_000 + nanos / 1e6;
}
