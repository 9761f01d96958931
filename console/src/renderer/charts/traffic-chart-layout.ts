// SPDX-License-Identifier: Apache-2.0
/** Where the lines and ticks of the last minute's traffic are, in pixels of the plot: its left is a minute ago, its right now. */
import { scaleLinear } from 'd3-scale';
import { area, line } from 'd3-shape';
import type { TrendPoint } from '../state/trend.js';

const SPAN_S = 60;
const TICKS_S = [-60, -45, -30, -15, 0];
const RATE_TICKS = 4;
/** Bits per second: what the plot reaches up to where nothing flows. */
const LEAST_TOP = 1;

export type Direction = 'received' | 'sent';

export interface TrafficChartLayout {
  /** s, at most 0. */
  readonly times: readonly { readonly at: number; readonly x: number }[];
  /** Round numbers of bits per second from 0 up, the last one at or above the largest that is shown. */
  readonly rates: readonly { readonly bits: number; readonly y: number }[];
  /** SVG paths. Points of before the span lie left of the plot, so that lines come into it from where they were. */
  readonly paths: Readonly<Record<Direction, { readonly line: string; readonly area: string }>>;
}

export function layOutTraffic(
  points: readonly TrendPoint[],
  nowMs: number,
  width: number,
  height: number,
): TrafficChartLayout {
  const x = scaleLinear([-SPAN_S, 0], [0, width]);
  const secondsOf = ({ atMs }: TrendPoint): number => (atMs - nowMs) / 1_000;
  const shown = points.filter((_, i) => {
    const next = points[i + 1];
    return next === undefined || secondsOf(next) >= -SPAN_S;
  });
  const most = shown.reduce((max, { received, sent }) => Math.max(max, received * 8, sent * 8), LEAST_TOP);
  const y = scaleLinear([0, most], [height, 0]).nice(RATE_TICKS);
  const at = (point: TrendPoint): number => x(secondsOf(point));
  const pathsOf = (direction: Direction): { readonly line: string; readonly area: string } => {
    const top = (point: TrendPoint): number => y(point[direction] * 8);
    return {
      line: line<TrendPoint>(at, top).digits(1)(shown) ?? '',
      area: area<TrendPoint>(at, height, top).digits(1)(shown) ?? '',
    };
  };
  return {
    times: TICKS_S.map((seconds) => ({ at: seconds, x: x(seconds) })),
    rates: y.ticks(RATE_TICKS).map((bits) => ({ bits, y: y(bits) })),
    paths: { received: pathsOf('received'), sent: pathsOf('sent') },
  };
}
