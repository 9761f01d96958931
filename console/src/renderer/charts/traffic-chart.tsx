// SPDX-License-Identifier: Apache-2.0
/**
 * The last minute of traffic. Loaded by itself: recharts is larger than the rest of the console. It draws once a second at most, and its
 * legend is none of recharts', which would measure it and lay out all again.
 */
import { memo, type ReactNode, startTransition, useEffect, useState } from 'react';
import { Area, AreaChart, CartesianGrid, ResponsiveContainer, XAxis, YAxis } from 'recharts';
import type { TrendPoint } from '../state/trend.js';
import { bitRate } from '../text/quantity.js';

interface TrafficChartProps {
  readonly points: readonly TrendPoint[];
  readonly nowMs: number;
}

const SPAN_S = 60;
const REDRAW_MS = 1_000;
/** With the legend as high as its place (page.css). */
const HEIGHT = 196;
const MARGIN = { top: 8, right: 12, bottom: 0, left: 4 };
const TICKS = [-60, -45, -30, -15, 0];
const SERIES = [
  { name: 'from clients', of: 'received', colour: 'var(--series-1)' },
  { name: 'to clients', of: 'sent', colour: 'var(--series-2)' },
] as const;

function TrafficChart({ points, nowMs }: TrafficChartProps): ReactNode {
  const step = useSteps(3);
  const data = points.map(({ atMs, received, sent }) => ({ at: (atMs - nowMs) / 1_000, received, sent }));
  return (
    <>
      <ul className="chart-legend">
        {SERIES.map(({ name, colour }) => (
          <li key={name}>
            <span className="chart-swatch" style={{ background: colour }} /> {name}
          </li>
        ))}
      </ul>
      <ResponsiveContainer width="100%" height={HEIGHT}>
        <AreaChart data={data} margin={MARGIN} accessibilityLayer={false}>
          <CartesianGrid stroke="var(--line)" vertical={false} />
          {step > 0 && (
            <XAxis
              dataKey="at"
              type="number"
              domain={[-SPAN_S, 0]}
              ticks={TICKS}
              tickFormatter={secondsAgo}
              stroke="var(--muted)"
              fontSize={12}
              allowDataOverflow
            />
          )}
          {step > 1 && <YAxis tickFormatter={bitRate} stroke="var(--muted)" fontSize={12} width={84} />}
          {step > 2 &&
            SERIES.map(({ name, of, colour }) => (
              <Area
                key={of}
                name={name}
                dataKey={of}
                stroke={colour}
                fill={colour}
                fillOpacity={0.2}
                strokeWidth={2}
                isAnimationActive={false}
                dot={false}
              />
            ))}
        </AreaChart>
      </ResponsiveContainer>
    </>
  );
}

/** From 0 up to the last one, each in a frame of its own: drawn at once for the first time, the chart takes two frames and more. */
function useSteps(last: number): number {
  const [step, setStep] = useState(0);
  useEffect(() => {
    if (step >= last) return;
    const frame = requestAnimationFrame(() => startTransition(() => setStep(step + 1)));
    return () => cancelAnimationFrame(frame);
  }, [step, last]);
  return step;
}

function secondsAgo(seconds: number): string {
  return seconds === 0 ? 'now' : `${seconds} s`;
}

export default memo(
  TrafficChart,
  (before, now) => Math.trunc(before.nowMs / REDRAW_MS) === Math.trunc(now.nowMs / REDRAW_MS),
);
