// SPDX-License-Identifier: Apache-2.0
/** What a stream of this node is made of, as those have it who know. */
import type { Kind, ObjectKind } from '@marcher/model';
import type { Condition } from '@marcher/proto/marcher/v1/config_service_pb';
import type {
  BackendStatus,
  ServiceTier,
  StatusResponse,
  TierAvailability,
} from '@marcher/proto/marcher/v1/node_service_pb';
import type { MeshMember } from '../../ports/mesh.js';
import type { ObservedNode } from '../../ports/observe.js';
import type { CountedService } from '../traffic.js';
import type { ChangedNames } from '../watch-hub.js';

/** An object as it is stored, and how it stands. */
export interface Declared {
  /** Packed; equal objects have equal bytes, at every node. */
  readonly body: Uint8Array;
  /** Version in which it was last changed. */
  readonly generation: bigint;
  readonly conditions: readonly Condition[];
}

export interface ObservedConfiguration {
  serviceNames(): Iterable<string>;
  objectNames(): Iterable<{ readonly kind: ObjectKind; readonly name: string }>;
  /** undefined: there is none of the name. */
  declared(kind: Kind, name: string): Declared | undefined;
  /** Names of the services that name a traffic policy: how they stand depends on it. */
  servicesNaming(policy: string): Iterable<string>;
  /** onChange: whenever there is something to take. */
  follow(onChange: () => void): ChangedNames;
}

export interface TierSource {
  /** What the tier of a service depends on beside the configuration, in some words; but for those that are restless. */
  basis(): string;
  availability(): TierAvailability[];
  /** Services whose tier may be another one without a change of these, or whose counters are told with it. */
  restless(): Iterable<string>;
  /** Of these, as far as they are there; each is worked out when it is asked for. */
  of(services: Iterable<string>): Iterable<ServiceTier>;
}

/** A backend that is decoded when it is sent. */
export interface ObservedBackend {
  readonly service: string;
  readonly backend: string;
  /** Equal where nothing has changed. */
  readonly packed: Uint8Array;
  /** It is balanced by what all nodes have open. */
  readonly mesh: boolean;
}

export interface ObservedSources {
  readonly configuration: ObservedConfiguration;
  readonly tiers: TierSource;
  node(): ObservedNode;
  status(options: { readonly withTraffic: boolean }): StatusResponse;
  /** Fails while the engine does not answer. */
  backends(): Promise<Iterable<ObservedBackend>>;
  backendStatus(backend: ObservedBackend): BackendStatus;
  /** before: the counts that were told last. */
  traffic(before: (service: string) => Uint8Array | undefined): Iterable<CountedService>;
  members(): readonly MeshMember[];
}
