// SPDX-License-Identifier: Apache-2.0
/**
 * Who owns which port. One claim is (transport, address, first..last, owner); two claims conflict when they share a port
 * of one transport and one address covers the other: the empty address (dual-stack any) covers everything, 0.0.0.0
 * covers IPv4, :: covers IPv6, and any other address only itself.
 *
 * Claims in layers share ports with all others: prefixes, and every port of an address that a packet tier forwards. The
 * most specific one has a packet, a longer prefix before a shorter one, and within one a port before every port. So only
 * equal ones conflict, to which a claim of all 65535 ports in no layer belongs: nothing would be left for the other.
 *
 * Claims under one address are disjoint, so each address holds an array sorted by first port and a lookup is a binary
 * search: a change of one service among 10,000 costs microseconds, and 10,000 claims a few hundred kilobytes.
 */

export interface Claim {
  readonly udp: boolean;
  /** '' for dual-stack any, otherwise the address's bytes in hex (8 or 32 digits). */
  readonly address: string;
  readonly first: number;
  readonly last: number;
  /** Bits of the address, when it is a prefix. */
  readonly length?: number;
  /** Every port, after all claims of some of its ports. */
  readonly everyPort?: boolean;
}

export interface Conflict {
  readonly owner: string;
  readonly port: number;
  readonly address: string;
}

interface Held {
  first: number;
  last: number;
  owner: string;
}

const ANY_V4 = '00000000';
const ANY_V6 = '0'.repeat(32);

export function isLayered({ length, everyPort }: Claim): boolean {
  return length !== undefined || everyPort === true;
}

/** undefined: the claim is in no layer. */
function layerOf(claim: Claim): string | undefined {
  const { address, length, everyPort } = claim;
  if (!isLayered(claim)) return undefined;
  return `${address}/${length ?? ''}${everyPort === true ? '*' : ''}`;
}

/** Index of the first held range whose last port is not below `port`. */
function lowerBound(held: readonly Held[], port: number): number {
  let low = 0;
  let high = held.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((held[middle] as Held).last < port) low = middle + 1;
    else high = middle;
  }
  return low;
}

export class PortOwnership {
  readonly #tables: readonly [Map<string, Held[]>, Map<string, Held[]>] = [new Map(), new Map()];
  readonly #layers: readonly [Map<string, Held[]>, Map<string, Held[]>] = [new Map(), new Map()];

  /** Takes the ports for owner, or says who has one of them and changes nothing. */
  claim(owner: string, claim: Claim): Conflict | undefined {
    const equal = this.#equalAcross(claim);
    if (equal !== undefined) return equal;
    const layer = layerOf(claim);
    const table = (layer === undefined ? this.#tables : this.#layers)[claim.udp ? 1 : 0];
    for (const key of layer === undefined ? this.#covering(table, claim.address) : [layer]) {
      const held = table.get(key);
      if (held === undefined) continue;
      const hit = held[lowerBound(held, claim.first)];
      if (hit !== undefined && hit.first <= claim.last) {
        const address = layer === undefined ? key : claim.address;
        return { owner: hit.owner, port: Math.max(hit.first, claim.first), address };
      }
    }
    const key = layer ?? claim.address;
    const held = table.get(key) ?? [];
    if (held.length === 0) table.set(key, held);
    const entry = { first: claim.first, last: claim.last, owner };
    const last = held.at(-1);
    if (last === undefined || last.last < claim.first) held.push(entry);
    else held.splice(lowerBound(held, claim.first), 0, entry);
    return undefined;
  }

  /** Gives back exactly what claim() took. */
  release(owner: string, claim: Claim): void {
    const layer = layerOf(claim);
    const table = (layer === undefined ? this.#tables : this.#layers)[claim.udp ? 1 : 0];
    const key = layer ?? claim.address;
    const held = table.get(key);
    if (held === undefined) return;
    const index = lowerBound(held, claim.first);
    const hit = held[index];
    if (hit === undefined || hit.first !== claim.first || hit.owner !== owner) return;
    held.splice(index, 1);
    if (held.length === 0) table.delete(key);
  }

  /** Who has every port of the address in the layer, of one that is in none, or the other way round. */
  #equalAcross({ udp, address, first, last, length, everyPort }: Claim): Conflict | undefined {
    if (length !== undefined || first !== 1 || last !== 65_535) return undefined;
    const layer = layerOf({ udp, address, first, last, everyPort: true }) ?? '';
    const table = (everyPort === true ? this.#tables : this.#layers)[udp ? 1 : 0];
    const held = table.get(everyPort === true ? address : layer)?.[0];
    return held?.first === 1 && held.last === last ? { owner: held.owner, port: 1, address } : undefined;
  }

  *#covering(table: Map<string, Held[]>, address: string): Iterable<string> {
    if (address === '') {
      yield* table.keys();
      return;
    }
    yield '';
    yield address;
    const any = address.length === 8 ? ANY_V4 : ANY_V6;
    if (address !== any) yield any;
    else for (const other of table.keys()) if (other.length === address.length && other !== address) yield other;
  }
}

export function addressKey(bytes: Uint8Array): string {
  let key = '';
  for (const byte of bytes) key += byte.toString(16).padStart(2, '0');
  return key;
}

/** Of what addressKey has made. */
export function addressBytes(key: string): Uint8Array {
  return Uint8Array.from({ length: key.length / 2 }, (_, i) => Number.parseInt(key.slice(2 * i, 2 * i + 2), 16));
}
