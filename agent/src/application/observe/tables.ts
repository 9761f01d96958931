// SPDX-License-Identifier: Apache-2.0
/**
 * What is known of this node for those who observe it: looked at once for all of them, as often as the one with the
 * shortest interval asks, and kept with the revisions in which it changed.
 */
import { isDeepStrictEqual } from 'node:util';
import type { BackendStatus, ServiceTier, TierAvailability } from '@marcher/proto/marcher/v1/node_service_pb';
import type { ServiceStats } from '@marcher/proto/marcher/v1/traffic_service_pb';
import type { MeshMember } from '../../ports/mesh.js';
import type { ObservedNode, Topic } from '../../ports/observe.js';
import { ApplicationError } from '../../ports/use-cases.js';
import { type Hash, ObservedObjects } from './observed-objects.js';
import { ObservedStatus } from './observed-status.js';
import { PacedSource } from './paced-source.js';
import { RevisedTable } from './revised-table.js';
import { sameAvailability, sameBackend, sameStats, sameTier } from './same.js';
import type { Slices } from './slices.js';
import type { ObservedSources } from './sources.js';

/** What others say of themselves comes every two seconds at most. */
const MEMBERS_MS = 1_000;
/** Which tier carries a service follows from its configuration, and is worked out for all of them. */
const TIERS_MS = 1_000;
/** A change of the configuration is to be seen at once, also while there are many. */
const OBJECTS_REST = 1;

export interface ObservedTablesOptions {
  readonly sources: ObservedSources;
  readonly hash: Hash;
  readonly monotonicMs: () => number;
  /** Of these tables: what was told of others can't be brought forward by them. */
  readonly run: string;
}

/** Between service and backend; in no name of a service. */
export const SEPARATOR = '/';

export class ObservedTables {
  readonly run: string;
  readonly status: ObservedStatus;
  readonly objects: ObservedObjects;
  /** By "service/backend". */
  readonly backends = new RevisedTable<BackendStatus>(sameBackend);
  /** By service. */
  readonly tiers = new RevisedTable<ServiceTier>(sameTier);
  readonly availability = new RevisedTable<readonly TierAvailability[]>(sameAvailability);
  /** By service. */
  readonly traffic = new RevisedTable<ServiceStats>(sameStats);
  /** By id. */
  readonly members = new RevisedTable<MeshMember>(isDeepStrictEqual);
  readonly #sources: ObservedSources;
  readonly #paced: Readonly<Record<Topic | 'node', PacedSource>>;
  readonly #wakers = new Set<() => void>();
  #node: ObservedNode;
  /** Why the engine is out of step with the configuration: the conditions of all services say so. */
  #outOfStep = '';

  constructor({ sources, hash, monotonicMs, run }: ObservedTablesOptions) {
    this.run = run;
    this.#sources = sources;
    this.#node = sources.node();
    this.status = new ObservedStatus((options) => sources.status(options), monotonicMs);
    this.objects = new ObservedObjects(sources.configuration, hash, () => this.#wake());
    const paced = (look: (slices: Slices) => Promise<void>, leastMs = 0, rest?: number): PacedSource =>
      new PacedSource(look, { nowMs: monotonicMs, leastMs, ...(rest === undefined ? {} : { rest }) });
    this.#paced = {
      node: paced(async () => this.#lookAtNode(), MEMBERS_MS),
      status: paced(async () => this.#lookAtStatus()),
      configuration: paced((slices) => this.objects.look(slices), 0, OBJECTS_REST),
      backends: paced((slices) => this.#lookAtBackends(slices)),
      tiers: paced((slices) => this.#lookAtTiers(slices), TIERS_MS),
      traffic: paced((slices) => fill(this.traffic, sources.traffic(), ({ service }) => service, slices)),
      members: paced((slices) => fill(this.members, sources.members(), ({ nodeId }) => nodeId, slices), MEMBERS_MS),
    };
  }

  /** The same object as long as it says the same. */
  get node(): ObservedNode {
    return this.#node;
  }

  /** Resolves when all of these are no older than that, or are not to be looked at yet. */
  async fresh(topics: Iterable<Topic>, maxAgeMs: number): Promise<void> {
    await this.#paced.node.fresh(maxAgeMs);
    const asked = new Set(topics);
    // Conditions of objects depend on how the engine is.
    if (asked.has('configuration')) await this.#paced.status.fresh(maxAgeMs);
    await Promise.all([...asked].map((topic) => this.#paced[topic].fresh(topic === 'configuration' ? 0 : maxAgeMs)));
  }

  /** onChange: the configuration has changed. Gives what ends that. */
  onConfiguration(onChange: () => void): () => void {
    this.#wakers.add(onChange);
    return () => this.#wakers.delete(onChange);
  }

  #wake(): void {
    for (const waker of this.#wakers) waker();
  }

  #lookAtNode(): void {
    const node = this.#sources.node();
    if (!isDeepStrictEqual(node, this.#node)) this.#node = node;
  }

  #lookAtStatus(): void {
    this.status.look();
    const condition = this.status.status?.conditions.find(({ type }) => type === 'Programmed');
    const outOfStep = condition === undefined ? '' : `${condition.reason}: ${condition.message}`;
    if (outOfStep !== this.#outOfStep) this.objects.doubt();
    this.#outOfStep = outOfStep;
  }

  async #lookAtBackends(slices: Slices): Promise<void> {
    let states: Iterable<BackendStatus>;
    try {
      states = await slices.away(this.#sources.backends());
    } catch (error) {
      // The engine does not answer, as the status says; what its backends were like last stays.
      if (error instanceof ApplicationError && error.code === 'unavailable') return;
      throw error;
    }
    await fill(this.backends, states, ({ service, backend }) => `${service}${SEPARATOR}${backend}`, slices);
  }

  async #lookAtTiers(slices: Slices): Promise<void> {
    const { services, tiers } = this.#sources.tiers();
    this.availability.set('', tiers);
    await fill(this.tiers, services, ({ service }) => service, slices);
  }

  /** Whether what has gone since is known of all of them. 0: since they began. */
  reaches(since: Readonly<Record<Exclude<Topic, 'status'>, number>>): boolean {
    const { backends, tiers, traffic, members, objects } = this;
    const of = { backends, tiers, traffic, members, configuration: objects.table };
    return Object.entries(of).every(([topic, table]) => table.reaches(since[topic as keyof typeof of]));
  }

  close(): void {
    this.objects.close();
    this.#wakers.clear();
  }
}

async function fill<Value>(
  table: RevisedTable<Value>,
  values: Iterable<Value>,
  keyOf: (value: Value) => string,
  slices: Slices,
): Promise<void> {
  table.begin();
  await slices.each(values, (value) => table.set(keyOf(value), value));
  await slices.each(table.end(), () => undefined);
}
