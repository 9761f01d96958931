// SPDX-License-Identifier: Apache-2.0
/** The last minute of traffic, drawn once a second at most. Loaded by itself: the first paint is without it. */
import { memo, type ReactNode, type RefObject, useEffect, useMemo, useRef, useState } from 'react';
import type { TrendPoint } from '../state/trend.js';
import { bitRate } from '../text/quantity.js';
import { type Direction, layOutTraffic } from './traffic-chart-layout.js';

interface TrafficChartProps {
  readonly points: readonly TrendPoint[];
  readonly nowMs: number;
}

const REDRAW_MS = 1_000;
/** With the legend as high as its place (page.css). */
const HEIGHT = 196;
const MARGIN = { top: 8, right: 12, bottom: 30, left: 88 };
const PLOT_HEIGHT = HEIGHT - MARGIN.top - MARGIN.bottom;
/** From an axis to its words. */
const GAP = 6;
const SERIES: readonly { readonly name: string; readonly of: Direction; readonly colour: string }[] = [
  { name: 'from clients', of: 'received', colour: 'var(--series-1)' },
  { name: 'to clients', of: 'sent', colour: 'var(--series-2)' },
];

function TrafficChart({ points, nowMs }: TrafficChartProps): ReactNode {
  const place = useRef<HTMLDivElement>(null);
  const width = Math.max(0, useWidth(place) - MARGIN.left - MARGIN.right);
  const { times, rates, paths } = useMemo(
    () => layOutTraffic(points, nowMs, width, PLOT_HEIGHT),
    [points, nowMs, width],
  );
  return (
    <>
      <ul className="chart-legend">
        {SERIES.map(({ name, colour }) => (
          <li key={name}>
            <span className="chart-swatch" style={{ background: colour }} /> {name}
          </li>
        ))}
      </ul>
      <div ref={place}>
        {width > 0 && (
          <svg className="chart" width="100%" height={HEIGHT} role="img" aria-label={inWords(points.at(-1))}>
            <g transform={`translate(${MARGIN.left} ${MARGIN.top})`}>
              {rates.map(({ bits, y }) => (
                <g key={bits} transform={`translate(0 ${y})`}>
                  <line className="chart-grid" x2={width} />
                  <text x={-GAP} dy="0.32em" textAnchor="end">
                    {bitRate(bits / 8)}
                  </text>
                </g>
              ))}
              {times.map(({ at, x }) => (
                <g key={at} transform={`translate(${x} ${PLOT_HEIGHT})`}>
                  <line className="chart-axis" y2={GAP} />
                  <text y={GAP} dy="1em" textAnchor="middle">
                    {at === 0 ? 'now' : `${at} s`}
                  </text>
                </g>
              ))}
              {/* One of its own cuts off what lies beside the plot. */}
              <svg width={width} height={PLOT_HEIGHT}>
                <title>Traffic by time</title>
                {SERIES.map(({ of, colour }) => (
                  <g key={of}>
                    <path d={paths[of].area} fill={colour} fillOpacity={0.2} />
                    <path d={paths[of].line} fill="none" stroke={colour} strokeWidth={2} />
                  </g>
                ))}
              </svg>
              <path className="chart-axis" d={`M0,0V${PLOT_HEIGHT}H${width}`} fill="none" />
            </g>
          </svg>
        )}
      </div>
    </>
  );
}

function inWords(last: TrendPoint | undefined): string {
  if (last === undefined) return 'Traffic: not known yet';
  return `Traffic, lately: ${SERIES.map(({ name, of }) => `${bitRate(last[of])} ${name}`).join(', ')}`;
}

/** Of an element, as it is laid out. 0: not known yet. */
function useWidth(element: RefObject<HTMLElement | null>): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const { current } = element;
    if (current === null) return;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.round(entry?.contentRect.width ?? 0)));
    observer.observe(current);
    return () => observer.disconnect();
  }, [element]);
  return width;
}

export default memo(
  TrafficChart,
  (before, now) => Math.trunc(before.nowMs / REDRAW_MS) === Math.trunc(now.nowMs / REDRAW_MS),
);
