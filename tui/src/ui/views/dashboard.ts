// SPDX-License-Identifier: Apache-2.0
/** The mesh at a glance: who answers, what moves, what is wrong, who is busiest. */
import { type FleetState, listOf, type ServiceView } from '@marcher/client/fleet';
import { plural } from '../../cli/output/quantity.js';
import { type Line, piece } from '../theme/line.js';
import { conflicts } from './conflicts.js';
import { BLANK, bytesRate, coverageText, field, heading, linkText, linkTone, trafficLines, volume } from './shown.js';
import type { Sight } from './view.js';

const BUSIEST_MAX = 10;
const TROUBLES_MAX = 12;

export function dashboard(sight: Sight): Line[] {
  const { state, nowMs } = sight;
  const { flow } = state;
  const agree = state.configurations <= 1;
  return [
    field('Mesh', state.mesh === undefined ? 'none: one node alone' : state.mesh.name, 'strong'),
    field('Nodes', coverageText(state.coverage, nowMs), state.coverage.live === state.coverage.nodes ? 'good' : 'warn'),
    field(
      'Agreement',
      agree
        ? 'all live nodes have the same configuration'
        : `live nodes have ${state.configurations} different configurations`,
      agree ? 'good' : 'warn',
    ),
    field('Serving', servingText(state)),
    BLANK,
    heading('Traffic, over live nodes'),
    ...trafficLines(flow, state.history, sight),
    BLANK,
    heading('Tiers'),
    ...tiers(state),
    BLANK,
    ...troubles(sight),
    ...busiest(state),
  ];
}

function servingText({ services, backends }: FleetState): string {
  let healthy = 0;
  for (const { health } of listOf(backends)) if (health === 'healthy') healthy++;
  return `${plural(services.size, 'service')}, ${healthy} of ${plural(backends.size, 'backend')} healthy`;
}

function tiers({ nodes }: FleetState): Line[] {
  const sums = new Map<string, { services: number; nodes: number }>();
  for (const { status, link } of nodes.values()) {
    if (link.kind !== 'live') continue;
    for (const { tier, services } of status?.traffic ?? []) {
      const sum = sums.get(tier) ?? { services: 0, nodes: 0 };
      sums.set(tier, { services: sum.services + services, nodes: sum.nodes + (services > 0 ? 1 : 0) });
    }
  }
  if (sums.size === 0) return [[piece('dim', 'no node has said yet')]];
  return [...sums].map(([tier, sum]) =>
    field(tier, `${plural(sum.services, 'service')} on ${plural(sum.nodes, 'node')}, each counted where it is carried`),
  );
}

/** What an operator should look at first. */
function troubles(sight: Sight): Line[] {
  const { state, nowMs } = sight;
  const lines: Line[] = [];
  for (const { name, link } of state.nodes.values()) {
    if (link.kind === 'live' || link.kind === 'connecting') continue;
    lines.push([piece(linkTone(link), `node ${name}: ${linkText(link, nowMs)}`), piece('dim', `  ${link.reason}`)]);
  }
  for (const { name, status, link } of state.nodes.values()) {
    if (link.kind !== 'live' || status === undefined) continue;
    if (status.draining) lines.push([piece('warn', `node ${name}: draining`)]);
    for (const { status: met, reason, type, message } of status.conditions) {
      if (!met && !(status.draining && type === 'InService'))
        lines.push([piece('bad', `node ${name}: ${reason || type}`), piece('dim', `  ${message}`)]);
    }
  }
  for (const { key, health, draining } of listOf(state.backends)) {
    if (health === 'unhealthy') lines.push([piece('bad', `backend ${key}: unhealthy`)]);
    else if (health === 'mixed') lines.push([piece('warn', `backend ${key}: unhealthy on some nodes`)]);
    else if (draining !== 'no') lines.push([piece('warn', `backend ${key}: draining`)]);
    // Beyond what is shown they are only counted.
    if (lines.length > 1_000) break;
  }
  for (const item of conflicts.items(sight).slice(0, 100)) {
    lines.push([
      piece(
        'bad',
        conflicts.columns
          .slice(0, 3)
          .map((column) => column.value(item, sight))
          .join(' '),
      ),
    ]);
  }
  if (lines.length === 0) return [[piece('good', 'Nothing is wrong that the nodes know of.')], BLANK];
  const more = lines.length - TROUBLES_MAX;
  return [
    heading('To look at'),
    ...lines.slice(0, TROUBLES_MAX),
    ...(more > 0
      ? [[piece('dim', `and ${more > 900 ? 'many' : more} more: :nodes, :backends and :conflicts list them`)] as Line]
      : []),
    BLANK,
  ];
}

function busiest({ services }: FleetState): Line[] {
  const busy: ServiceView[] = [];
  for (const service of listOf(services)) if (volume(service.flow) > 0 || service.flow.open > 0) busy.push(service);
  if (busy.length === 0) return [];
  busy.sort((one, other) => volume(other.flow) - volume(one.flow) || other.flow.open - one.flow.open);
  return [
    heading('Busiest services'),
    ...busy
      .slice(0, BUSIEST_MAX)
      .map(
        ({ name, flow }): Line => [
          name.slice(0, 30).padEnd(30),
          ` ${bytesRate(flow.bytesReceived).padStart(12)} in ${bytesRate(flow.bytesSent).padStart(12)} out ${String(flow.open).padStart(8)} open`,
        ],
      ),
  ];
}
