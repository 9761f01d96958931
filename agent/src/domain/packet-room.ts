// SPDX-License-Identifier: Apache-2.0
/**
 * How much the tables of the packet tiers hold (bpf/lib/layout.h). Services whose mode is fixed are refused beyond that when
 * they are configured; those of mode auto have what is left, and the relay the others.
 */
import type { Service } from '@marcher/model';
import { LIMITS } from './defaults.js';
import { isAuto, isEveryPort, packetModeOf } from './packet-service.js';

export interface PacketSize {
  readonly services: number;
  /** Addresses or prefixes with a port, every port being one. */
  readonly vips: number;
  readonly backends: number;
}

const ROOM: PacketSize = {
  services: LIMITS.packetServices,
  vips: LIMITS.packetVips,
  backends: LIMITS.packetBackends,
};
const WHAT: Readonly<Record<keyof PacketSize, string>> = {
  services: 'services',
  vips: 'addresses with port',
  backends: 'backends',
};
const KEYS = ['services', 'vips', 'backends'] as const;
export const NO_SIZE: PacketSize = { services: 0, vips: 0, backends: 0 };

/** What it takes of the tables if they have it. */
export function packetSize(service: Service): PacketSize {
  if (packetModeOf(service) === undefined) return NO_SIZE;
  let vips = 0;
  for (const { ports } of service.listeners) {
    for (const range of ports) vips += isEveryPort(range) ? 1 : range.last - range.first + 1;
  }
  return { services: 1, vips, backends: service.backends.length };
}

/** What must have its place, since it asks for a packet tier by name. */
export function fixedSize(service: Service): PacketSize {
  return isAuto(service) ? NO_SIZE : packetSize(service);
}

export function added(a: PacketSize, b: PacketSize, times: 1 | -1 = 1): PacketSize {
  return {
    services: a.services + times * b.services,
    vips: a.vips + times * b.vips,
    backends: a.backends + times * b.backends,
  };
}

/** What of it there is too much of; undefined: it fits. */
function excess(size: PacketSize): keyof PacketSize | undefined {
  return KEYS.find((key) => size[key] > ROOM[key]);
}

/** Everything that a change makes too much of; what was too much before may become less, step by step. */
export function excesses(now: PacketSize, change: PacketSize): { reason: string; fix: string }[] {
  return KEYS.filter((key) => change[key] > 0 && now[key] > ROOM[key]).map((key) => ({
    reason: `would be ${now[key]} ${WHAT[key]} of services whose forwarding.mode is ipip, gue, l2 or nat`,
    fix: `keep at most ${ROOM[key]} of them on a node, or write forwarding.mode auto, of which the relay carries what does not fit`,
  }));
}

/**
 * Those that do not fit, and why. Services of a fixed mode come first, then those that are there already (so that nothing
 * moves because something else comes), then the others, each in the order given.
 *
 * left: addresses with port that are in the tables because they are others' (left-vips.ts).
 */
export function unfitOf(
  services: ReadonlyMap<string, { readonly service: Service }>,
  left: number,
  there: ReadonlySet<string>,
): ReadonlyMap<string, string> {
  const unfit = new Map<string, string>();
  const rank = (name: string, service: Service): number => (isAuto(service) ? (there.has(name) ? 1 : 2) : 0);
  let taken: PacketSize = { services: 0, vips: left, backends: 0 };
  for (let turn = 0; turn < 3; turn++) {
    for (const [name, { service }] of services) {
      if (rank(name, service) !== turn) continue;
      const size = packetSize(service);
      const next = added(taken, size);
      const over = excess(next);
      if (over === undefined) taken = next;
      else
        unfit.set(name, `no room for ${noun(over, size[over])} beside ${taken[over]} of ${ROOM[over]} in its tables`);
    }
  }
  return unfit;
}

function noun(key: keyof PacketSize, count: number): string {
  return key === 'services' ? 'another service' : `its ${count} ${WHAT[key]}`;
}
