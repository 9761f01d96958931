// SPDX-License-Identifier: Apache-2.0
/** A batch while it is filled, and about how large it will be on the wire. */
import type { Kind } from '@marcher/model';
import type {
  BackendStatus,
  ServiceTier,
  StatusResponse,
  TierAvailability,
} from '@marcher/proto/marcher/v1/node_service_pb';
import type { ObservedObject } from '@marcher/proto/marcher/v1/observe_service_pb';
import type { ServiceStats } from '@marcher/proto/marcher/v1/traffic_service_pb';
import type { MeshMember } from '../../ports/mesh.js';
import type { ObservedBatch } from '../../ports/observe.js';

/** What a batch has by itself is so small that nobody counts it. */
const SMALL_BYTES = 64;
const STATUS_BYTES = 2_048;
const ENDPOINT_BYTES = 64;
const STATS_BYTES = 256;
const MEMBER_BYTES = 1_024;

export class BatchDraft {
  status: StatusResponse | undefined;
  availability: readonly TierAvailability[] = [];
  readonly objects: ObservedObject[] = [];
  readonly goneObjects: { kind: Kind; name: string }[] = [];
  readonly backends: BackendStatus[] = [];
  readonly goneBackends: { service: string; backend: string }[] = [];
  readonly tiers: ServiceTier[] = [];
  readonly goneTiers: string[] = [];
  readonly traffic: ServiceStats[] = [];
  readonly goneTraffic: string[] = [];
  readonly members: MeshMember[] = [];
  readonly goneMembers: string[] = [];
  #bytes = 0;

  /** About. */
  get bytes(): number {
    return this.#bytes;
  }

  get isEmpty(): boolean {
    return this.#bytes === 0;
  }

  addStatus(status: StatusResponse): void {
    this.status = status;
    this.#bytes += STATUS_BYTES;
  }

  addAvailability(availability: readonly TierAvailability[]): void {
    this.availability = availability;
    this.#bytes += STATUS_BYTES;
  }

  /** declaredBytes: of what it declares, where it has that. */
  addObject(object: ObservedObject, declaredBytes: number): void {
    this.objects.push(object);
    this.#bytes += SMALL_BYTES + declaredBytes + object.unmet.length * STATS_BYTES;
  }

  addBackend(backend: BackendStatus): void {
    this.backends.push(backend);
    this.#bytes += SMALL_BYTES + backend.endpoints.length * ENDPOINT_BYTES;
  }

  addTier(tier: ServiceTier): void {
    this.tiers.push(tier);
    this.#bytes += SMALL_BYTES + lengthOf(tier.reasons) + lengthOf(tier.fasterIf);
  }

  addTraffic(stats: ServiceStats): void {
    this.traffic.push(stats);
    this.#bytes += STATS_BYTES;
  }

  addMember(member: MeshMember): void {
    this.members.push(member);
    this.#bytes += MEMBER_BYTES;
  }

  goneObject(object: { kind: Kind; name: string }): void {
    this.#gone(this.goneObjects, object);
  }

  goneBackend(backend: { service: string; backend: string }): void {
    this.#gone(this.goneBackends, backend);
  }

  goneTier(service: string): void {
    this.#gone(this.goneTiers, service);
  }

  goneStats(service: string): void {
    this.#gone(this.goneTraffic, service);
  }

  goneMember(nodeId: string): void {
    this.#gone(this.goneMembers, nodeId);
  }

  #gone<Name>(list: Name[], name: Name): void {
    list.push(name);
    this.#bytes += SMALL_BYTES;
  }

  batch(of: Pick<ObservedBatch, 'timeMs' | 'version'> & Partial<Pick<ObservedBatch, 'node' | 'forget' | 'synced'>>) {
    const { status, availability, objects, goneObjects, backends, goneBackends, tiers, goneTiers } = this;
    const { traffic, goneTraffic, members, goneMembers } = this;
    return {
      ...{ node: undefined, forget: false, synced: false },
      ...{ status, availability, objects, goneObjects, backends, goneBackends, tiers, goneTiers },
      ...{ traffic, goneTraffic, members, goneMembers },
      ...of,
    } satisfies ObservedBatch;
  }
}

function lengthOf(texts: readonly string[]): number {
  return texts.reduce((sum, text) => sum + text.length, 0);
}
