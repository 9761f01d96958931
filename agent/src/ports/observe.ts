// SPDX-License-Identifier: Apache-2.0
/** All that a console shows of this node, as one stream: what it is, then what changes of it. */
import type { Kind } from '@marcher/model';
import type {
  BackendStatus,
  ServiceTier,
  StatusResponse,
  TierAvailability,
} from '@marcher/proto/marcher/v1/node_service_pb';
import type { ObservedObject } from '@marcher/proto/marcher/v1/observe_service_pb';
import type { ServiceStats } from '@marcher/proto/marcher/v1/traffic_service_pb';
import type { MeshMember } from './mesh.js';

export const TOPICS = ['status', 'configuration', 'backends', 'tiers', 'traffic', 'members'] as const;
export type Topic = (typeof TOPICS)[number];

export interface ObserveQuery {
  /** At least so much between two batches, but for changes of the configuration, of health and of what is drained. */
  readonly intervalMs: number;
  readonly topics: ReadonlySet<Topic>;
  /** Objects without what they declare. */
  readonly summaries: boolean;
  /** Only what has changed of the configuration after this version, if the run is still the same. */
  readonly resume: { readonly version: bigint; readonly run: string };
}

export interface ObservedNode {
  /** Empty: it is in no mesh; so are id and name of the mesh then. */
  readonly nodeId: string;
  readonly name: string;
  readonly meshId: string;
  readonly meshName: string;
}

/** marcher.v1.ObserveResponse, where each field is said. */
export interface ObservedBatch {
  readonly timeMs: number;
  readonly node: (ObservedNode & { readonly run: string }) | undefined;
  readonly forget: boolean;
  readonly synced: boolean;
  readonly status: StatusResponse | undefined;
  readonly version: bigint;
  readonly objects: readonly ObservedObject[];
  readonly goneObjects: readonly { readonly kind: Kind; readonly name: string }[];
  readonly backends: readonly BackendStatus[];
  readonly goneBackends: readonly { readonly service: string; readonly backend: string }[];
  readonly tiers: readonly ServiceTier[];
  readonly goneTiers: readonly string[];
  readonly availability: readonly TierAvailability[];
  readonly traffic: readonly ServiceStats[];
  readonly goneTraffic: readonly string[];
  readonly members: readonly MeshMember[];
  readonly goneMembers: readonly string[];
}

export interface ObserveUseCases {
  /**
   * Ends when the signal aborts. Nothing queues up for a reader that is slow: what it gets next is how things are then.
   * Throws ApplicationError "unavailable" where the store can't be read.
   */
  observe(query: ObserveQuery, signal: AbortSignal): AsyncIterable<ObservedBatch>;
}
