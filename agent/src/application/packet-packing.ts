// SPDX-License-Identifier: Apache-2.0
/** The table of the packet tiers (marcher.packet.v1.Table) in bytes, made from services one by one. */
import { toBinary } from '@bufbuild/protobuf';
import type { Service, TrafficPolicy } from '@marcher/model';
import { ServiceSchema, VipSchema } from '@marcher/proto/marcher/packet/v1/packet_pb';
import { parseIp } from '../domain/address.js';
import { leftVips } from '../domain/left-vips.js';
import type { Vip } from '../domain/packet-service.js';
import { packetService, packetVip } from '../domain/packet-table.js';
import type { Claim } from '../domain/port-ownership.js';
import { policyFor } from '../domain/traffic-policy.js';
import { backendName } from '../domain/validate.js';
import { WireWriter } from '../domain/wire-writer.js';
import type { ConfigStore } from '../ports/config-store.js';
import type { Current } from './current-objects.js';
import type { PacketVerdicts } from './packet-verdicts.js';

/** Field numbers of marcher.packet.v1.Table, whose services are packed one by one. */
const TABLE = {
  services: 1,
  decapsulated: 2,
  decapsulatedGuePort: 3,
  guard: 4,
  left: 5,
  decapsulatedMtu: 6,
  natByTc: 7,
} as const;
const NO_BYTES = new Uint8Array(0);

/** A service as it is stored. */
export interface Decoded {
  readonly service: Service;
  readonly generation: bigint;
}

/** This node as a backend of packet tiers of others. */
export interface Decapsulated {
  /** IP addresses of this node under which it takes encapsulated packets. */
  readonly addresses: readonly string[];
  /** UDP port at which GUE comes to them. */
  readonly guePort: number;
  /** Bytes of the largest packet that comes to them, outer header included; 0: the interface's MTU. */
  readonly mtu: number;
}

export interface PacketPackingOptions {
  readonly store: ConfigStore;
  /** What each stored service listens on. */
  readonly claims: () => Iterable<[service: string, claims: readonly Claim[]]>;
  readonly drains: {
    readonly nodeDraining: boolean;
    isDrained(service: string, backend: string): boolean;
  };
  readonly decapsulated: Decapsulated;
  /** The traffic policies that are in force by the store. */
  readonly policies: () => Current<TrafficPolicy>;
}

/** What stands in the table besides what is configured of services. */
export interface Packed {
  readonly verdicts: PacketVerdicts;
  /** marcher.packet.v1.Guard. */
  readonly guard: Uint8Array | undefined;
  /** tc carries open flows of NAT, too. */
  readonly natByTc: boolean;
}

export class PacketPacking {
  readonly #options: PacketPackingOptions;
  /** Services by their names as they stand in the table, with the facts that they were made from. */
  #packed = new Map<string, { readonly facts: string; readonly bytes: Uint8Array }>();
  #left: { readonly facts: string; readonly vips: readonly Vip[] } = { facts: '', vips: [] };
  #families = { ipv4: false, ipv6: false };

  constructor(options: PacketPackingOptions) {
    this.#options = options;
  }

  /** Names of the services in the table that was made last. */
  get names(): ReadonlySet<string> {
    return new Set(this.#packed.keys());
  }

  /** Of the backends that packets are sent to. */
  get families(): { readonly ipv4: boolean; readonly ipv6: boolean } {
    return this.#families;
  }

  /** A service is packed anew only when something about it has changed: this runs every second. */
  pack(services: ReadonlyMap<string, Decoded>, { verdicts, guard, natByTc }: Packed): Uint8Array {
    const { drains, decapsulated } = this.#options;
    const policies = this.#options.policies();
    const packed = this.#packed;
    this.#packed = new Map();
    this.#families = { ipv4: false, ipv6: false };
    const out = new WireWriter();
    for (const [name, { service, generation }] of services) {
      const unhealthy = (backend: string): boolean => verdicts.unhealthy(name, backend);
      const drained = (backend: string): boolean => drains.isDrained(name, backend);
      const named = policies.get(service.trafficPolicy);
      const policy = policyFor(service, named?.value) && named;
      let facts = `${generation} ${policy?.generation} ${drains.nodeDraining}`;
      for (const [i, backend] of service.backends.entries()) {
        const own = backendName(backend);
        if (unhealthy(own)) facts += ` ${i}!`;
        if (drained(own)) facts += ` ${i}-`;
        this.#families[backend.address.includes(':', backend.address.indexOf(':') + 1) ? 'ipv6' : 'ipv4'] = true;
      }
      const earlier = packed.get(name);
      const standing = { nodeDraining: drains.nodeDraining, drained, unhealthy };
      const bytes =
        earlier?.facts === facts
          ? earlier.bytes
          : toBinary(ServiceSchema, packetService(service, standing, policy?.value));
      this.#packed.set(name, { facts, bytes });
      out.bytes(TABLE.services, bytes);
    }
    for (const address of decapsulated.addresses) out.bytes(TABLE.decapsulated, parseIp(address) ?? NO_BYTES);
    out.uint(TABLE.decapsulatedGuePort, decapsulated.guePort);
    if (guard !== undefined) out.bytes(TABLE.guard, guard);
    for (const vip of this.#leftOf(services)) out.bytes(TABLE.left, toBinary(VipSchema, packetVip(vip)));
    if (decapsulated.addresses.length > 0) out.uint(TABLE.decapsulatedMtu, decapsulated.mtu);
    if (natByTc) out.uint(TABLE.natByTc, 1);
    return out.written();
  }

  /** What services that are not in the table listen on within its prefixes: looked for when it may be something else. */
  #leftOf(services: ReadonlyMap<string, Decoded>): readonly Vip[] {
    const { store, claims } = this.#options;
    const facts = `${store.version} ${[...this.#packed.keys()].join(' ')}`;
    if (this.#left.facts === facts) return this.#left.vips;
    const carried = [...this.#packed.keys()].flatMap((name) => services.get(name)?.service ?? []);
    const others = function* (packed: ReadonlyMap<string, unknown>): Iterable<Claim> {
      for (const [name, own] of claims()) if (!packed.has(name)) yield* own;
    };
    this.#left = { facts, vips: leftVips(carried, others(this.#packed)) };
    return this.#left.vips;
  }
}
