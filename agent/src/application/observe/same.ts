// SPDX-License-Identifier: Apache-2.0
/** Whether a console would be told the same. By hand: there are many, and most of them are. */
import type {
  BackendStatus,
  EndpointStatus,
  ServiceTier,
  TierAvailability,
} from '@marcher/proto/marcher/v1/node_service_pb';
import type { Counters, ServiceStats } from '@marcher/proto/marcher/v1/traffic_service_pb';

export function sameBackend(a: BackendStatus, b: BackendStatus): boolean {
  return (
    a.connections === b.connections &&
    a.draining === b.draining &&
    a.weight === b.weight &&
    a.elsewhere === b.elsewhere &&
    sameLists(a.endpoints, b.endpoints, sameEndpoint)
  );
}

function sameEndpoint(a: EndpointStatus, b: EndpointStatus): boolean {
  return (
    a.connections === b.connections &&
    a.health === b.health &&
    a.ejected === b.ejected &&
    a.address === b.address &&
    a.reason === b.reason
  );
}

export function sameTier(a: ServiceTier, b: ServiceTier): boolean {
  return (
    a.tier === b.tier &&
    a.xdpPackets === b.xdpPackets &&
    a.xdpBytes === b.xdpBytes &&
    a.bytesReturned === b.bytesReturned &&
    sameLists(a.reasons, b.reasons, Object.is) &&
    sameLists(a.fasterIf, b.fasterIf, Object.is)
  );
}

export function sameAvailability(a: readonly TierAvailability[], b: readonly TierAvailability[]): boolean {
  return sameLists(a, b, (x, y) => x.tier === y.tier && x.available === y.available && x.reason === y.reason);
}

export function sameStats(a: ServiceStats, b: ServiceStats): boolean {
  if (a.counters === undefined || b.counters === undefined) return a.counters === b.counters;
  return sameCounters(a.counters, b.counters);
}

function sameCounters(a: Counters, b: Counters): boolean {
  for (const field of FIELDS) if (a[field] !== b[field]) return false;
  return sameLists(a.connectTimeUs, b.connectTimeUs, Object.is);
}

/** Those that move most often come first. */
const FIELDS = [
  'bytesReceived',
  'bytesSent',
  'connectionsOpened',
  'connectionsClosed',
  'udpPacketsReceived',
  'udpPacketsSent',
  'healthPassed',
  'healthFailed',
  'connectFailures',
  'connectRetries',
  'rejected',
  'noBackend',
  'resetsClient',
  'resetsBackend',
  'idleTimeouts',
  'udpDropped',
  'ejections',
  'connectTimeUsSum',
  'throttledUs',
  'throttledBytes',
  'rateDropped',
  'rateRefused',
  'ecnMarked',
] as const satisfies readonly (keyof Counters)[];

export function sameLists<T>(a: readonly T[], b: readonly T[], same: (a: T, b: T) => boolean): boolean {
  return a.length === b.length && a.every((item, i) => same(item, b[i] as T));
}
