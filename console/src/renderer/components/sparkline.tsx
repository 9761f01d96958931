// SPDX-License-Identifier: Apache-2.0
/** A line without axes, beside the number that it is of. */
import type { ReactNode } from 'react';

const WIDTH = 96;
const HEIGHT = 22;

interface SparklineProps {
  readonly values: readonly number[];
  readonly label: string;
  readonly wide?: boolean;
}

export function Sparkline({ values, label, wide = false }: SparklineProps): ReactNode {
  const width = wide ? 2 * WIDTH : WIDTH;
  return (
    <svg
      className="sparkline"
      width={width}
      height={HEIGHT}
      viewBox={`0 0 ${width} ${HEIGHT}`}
      role="img"
      aria-label={label}
    >
      <polyline points={sparkPoints(values, width, HEIGHT)} />
    </svg>
  );
}

/** Newest at the right; 0 at the bottom, the largest at the top. */
export function sparkPoints(values: readonly number[], width: number, height: number): string {
  const most = Math.max(...values, 1e-9);
  const step = values.length > 1 ? width / (values.length - 1) : 0;
  return values
    .map((value, i) => `${(i * step).toFixed(1)},${(height - 1 - (value / most) * (height - 2)).toFixed(1)}`)
    .join(' ');
}
