// SPDX-License-Identifier: Apache-2.0
/** Which tier carries a service on each node, why, and what would make it faster: `marcher explain` of all nodes at once. */
import type { ServiceView } from '@marcher/client/fleet';
import { bytes, plural } from '../../cli/output/quantity.js';
import { type Line, piece } from '../theme/line.js';
import { BLANK, heading, nodesText } from './shown.js';
import type { Sight } from './view.js';

/** scope: of one node, where one came from that. */
export function explainService(service: ServiceView, { state, scope }: Sight): Line[] {
  const tiers = [...service.tiers].filter(([key]) => scope.node === undefined || key === scope.node);
  if (tiers.length === 0) return [['No node has said yet what carries it.']];
  // Nodes that say the same are told of once.
  const groups = new Map<string, { nodes: string[]; lines: Line[] }>();
  for (const [key, tier] of tiers) {
    const sameAs = JSON.stringify([tier.tier, tier.reasons, tier.fasterIf]);
    const group = groups.get(sameAs) ?? {
      nodes: [],
      lines: [
        ['Carried by tier ', piece('strong', tier.tier), ', because'],
        ...tier.reasons.map((reason): Line => [`  - ${reason}`]),
        ...(tier.fasterIf.length === 0 ? [] : [[piece('accent', 'Faster if')] as Line]),
        ...tier.fasterIf.map((way): Line => [`  - ${way}`]),
      ],
    };
    group.nodes.push(key);
    groups.set(sameAs, group);
  }
  const carried = tiers.filter(([, { xdpPackets }]) => xdpPackets > 0n);
  return [
    ...[...groups.values()].flatMap(({ nodes, lines }) => [heading(`On ${nodesText(state, nodes)}`), ...lines, BLANK]),
    ...carried.map(([key, { xdpPackets, xdpBytes, bytesReturned }]): Line => {
      const returned = bytesReturned > 0n ? `, and returned ${bytes(bytesReturned)}` : '';
      return [
        `${nodesText(state, [key])}: XDP and tc have forwarded ${plural(xdpPackets, 'packet')}, ${bytes(xdpBytes)}${returned}`,
      ];
    }),
  ];
}
