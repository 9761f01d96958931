// SPDX-License-Identifier: Apache-2.0
/**
 * One reader's stream: what it lacks of the tables, now and then.
 *
 *   look ──▶ state, in parts ──▶ synced ──▶ wait ──▶ look ──▶ what is newer, or nothing ──┐
 *    ▲                                       ▲                                            │
 *    │ another mesh, or too much has gone    └────────────────────────────────────────────┘
 *    └────────────────────────────────────────────────────────────────────────────────────┘
 *
 * While a reader does not read, this is not asked to go on: so nothing is made for it, and nothing kept but how far it is.
 */
import { create } from '@bufbuild/protobuf';
import { type ObservedObject, ObservedObjectSchema } from '@marcher/proto/marcher/v1/observe_service_pb';
import { type ObservedBatch, type ObservedNode, type ObserveQuery, TOPICS, type Topic } from '../../ports/observe.js';
import { unpackObject } from '../object-codec.js';
import { unpackService } from '../service-codec.js';
import { BatchDraft } from './batch-draft.js';
import { type Hash, type Standing, standingOf } from './observed-objects.js';
import type { RevisedTable } from './revised-table.js';
import { Slices } from './slices.js';
import type { ObservedSources } from './sources.js';
import { type ObservedTables, SEPARATOR } from './tables.js';

/** A batch is encoded in one piece, which takes milliseconds. */
const PART_BYTES = 64 << 10;
/** News (of the configuration, health, drains) come so long after the batch before them at the soonest. */
const SOONEST_MS = 100;
/** What takes longer to be looked at comes with a later batch. */
const PATIENCE_MS = 50;

export interface Clock {
  /** Unix time. */
  nowMs(): number;
  monotonicMs(): number;
  /** Gives what cancels it. */
  after(ms: number, run: () => void): () => void;
}

export interface ObservationOptions {
  readonly tables: ObservedTables;
  readonly sources: Pick<ObservedSources, 'configuration' | 'backendStatus'>;
  readonly hash: Hash;
  readonly clock: Clock;
  readonly heartbeatMs: number;
  readonly partBytes?: number;
}

/** How far a reader is, by the revisions of the tables. */
type Since = Record<Topic, number> & { availability: number };

const NOTHING: Since = {
  ...{ status: 0, configuration: 0, members: 0, tiers: 0, availability: 0, backends: 0, traffic: 0 },
};

interface Wanted {
  /** Of the configuration only what has changed after this version, or may have without one. undefined: all. */
  readonly resume: bigint | undefined;
  /** Also what there is no more. */
  readonly gone: boolean;
}

export class Observation {
  readonly #options: ObservationOptions;
  readonly #query: ObserveQuery;
  readonly #signal: AbortSignal;
  readonly #topics: readonly Topic[];
  #draft = new BatchDraft();
  #since: Since = { ...NOTHING };
  /** What was told of the configuration includes all until this version. */
  #version = 0n;
  #node: ObservedNode | undefined;
  /** What has changed since it was looked at, and does not wait for the interval. */
  readonly #news = new Set<Topic>();
  #sentMs = 0;
  /** When something of that was to be looked at last. */
  #triedMs = 0;
  #wake: () => void = () => undefined;

  constructor(options: ObservationOptions, query: ObserveQuery, signal: AbortSignal) {
    this.#options = options;
    this.#query = query;
    this.#signal = signal;
    this.#topics = TOPICS.filter((topic) => query.topics.has(topic));
  }

  async *batches(): AsyncGenerator<ObservedBatch> {
    const { tables, clock, heartbeatMs } = this.#options;
    const { intervalMs } = this.#query;
    const leave = tables.onNews((topic) => {
      // Ten thousand backends that fail at once are said one by one.
      if (!this.#query.topics.has(topic) || this.#news.has(topic)) return;
      this.#news.add(topic);
      this.#wake();
    });
    try {
      let lookedMs = clock.monotonicMs();
      await tables.fresh(this.#topics, intervalMs);
      yield* this.#state(this.#resumes());
      while (!this.#signal.aborted) {
        await this.#turn(Math.min(lookedMs + intervalMs, this.#sentMs + heartbeatMs));
        if (this.#signal.aborted) return;
        const due = clock.monotonicMs() >= lookedMs + intervalMs;
        if (due) lookedMs = clock.monotonicMs();
        const topics: readonly Topic[] = due ? this.#topics : [...this.#news];
        if (topics.length > 0) this.#triedMs = clock.monotonicMs();
        await this.#patiently(tables.fresh(topics, intervalMs));
        for (const topic of topics) {
          if (tables.isBehind(topic)) this.#news.add(topic);
          else this.#news.delete(topic);
        }
        if (this.#node !== tables.node || !this.#reaches()) {
          await tables.fresh(this.#topics, intervalMs);
          yield* this.#state(undefined);
          continue;
        }
        yield* this.#newer(topics);
        if (this.#signal.aborted) return;
        if (clock.monotonicMs() - this.#sentMs >= heartbeatMs) yield this.#cut();
      }
    } finally {
      leave();
    }
  }

  /** The version after which this reader lacks the configuration; undefined: it has none that can be brought forward. */
  #resumes(): bigint | undefined {
    const { version, run } = this.#query.resume;
    const { tables } = this.#options;
    return run === tables.run && version > 0n && tables.reaches(NOTHING) ? version : undefined;
  }

  #reaches(): boolean {
    return this.#options.tables.reaches(this.#since);
  }

  /** All there is, the last part of it marked. */
  async *#state(resume: bigint | undefined): AsyncGenerator<ObservedBatch> {
    const { tables } = this.#options;
    const { node } = tables;
    this.#node = node;
    this.#since = { ...NOTHING };
    this.#version = resume ?? 0n;
    let opening: Partial<ObservedBatch> = { node: { ...node, run: tables.run }, forget: resume === undefined };
    for await (const _ of this.#filling(this.#topics, { resume, gone: resume !== undefined })) {
      yield this.#cut(opening);
      opening = {};
    }
    if (!this.#signal.aborted) yield this.#cut({ ...opening, synced: true });
  }

  async *#newer(topics: readonly Topic[]): AsyncGenerator<ObservedBatch> {
    for await (const _ of this.#filling(topics, { resume: undefined, gone: true })) yield this.#cut();
    if (!this.#draft.isEmpty && !this.#signal.aborted) yield this.#cut();
  }

  /** Gives a turn whenever the draft is as large as a batch may be. */
  async *#filling(topics: readonly Topic[], what: Wanted): AsyncGenerator<void> {
    const partBytes = this.#options.partBytes ?? PART_BYTES;
    const slices = new Slices(() => this.#options.clock.monotonicMs());
    for (const topic of topics) {
      for (const _ of this.#fill(topic, what)) {
        if (this.#draft.bytes >= partBytes) {
          yield;
          await slices.rest();
        } else if (slices.due) await slices.rest();
        if (this.#signal.aborted) return;
      }
    }
  }

  /** A step for each entry of the topic's tables, of which those are taken that this reader lacks. */
  *#fill(topic: Topic, what: Wanted): Iterable<void> {
    const { tables } = this.#options;
    const since = this.#since;
    switch (topic) {
      case 'status': {
        const { revision, status } = tables.status;
        if (revision > since.status && status !== undefined) this.#draft.addStatus(status);
        since.status = revision;
        return;
      }
      case 'configuration': {
        const { version, table } = tables.objects;
        const resume = what.resume ?? -1n;
        yield* this.#from(topic, table, what, {
          add: (standing) => {
            if (standing.generation > resume || standing.wavered) this.#addObject(standing);
          },
          gone: (key) => {
            const [kind, name] = parted(key);
            this.#draft.goneObject({ kind: kind as Standing['kind'], name });
          },
        });
        this.#version = version;
        return;
      }
      case 'backends':
        yield* this.#from(topic, tables.backends, what, {
          add: (backend) => this.#draft.addBackend(this.#options.sources.backendStatus(backend)),
          gone: (key) => {
            const [service, backend] = parted(key);
            this.#draft.goneBackend({ service, backend });
          },
        });
        return;
      case 'tiers': {
        const { revision } = tables.tiers.availability;
        const availability = tables.tiers.availability.get('');
        if (revision > since.availability && availability !== undefined) this.#draft.addAvailability(availability);
        since.availability = revision;
        yield* this.#from(topic, tables.tiers.table, what, {
          add: (tier) => this.#draft.addTier(tier),
          gone: (service) => this.#draft.goneTier(service),
        });
        return;
      }
      case 'traffic':
        yield* this.#from(topic, tables.traffic, what, {
          add: ({ stats }) => this.#draft.addTraffic(stats),
          gone: (service) => this.#draft.goneStats(service),
        });
        return;
      case 'members':
        yield* this.#from(topic, tables.members, what, {
          add: (member) => this.#draft.addMember(member),
          gone: (nodeId) => this.#draft.goneMember(nodeId),
        });
    }
  }

  *#from<Value>(
    topic: Topic,
    table: RevisedTable<Value>,
    what: Wanted,
    { add, gone }: { readonly add: (value: Value) => void; readonly gone: (key: string) => void },
  ): Iterable<void> {
    const since = this.#since[topic];
    // What changes from here on is newer than this, and comes with the next batch.
    const { revision } = table;
    if (revision === since) return;
    for (const value of table.changed(since)) {
      if (value !== undefined) add(value);
      yield;
    }
    if (what.gone) {
      for (const key of table.gone(since)) {
        gone(key);
        yield;
      }
    }
    this.#since[topic] = revision;
  }

  /** As it is now, which may be newer than how it stood when it was looked at. */
  #addObject(standing: Standing): void {
    const { kind, name } = standing;
    if (this.#query.summaries) {
      this.#draft.addObject(objectOf(standing), 0);
      return;
    }
    const declared = this.#options.sources.configuration.declared(kind, name);
    // Gone meanwhile, as the table will say with its next look.
    if (declared === undefined) return;
    const object = objectOf(standingOf(kind, name, declared, this.#options.hash));
    if (kind === 'Service') object.declared = { case: 'service', value: unpackService(declared.body) };
    else object.declared = { case: 'object', value: unpackObject(kind, declared.body) };
    this.#draft.addObject(object, declared.body.length);
  }

  /** Ends the draft, as the next batch. */
  #cut(of: Partial<ObservedBatch> = {}): ObservedBatch {
    const { clock } = this.#options;
    const batch = this.#draft.batch({ timeMs: clock.nowMs(), version: this.#version, ...of });
    this.#draft = new BatchDraft();
    this.#sentMs = clock.monotonicMs();
    return batch;
  }

  /** Until then, or until there are news to be sent. */
  #turn(atMs: number): Promise<void> {
    const { clock } = this.#options;
    return new Promise((resolve) => {
      let cancel: () => void = () => undefined;
      const over = (): void => {
        cancel();
        this.#wake = () => undefined;
        this.#signal.removeEventListener('abort', over);
        resolve();
      };
      const arm = (): void => {
        cancel();
        const untilMs = this.#news.size > 0 ? Math.min(atMs, Math.max(this.#sentMs, this.#triedMs) + SOONEST_MS) : atMs;
        cancel = clock.after(Math.max(0, untilMs - clock.monotonicMs()), over);
      };
      this.#signal.addEventListener('abort', over, { once: true });
      this.#wake = arm;
      if (this.#signal.aborted) over();
      else arm();
    });
  }

  /** What takes long is not waited for. */
  #patiently(work: Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      const cancel = this.#options.clock.after(PATIENCE_MS, resolve);
      work.then(resolve, reject).finally(cancel);
    });
  }
}

function objectOf({ kind, name, generation, digest, unmet }: Omit<Standing, 'wavered'>): ObservedObject {
  return create(ObservedObjectSchema, { kind, name, generation, digest, unmet: [...unmet] });
}

function parted(key: string): [before: string, after: string] {
  const at = key.indexOf(SEPARATOR);
  return [key.slice(0, at), key.slice(at + SEPARATOR.length)];
}
