// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { LogEntrySchema, LogKind } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { expect, test } from 'vitest';
import { levelOf, outcomeOf, pathOf } from './log-words.js';

const entry = (kind: LogKind, reason: string) => create(LogEntrySchema, { kind, reason });

test('who was let down is an error, who was cut short a warning, the rest is information', () => {
  const closed = LogKind.CONNECTION_CLOSED;
  const levels = ['closed', 'client-reset', 'idle-timeout', 'limit', 'no-backend', 'connect-timeout', 'drained'].map(
    (reason) => levelOf(entry(closed, reason)),
  );
  expect(levels).toEqual(['info', 'warning', 'warning', 'warning', 'error', 'error', 'info']);
  expect(levelOf(entry(LogKind.HEALTH_CHANGED, 'unhealthy'))).toBe('error');
  expect(levelOf(entry(LogKind.BACKEND_EJECTED, ''))).toBe('error');
});

test('a connection is said with its way, its time and what moved', () => {
  const closed = create(LogEntrySchema, {
    kind: LogKind.CONNECTION_CLOSED,
    reason: 'closed',
    transport: 'tcp',
    client: '198.51.100.7:40112',
    upstream: '10.0.0.1:8080',
    durationUs: 2_570n,
    bytesReceived: 800n,
    bytesSent: 12_000n,
  });
  expect(pathOf(closed)).toBe('tcp 198.51.100.7:40112 > 10.0.0.1:8080');
  expect(outcomeOf(closed)).toBe('2.6 ms, in 800 B, out 11.7 KiB');
});
