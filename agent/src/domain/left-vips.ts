// SPDX-License-Identifier: Apache-2.0
/**
 * What a packet tier must leave to the stack: a prefix, or every port of an address, that it forwards may have others'
 * listeners within it, which are more specific and so go first (port-ownership.ts).
 */
import type { Service } from '@marcher/model';
import { isWide, networkOf } from './address.js';
import { isEveryPort, type Vip, vipsOf } from './packet-service.js';
import { addressBytes, type Claim } from './port-ownership.js';

/** Ports by transport and prefix; 0: every one. */
type Wide = Map<string, Set<number>>;

function keyOf(udp: boolean, address: Uint8Array, length: number): string {
  return `${udp ? 'u' : 't'}${address.join('.')}/${length}`;
}

function wideOf(carried: Iterable<Service>): { wide: Wide; lengths: ReadonlySet<number> } {
  const wide: Wide = new Map();
  const lengths = new Set<number>();
  for (const service of carried) {
    for (const { address, prefixLength, udp, port } of vipsOf(service)) {
      if (prefixLength === 0 && port !== 0) continue;
      const length = prefixLength === 0 ? address.length * 8 : prefixLength;
      const key = keyOf(udp, address, length);
      wide.set(key, (wide.get(key) ?? new Set()).add(port));
      lengths.add(length);
    }
  }
  return { wide, lengths };
}

/** Of one claim, what lies within; in order of its ports. */
function* within(claim: Claim, wide: Wide, lengths: ReadonlySet<number>): Iterable<Vip> {
  const address = addressBytes(claim.address);
  const { udp } = claim;
  const own = claim.length ?? address.length * 8;
  const prefix = { address, length: own };
  const prefixLength = isWide(prefix) ? own : 0;
  // One entry, where the claim's 65,535 would be all that the tables have room for.
  const everyPort = claim.everyPort === true || isEveryPort(claim);
  let every = false;
  const ports = new Set<number>();
  for (const length of lengths) {
    if (length > own) continue;
    const found = wide.get(keyOf(udp, networkOf({ address, length }).address, length));
    if (found === undefined) continue;
    // Of the same address or prefix: its every port alone is wider.
    if (length === own && everyPort) continue;
    for (const port of found) {
      if (port === 0) every = true;
      else if (length < own) ports.add(port);
    }
  }
  if (everyPort) {
    if (every || ports.size > 0) yield { address, prefixLength, udp, port: 0 };
    return;
  }
  for (let port = claim.first; port <= claim.last; port++) {
    if (every || ports.has(port)) yield { address, prefixLength, udp, port };
  }
}

/** others: of services that the packet tiers do not carry. */
export function leftVips(carried: Iterable<Service>, others: Iterable<Claim>): Vip[] {
  const { wide, lengths } = wideOf(carried);
  if (wide.size === 0) return [];
  const left = new Map<string, Vip>();
  for (const claim of others) {
    // Every address is wider than any.
    if (/^0*$/.test(claim.address)) continue;
    for (const vip of within(claim, wide, lengths)) {
      left.set(`${keyOf(vip.udp, vip.address, vip.prefixLength)} ${vip.port}`, vip);
    }
  }
  return [...left].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, vip]) => vip);
}
