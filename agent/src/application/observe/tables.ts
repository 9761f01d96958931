// SPDX-License-Identifier: Apache-2.0
/**
 * What is known of this node for those who observe it: looked at once for all of them, as often as the one with the
 * shortest interval asks, and kept with the revisions in which it changed.
 */
import { isDeepStrictEqual } from 'node:util';
import type { MeshMember } from '../../ports/mesh.js';
import type { ObservedNode, Topic } from '../../ports/observe.js';
import { ApplicationError } from '../../ports/use-cases.js';
import type { Counted } from '../traffic.js';
import { unavailable } from '../unavailable.js';
import { type Hash, ObservedObjects } from './observed-objects.js';
import { ObservedStatus } from './observed-status.js';
import { ObservedTiers } from './observed-tiers.js';
import { PacedSource } from './paced-source.js';
import { RevisedTable } from './revised-table.js';
import type { Slices } from './slices.js';
import type { ObservedBackend, ObservedSources } from './sources.js';

/** What others say of themselves comes every two seconds at most. */
const MEMBERS_MS = 1_000;
/** Those that ask for a packet tier are worked out anew each time. */
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
  readonly backends = new RevisedTable<ObservedBackend>(sameBackend);
  readonly tiers: ObservedTiers;
  /** By service. */
  readonly traffic = new RevisedTable<Counted>((a, b) => Buffer.compare(a.counts, b.counts) === 0);
  /** By id. */
  readonly members = new RevisedTable<MeshMember>(isDeepStrictEqual);
  readonly #sources: ObservedSources;
  readonly #paced: Readonly<Record<Topic | 'node', PacedSource>>;
  readonly #wakers = new Set<(topic: Topic) => void>();
  /** What is known to be another than it was seen, and how often that was said. */
  readonly #hurried = new Map<Topic, number>();
  #node: ObservedNode;
  /** Why the engine is out of step with the configuration: the conditions of all services say so. */
  #outOfStep = '';

  constructor({ sources, hash, monotonicMs, run }: ObservedTablesOptions) {
    this.run = run;
    this.#sources = sources;
    this.#node = sources.node();
    this.status = new ObservedStatus((options) => sources.status(options), monotonicMs);
    this.objects = new ObservedObjects(sources.configuration, hash, () => this.#wake('configuration'));
    this.tiers = new ObservedTiers(sources.tiers, sources.configuration);
    const paced = (look: (slices: Slices) => Promise<void>, leastMs = 0, rest?: number): PacedSource =>
      new PacedSource(look, { nowMs: monotonicMs, leastMs, ...(rest === undefined ? {} : { rest }) });
    this.#paced = {
      node: paced(async () => this.#lookAtNode(), MEMBERS_MS),
      status: paced(() => this.#caughtUp('status', async () => this.#lookAtStatus())),
      configuration: paced((slices) => this.objects.look(slices), 0, OBJECTS_REST),
      backends: paced((slices) => this.#caughtUp('backends', () => this.#lookAtBackends(slices))),
      tiers: paced((slices) => this.tiers.look(slices), TIERS_MS),
      traffic: paced((slices) => this.#lookAtTraffic(slices)),
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
    const ageOf = (topic: Topic): number => (topic === 'configuration' || this.#hurried.has(topic) ? 0 : maxAgeMs);
    await Promise.all([...asked].map((topic) => this.#paced[topic].fresh(ageOf(topic))));
  }

  /** Health or a drain has changed: whoever observes is not to wait for it until the next look. */
  hurry(topic: 'status' | 'backends'): void {
    this.#hurried.set(topic, (this.#hurried.get(topic) ?? 0) + 1);
    this.#wake(topic);
  }

  /** There is something newer than what was seen of it. */
  isBehind(topic: Topic): boolean {
    return topic === 'configuration' ? this.objects.isBehind : this.#hurried.has(topic);
  }

  /** onNews: the configuration has changed, or something was hurried. Gives what ends that. */
  onNews(onNews: (topic: Topic) => void): () => void {
    this.#wakers.add(onNews);
    return () => this.#wakers.delete(onNews);
  }

  #wake(topic: Topic): void {
    for (const waker of this.#wakers) waker(topic);
  }

  /** What is said while it is being looked at may have come too late for that. */
  async #caughtUp(topic: Topic, look: () => Promise<void>): Promise<void> {
    const said = this.#hurried.get(topic);
    await look();
    if (this.#hurried.get(topic) === said) this.#hurried.delete(topic);
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
    try {
      const states = await slices.away(this.#sources.backends());
      this.backends.begin();
      await slices.each(states, (state) => {
        const key = `${state.service}${SEPARATOR}${state.backend}`;
        const known = this.backends.get(key);
        if (known !== undefined && sameBackend(known, state)) this.backends.keep(key);
        // What came with it is not kept for one of many.
        else this.backends.set(key, { ...state, packed: Uint8Array.from(state.packed) });
      });
      await slices.each(this.backends.end(), () => undefined);
    } catch (reason) {
      const error = unavailable(reason);
      // The engine does not answer, as the status says; what its backends were like last stays.
      if (error instanceof ApplicationError && error.code === 'unavailable') return;
      throw error;
    }
  }

  async #lookAtTraffic(slices: Slices): Promise<void> {
    this.traffic.begin();
    const counted = this.#sources.traffic((service) => this.traffic.get(service)?.counts);
    await slices.each(counted, ({ service, moved }) => {
      if (moved === undefined) this.traffic.keep(service);
      else this.traffic.set(service, moved);
    });
    await slices.each(this.traffic.end(), () => undefined);
  }

  /** Whether what has gone since is known of all of them. 0: since they began. */
  reaches(since: Readonly<Record<Exclude<Topic, 'status'>, number>>): boolean {
    const { backends, traffic, members } = this;
    const of = { backends, traffic, members, tiers: this.tiers.table, configuration: this.objects.table };
    return Object.entries(of).every(([topic, table]) => table.reaches(since[topic as keyof typeof of]));
  }

  close(): void {
    this.objects.close();
    this.tiers.close();
    this.#wakers.clear();
  }
}

function sameBackend(a: ObservedBackend, b: ObservedBackend): boolean {
  return a.mesh === b.mesh && Buffer.compare(a.packed, b.packed) === 0;
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
