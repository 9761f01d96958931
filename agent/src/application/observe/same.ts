// SPDX-License-Identifier: Apache-2.0
/** Whether a console would be told the same. By hand: there are many, and most of them are. */
import type { ServiceTier, TierAvailability } from '@marcher/proto/marcher/v1/node_service_pb';

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

export function sameLists<T>(a: readonly T[], b: readonly T[], same: (a: T, b: T) => boolean): boolean {
  return a.length === b.length && a.every((item, i) => same(item, b[i] as T));
}
