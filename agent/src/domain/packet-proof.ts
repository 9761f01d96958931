// SPDX-License-Identifier: Apache-2.0
/** What real packets have shown of this host's kernel, and which services it means. */
import type { Service } from '@marcher/model';
import { parseTarget } from './address.js';
import { isNat, modeName, vipsOf } from './packet-service.js';

export type Family = 'ipv4' | 'ipv6';

export interface TierProof {
  /** What was seen, for people; "" when nothing is known. */
  readonly text: string;
  /** What came out in no mode that could be tried, as kindOf() names it, and why. EVERYTHING: it could not be attached. */
  readonly lost: ReadonlyMap<string, string>;
}

export interface PacketProof {
  readonly xdp: TierProof;
  readonly tc: TierProof;
}

export const EVERYTHING = '*';
const UNKNOWN: TierProof = { text: '', lost: new Map() };
export const NO_PROOF: PacketProof = { xdp: UNKNOWN, tc: UNKNOWN };

/** mode: as forwarding.mode, decap, guard. */
export function kindOf(mode: string, family: string): string {
  return family === '' ? mode : `${mode} over ${family === 'ipv6' ? 'IPv6' : 'IPv4'}`;
}

function familiesOf(service: Service): ReadonlySet<Family> {
  const families = new Set<Family>();
  const add = ({ length }: Uint8Array): void => void families.add(length === 4 ? 'ipv4' : 'ipv6');
  for (const { address } of vipsOf(service)) add(address);
  for (const backend of service.backends) {
    const target = parseTarget(backend.address);
    if (target.kind === 'ip') add(target.address);
  }
  return families;
}

/** Why this kernel does not carry the service's packets; undefined: nothing speaks against it. */
export function disproof(proof: PacketProof, service: Service): string | undefined {
  const { lost } = isNat(service) ? proof.tc : proof.xdp;
  if (lost.size === 0) return undefined;
  const whole = lost.get(EVERYTHING);
  if (whole !== undefined) return whole;
  // What was tried for mode auto is what it is carried by.
  const mode = isNat(service) ? 'nat' : modeName(service);
  for (const family of familiesOf(service)) {
    const kind = kindOf(mode, family);
    const why = lost.get(kind);
    if (why !== undefined) return `${kind}: ${why}`;
  }
  return undefined;
}

/** XDP was seen not to carry packets of open flows of NAT, of one family at least. */
export function fastPathLost({ xdp }: PacketProof): boolean {
  return (['ipv4', 'ipv6'] as const).some((family) => xdp.lost.has(kindOf('nat-fast', family)));
}
