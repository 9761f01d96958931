// SPDX-License-Identifier: Apache-2.0
/** A whole application in memory for tests of the inbound adapters: names are validated, versions kept, nothing runs. */
import { create, fromBinary } from '@bufbuild/protobuf';
import { timestampNow } from '@bufbuild/protobuf/wkt';
import { kindOf, nameOf } from '@marcher/model';
import {
  ApplyTimingSchema,
  type Condition,
  type ObjectDiff,
  ObjectDiffSchema,
  type ObjectResource,
  Operation,
  type Revision,
  RevisionSchema,
  type ServiceResource,
  ServiceResourceSchema,
  ViolationSchema,
} from '@marcher/proto/marcher/v1/config_service_pb';
import { type Service, ServiceSchema } from '@marcher/proto/marcher/v1/model_pb';
import {
  type BackendStatus,
  BackendStatusSchema,
  Health,
  ServiceTierSchema,
  StatusResponseSchema,
  TierAvailabilitySchema,
} from '@marcher/proto/marcher/v1/node_service_pb';
import {
  ConnectionSchema,
  type Counters,
  CountersSchema,
  type LogEntry,
  LogEntrySchema,
  ServiceStatsSchema,
} from '@marcher/proto/marcher/v1/traffic_service_pb';
import {
  ApplicationError,
  type ApplyOptions,
  type Caller,
  type ConfigUseCases,
  type NodeUseCases,
  type PacketTraffic,
  type RequestedChange,
  type TrafficUseCases,
  type UseCases,
  type WatchEvent,
} from '../../../ports/use-cases.js';

export class InMemoryUseCases implements UseCases {
  readonly resources = new Map<string, ServiceResource>();
  readonly objects: ObjectResource[] = [];
  readonly states: Service[][] = [[]];
  readonly revisions: Revision[] = [];
  readonly callers: Caller[] = [];
  readonly drained = new Set<string>();
  readonly entries: LogEntry[] = [];
  readonly counters = new Map<string, Counters>();
  unready: Condition[] = [];
  /** By backend's name: connections to it at other nodes. */
  elsewhere: Record<string, bigint> = {};
  packetTraffic: PacketTraffic = { backends: [], drops: [] };
  /** Watches and followed logs that have begun and not ended. */
  openStreams = 0;
  /** Waited for in every apply: lets a test hold one up. */
  applyDelay: Promise<unknown> = Promise.resolve();
  /** When set, the data plane "refuses" every change with it. */
  refusal: string | undefined;
  private readonly wakers = new Set<() => void>();
  private changed = new Map<string, bigint>();

  get version(): bigint {
    return BigInt(this.states.length - 1);
  }

  log(init: Partial<Pick<LogEntry, 'service' | 'message' | 'kind' | 'reason'>>): void {
    this.entries.push(create(LogEntrySchema, { time: timestampNow(), ...init }));
    this.wake();
  }

  private wake(): void {
    for (const waker of this.wakers) waker();
  }

  private async sleep(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.wakers.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.wakers.add(done);
      signal.addEventListener('abort', done, { once: true });
      if (signal.aborted) done();
    });
  }

  private next(change: RequestedChange): Map<string, Service> {
    const upsert = [...change.upsert].map((item) =>
      item instanceof Uint8Array ? fromBinary(ServiceSchema, item) : item,
    );
    const violations = upsert.flatMap((service, i) =>
      /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(service.name)
        ? []
        : [
            create(ViolationSchema, {
              path: `services[${i}].name`,
              reason: `"${service.name}" is not a name`,
              fix: 'use a-z, 0-9 and -',
            }),
          ],
    );
    if (violations.length > 0) throw new ApplicationError('invalid', 'the change is not valid', violations);
    const services = new Map(change.replaceAll ? [] : this.states.at(-1)?.map((service) => [service.name, service]));
    for (const name of change.remove) services.delete(name);
    for (const service of upsert) services.set(service.name, service);
    return services;
  }

  private diff(services: Map<string, Service>): ObjectDiff[] {
    const before = new Map(this.states.at(-1)?.map((service) => [service.name, service]));
    const diffs: ObjectDiff[] = [];
    const add = (name: string, operation: Operation): void => {
      diffs.push(create(ObjectDiffSchema, { kind: 'Service', name, operation }));
    };
    for (const [name, service] of services) {
      const old = before.get(name);
      if (old === undefined) add(name, Operation.CREATE);
      else if (JSON.stringify(old, bigints) !== JSON.stringify(service, bigints)) add(name, Operation.UPDATE);
    }
    for (const name of before.keys()) if (!services.has(name)) add(name, Operation.DELETE);
    return diffs;
  }

  private commit(services: Map<string, Service>, diffs: ObjectDiff[], message: string, caller: Caller): void {
    this.states.push([...services.values()]);
    const { version } = this;
    for (const { name, operation } of diffs) {
      this.changed.set(name, version);
      const service = services.get(name);
      if (operation === Operation.DELETE || service === undefined) this.resources.delete(name);
      else this.resources.set(name, create(ServiceResourceSchema, { service, generation: version }));
    }
    this.callers.push(caller);
    const count = (operation: Operation): number => diffs.filter((diff) => diff.operation === operation).length;
    this.revisions.unshift(
      create(RevisionSchema, {
        version,
        time: timestampNow(),
        author: caller.author,
        origin: caller.origin,
        message,
        created: count(Operation.CREATE),
        updated: count(Operation.UPDATE),
        deleted: count(Operation.DELETE),
        diffs,
      }),
    );
    this.wake();
  }

  readonly config: ConfigUseCases = ((self: InMemoryUseCases) => ({
    get version() {
      return self.version;
    },
    async plan(change: RequestedChange) {
      return { version: self.version, diffs: self.diff(self.next(change)), violations: [] };
    },
    async apply(change: RequestedChange, options: ApplyOptions, caller: Caller) {
      await self.applyDelay;
      const services = self.next(change);
      self.expect(options.expectedVersion);
      if (self.refusal !== undefined) {
        throw new ApplicationError('refused', 'the data plane refused the change', [
          create(ViolationSchema, {
            path: 'services[0].listeners[0]',
            reason: self.refusal,
            fix: 'choose another port',
          }),
        ]);
      }
      const diffs = self.diff(services);
      if (diffs.length > 0) self.commit(services, diffs, options.message, caller);
      return {
        version: self.version,
        changed: diffs.length > 0,
        diffs: options.omitDiff ? [] : diffs,
        timing: create(ApplyTimingSchema, { validateMs: 1, compileMs: 2, storeMs: 3, programMs: 4 }),
        acks: options.acks?.count ?? 0,
      };
    },
    get: (name: string) => self.resources.get(name),
    listObjects({ kind, name }) {
      const wanted = ({ object }: ObjectResource): boolean =>
        object !== undefined &&
        (kind === undefined || kindOf(object) === kind) &&
        (name === undefined || nameOf(object) === name);
      return { resources: self.objects.filter(wanted), version: self.version };
    },
    list({ pageSize, pageToken, labels }) {
      const all = [...self.resources.values()].filter((resource) =>
        Object.entries(labels).every(([key, value]) => resource.service?.labels[key] === value),
      );
      const start = pageToken === '' ? 0 : Number(pageToken);
      const end = start + pageSize;
      return {
        resources: all.slice(start, end),
        nextPageToken: end < all.length ? String(end) : '',
        total: all.length,
        version: self.version,
      };
    },
    async *watch(_resumeVersion: bigint, signal: AbortSignal): AsyncIterable<WatchEvent> {
      self.openStreams++;
      try {
        let seen = self.version;
        for (const resource of self.objects) yield { kind: 'upsertObject', resource, version: seen };
        for (const resource of self.resources.values()) yield { kind: 'upsert', resource, version: seen };
        yield { kind: 'synced', version: seen };
        while (!signal.aborted) {
          for (const [name, version] of self.changed) {
            if (version <= seen) continue;
            const resource = self.resources.get(name);
            if (resource === undefined) yield { kind: 'remove', name, version };
            else yield { kind: 'upsert', resource, version };
          }
          seen = self.version;
          await self.sleep(signal);
        }
      } finally {
        self.openStreams--;
      }
    },
    history({ limit, beforeVersion, withDiff }) {
      return self.revisions
        .filter((revision) => beforeVersion === 0n || revision.version < beforeVersion)
        .slice(0, limit)
        .map((revision) => (withDiff ? revision : { ...revision, diffs: [] }));
    },
    async revert(version, options, caller) {
      const state = self.states[Number(version)];
      if (state === undefined) throw new ApplicationError('not_found', `there is no version ${version}`);
      self.expect(options.expectedVersion);
      const services = new Map(state.map((service) => [service.name, service]));
      const diffs = self.diff(services);
      self.commit(services, diffs, options.message, { ...caller, origin: 'revert' });
      return { version: self.version, diffs, acks: options.acks?.count ?? 0 };
    },
  }))(this);

  private expect(version: bigint): void {
    if (version === 0n || version === this.version) return;
    throw new ApplicationError('conflict', `the version is ${this.version}: expected ${version}; plan again`);
  }

  private backendsOf(service: string): BackendStatus[] {
    return [...this.resources.values()]
      .filter((resource) => service === '' || resource.service?.name === service)
      .flatMap(({ service }) =>
        (service?.backends ?? []).map((backend) =>
          create(BackendStatusSchema, {
            service: service?.name ?? '',
            backend: backend.name || backend.address,
            weight: backend.weight ?? 1,
            draining: this.drained.has(`${service?.name}/${backend.name || backend.address}`),
            connections: 3n,
            ...(backend.name in this.elsewhere ? { elsewhere: this.elsewhere[backend.name] ?? 0n } : {}),
            endpoints: [{ address: backend.address, health: Health.HEALTHY, connections: 3n }],
          }),
        ),
      );
  }

  readonly node: NodeUseCases = {
    status: () =>
      create(StatusResponseSchema, {
        nodeName: 'north',
        version: '0.1.0',
        started: timestampNow(),
        pid: process.pid,
        configVersion: this.version,
        services: this.resources.size,
        ready: this.unready.length === 0,
        draining: this.drained.has('/'),
        conditions: this.unready,
        engine: {
          running: true,
          pid: 4242,
          version: '0.1.0',
          workers: 2,
          restarts: 1,
          memoryBytes: 1n << 20n,
          generation: this.version,
        },
        memoryBytes: 2n << 20n,
      }),
    tiers: (service) => ({
      services: [...this.resources.keys()]
        .filter((name) => service === '' || name === service)
        .map((name) => create(ServiceTierSchema, { service: name, tier: 'relay', reasons: ['it relays'] })),
      tiers: [create(TierAvailabilitySchema, { tier: 'relay', available: true, reason: 'always' })],
    }),
    drain: async ({ service, backend }) => {
      if (service !== '' && !this.resources.has(service)) {
        throw new ApplicationError('not_found', `there is no service "${service}"`);
      }
      this.drained.add(`${service}/${backend}`);
      return 7;
    },
    undrain: async ({ service, backend }) => {
      this.drained.delete(`${service}/${backend}`);
    },
    backends: async (service) => this.backendsOf(service),
    unreadiness: () => this.unready,
  };

  readonly traffic: TrafficUseCases = {
    packets: () => this.packetTraffic,
    eventsDropped: 5n,
    stats: (service, withBackends) =>
      [...this.resources.values()]
        .filter((resource) => service === '' || resource.service?.name === service)
        .map((resource) =>
          create(ServiceStatsSchema, {
            service: resource.service?.name ?? '',
            counters: this.counters.get(resource.service?.name ?? '') ?? create(CountersSchema),
            backends: withBackends
              ? (resource.service?.backends ?? []).map((backend) => ({
                  backend: backend.name || backend.address,
                  counters: this.counters.get(`${resource.service?.name}/${backend.name || backend.address}`) ?? {},
                }))
              : [],
          }),
        ),
    connections: async (service, limit) => ({
      connections: [1n, 2n, 3n]
        .slice(0, limit)
        .map((id) => create(ConnectionSchema, { id, service, state: 'established' })),
      total: 3,
    }),
    logs: (query, signal) => this.follow(query, signal),
  };

  private async *follow(
    { service, tail, follow }: { service: string; tail: number; follow: boolean },
    signal: AbortSignal,
  ): AsyncIterable<{ entry: LogEntry; dropped: bigint }> {
    this.openStreams++;
    try {
      const wanted = (entry: LogEntry): boolean => service === '' || entry.service === service;
      let position = this.entries.length;
      const past = this.entries.filter(wanted);
      for (const entry of past.slice(Math.max(0, past.length - tail))) yield { entry, dropped: 0n };
      while (follow && !signal.aborted) {
        for (; position < this.entries.length; position++) {
          const entry = this.entries[position];
          if (entry !== undefined && wanted(entry)) yield { entry, dropped: 0n };
        }
        await this.sleep(signal);
      }
    } finally {
      this.openStreams--;
    }
  }
}

function bigints(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}
