// SPDX-License-Identifier: Apache-2.0
/** What is said of an entry of the log, and how much it matters. */
import { type LogEntry, LogKind } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { bytes, microseconds } from './quantity.js';

export const LOG_LEVELS = ['info', 'warning', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

const EVENTS: Readonly<Partial<Record<LogKind, string>>> = {
  [LogKind.CONNECTION_OPENED]: 'opened',
  [LogKind.CONNECTION_CLOSED]: 'closed',
  [LogKind.HEALTH_CHANGED]: 'health',
  [LogKind.LISTENER_CHANGED]: 'listener',
  [LogKind.BACKEND_EJECTED]: 'ejected',
  [LogKind.DNS_CHANGED]: 'names',
  [LogKind.ENGINE]: 'engine',
};
const USUAL: ReadonlySet<string> = new Set(['', 'closed', 'healthy', 'bound', 'drained', 'resolved', 'started']);
/** A client was let down, or a backend is out. */
const GRAVE = /^(no-backend|connect-|refused|unhealthy|failed)|error/;

export function eventOf({ kind }: LogEntry): string {
  return EVENTS[kind] ?? 'event';
}

export function levelOf({ kind, reason }: LogEntry): LogLevel {
  if (kind === LogKind.BACKEND_EJECTED || GRAVE.test(reason)) return 'error';
  return USUAL.has(reason) ? 'info' : 'warning';
}

/** "tcp 198.51.100.7:40112 > 10.0.0.1:8080" */
export function pathOf({ transport, client, upstream }: LogEntry): string {
  if (client === '') return upstream;
  return [transport, client, upstream === '' ? '' : `> ${upstream}`].filter((part) => part !== '').join(' ');
}

/** "2.57 ms, in 800 B, out 11.7 KiB" */
export function outcomeOf({
  kind,
  durationUs,
  connectUs,
  bytesReceived,
  bytesSent,
  message,
  reason,
}: LogEntry): string {
  const usual = kind === LogKind.CONNECTION_CLOSED && reason === 'closed';
  const parts = [
    ...(usual ? [] : [reason]),
    ...(kind === LogKind.CONNECTION_CLOSED
      ? [microseconds(durationUs), `in ${bytes(bytesReceived)}`, `out ${bytes(bytesSent)}`]
      : []),
    ...(connectUs > 0n ? [`connected in ${microseconds(connectUs)}`] : []),
    message,
  ];
  return parts.filter((part) => part !== '').join(', ');
}
