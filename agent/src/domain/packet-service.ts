// SPDX-License-Identifier: Apache-2.0
/**
 * Services whose packets are passed on (forwarding.mode ipip, gue, l2, nat), and what that rules out: nobody ends the
 * client's connection here, so nothing can be read from it, written into it or counted on it. With direct server return
 * (all but nat) the backend must take the packet under the address and port that the client sent it to, too.
 */
import { create } from '@bufbuild/protobuf';
import {
  Algorithm,
  ForwardingMode,
  ForwardingSchema,
  type Listener,
  Protocol,
  ProxyProtocolVersion,
  type Service,
} from '@marcher/model';
import { isWide, parseListenerAddress, parseTarget } from './address.js';
import { DEFAULTS, LIMITS } from './defaults.js';

type PacketMode =
  | typeof ForwardingMode.IPIP
  | typeof ForwardingMode.GUE
  | typeof ForwardingMode.L2
  | typeof ForwardingMode.NAT;

const MODE_NAME: Readonly<Record<number, string>> = {
  [ForwardingMode.UNSPECIFIED]: 'relay',
  [ForwardingMode.RELAY]: 'relay',
  [ForwardingMode.IPIP]: 'ipip',
  [ForwardingMode.GUE]: 'gue',
  [ForwardingMode.L2]: 'l2',
  [ForwardingMode.NAT]: 'nat',
  [ForwardingMode.AUTO]: 'auto',
};

/** undefined: the service is relayed. */
export function packetModeOf(service: Service): PacketMode | undefined {
  switch (service.forwarding?.mode) {
    case ForwardingMode.AUTO:
      return hindrances(service).length === 0 ? ForwardingMode.NAT : undefined;
    case ForwardingMode.IPIP:
    case ForwardingMode.GUE:
    case ForwardingMode.L2:
    case ForwardingMode.NAT:
      return service.forwarding.mode;
    default:
      return undefined;
  }
}

/** By tc, whose answers come back through this node. The other packet modes are XDP's. */
export function isNat(service: Service): boolean {
  return packetModeOf(service) === ForwardingMode.NAT;
}

/** Under this node's address: backends see no other. What the relay does, too, so that auto changes nothing for them. */
export function isSourceNat(service: Service): boolean {
  return isAuto(service) || service.forwarding?.sourceNat === true;
}

/** The node decides; the relay listens for the service in either case. */
export function isAuto(service: Service): boolean {
  return service.forwarding?.mode === ForwardingMode.AUTO;
}

const known = new WeakMap<Service, readonly string[]>();

/** What of a service with mode auto only the relay does, by field; empty: packets may pass it by. */
export function hindrances(service: Service): readonly string[] {
  const before = known.get(service);
  if (before !== undefined) return before;
  const found: string[] = [];
  const faults: FaultSink = { add: (path, reason) => found.push(`${path.slice(1)}: ${reason}`) };
  const nat = { mode: ForwardingMode.NAT, sourceNat: true } as const;
  validatePackets({ ...service, forwarding: create(ForwardingSchema, nat) }, '', faults);
  const { timeouts, udp, backends } = service;
  if (timeouts !== undefined) found.push('timeouts: they are kept by who holds the connections');
  if (udp?.maxSessions !== undefined) found.push('udp.maxSessions: sessions are counted by the relay alone');
  backends.forEach(({ softLimit, sourceAddress }, i) => {
    if (softLimit !== undefined) found.push(`backends[${i}].softLimit: connections are counted by the relay alone`);
    if (sourceAddress !== '')
      found.push(`backends[${i}].sourceAddress: the kernel's route decides where packets are from`);
  });
  known.set(service, found);
  return found;
}

/** As operators write it. */
export function modeName(service: Service): string {
  return MODE_NAME[service.forwarding?.mode ?? ForwardingMode.UNSPECIFIED] ?? 'relay';
}

export function guePortOf(service: Service): number {
  return service.forwarding?.guePort ?? DEFAULTS.guePort;
}

/** The engine's rule (maglev_size_for in dataplane-c/src/engine/lb/maglev.c): the first that is 100 per backend. */
const RING_SIZES = [1_009, 2_053, 4_099, 8_209, 16_411, 32_771, 65_537, 131_101] as const;

/**
 * From the number of backends that are configured, whether they can be used or not: the size stays when one fails, and
 * all nodes that have the same configuration come to the same.
 */
export function ringSizeOf(service: Service): number {
  const { length } = service.backends;
  const asked = service.balance?.maglevTableSize;
  return asked ?? RING_SIZES.find((size) => size >= 100 * length) ?? RING_SIZES[RING_SIZES.length - 1] ?? 0;
}

export interface Vip {
  readonly address: Uint8Array;
  /** Bits of the address when it is a prefix; 0: a whole one. */
  readonly prefixLength: number;
  readonly udp: boolean;
  /** 0: every port. */
  readonly port: number;
}

export function isEveryPort({ first, last }: { first: number; last: number }): boolean {
  return first === 1 && last === 65_535;
}

export function* vipsOf(service: Service): Iterable<Vip> {
  for (const listener of service.listeners) {
    const prefix = parseListenerAddress(listener.address);
    if (prefix === undefined) throw new Error(`not a valid address: ${listener.address}`);
    const { address } = prefix;
    const prefixLength = isWide(prefix) ? prefix.length : 0;
    const udp = listener.protocol === Protocol.UDP;
    for (const range of listener.ports) {
      if (isEveryPort(range)) yield { address, prefixLength, udp, port: 0 };
      else for (let port = range.first; port <= range.last; port++) yield { address, prefixLength, udp, port };
    }
  }
}

export interface FaultSink {
  add(path: string, reason: string, fix: string): void;
}

/** Everything that keeps a service from being forwarded by packets. Its parts are checked for themselves elsewhere. */
export function validateForwarding(service: Service, path: string, faults: FaultSink): void {
  const { forwarding } = service;
  if (forwarding === undefined) return;
  const at = `${path}.forwarding`;
  if (!(forwarding.mode in MODE_NAME)) {
    const fix = 'use one of the values in the documentation';
    faults.add(`${at}.mode`, `${forwarding.mode} is not a value that this version knows`, fix);
    return;
  }
  const { guePort } = forwarding;
  if (guePort !== undefined && (guePort < 1 || guePort > 65_535)) {
    faults.add(`${at}.guePort`, `${guePort} is not a port`, 'write a port from 1 to 65535');
  } else if (guePort !== undefined && forwarding.mode !== ForwardingMode.GUE) {
    faults.add(`${at}.guePort`, 'stands beside a mode that is not gue', 'write mode: gue, or remove it');
  }
  if (forwarding.sourceNat !== undefined && forwarding.mode !== ForwardingMode.NAT) {
    faults.add(`${at}.sourceNat`, 'stands beside a mode that is not nat', 'write mode: nat, or remove it');
  }
  if (!isAuto(service) && packetModeOf(service) !== undefined) validatePackets(service, path, faults);
}

/** Everything that only the relay does. */
function validatePackets(service: Service, path: string, faults: FaultSink): void {
  const mode = modeName(service);
  validateListeners(service, path, mode, faults);
  validateBackends(service, path, mode, faults);
  validateRelayOnly(service, path, mode, faults);
}

function validateListeners(service: Service, path: string, mode: string, faults: FaultSink): void {
  let vips = 0;
  service.listeners.forEach((listener, i) => {
    const at = `${path}.listeners[${i}]`;
    const prefix = listener.address === '' ? undefined : parseListenerAddress(listener.address);
    const address = prefix?.address;
    if (prefix !== undefined && isWide(prefix)) {
      // What its addresses may be is checked for every mode alike.
    } else if (listener.address === '' || address?.every((byte) => byte === 0)) {
      const reason = `${listener.address === '' ? 'is missing' : `${listener.address} is every address`}, and forwarding.mode ${mode} takes the packets of one address away from this node`;
      faults.add(`${at}.address`, reason, 'write the virtual address that clients come to, such as 192.0.2.1');
    } else if (address !== undefined && !isOneHost(address)) {
      const reason = `${listener.address} is a multicast or reserved address`;
      faults.add(`${at}.address`, reason, 'write the address of one host, such as 192.0.2.1');
    }
    if (listener.acceptProxyFrom.length > 0) {
      const reason = `forwarding.mode ${mode} does not read from connections, so there is no PROXY header to accept`;
      faults.add(`${at}.acceptProxyFrom`, reason, 'remove it, or use forwarding.mode relay');
    }
    if (listener.maxConnections !== undefined) {
      faults.add(`${at}.maxConnections`, notCounted(mode), 'remove it, or use forwarding.mode relay');
    }
    for (const range of listener.ports) vips += isEveryPort(range) ? 1 : Math.max(0, range.last - range.first + 1);
  });
  if (vips > LIMITS.vipsPerService) {
    const reason = `have ${vips} ports, and forwarding.mode ${mode} keeps an entry for each`;
    const fix = `keep at most ${LIMITS.vipsPerService}, or write every port as "1-65535", which is one entry`;
    faults.add(`${path}.listeners`, reason, fix);
  }
}

/** Unicast, as far as the packet tiers tell (dataplane-c/src/control/packet_table.c). */
function isOneHost(address: Uint8Array): boolean {
  const first = address[0] ?? 0;
  return address.some((byte) => byte !== 0) && (address.length === 4 ? first < 224 : first !== 0xff);
}

function notCounted(mode: string): string {
  return mode === 'nat'
    ? 'forwarding.mode nat follows connections, but does not count them by service or backend'
    : `forwarding.mode ${mode} does not see connections end, so that they can't be counted`;
}

/** The one port that clients come to; undefined when there are several. */
function onlyPort(listeners: readonly Listener[]): number | undefined {
  let only: number | undefined;
  for (const { ports } of listeners) {
    for (const { first, last } of ports) {
      if (first !== last || (only !== undefined && only !== first)) return undefined;
      only = first;
    }
  }
  return only;
}

function validateBackends(service: Service, path: string, mode: string, faults: FaultSink): void {
  const families = new Set(service.listeners.map(({ address }) => parseListenerAddress(address)?.address.length));
  const port = onlyPort(service.listeners);
  for (const [i, backend] of service.backends.slice(0, LIMITS.backendsPerService).entries()) {
    const at = `${path}.backends[${i}]`;
    const target = parseTarget(backend.address);
    if (target.kind === 'dns') {
      const reason = `${JSON.stringify(target.host)} is a name, and forwarding.mode ${mode} sends packets to addresses`;
      faults.add(`${at}.address`, reason, 'write its IP address, or use forwarding.mode relay');
    } else if (target.kind === 'unix') {
      const reason = `a Unix socket takes no packets, and forwarding.mode ${mode} sends some`;
      faults.add(`${at}.address`, reason, 'write an IP address, or use forwarding.mode relay');
    } else if (target.kind === 'ip') {
      if (!isOneHost(target.address)) {
        faults.add(`${at}.address`, 'is not the address of one host', 'write the unicast address of the backend');
      }
      if (
        !isNat(service) &&
        target.port !== 0 &&
        target.port !== port &&
        service.listeners.some(({ ports }) => ports.length > 0)
      ) {
        const reason =
          port === undefined
            ? `port ${target.port} can't stand for all the ports that clients come to, and forwarding.mode ${mode} changes none`
            : `port ${target.port} is not the port that clients come to, and forwarding.mode ${mode} can't change it: the backend answers the client directly`;
        faults.add(`${at}.address`, reason, `leave the port out${port === undefined ? '' : `, or write ${port}`}`);
      }
      validateFamily(target.address.length, families, service, at, faults);
    }
    if (!/^[!-~]+$/.test(backend.name || backend.address)) {
      const reason = `is more than printable ASCII without spaces, which is what forwarding.mode ${mode} tells backends apart by on all nodes alike`;
      faults.add(`${at}.name`, reason, 'write a name such as web-1');
    }
    if (backend.sendProxy !== ProxyProtocolVersion.UNSPECIFIED) {
      const seen = service.forwarding?.sourceNat === true ? '' : "; backends see the client's address anyway";
      const reason = `forwarding.mode ${mode} writes nothing into connections${seen}`;
      faults.add(`${at}.sendProxy`, reason, 'remove it');
    }
    if (backend.hardLimit !== undefined) {
      faults.add(`${at}.hardLimit`, notCounted(mode), 'remove it, or use forwarding.mode relay');
    }
  }
}

function validateFamily(
  bytes: number,
  families: ReadonlySet<number | undefined>,
  service: Service,
  at: string,
  faults: FaultSink,
): void {
  const packetMode = packetModeOf(service);
  if (packetMode === ForwardingMode.L2 || packetMode === ForwardingMode.NAT) {
    if (!families.has(bytes === 4 ? 16 : 4)) return;
    const how = packetMode === ForwardingMode.L2 ? 'l2 leaves packets as they are' : 'nat translates within one';
    const reason = `is of another address family than a listener, and forwarding.mode ${how}`;
    faults.add(`${at}.address`, reason, 'give each address family a service of its own');
  } else if (packetMode === ForwardingMode.IPIP && bytes === 4 && families.has(16)) {
    const reason = 'is an IPv4 address, and forwarding.mode ipip puts the packets of an IPv6 listener into IPv6 only';
    faults.add(`${at}.address`, reason, 'write the IPv6 address of the backend, or use forwarding.mode gue');
  }
}

const ALGORITHM_NAME: Readonly<Record<number, string>> = {
  [Algorithm.ROUND_ROBIN]: 'round-robin',
  [Algorithm.WEIGHTED_ROUND_ROBIN]: 'weighted-round-robin',
  [Algorithm.LEAST_CONNECTIONS]: 'least-connections',
  [Algorithm.RANDOM]: 'random',
  [Algorithm.GEO]: 'geo',
};

function validateRelayOnly(service: Service, path: string, mode: string, faults: FaultSink): void {
  const { balance, outlier, limits } = service;
  const name = ALGORITHM_NAME[balance?.algorithm ?? Algorithm.UNSPECIFIED];
  if (name !== undefined) {
    const reason = `${name} takes turns or measures load, and with forwarding.mode ${mode} a hash of the client's address and port decides`;
    faults.add(`${path}.balance.algorithm`, reason, 'write maglev (weights count), or leave it out');
  }
  if ((balance?.slowStartMs ?? 0) > 0) {
    const reason = `forwarding.mode ${mode} can't raise a weight step by step: each step would move flows between backends`;
    faults.add(`${path}.balance.slowStart`, reason, 'remove it');
  }
  const { affinity } = balance ?? {};
  const whole = { ipv4Prefix: 32, ipv6Prefix: 128 } as const;
  for (const field of ['ipv4Prefix', 'ipv6Prefix'] as const) {
    const value = affinity?.[field];
    if (value === undefined || value === whole[field] || value < 1 || value > whole[field]) continue;
    const reason = `with forwarding.mode ${mode} a client is one whole address`;
    faults.add(`${path}.balance.affinity.${field}`, reason, 'remove it');
  }
  if (outlier !== undefined && outlier.enabled !== false) {
    const reason = `failed connects are seen only by who makes them, which with forwarding.mode ${mode} is the client`;
    faults.add(`${path}.outlier`, reason, 'remove it; active health checks (health) work');
  }
  for (const field of ['maxConnections', 'maxConnectionsPerSource'] as const) {
    if (limits?.[field] === undefined) continue;
    faults.add(`${path}.limits.${field}`, notCounted(mode), 'remove it, or use forwarding.mode relay');
  }
}
