// SPDX-License-Identifier: Apache-2.0
/** What several views show in the same words. */
import {
  type Coverage,
  type FleetState,
  type Flow,
  HISTORY_MAX,
  type Link,
  type NodeKey,
  type NodeView,
} from '@marcher/client/fleet';
import { age, bytes, plural, rate } from '../../cli/output/quantity.js';
import { type Line, piece, textOf } from '../theme/line.js';
import { sparkline } from '../theme/sparkline.js';
import type { Tone } from '../theme/theme.js';
import { widthOf } from '../theme/width.js';
import type { Column, Sight } from './view.js';

/** "live", "stale 12s", "refused", "connecting" */
export function linkText(link: Link, nowMs: number): string {
  return link.kind === 'stale' ? `stale ${age(nowMs - link.sinceMs)}` : link.kind;
}

export function linkTone(link: Link): Tone {
  return link.kind === 'live' ? 'good' : link.kind === 'connecting' ? 'dim' : link.kind === 'stale' ? 'warn' : 'bad';
}

/** "47 of 50 nodes; 3 stale for 12s", "1 node", "0 of 3 nodes; 3 connecting" */
export function coverageText(coverage: Coverage, nowMs: number): string {
  const { nodes, live, stale, refused, connecting, oldestMs } = coverage;
  const since = stale > 0 && oldestMs !== undefined ? ` for ${age(nowMs - oldestMs)}` : '';
  const parts = [
    live === nodes ? plural(nodes, 'node') : `${live} of ${plural(nodes, 'node')}`,
    ...(stale > 0 ? [`${stale} stale${since}`] : []),
    ...(refused > 0 ? [`${refused} refused`] : []),
    ...(connecting > 0 ? [`${connecting} connecting`] : []),
  ];
  return parts.join('; ');
}

export function nodeName(state: FleetState, key: NodeKey): string {
  return state.nodes.get(key)?.name || key.replace(/^name:/, '');
}

/** "1.2MiB/s" */
export function bytesRate(perSecond: number): string {
  return perSecond === 0 ? '0' : `${bytes(Math.round(perSecond))}/s`;
}

export function countRate(perSecond: number): string {
  return perSecond === 0 ? '0' : rate(perSecond);
}

/** Bytes both ways. */
export function volume({ bytesReceived, bytesSent }: Flow): number {
  return bytesReceived + bytesSent;
}

const NOTHING = '-';

/** Open connections and rates. flowOf: undefined where nothing is known. */
export function flowColumns<Item>(flowOf: (item: Item, sight: Sight) => Flow | undefined): Column<Item>[] {
  const column = (
    title: string,
    key: string,
    rank: number,
    take: (flow: Flow) => number,
    print: (value: number) => string,
    tone?: Tone,
  ): Column<Item> => ({
    title,
    key,
    rank,
    align: 'right',
    value: (item, sight) => {
      const flow = flowOf(item, sight);
      return flow === undefined ? NOTHING : print(take(flow));
    },
    order: (item, sight) => {
      const flow = flowOf(item, sight);
      return flow === undefined ? -1 : take(flow);
    },
    ...(tone === undefined ? {} : { tone: (text: string) => (text === '0' || text === NOTHING ? undefined : tone) }),
  });
  return [
    column('OPEN', 'O', 1, ({ open }) => open, String),
    column('CONN/S', 'C', 3, ({ connections }) => connections, countRate),
    column('IN', 'I', 4, ({ bytesReceived }) => bytesReceived, bytesRate),
    column('OUT', 'U', 4, ({ bytesSent }) => bytesSent, bytesRate),
    column('FAIL/S', 'F', 2, ({ failures }) => failures, countRate, 'bad'),
  ];
}

const TREND_WIDTH = 12;
const TREND_LEAST = 5;
const FIGURE_WIDTH = 12;

export function trendColumn<Item>(historyOf: (item: Item) => readonly Flow[]): Column<Item> {
  return {
    title: 'TREND',
    rank: 8,
    min: TREND_LEAST,
    keeps: 'end',
    value: (item, { theme }) => sparkline(historyOf(item).map(volume), TREND_WIDTH, theme.glyphs.bars),
    tone: () => 'accent',
  };
}

/** "TITLE   text", wrapped by nobody: long texts are cut at the screen's edge, so they get lines of their own where they can. */
export function field(title: string, text: string, tone: Tone = 'normal'): Line {
  return [piece('dim', title.padEnd(14)), piece(tone, text)];
}

export function heading(text: string): Line {
  return [piece('head', text)];
}

export const BLANK: Line = [''];

/** The nodes in words: "all 3 nodes", "node1, node2", "node1, node2 and 14 more". */
export function nodesText(state: FleetState, keys: readonly NodeKey[]): string {
  const names = keys.map((key) => nodeName(state, key));
  if (keys.length > 1 && keys.length === state.nodes.size) return `all ${keys.length} nodes`;
  return names.length > 3 ? `${names.slice(0, 2).join(', ')} and ${names.length - 2} more` : names.join(', ');
}

export function stateOf(node: NodeView): { readonly text: string; readonly tone: Tone } {
  const { status } = node;
  if (status === undefined) return { text: NOTHING, tone: 'dim' };
  if (status.draining) return { text: 'draining', tone: 'warn' };
  return status.ready ? { text: 'ready', tone: 'good' } : { text: 'not ready', tone: 'bad' };
}

/** What moves, each with as much of what it was as there is room for. */
export function trafficLines(flow: Flow, history: readonly Flow[], { theme, columns }: Sight): Line[] {
  const line = (title: string, now: string, take: (flow: Flow) => number, tone: Tone = 'accent'): Line => {
    const figure = field(title, `${now.padEnd(FIGURE_WIDTH)} `);
    const room = columns - 1 - widthOf(textOf(figure));
    const bars = sparkline(history.map(take), Math.max(0, Math.min(room, HISTORY_MAX)), theme.glyphs.bars);
    return [...figure, piece(tone, bars)];
  };
  return [
    line('Open', String(flow.open), ({ open }) => open),
    line('Connections/s', countRate(flow.connections), ({ connections }) => connections),
    line('In', bytesRate(flow.bytesReceived), ({ bytesReceived }) => bytesReceived),
    line('Out', bytesRate(flow.bytesSent), ({ bytesSent }) => bytesSent),
    line('Failures/s', countRate(flow.failures), ({ failures }) => failures, flow.failures > 0 ? 'bad' : 'accent'),
  ];
}

/** Of the same thing the same text: what moves is seldom what nodes say of the configuration. */
export function madeOnce<Thing extends object>(textOf: (thing: Thing) => string): (thing: Thing) => string {
  const made = new WeakMap<Thing, string>();
  return (thing) => {
    const before = made.get(thing);
    if (before !== undefined) return before;
    const text = textOf(thing);
    made.set(thing, text);
    return text;
  };
}
