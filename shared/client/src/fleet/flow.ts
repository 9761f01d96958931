// SPDX-License-Identifier: Apache-2.0
/** Flows as values: what they are together, and whether two are the same. */
import type { Flow } from './contract.js';
import { HISTORY_MAX } from './contract.js';

export const NO_FLOW: Flow = Object.freeze({
  open: 0,
  connections: 0,
  bytesReceived: 0,
  bytesSent: 0,
  packetsReceived: 0,
  packetsSent: 0,
  failures: 0,
});

export const NO_HISTORY: readonly Flow[] = Object.freeze([]);

export function isSameFlow(a: Flow, b: Flow): boolean {
  return (
    a === b ||
    (a.open === b.open &&
      a.connections === b.connections &&
      a.bytesReceived === b.bytesReceived &&
      a.bytesSent === b.bytesSent &&
      a.packetsReceived === b.packetsReceived &&
      a.packetsSent === b.packetsSent &&
      a.failures === b.failures)
  );
}

/** The flow before, where that is the same: so that nothing seems to have changed. */
export function settledFlow(before: Flow, now: Flow): Flow {
  if (isSameFlow(before, now)) return before;
  return isSameFlow(now, NO_FLOW) ? NO_FLOW : now;
}

export function sumOfFlows(flows: Iterable<Flow>): Flow {
  const sum = { ...NO_FLOW };
  for (const flow of flows) addFlow(sum, flow);
  return sum;
}

export function addFlow(sum: { -readonly [Key in keyof Flow]: Flow[Key] }, flow: Flow): void {
  if (flow === NO_FLOW) return;
  sum.open += flow.open;
  sum.connections += flow.connections;
  sum.bytesReceived += flow.bytesReceived;
  sum.bytesSent += flow.bytesSent;
  sum.packetsReceived += flow.packetsReceived;
  sum.packetsSent += flow.packetsSent;
  sum.failures += flow.failures;
}

/** The history with one more, at most HISTORY_MAX. */
export function withFlow(history: readonly Flow[], flow: Flow): readonly Flow[] {
  const kept = history.length < HISTORY_MAX ? history : history.slice(history.length - HISTORY_MAX + 1);
  return [...kept, flow];
}
