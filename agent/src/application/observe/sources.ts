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
import type { ServiceStats } from '@marcher/proto/marcher/v1/traffic_service_pb';
import type { MeshMember } from '../../ports/mesh.js';
import type { ObservedNode } from '../../ports/observe.js';
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

export interface ObservedSources {
  readonly configuration: ObservedConfiguration;
  node(): ObservedNode;
  status(options: { readonly withTraffic: boolean }): StatusResponse;
  /** Fails while the engine does not answer. */
  backends(): Promise<Iterable<BackendStatus>>;
  tiers(): { readonly services: Iterable<ServiceTier>; readonly tiers: TierAvailability[] };
  traffic(): Iterable<ServiceStats>;
  members(): readonly MeshMember[];
}
