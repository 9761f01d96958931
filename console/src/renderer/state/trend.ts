// SPDX-License-Identifier: Apache-2.0
/** Traffic of all nodes over the last minute, as the page has seen it: bounded, with times. */
import type { FleetState } from '@marcher/client/fleet';

export interface TrendPoint {
  readonly atMs: number;
  /** Bytes per second, from clients and to them. */
  readonly received: number;
  readonly sent: number;
  readonly open: number;
}

export const TREND_MAX = 120;
/** 2 Hz: what a chart is drawn anew for. */
const STEP_MS = 500;

export function withPoint(trend: readonly TrendPoint[], { atMs, flow }: FleetState): readonly TrendPoint[] {
  const last = trend.at(-1);
  if (last !== undefined && atMs - last.atMs < STEP_MS) return trend;
  const point = { atMs, received: flow.bytesReceived, sent: flow.bytesSent, open: flow.open };
  return [...trend.slice(-(TREND_MAX - 1)), point];
}
