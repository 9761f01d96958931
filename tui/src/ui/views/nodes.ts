// SPDX-License-Identifier: Apache-2.0
/** The nodes of the mesh: how well they are known, how they are, which tiers carry what on them. */
import type { NodeView, ServiceView } from '@marcher/client/fleet';
import { age, bytes, clock, plural, timeMs } from '../../cli/output/quantity.js';
import { type Line, piece } from '../theme/line.js';
import { BLANK, field, flowColumns, heading, linkText, linkTone, stateOf, trafficLines, trendColumn } from './shown.js';
import type { Sight, View } from './view.js';

/** Services that are listed with their tier in the detail of a node; the others are counted. */
const LISTED_MAX = 200;

export const nodes: View<NodeView> = {
  name: 'nodes',
  aliases: ['node', 'no', 'proxies'],
  help: 'nodes: link, state, tiers, load',
  subject: 'node',
  timed: true,
  columns: [
    { title: 'NAME', key: 'N', rank: 0, min: 10, value: ({ name }) => name, order: ({ name }) => name },
    {
      ...{ title: 'LINK', key: 'L', rank: 0 },
      value: ({ link }, { nowMs }) => linkText(link, nowMs),
      order: ({ link }) => link.kind,
      tone: (_text, { link }) => linkTone(link),
    },
    {
      ...{ title: 'STATE', key: 'S', rank: 1, value: (node) => stateOf(node).text },
      tone: (_text, node) => stateOf(node).tone,
    },
    {
      ...{ title: 'TIERS', key: 'T', rank: 2, max: 28, value: tiersText },
    },
    ...flowColumns<NodeView>(({ flow }) => flow),
    {
      title: 'CONFIG',
      key: 'V',
      rank: 6,
      align: 'right',
      value: ({ version }) => String(version),
      order: ({ version }) => version,
    },
    {
      ...{ title: 'UP', key: 'A', rank: 7, align: 'right' },
      value: ({ status }, { nowMs }) => upText(timeMs(status?.started), nowMs),
      order: ({ status }) => timeMs(status?.started) ?? 0,
    },
    trendColumn(({ history }) => history),
    { title: 'ADDRESS', rank: 9, max: 48, value: ({ member }) => member?.address || '-' },
    { title: 'AGENT', rank: 10, value: ({ status }) => status?.version || '-' },
  ],
  items: ({ state }) => [...state.nodes.values()],
  id: ({ key }) => key,
  label: ({ name, key }) => name || key,
  scopeOf: ({ key }) => ({ node: key }),
  none: () => 'No agent has answered yet.',
  detail,
};

/** "2 xdp, 40 relay" */
export function tiersText({ status }: NodeView): string {
  const carrying = (status?.traffic ?? []).filter(({ services }) => services > 0);
  return carrying.map(({ tier, services }) => `${services} ${tier}`).join(', ') || '-';
}

/** In minutes, so that a mesh in which nothing happens looks the same from one minute to the next. */
function upText(startedMs: number | undefined, nowMs: number): string {
  if (startedMs === undefined) return '-';
  return nowMs - startedMs < 60_000
    ? '<1m'
    : age(Math.floor((nowMs - startedMs) / 60_000) * 60_000).replace(/m0s$/, 'm');
}

function detail(node: NodeView, sight: Sight): Line[] {
  const { state, nowMs } = sight;
  const { link, status, member, flow } = node;
  const engine = status?.engine;
  const reason = link.kind === 'stale' || link.kind === 'refused' ? link.reason : '';
  const place = [status?.region, status?.country].filter(Boolean).join('/');
  const lines: Line[] = [
    field('Node', `${node.name}${node.isEntry ? ' (this console asks it first)' : ''}`, 'strong'),
    field('Id', node.key),
    field('Link', linkText(link, nowMs), linkTone(link)),
    ...(reason === '' ? [] : [field('', reason, 'warn')]),
    ...(link.kind === 'live' || node.heardMs === undefined
      ? []
      : [field('Shown', `as it was at ${clock(node.heardMs)}`, 'warn')]),
  ];
  if (status !== undefined) {
    const { text, tone } = stateOf(node);
    lines.push(
      field('State', text, tone),
      ...(place === '' ? [] : [field('Place', place)]),
      field(
        'Agent',
        `${status.version}, pid ${status.pid}, since ${clock(timeMs(status.started))}, ${bytes(status.memoryBytes)}`,
      ),
      engine?.running === true
        ? field(
            'Engine',
            `${engine.version}, pid ${engine.pid}, ${plural(engine.workers, 'worker')}, ${plural(engine.restarts, 'restart')}, ${bytes(engine.memoryBytes)}`,
          )
        : field('Engine', `not running${engine?.lastError ? `: ${engine.lastError}` : ''}`, 'bad'),
      field('Configuration', `version ${node.version}, ${status.configHash.slice(0, 12) || '-'}`),
      field(
        'Serving',
        `${plural(status.services, 'service')}, ${plural(status.listeners, 'listener')}, ${plural(status.backends, 'backend')}`,
      ),
      ...status.conditions.map(({ type, status: met, reason: why, message }) =>
        field(met ? 'Note' : 'Problem', [why || type, message].filter(Boolean).join(': '), met ? 'normal' : 'bad'),
      ),
    );
  }
  if (member !== undefined) {
    const expires = timeMs(member.certificateExpires);
    lines.push(
      field('Address', member.address || '-'),
      field('Clusters', member.clusters.join(', ') || '-'),
      field(
        'Certificate',
        expires === undefined ? '-' : `until ${clock(expires)}`,
        expires !== undefined && expires < nowMs ? 'bad' : 'normal',
      ),
    );
  }
  if (flow !== undefined) {
    lines.push(BLANK, heading('Traffic'), ...trafficLines(flow, node.history, sight));
  }
  lines.push(...tierLines(node), ...carriedLines(node, state.services.values()));
  return lines;
}

function tierLines({ status, availability }: NodeView): Line[] {
  const carried = new Map((status?.traffic ?? []).map((tier) => [tier.tier, tier]));
  if (availability.length === 0) return [];
  return [
    BLANK,
    heading('Tiers'),
    ...availability.map(({ tier, available, reason }): Line => {
      const traffic = carried.get(tier);
      const services =
        traffic === undefined ? '' : `${plural(traffic.services, 'service')}, ${bytes(traffic.bytes)} in  `;
      return [
        tier.padEnd(8),
        piece(available ? 'good' : 'dim', available ? 'available   ' : 'unavailable '),
        services,
        piece('dim', reason),
      ];
    }),
    ...(status?.xdpInterfaces ?? []).map(
      ({ name, mode, reason, tc, tcReason }): Line => [
        piece('dim', `${name.padEnd(8)}`),
        `XDP ${mode || 'not attached'}${reason === '' ? '' : ` (${reason})`}; tc ${tc || 'not attached'}${tcReason === '' ? '' : ` (${tcReason})`}`,
      ],
    ),
  ];
}

/** Which tier carries what here, and why. */
function carriedLines({ key }: NodeView, services: Iterable<ServiceView>): Line[] {
  const lines: Line[] = [];
  let more = 0;
  for (const service of services) {
    const tier = service.tiers.get(key);
    if (tier === undefined) continue;
    if (lines.length >= LISTED_MAX) {
      more++;
      continue;
    }
    lines.push([
      service.name.padEnd(24),
      ' ',
      piece('strong', tier.tier.padEnd(7)),
      piece('dim', tier.reasons.join('; ')),
    ]);
  }
  if (lines.length === 0) return [];
  const rest: Line[] = more === 0 ? [] : [[piece('dim', `and ${more} more: s lists them`)]];
  return [BLANK, heading('Carried, and why'), ...lines, ...rest];
}
