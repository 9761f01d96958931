// SPDX-License-Identifier: Apache-2.0
/** The last minute of traffic. Loaded by itself: recharts is larger than the rest of the console. */
import type { ReactNode } from 'react';
import { Area, AreaChart, CartesianGrid, Legend, ResponsiveContainer, XAxis, YAxis } from 'recharts';
import type { TrendPoint } from '../state/trend.js';
import { bitRate } from '../text/quantity.js';

interface TrafficChartProps {
  readonly points: readonly TrendPoint[];
  readonly nowMs: number;
}

const SPAN_S = 60;

export default function TrafficChart({ points, nowMs }: TrafficChartProps): ReactNode {
  const data = points.map(({ atMs, received, sent }) => ({ at: (atMs - nowMs) / 1_000, received, sent }));
  return (
    <ResponsiveContainer width="100%" height={220}>
      <AreaChart data={data} margin={{ top: 8, right: 12, bottom: 0, left: 4 }} accessibilityLayer={false}>
        <CartesianGrid stroke="var(--line)" vertical={false} />
        <XAxis
          dataKey="at"
          type="number"
          domain={[-SPAN_S, 0]}
          ticks={[-60, -45, -30, -15, 0]}
          tickFormatter={(seconds: number) => (seconds === 0 ? 'now' : `${seconds} s`)}
          stroke="var(--muted)"
          fontSize={12}
          allowDataOverflow
        />
        <YAxis tickFormatter={(value: number) => bitRate(value)} stroke="var(--muted)" fontSize={12} width={84} />
        <Legend
          verticalAlign="top"
          align="right"
          height={24}
          formatter={(name: string) => <span className="chart-name">{name}</span>}
        />
        <Area
          name="from clients"
          dataKey="received"
          stroke="var(--series-1)"
          fill="var(--series-1)"
          fillOpacity={0.2}
          strokeWidth={2}
          isAnimationActive={false}
          dot={false}
        />
        <Area
          name="to clients"
          dataKey="sent"
          stroke="var(--series-2)"
          fill="var(--series-2)"
          fillOpacity={0.2}
          strokeWidth={2}
          isAnimationActive={false}
          dot={false}
        />
      </AreaChart>
    </ResponsiveContainer>
  );
}
