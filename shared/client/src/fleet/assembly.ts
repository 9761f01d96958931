// SPDX-License-Identifier: Apache-2.0
/** Nodes and what they say, put together to states. Knows no streams: a recording is put together in the same way. */
import type { ObserveResponse } from '@marcher/proto/marcher/v1/observe_service_pb';
import type { FleetState, Flow, Link, NodeKey, NodeView } from './contract.js';
import { coverageOf, isSameCoverage } from './coverage.js';
import { NO_FLOW, NO_HISTORY, settledFlow, sumOfFlows, withFlow } from './flow.js';
import { Merge } from './merge.js';
import { NodeRecord } from './node.js';

export class Assembly {
  readonly #merge = new Merge();
  readonly #records = new Map<NodeKey, NodeRecord>();
  readonly #intervalMs: number;
  #entry: NodeKey | undefined;
  #mesh: FleetState['mesh'];
  #freshness = '';
  #state: FleetState;

  constructor(intervalMs: number, nowMs: number) {
    this.#intervalMs = intervalMs;
    this.#state = {
      revision: 0,
      atMs: nowMs,
      mesh: undefined,
      coverage: coverageOf([]),
      nodes: new Map(),
      ...this.#merge.publish(),
      flow: NO_FLOW,
      history: NO_HISTORY,
      configurations: 0,
      paused: false,
    };
  }

  /** The last that was published. */
  get state(): FleetState {
    return this.#state;
  }

  get entry(): NodeRecord | undefined {
    return this.#entry === undefined ? undefined : this.#records.get(this.#entry);
  }

  /** Whether rates are to be looked at again though nothing comes. */
  get isMoving(): boolean {
    for (const record of this.#records.values()) if (record.isMoving) return true;
    return false;
  }

  get size(): number {
    return this.#records.size;
  }

  node(key: NodeKey): NodeRecord | undefined {
    return this.#records.get(key);
  }

  nodes(): Iterable<NodeRecord> {
    return this.#records.values();
  }

  /** An entry takes the place of the one before. */
  add(key: NodeKey, name: string, isEntry: boolean, link: Link): NodeRecord {
    this.remove(key);
    if (isEntry) {
      if (this.#entry !== undefined) this.remove(this.#entry);
      this.#entry = key;
    }
    const record = new NodeRecord(key, name, isEntry, this.#merge, link, this.#intervalMs);
    this.#records.set(key, record);
    return record;
  }

  remove(key: NodeKey): void {
    this.#records.get(key)?.drop();
    this.#records.delete(key);
    if (this.#entry === key) this.#entry = undefined;
    this.#merge.keepNodes(this.#records.size);
  }

  /** NotTaken: it says more than is taken. */
  take(record: NodeRecord, batch: ObserveResponse, nowMs: number): void {
    if (record.isEntry && batch.node !== undefined) {
      const { meshId: id, meshName: name } = batch.node;
      if (id === '') this.#mesh = undefined;
      else if (this.#mesh?.id !== id || this.#mesh.name !== name) this.#mesh = { id, name };
    }
    record.take(batch, nowMs);
  }

  /** A backend's health, or whether it is drained, is another one than in the state. */
  get hasTurned(): boolean {
    return this.#merge.hasTurned;
  }

  /** Of these services a history is kept. */
  watch(services: ReadonlySet<string>): void {
    this.#merge.watch(services);
  }

  /** The last state, as it stands from now on. */
  pause(): FleetState {
    const { state } = this;
    if (!state.paused) this.#state = { ...state, revision: state.revision + 1, paused: true };
    return this.#state;
  }

  /** The same state as before where nothing has changed. */
  publish(nowMs: number): FleetState {
    for (const record of this.#records.values()) record.settle(nowMs);
    this.#tellFreshness();
    const merged = this.#merge.publish();
    const nodes = this.#publishNodes();
    const before = this.#state;
    const coverage = nodes === before.nodes ? before.coverage : coverageOf(nodes.values());
    const flow = nodes === before.nodes ? before.flow : settledFlow(before.flow, sumOfFlows(liveFlows(nodes.values())));
    if (
      nodes === before.nodes &&
      merged.services === before.services &&
      merged.objects === before.objects &&
      merged.backends === before.backends &&
      this.#mesh === before.mesh &&
      !before.paused
    ) {
      return before;
    }
    this.#state = {
      revision: before.revision + 1,
      atMs: nowMs,
      mesh: this.#mesh,
      coverage: isSameCoverage(coverage, before.coverage) ? before.coverage : coverage,
      nodes,
      ...merged,
      flow,
      history: flow === before.flow ? before.history : withFlow(before.history, flow),
      configurations: nodes === before.nodes ? before.configurations : configurationsOf(nodes.values()),
      paused: false,
    };
    return this.#state;
  }

  #publishNodes(): ReadonlyMap<NodeKey, NodeView> {
    const before = this.#state.nodes;
    const views = [...this.#records.values()].map((record) => record.publish());
    if (views.length === before.size && views.every((view) => before.get(view.key) === view)) return before;
    views.sort((a, b) => (a.name === b.name ? order(a.key, b.key) : order(a.name, b.name)));
    return new Map(views.map((view) => [view.key, view]));
  }

  /** Who is heard and holds what counts for each object: told when it is another. */
  #tellFreshness(): void {
    const fresh: [NodeKey, readonly string[]][] = [];
    for (const { key, now } of this.#records.values()) {
      if (now.link.kind === 'live') fresh.push([key, now.member?.clusters ?? []]);
    }
    const freshness = JSON.stringify([this.#entry, fresh]);
    if (freshness === this.#freshness) return;
    this.#freshness = freshness;
    this.#merge.setFresh(fresh, this.#entry);
  }
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function* liveFlows(nodes: Iterable<NodeView>): Iterable<Flow> {
  for (const { link, flow } of nodes) if (link.kind === 'live' && flow !== undefined) yield flow;
}

/** Nodes in other clusters have other configurations, rightly so: those in the same ones are compared, and the worst counts. */
function configurationsOf(nodes: Iterable<NodeView>): number {
  const hashes = new Map<string, Set<string>>();
  for (const { link, member, status } of nodes) {
    if (link.kind !== 'live' || status === undefined || status.configHash === '') continue;
    const clusters = JSON.stringify([...(member?.clusters ?? [])].sort());
    const known = hashes.get(clusters) ?? new Set();
    hashes.set(clusters, known.add(status.configHash));
  }
  return Math.max(0, ...[...hashes.values()].map(({ size }) => size));
}
