// SPDX-License-Identifier: Apache-2.0
/** Rows by time, a colour for how long it took: on a canvas, as thousands of cells are no page. What it says stands in the table, too. */
import { type ReactNode, useEffect, useRef } from 'react';
import { useConsole } from '../state/console.js';
import { microseconds } from '../text/quantity.js';
import { said } from '../text/said.js';
import { HEAT_STEPS, heatBoundUs, heatOf, type LatencyRow, quantileUs, SLOTS } from './latency.js';

interface HeatmapProps {
  readonly rows: readonly LatencyRow[];
  readonly quantile: number;
  readonly label: string;
  readonly nameOf: (key: string) => string;
}

const ROW_PX = 18;
const GAP_PX = 1;

export function Heatmap({ rows, quantile, label, nameOf }: HeatmapProps): ReactNode {
  const { theme } = useConsole();
  const canvas = useRef<HTMLCanvasElement>(null);
  const height = rows.length * ROW_PX;
  // biome-ignore lint/correctness/useExhaustiveDependencies: colours are the theme's
  useEffect(() => {
    const element = canvas.current;
    const context = element?.getContext('2d');
    if (element === null || context === null || context === undefined) return;
    const scale = globalThis.devicePixelRatio || 1;
    const width = element.clientWidth;
    element.width = Math.round(width * scale);
    element.height = Math.round(height * scale);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    const style = getComputedStyle(element);
    const colours = Array.from({ length: HEAT_STEPS }, (_, step) => style.getPropertyValue(`--heat-${step}`));
    const cell = width / SLOTS;
    rows.forEach(({ cells }, y) => {
      cells.forEach((histogram, x) => {
        const us = histogram === undefined ? undefined : quantileUs(histogram, quantile);
        if (us === undefined) return;
        context.fillStyle = colours[heatOf(us)] ?? '';
        context.fillRect(x * cell, y * ROW_PX, Math.max(1, cell - GAP_PX), ROW_PX - GAP_PX);
      });
    });
  }, [rows, quantile, height, theme]);
  return (
    <figure className="heatmap">
      <ol className="heatmap-names" aria-hidden="true">
        {rows.map(({ key }) => (
          <li key={key} style={{ height: ROW_PX }} title={said(nameOf(key))}>
            {said(nameOf(key))}
          </li>
        ))}
      </ol>
      <canvas ref={canvas} role="img" aria-label={label} style={{ height }} />
      <figcaption>
        <span>fast</span>
        {Array.from({ length: HEAT_STEPS }, (_, step) => {
          const bound = heatBoundUs(step);
          return (
            <span key={bound ?? 'more'} className="heat-step">
              <span className="heat-swatch" data-step={step} />
              {bound === undefined ? 'more' : microseconds(bound)}
            </span>
          );
        })}
        <span>slow; empty: no connect</span>
      </figcaption>
    </figure>
  );
}
