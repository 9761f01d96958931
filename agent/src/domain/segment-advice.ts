// SPDX-License-Identifier: Apache-2.0
/**
 * How large the segments may be that clients of a service send (RFC 879, RFC 6691). With direct server return over a
 * tunnel it is the backend that tells them, in a SYN-ACK that never passes the director: the director can only say what
 * it would have to be. Without it, clients learn from "too big" (which the director answers), where that gets through.
 */
import { ForwardingMode, type Listener, Protocol, type Service } from '@marcher/model';
import { parseIp, parseTarget } from './address.js';
import { packetModeOf } from './packet-service.js';
import { backendName } from './validate.js';

const IPV4_HEADER = 20;
const IPV6_HEADER = 40;
const UDP_HEADER = 8;
const TCP_HEADER = 20;
/** Names of backends that are written out. */
const SHOWN_MAX = 5;

function isIpv6({ address }: Listener): boolean {
  return parseIp(address.split('/')[0] ?? '')?.length === 16;
}

/** Bytes that forwarding puts before a packet to that backend; undefined: its address is none. */
function outerHeader(mode: ForwardingMode, address: string): number | undefined {
  const target = parseTarget(address);
  if (target.kind !== 'ip') return undefined;
  const ip = target.address.length === 4 ? IPV4_HEADER : IPV6_HEADER;
  return mode === ForwardingMode.GUE ? ip + UDP_HEADER : ip;
}

/** pathMtus: of the ways to backends by their names, as the kernel's routes have them; 0: not known. */
export function segmentAdvice(service: Service, pathMtus: ReadonlyMap<string, number>): string[] {
  const mode = packetModeOf(service);
  if (mode !== ForwardingMode.IPIP && mode !== ForwardingMode.GUE) return [];
  const tcp = service.listeners.filter(({ protocol }) => protocol !== Protocol.UDP);
  if (tcp.length === 0) return [];
  /** Backends by what fits on the way to them. */
  const groups = new Map<string, { mtu: number; outer: number; names: string[] }>();
  for (const backend of service.backends) {
    const name = backendName(backend);
    const mtu = pathMtus.get(name) ?? 0;
    const outer = outerHeader(mode, backend.address);
    if (outer === undefined || mtu <= outer + IPV6_HEADER + TCP_HEADER) continue;
    const key = `${mtu} ${outer}`;
    const group = groups.get(key) ?? { mtu, outer, names: [] };
    group.names.push(name);
    groups.set(key, group);
  }
  return Array.from(groups.values(), ({ mtu, outer, names }) => {
    const shown = names.slice(0, SHOWN_MAX).join(', ');
    const whose = names.length > SHOWN_MAX ? `${shown} and ${names.length - SHOWN_MAX} more` : shown;
    const inner = mtu - outer;
    const command = (tool: string, header: number): string =>
      `${tool} route change default via GATEWAY advmss ${inner - header - TCP_HEADER}`;
    const commands = [
      ...(tcp.some((listener) => !isIpv6(listener)) ? [command('ip', IPV4_HEADER)] : []),
      ...(tcp.some(isIpv6) ? [command('ip -6', IPV6_HEADER)] : []),
    ].join('; ');
    return `of the ${mtu} bytes of the way to ${whose}, ${outer} are the outer header: clients whose path MTU discovery fails need advice from the backend to send no more than ${inner}. A Marcher agent there gives it (--decapsulate); without one: ${commands}`;
  });
}
