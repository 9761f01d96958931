// SPDX-License-Identifier: Apache-2.0
/**
 * Where traffic goes: services, the nodes that carry them, their backends, as three columns with links as wide as what moves. Of many
 * the busiest are shown, and the others are one box, so that nothing is left out of a sum.
 */
import type { BackendView, FleetState, Flow, NodeKey, NodeView, ServiceView } from '@marcher/client/fleet';

export type Health = 'good' | 'warn' | 'bad' | 'unknown';

export interface MapBox {
  readonly key: string;
  readonly column: 0 | 1 | 2;
  readonly label: string;
  readonly detail: { readonly bytesPerSecond: number; readonly open: number };
  readonly health: Health;
  /** Page and name. undefined: it is the others. */
  readonly leads: { readonly page: 'services' | 'proxies'; readonly name: string } | undefined;
  readonly y: number;
}

export interface MapLink {
  readonly key: string;
  readonly from: string;
  readonly to: string;
  readonly y1: number;
  readonly y2: number;
  readonly side: 'service' | 'backend';
  /** 0 to 1, of the busiest link of its side. */
  readonly share: number;
  readonly health: Health;
}

export interface TrafficMapLayout {
  readonly boxes: readonly MapBox[];
  readonly links: readonly MapLink[];
  readonly height: number;
}

export const BOX_HEIGHT = 34;
const GAP = 8;
/** In a column, with the box of the others. */
export const COLUMN_MAX = 10;
const OTHERS = '\u0000others';

export function layOut(state: FleetState, matches: (name: string) => boolean): TrafficMapLayout {
  const services = busiest(
    [...state.services.values()].filter(({ name }) => matches(name)),
    ({ flow }) => weight(flow),
  );
  const shownServices = new Set(services.shown.map(({ name }) => name));
  const nodes = busiest([...state.nodes.values()], ({ flow }) => weight(flow));
  const shownNodes = new Set(nodes.shown.map(({ key }) => key));
  const ofServices = [...state.backends.values()].filter(({ service }) => shownServices.has(service));
  const backends = busiest(ofServices, ({ connections }) => connections);
  const shownBackends = new Set(backends.shown.map(({ key }) => key));

  const columns: readonly (readonly Omit<MapBox, 'y'>[])[] = [
    [...services.shown.map(serviceBox), ...othersBox(0, 'services', services.others, ({ flow }) => flow)],
    [...nodes.shown.map(nodeBox), ...othersBox(1, 'nodes', nodes.others, ({ flow }) => flow)],
    [
      ...backends.shown.map(backendBox),
      ...othersBox(2, 'backends', backends.others, ({ connections }) => ({ open: connections })),
    ],
  ];
  const tallest = Math.max(1, ...columns.map((column) => column.length));
  const height = tallest * (BOX_HEIGHT + GAP) + GAP;
  const boxes = columns.flatMap((column) => {
    const top = (height - (column.length * (BOX_HEIGHT + GAP) - GAP)) / 2;
    return column.map((box, i) => ({ ...box, y: top + i * (BOX_HEIGHT + GAP) }));
  });
  const middle = new Map(boxes.map(({ key, y }) => [key, y + BOX_HEIGHT / 2]));

  const sums = new Map<string, { from: string; to: string; side: MapLink['side']; weight: number; health: Health }>();
  const add = (from: string, to: string, side: MapLink['side'], more: number, health: Health): void => {
    const key = `${from}\u0001${to}`;
    const before = sums.get(key);
    const worst = before === undefined ? health : worse(before.health, health);
    sums.set(key, { from, to, side, weight: (before?.weight ?? 0) + more, health: worst });
  };
  const nodeKey = (key: NodeKey): string => (shownNodes.has(key) ? `n:${key}` : `1${OTHERS}`);
  for (const { name, flows } of [...services.shown, ...services.others]) {
    if (flows.size === 0) continue;
    const from = shownServices.has(name) ? `s:${name}` : `0${OTHERS}`;
    for (const [key, flow] of flows) {
      if (weight(flow) > 0) add(from, nodeKey(key), 'service', weight(flow), nodeHealth(state.nodes.get(key)));
    }
  }
  for (const backend of ofServices) {
    const to = shownBackends.has(backend.key) ? `b:${backend.key}` : `2${OTHERS}`;
    const flows = state.services.get(backend.service)?.flows;
    for (const [key, { connections, draining }] of backend.nodes) {
      // Connections that are short are open at no look; they go there all the same.
      const takesMore = !draining && backend.health !== 'unhealthy' && weight(flows?.get(key)) > 0;
      if (connections > 0n || takesMore) add(nodeKey(key), to, 'backend', Number(connections), backendHealth(backend));
    }
  }
  const most = (side: MapLink['side']): number =>
    Math.max(1e-9, ...[...sums.values()].filter((sum) => sum.side === side).map((sum) => sum.weight));
  const mostOf = { service: most('service'), backend: most('backend') };
  const links = [...sums].flatMap(([key, { from, to, side, weight: moved, health }]) => {
    const [y1, y2] = [middle.get(from), middle.get(to)];
    if (y1 === undefined || y2 === undefined) return [];
    return [{ key, from, to, y1, y2, side, share: moved / mostOf[side], health }];
  });
  return { boxes, links, height };
}

/** Bytes where any move; else open connections, which weigh little beside them. */
function weight(flow: Flow | undefined): number {
  return flow === undefined ? 0 : flow.bytesReceived + flow.bytesSent + flow.open;
}

function busiest<T>(
  all: readonly T[],
  of: (one: T) => number,
): { readonly shown: readonly T[]; readonly others: readonly T[] } {
  if (all.length <= COLUMN_MAX) return { shown: all, others: [] };
  // The busiest first. Of 5,000 most are no more than the last of these, and all of them are not to be sorted with each state.
  const top: { readonly one: T; readonly moved: number }[] = [];
  for (const one of all) {
    const moved = of(one);
    const least = top[COLUMN_MAX - 2];
    if (least !== undefined && moved <= least.moved) continue;
    const before = top.findIndex((each) => each.moved < moved);
    top.splice(before < 0 ? top.length : before, 0, { one, moved });
    if (top.length === COLUMN_MAX) top.pop();
  }
  const shown = new Set(top.map(({ one }) => one));
  // In the order of their names, so that boxes stay where they are while rates change.
  return { shown: all.filter((one) => shown.has(one)), others: all.filter((one) => !shown.has(one)) };
}

function serviceBox(service: ServiceView): Omit<MapBox, 'y'> {
  const { name, flow, healthyBackends, mixedBackends, backends, declared } = service;
  const isKnown = backends > 0 && (healthyBackends > 0 || declared?.health !== undefined);
  const isWhole = healthyBackends === backends && mixedBackends === 0;
  const health = !isKnown ? 'unknown' : healthyBackends === 0 ? 'bad' : isWhole ? 'good' : 'warn';
  return { key: `s:${name}`, column: 0, label: name, detail: moved(flow), health, leads: { page: 'services', name } };
}

function nodeBox(node: NodeView): Omit<MapBox, 'y'> {
  const leads = { page: 'proxies', name: node.key } as const;
  return {
    key: `n:${node.key}`,
    column: 1,
    label: node.name,
    detail: moved(node.flow),
    health: nodeHealth(node),
    leads,
  };
}

function backendBox(backend: BackendView): Omit<MapBox, 'y'> {
  const detail = { bytesPerSecond: 0, open: backend.connections };
  const leads = { page: 'services', name: backend.service } as const;
  return { key: `b:${backend.key}`, column: 2, label: backend.key, detail, health: backendHealth(backend), leads };
}

function othersBox<T>(
  column: 0 | 1 | 2,
  what: string,
  others: readonly T[],
  of: (one: T) => Partial<Flow> | undefined,
): Omit<MapBox, 'y'>[] {
  if (others.length === 0) return [];
  const detail = { bytesPerSecond: 0, open: 0 };
  for (const one of others) {
    const { bytesReceived = 0, bytesSent = 0, open = 0 } = of(one) ?? {};
    detail.bytesPerSecond += bytesReceived + bytesSent;
    detail.open += open;
  }
  const label = `${others.length} other ${what}`;
  return [{ key: `${column}${OTHERS}`, column, label, detail, health: 'unknown', leads: undefined }];
}

function moved(flow: Flow | undefined): MapBox['detail'] {
  return { bytesPerSecond: (flow?.bytesReceived ?? 0) + (flow?.bytesSent ?? 0), open: flow?.open ?? 0 };
}

export function nodeHealth(node: NodeView | undefined): Health {
  if (node === undefined || node.link.kind === 'connecting') return 'unknown';
  if (node.link.kind !== 'live') return 'bad';
  return node.status?.ready === false || node.status?.draining === true ? 'warn' : 'good';
}

export function backendHealth({ health, draining }: BackendView): Health {
  if (health === 'unhealthy') return 'bad';
  if (health === 'mixed' || draining !== 'no') return 'warn';
  return health === 'healthy' ? 'good' : 'unknown';
}

function worse(one: Health, other: Health): Health {
  const order: readonly Health[] = ['good', 'unknown', 'warn', 'bad'];
  return order.indexOf(one) >= order.indexOf(other) ? one : other;
}
