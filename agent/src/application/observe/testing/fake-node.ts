// SPDX-License-Identifier: Apache-2.0
/** A node to be observed in tests: whoever holds it changes it, and counts how often it was looked at. */
import { clone, create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { Kind, ObjectKind } from '@marcher/model';
import { type Condition, ConditionSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { ServiceSchema } from '@marcher/proto/marcher/v1/model_pb';
import {
  type BackendStatus,
  BackendStatusSchema,
  type ServiceTier,
  ServiceTierSchema,
  type StatusResponse,
  StatusResponseSchema,
  type TierAvailability,
} from '@marcher/proto/marcher/v1/node_service_pb';
import { type ServiceStats, ServiceStatsSchema } from '@marcher/proto/marcher/v1/traffic_service_pb';
import type { Changed } from '../../../ports/config-store.js';
import type { MeshMember } from '../../../ports/mesh.js';
import type { ObservedNode } from '../../../ports/observe.js';
import { packService } from '../../service-codec.js';
import type { CountedService } from '../../traffic.js';
import { WatchHub } from '../../watch-hub.js';
import type { Declared, ObservedBackend, ObservedConfiguration, ObservedSources, TierSource } from '../sources.js';

export class FakeNode implements ObservedSources {
  identity: ObservedNode = { nodeId: '', name: 'north', meshId: '', meshName: '' };
  version = 0n;
  readonly services = new Map<string, Declared>();
  readonly backendList = new Map<string, BackendStatus>();
  readonly tierList = new Map<string, ServiceTier>();
  readonly statsList = new Map<string, ServiceStats>();
  readonly memberList = new Map<string, MeshMember>();
  availability: TierAvailability[] = [];
  basis = 'generic XDP';
  /** Services whose tier is looked at each time. */
  readonly restless = new Set<string>();
  statusNow: StatusResponse = create(StatusResponseSchema, { nodeName: 'north', ready: true, memoryBytes: 100_000n });
  /** How often each was looked at. */
  readonly looks = { status: 0, traffic: 0, backends: 0, tiers: 0, tiersOf: 0, members: 0, declared: 0 };
  /** Thrown by the next look at backends. */
  failure: Error | undefined;
  readonly #hub: WatchHub;

  constructor() {
    const version = (): bigint => this.version;
    this.#hub = new WatchHub({
      get version() {
        return version();
      },
      get: () => undefined,
      names: () => [],
      object: () => undefined,
      objectNames: () => [],
      changedSince: () => undefined,
    });
  }

  /** A new version, in which these are. */
  apply(...names: string[]): void {
    this.version++;
    for (const name of names) {
      const body = packService(create(ServiceSchema, { name, labels: { version: String(this.version) } }));
      this.services.set(name, { body, generation: this.version, conditions: [] });
    }
    this.#hub.changed({ services: names });
  }

  remove(name: string): void {
    this.version++;
    this.services.delete(name);
    this.#hub.changed({ services: [name] });
  }

  /** The condition of a service changes, and its generation does not. */
  waver(name: string, unmet: string | undefined): void {
    const declared = this.services.get(name);
    if (declared === undefined) throw new Error(`there is no service ${name}`);
    const conditions: Condition[] =
      unmet === undefined ? [] : [create(ConditionSchema, { type: unmet, status: false })];
    this.services.set(name, { ...declared, conditions });
    this.#hub.changed({ services: [name] });
  }

  /** Only tells that it has. */
  change(changed: Partial<Changed>): void {
    this.#hub.changed(changed);
  }

  count(service: string, bytesReceived: bigint): void {
    this.statsList.set(service, create(ServiceStatsSchema, { service, counters: { bytesReceived } }));
  }

  connect(service: string, backend: string, connections: bigint): void {
    this.backendList.set(
      `${service}/${backend}`,
      create(BackendStatusSchema, { service, backend, connections, endpoints: [{ address: backend }] }),
    );
  }

  carry(service: string, tier: string): void {
    this.restless.add(service);
    this.tierList.set(service, create(ServiceTierSchema, { service, tier }));
  }

  member(nodeId: string, state: MeshMember['state']): void {
    const known = {
      address: '192.0.2.1:7400',
      certificateExpiresMs: 0,
      behind: undefined,
      said: undefined,
      clusters: [],
    };
    this.memberList.set(nodeId, { nodeId, name: nodeId, state, ...known });
  }

  readonly configuration: ObservedConfiguration = {
    serviceNames: () => this.services.keys(),
    objectNames: (): { kind: ObjectKind; name: string }[] => [],
    declared: (_kind: Kind, name: string) => {
      this.looks.declared++;
      return this.services.get(name);
    },
    servicesNaming: () => [],
    follow: (onChange) => this.#hub.follow(onChange),
  };

  /** Readers of its changes. */
  get followers(): number {
    return this.#hub.readers;
  }

  node(): ObservedNode {
    return this.identity;
  }

  status({ withTraffic }: { readonly withTraffic: boolean }): StatusResponse {
    this.looks.status++;
    const status = clone(StatusResponseSchema, this.statusNow);
    status.configVersion = this.version;
    if (!withTraffic) status.traffic = [];
    return status;
  }

  async backends(): Promise<Iterable<ObservedBackend>> {
    this.looks.backends++;
    if (this.failure !== undefined) throw this.failure;
    return [...this.backendList.values()].map((status) => {
      const { service, backend } = status;
      return { service, backend, packed: toBinary(BackendStatusSchema, status), mesh: false };
    });
  }

  backendStatus({ packed }: ObservedBackend): BackendStatus {
    return fromBinary(BackendStatusSchema, packed);
  }

  readonly tiers: TierSource = {
    basis: () => {
      this.looks.tiers++;
      return this.basis;
    },
    availability: () => this.availability,
    restless: () => this.restless,
    of: (services) => {
      this.looks.tiersOf++;
      return [...services].flatMap((name) => this.tierList.get(name) ?? []);
    },
  };

  traffic(before: (service: string) => Uint8Array | undefined): Iterable<CountedService> {
    this.looks.traffic++;
    return [...this.statsList.values()].map((stats) => {
      const { service } = stats;
      const counts = toBinary(ServiceStatsSchema, stats);
      const known = before(service);
      return known !== undefined && Buffer.compare(known, counts) === 0
        ? { service }
        : { service, moved: { counts, stats } };
    });
  }

  members(): readonly MeshMember[] {
    this.looks.members++;
    return [...this.memberList.values()];
  }
}
