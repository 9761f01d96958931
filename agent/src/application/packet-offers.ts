// SPDX-License-Identifier: Apache-2.0
/** What XDP and tc offer services on this node, from where they are attached and what was seen to pass. */
import type { Interface } from '@marcher/proto/marcher/packet/v1/packet_pb';
import type { PacketOffer } from '../domain/classify.js';
import { EVERYTHING, type TierProof } from '../domain/packet-proof.js';

/** What an interface's mode "off" means to who wants XDP. */
export const OFF = 'XDP is off: marcherd --xdp auto';

export function xdpOffer(interfaces: readonly Interface[], available: boolean, proof: TierProof): PacketOffer {
  if (!available) return { available, reason: OFF, fasterIf: [] };
  const whole = proof.lost.get(EVERYTHING);
  if (whole !== undefined) return { available: false, reason: whole, fasterIf: [] };
  const attached = interfaces.map(({ name, mode, reason }) => {
    const why = mode === 'native' || reason === '' ? '' : ` (${reason})`;
    return `${mode === '' ? 'not attached to' : `${mode} to`} ${name}${why}`;
  });
  const where = attached.length === 0 ? 'the programs are loaded' : `attached ${attached.join(', ')}`;
  const generic = interfaces.filter(({ mode }) => mode === 'generic').map(({ name }) => name);
  return {
    available: true,
    reason: shown(where, proof),
    fasterIf: generic.length === 0 ? [] : [`the driver of ${generic.join(', ')} ran XDP natively`],
  };
}

/** What was seen to pass stands behind where it is attached. */
function shown(where: string, { text }: TierProof): string {
  return text === '' ? where : `${where}; ${text}`;
}

export function tcOffer(interfaces: readonly Interface[], proof: TierProof): PacketOffer {
  const attached = interfaces.map(({ name, tc, tcReason, shaping, shapingReason }) => {
    const why = tcReason === '' ? '' : ` (${tcReason})`;
    const waiting = shaping === '' ? shapingReason : `what is over a rate waits by ${shaping}`;
    return `${tc === '' ? 'not attached to' : `by ${tc} to`} ${name}${why}${waiting === '' ? '' : ` (${waiting})`}`;
  });
  const available = interfaces.some(({ tc }) => tc !== '') && !proof.lost.has(EVERYTHING);
  const where = available ? `attached ${attached.join(', ')}` : attached.join(', ');
  return { available, reason: shown(where, proof), fasterIf: [], ...openFlows(interfaces) };
}

/** Who carries packets of flows that are open. Nobody knows before there are such services. */
function openFlows(interfaces: readonly Interface[]): Pick<PacketOffer, 'openFlows'> {
  const by = (what: string): Interface[] => interfaces.filter(({ nat }) => nat === what);
  const xdp = by('xdp').map(({ name }) => name);
  const tc = by('tc').map(({ name, natReason }) => `${name}${natReason === '' ? '' : ` (${natReason})`}`);
  const said: string[] = [];
  if (xdp.length > 0) said.push(`by XDP on ${xdp.join(', ')}`);
  if (tc.length > 0) said.push(`by tc on ${tc.join(', ')}`);
  return said.length === 0 ? {} : { openFlows: `flows that are open are carried ${said.join(', ')}` };
}
