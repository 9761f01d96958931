// SPDX-License-Identifier: Apache-2.0
import { BlockList, isIP, isIPv6 } from 'node:net';
import { SwimOptionsError } from '../core/context.js';
import type { RememberedMember } from '../core/swim.js';
import type { Limits, Tuning } from '../core/tuning.js';
import { ipBytes, ipText } from '../wire/ip-bytes.js';
import type { Address, Versions } from '../wire/message.js';

/** A node on the network. Plain data, so that it can be handed to another thread. */
export interface NodeOptions {
  /** Unique in the cluster. */
  readonly name: string;
  /** Where it listens, UDP and TCP; port 0: any that is free for both. */
  readonly bind: Address;
  /** Where others reach it; absent: where it listens, which then must be one address and not all. */
  readonly advertise?: Address;
  readonly meta?: Uint8Array;
  readonly delegateVersions?: Versions['delegate'];
  /** One more than the last that event `incarnation` told. */
  readonly incarnation?: number;
  /** Members of the last life. */
  readonly remembered?: readonly RememberedMember[];
  readonly tuning: Tuning;
  readonly limits?: Partial<Limits>;
  readonly streamLimits?: Partial<StreamLimits>;
  /** See WireSettings, also for the three below. */
  readonly label?: string;
  readonly skipLabelCheck?: boolean;
  readonly verifyIncoming?: boolean;
  readonly verifyOutgoing?: boolean;
  /** 16, 24 or 32 bytes each; the first seals. Absent: all is in plain. */
  readonly keys?: readonly Uint8Array[];
  /** Default true. */
  readonly compress?: boolean;
  /** Networks as 192.0.2.0/24 or 2001:db8::/32, from and about which anything is accepted. Absent: all. */
  readonly allow?: readonly string[];
  /** The user's part of state exchanges, until setUserState. */
  readonly userState?: Uint8Array;
}

/** Bounds on streams that others open. */
export interface StreamLimits {
  /** At a time; further ones are closed at once. */
  readonly connections: number;
  /** Of these from one host. */
  readonly connectionsPerHost: number;
  /** Held for all streams, both ways, until their messages are whole. */
  readonly bufferedBytes: number;
}

/** memberlist takes 128 state exchanges at a time (net.go); the rest is ours. */
export const defaultStreamLimits: StreamLimits = {
  connections: 128,
  connectionsPerHost: 64,
  bufferedBytes: 64 * 1024 * 1024,
};

/** Whether an address is in one of the networks. Throws SwimOptionsError for what is no network. */
export function allowing(networks: readonly string[] | undefined): (host: string) => boolean {
  if (networks === undefined) return () => true;
  const list = new BlockList();
  for (const network of networks) {
    const [host = '', bits = '', ...rest] = network.split('/');
    const family = isIP(host);
    const width = Number(bits);
    if (family === 0 || rest.length > 0 || !/^\d{1,3}$/.test(bits) || width > (family === 4 ? 32 : 128)) {
      throw new SwimOptionsError(`allow has '${network}': expected a network as 192.0.2.0/24 or 2001:db8::/32`);
    }
    list.addSubnet(host, width, family === 4 ? 'ipv4' : 'ipv6');
  }
  return (host) => isIP(host) !== 0 && list.check(host, isIPv6(host) ? 'ipv6' : 'ipv4');
}

/** Where others reach a node that listens there. Throws SwimOptionsError when nobody could. */
export function advertised(options: NodeOptions, listening: Address): Address {
  const address = options.advertise ?? listening;
  if (isIP(address.host) === 0 || address.host.includes('%')) {
    throw new SwimOptionsError(
      `${options.name}: advertised host '${address.host}': expected an IP address without a zone`,
    );
  }
  if (address.host === '0.0.0.0' || /^[0:]+$/.test(address.host)) {
    throw new SwimOptionsError(`${options.name} listens at every address: say in 'advertise' at which others reach it`);
  }
  // As others will read it on the wire: one spelling, or this node would take its own address for another's.
  const host = ipText(ipBytes(address.host)) ?? address.host;
  return { host, port: address.port === 0 ? listening.port : address.port };
}
