// SPDX-License-Identifier: Apache-2.0
/**
 * Which listeners of relayed services sk_lookup steers to one group of sockets (bpf/sk_lookup.c), instead of one group for
 * each port: prefixes, which cannot be listened on otherwise, and ranges of many ports.
 */
import type { Listener, PortRange, Service } from '@marcher/model';
import { isWide, parseListenerAddress } from './address.js';
import { isEveryPort, packetModeOf } from './packet-service.js';

/** Whether this node can, and if not, why. */
export type Steering = { readonly on: true } | { readonly on: false; readonly reason: string };

/** Ranges up to this have sockets of their own for each port: they need nothing of the kernel. */
const PORTS_UNSTEERED_MAX = 16;

export function isPrefix(listener: Listener): boolean {
  if (!listener.address.includes('/')) return false;
  const prefix = parseListenerAddress(listener.address);
  return prefix !== undefined && isWide(prefix);
}

export function wantsSteering(listener: Listener, { first, last }: PortRange): boolean {
  if (isPrefix(listener)) return true;
  if (last - first < PORTS_UNSTEERED_MAX) return false;
  // Every address of one family is no prefix, and no address that a connection comes to.
  const every = parseListenerAddress(listener.address)?.address.every((byte) => byte === 0) ?? false;
  return !every;
}

/**
 * Other services may have ports or addresses within it (port-ownership.ts), so that sockets of its own for each port would
 * be in their way: it is steered, or not served by the relay.
 */
export function needsSteering(service: Service, listener: Listener, range: PortRange): boolean {
  return isPrefix(listener) || (packetModeOf(service) !== undefined && isEveryPort(range));
}

/** What cannot be served by the relay without, as operators write it. */
export function unsteerable(service: Service): string[] {
  const found = new Set<string>();
  for (const listener of service.listeners) {
    for (const range of listener.ports) {
      if (!needsSteering(service, listener, range)) continue;
      found.add(isPrefix(listener) ? listener.address : `every port of ${listener.address}`);
    }
  }
  return [...found];
}

/** What it takes of sk_lookup's maps (dataplane-c/src/control/steer.c); every port is one. */
export function steeredSize(service: Service): { ranges: number; ports: number } {
  const size = { ranges: 0, ports: 0 };
  for (const listener of service.listeners) {
    for (const range of listener.ports) {
      if (!wantsSteering(listener, range)) continue;
      size.ranges++;
      // And where the group of sockets is bound.
      size.ports += (isEveryPort(range) ? 1 : range.last - range.first + 1) + 1;
    }
  }
  return size;
}

/** The first of what a service wants steered, as operators write it; undefined: nothing. */
export function steeredText(service: Service): string | undefined {
  for (const listener of service.listeners) {
    for (const range of listener.ports) {
      if (!wantsSteering(listener, range)) continue;
      const ports = range.first === range.last ? `port ${range.first}` : `ports ${range.first}-${range.last}`;
      return listener.address === '' ? ports : `${ports} of ${listener.address}`;
    }
  }
  return undefined;
}
