// SPDX-License-Identifier: Apache-2.0
import { type Flow, NO_FLOW } from '@marcher/client/fleet';
import { expect, test } from 'vitest';
import { bare } from '../../testing/console-harness.js';
import { meshState, NOW_MS } from '../../testing/mesh-state.js';
import { NO_FEED } from '../feeds/feed.js';
import { RowStore } from '../store/rows.js';
import { listPage } from '../store/ui-state.js';
import { createTheme } from '../theme/theme.js';
import { services } from '../views/services.js';
import type { View } from '../views/view.js';
import { listLines } from './list.js';

const view = services as unknown as View;
const state = meshState({ nodes: 1, services: 500, backends: 1 });
const sight = { state, feed: NO_FEED, nowMs: NOW_MS, theme: createTheme({ LANG: 'C.UTF-8' }), columns: 80, scope: {} };

test('of 500 rows those are made into lines that are seen, each as wide as the screen', () => {
  const page = { ...listPage('services'), selected: 'web-0300' };
  const lines = listLines(view, page, new RowStore().rowsOf(view, page, sight), sight, 100, 20).map(bare);
  expect(lines).toHaveLength(20);
  expect(new Set(lines.map((line) => line.length))).toEqual(new Set([100]));
  expect(lines.filter((line) => line.startsWith('>'))).toEqual([expect.stringContaining('web-0300')]);
});

test('a service that is the same object has the same cells, also when others have changed', () => {
  const store = new RowStore();
  const page = listPage('services');
  const before = store.rowsOf(view, page, sight);
  const changed = new Map(state.services);
  const other = state.services.get('web-0001');
  if (other !== undefined) changed.set('web-0001', { ...other, backends: 9 });
  const after = store.rowsOf(view, page, { ...sight, state: { ...state, services: changed } });
  expect(after.rows[0]).toBe(before.rows[0]);
  expect(after.rows[1]?.cells).toContain('1/9');
});

test('columns are as wide as what is in them, also when that has changed in one row, or rows have moved', () => {
  const store = new RowStore();
  const page = listPage('services');
  const named = (at: number, name: string): typeof state.services =>
    new Map([...state.services].map(([key, value], i) => [key, i === at ? { ...value, name } : value]));
  const [of, long] = [(rows: { widths: readonly number[] }) => rows.widths[0], 'a-service-with-a-long-name'];
  const shown = (services: typeof state.services): number | undefined =>
    of(store.rowsOf(view, page, { ...sight, state: { ...state, services } }));
  expect(shown(state.services)).toBe('web-0001'.length);
  expect(shown(named(7, long))).toBe(long.length);
  expect(shown(named(9, long))).toBe(long.length);
  expect(shown(named(9, `${long}er`))).toBe(long.length + 2);
  expect(shown(state.services)).toBe('web-0001'.length);
  expect(shown(new Map([...named(7, long)].slice(0, 7)))).toBe('web-0001'.length);
});

test('figures that come and go move nothing: neither a column nor one that has just room', () => {
  const store = new RowStore();
  const page = listPage('services');
  const few = new Map([...state.services].slice(0, 3));
  const received = (bytesReceived: number, services = few): string => {
    const first = [...services].map(([key, value], i) => {
      const flow = { ...value.flow, bytesReceived: i === 0 ? bytesReceived : 0 };
      return [key, { ...value, flow }] as const;
    });
    const rows = store.rowsOf(view, page, { ...sight, state: { ...state, services: new Map(first) } });
    return bare(listLines(view, page, rows, sight, 100, 20)[0] ?? '');
  };
  const atRest = received(0);
  const busy = received(1010);
  expect(busy.indexOf('OUT')).toBeGreaterThan(atRest.indexOf('OUT'));
  expect(received(671)).toBe(busy);
  expect(received(0)).toBe(busy);
  expect(received(0, new Map([...few].slice(0, 2)))).toBe(busy);
});

test('a trend that has less room than it needs is left with its newest', () => {
  const flow = (bytesReceived: number): Flow => ({ ...NO_FLOW, bytesReceived });
  const history = [9, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 8].map(flow);
  const web = [...state.services.values()][0];
  if (web === undefined) throw new Error('expected a service');
  const page = listPage('services');
  const services = new Map([['web-0000', { ...web, history }]]);
  const rows = new RowStore().rowsOf(view, page, { ...sight, state: { ...state, services } });
  const row = (width: number): string => listLines(view, page, rows, sight, width, 20).map(bare)[1] ?? '';
  const trend = (width: number): string | undefined => /[\u2581-\u2588]+/.exec(row(width))?.[0];
  const bars = '█▂▂▂▂▂▂▂▂▂▂▇';
  const just = row(200).indexOf(bars) + bars.length;
  expect(trend(just)).toBe(bars);
  expect(trend(just - 1)).toBe('▂▂▂▂▂▂▂▂▂▂▇');
  expect(trend(just - 7)).toBe('▂▂▂▂▇');
  expect(trend(just - 8)).toBeUndefined();
});
