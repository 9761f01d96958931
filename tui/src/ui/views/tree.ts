// SPDX-License-Identifier: Apache-2.0
/** A service from where clients come in to who answers: its listeners, the nodes that carry it, and each node's backends. */
import type { FleetState, ServiceView } from '@marcher/client/fleet';
import { type BackendStatus, Health } from '@marcher/proto/marcher/v1/node_service_pb';
import { portsText, protocolName } from '../../cli/commands/services.js';
import { type Line, piece } from '../theme/line.js';
import type { Theme, Tone } from '../theme/theme.js';
import { healthText, healthTone } from './services.js';
import { bytesRate, linkText, linkTone } from './shown.js';
import type { Sight } from './view.js';

/** Of one node, and nodes: a service has 10,000 backends at most, and a mesh thousands of nodes. */
const BACKENDS_MAX = 100;
const NODES_MAX = 100;

interface Branch {
  readonly line: Line;
  readonly under?: readonly Branch[];
}

export function serviceTree(service: ServiceView, { state, nowMs, theme, scope }: Sight): Line[] {
  const { flow } = service;
  const byNode = statuses(service, state);
  const keys = [...service.nodes.keys()].filter((key) => scope.node === undefined || key === scope.node);
  const nodes = keys.slice(0, NODES_MAX).map((key): Branch => {
    const node = state.nodes.get(key);
    const tier = service.tiers.get(key);
    const own = service.flows.get(key);
    const unmet = service.nodes.get(key)?.unmet ?? [];
    const all = byNode.get(key) ?? [];
    return {
      line: [
        piece('strong', (node?.name ?? key).padEnd(16)),
        ' ',
        node === undefined ? '' : piece(linkTone(node.link), linkText(node.link, nowMs).padEnd(10)),
        ` ${(tier?.tier ?? '-').padEnd(6)}`,
        own === undefined
          ? ''
          : ` ${own.open} open, ${bytesRate(own.bytesReceived)} in, ${bytesRate(own.bytesSent)} out`,
        piece('bad', unmet.length === 0 ? '' : `  ${unmet.map(({ reason, type }) => reason || type).join(', ')}`),
      ],
      under: [
        ...all.slice(0, BACKENDS_MAX).map((status) => ({ line: backendLine(status) })),
        ...more(all.length - BACKENDS_MAX, 'b lists them'),
      ],
    };
  });
  const listeners = (service.declared?.listeners ?? []).map(
    (listener): Branch => ({
      line: [
        'listener ',
        piece('accent', `${protocolName(listener.protocol)} ${listener.address || '*'} ${portsText(listener)}`),
      ],
    }),
  );
  return [
    [
      piece('head', service.name),
      '  ',
      piece(healthTone(service), `backends: ${healthText(service)}`),
      `  ${flow.open} open, ${bytesRate(flow.bytesReceived)} in, ${bytesRate(flow.bytesSent)} out`,
    ],
    ...drawn([...listeners, ...nodes, ...more(keys.length - NODES_MAX, 'Enter has them')], '', theme),
  ];
}

/** Of a service by node; each node says for itself. */
function statuses({ name, declared }: ServiceView, { backends }: FleetState): ReadonlyMap<string, BackendStatus[]> {
  const found = new Map<string, BackendStatus[]>();
  for (const { name: own, address } of declared?.backends ?? []) {
    for (const [node, status] of backends.get(`${name}/${own || address}`)?.nodes ?? []) {
      const all = found.get(node);
      if (all === undefined) found.set(node, [status]);
      else all.push(status);
    }
  }
  return found;
}

function backendLine({ backend, weight, draining, connections, endpoints }: BackendStatus): Line {
  const sick = endpoints.filter(({ health, ejected }) => ejected || health === Health.UNHEALTHY);
  const text = draining
    ? 'draining'
    : sick.length === 0
      ? 'healthy'
      : sick.length === endpoints.length
        ? 'unhealthy'
        : 'partly';
  const tone: Tone = draining ? 'warn' : text === 'healthy' ? 'good' : text === 'partly' ? 'warn' : 'bad';
  const [first] = sick;
  const addresses = endpoints.map(({ address }) => address);
  return [
    backend.padEnd(14),
    ' ',
    piece(tone, text.padEnd(10)),
    ` weight ${weight}, ${connections} open`,
    addresses.length === 0 ? piece('warn', '  its name has not been resolved') : `  ${addresses.slice(0, 3).join(' ')}`,
    piece('dim', addresses.length > 3 ? ` and ${addresses.length - 3} more` : ''),
    piece('warn', first === undefined ? '' : `  ${first.reason || (first.ejected ? 'ejected' : '')}`),
  ];
}

function more(count: number, where: string): Branch[] {
  return count <= 0 ? [] : [{ line: [piece('dim', `and ${count} more: ${where}`)] }];
}

function drawn(branches: readonly Branch[], indent: string, theme: Theme): Line[] {
  const { branch, lastBranch, trunk } = theme.glyphs;
  return branches.flatMap(({ line, under = [] }, at) => {
    const isLast = at === branches.length - 1;
    return [
      [piece('dim', `${indent}${isLast ? lastBranch : branch} `), ...line],
      ...drawn(under, `${indent}${isLast ? ' '.repeat(trunk.length) : trunk} `, theme),
    ];
  });
}
