// SPDX-License-Identifier: Apache-2.0
/**
 * What nodes say in the same words is kept once: 50 nodes mostly find the same of 10,000 backends, and each message is a few
 * hundred bytes.
 */
import type { Condition } from '@marcher/proto/marcher/v1/config_service_pb';
import type { BackendStatus, EndpointStatus, ServiceTier } from '@marcher/proto/marcher/v1/node_service_pb';

/** Looked at for each value that comes: nodes that disagree do so in few ways. */
const COMPARED_MAX = 4;

/** One of the others that says the same, else the value itself. */
export function sharedValue<T>(value: T, others: readonly (T | undefined)[], isSame: (a: T, b: T) => boolean): T {
  let compared = 0;
  let last: T | undefined;
  for (const other of others) {
    if (other === undefined || other === last) continue;
    last = other;
    if (value === other || isSame(value, other)) return other;
    if (++compared >= COMPARED_MAX) break;
  }
  return value;
}

function isSameList<T>(a: readonly T[], b: readonly T[], isSame: (a: T, b: T) => boolean): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at++) if (!isSame(a[at] as T, b[at] as T)) return false;
  return true;
}

const isSameText = (a: string, b: string): boolean => a === b;

export function isSameTier(a: ServiceTier, b: ServiceTier): boolean {
  return (
    a.xdpPackets === b.xdpPackets && a.xdpBytes === b.xdpBytes && a.bytesReturned === b.bytesReturned && isSameWay(a, b)
  );
}

/** Carried by the same tier for the same reasons, whatever it has carried. */
function isSameWay(a: ServiceTier, b: ServiceTier): boolean {
  return (
    a.tier === b.tier && isSameList(a.reasons, b.reasons, isSameText) && isSameList(a.fasterIf, b.fasterIf, isSameText)
  );
}

/** Reasons are long and few: of a tier whose counters alone differ they are those of the other. */
export function sharedTier(tier: ServiceTier, others: readonly (ServiceTier | undefined)[]): ServiceTier {
  const shared = sharedValue(tier, others, isSameTier);
  if (shared !== tier) return shared;
  const alike = sharedValue(tier, others, isSameWay);
  if (alike !== tier) {
    tier.reasons = alike.reasons;
    tier.fasterIf = alike.fasterIf;
  }
  return tier;
}

export function isSameBackend(a: BackendStatus, b: BackendStatus): boolean {
  return (
    a.weight === b.weight &&
    a.draining === b.draining &&
    a.connections === b.connections &&
    a.elsewhere === b.elsewhere &&
    isSameList(a.endpoints, b.endpoints, isSameEndpoint)
  );
}

function isSameEndpoint(a: EndpointStatus, b: EndpointStatus): boolean {
  return (
    a.address === b.address &&
    a.health === b.health &&
    a.reason === b.reason &&
    a.ejected === b.ejected &&
    a.connections === b.connections
  );
}

export function isSameConditions(a: readonly Condition[], b: readonly Condition[]): boolean {
  return isSameList(
    a,
    b,
    (one, other) =>
      one.type === other.type &&
      one.status === other.status &&
      one.reason === other.reason &&
      one.message === other.message &&
      one.observedGeneration === other.observedGeneration,
  );
}
