// SPDX-License-Identifier: Apache-2.0
import { LogKind } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { beforeEach, expect, test } from 'vitest';
import { type EngineEvent, EventKind, SlotKind } from '../ports/dataplane.js';
import { EventLog } from './event-log.js';

let pending: EngineEvent[];
let slots: Map<number, { service: string; name: string }>;
let log: EventLog;
let health: string[];
let bound: string[];

beforeEach(() => {
  pending = [];
  slots = new Map([
    [1, { service: 'web', name: '' }],
    [2, { service: 'web', name: '10.0.0.1:80' }],
    [3, { service: 'dns', name: '' }],
  ]);
  bound = [];
  health = [];
  const source = {
    events() {
      const events = pending;
      pending = [];
      const at = (index: number) => events[index] as EngineEvent;
      return { length: events.length, dropped: 0n, at, kind: (index: number) => at(index).kind };
    },
    slotName(slot: number) {
      const found = slots.get(slot);
      return found && { slot, kind: SlotKind.service, ...found };
    },
  };
  log = new EventLog(source, {
    onListener: ({ service, bound: is, message }) => bound.push(`${service} ${is} ${message}`),
    onHealth: (service) => health.push(service),
    onEjected: (service) => health.push(`${service} ejected`),
  });
});

function event(fields: Partial<EngineEvent>): EngineEvent {
  return {
    timeUnixUs: 1_000_000n,
    connectionId: 1n,
    serviceSlot: 1,
    backendSlot: 2,
    kind: 2,
    reason: 0,
    transport: 'tcp',
    worker: 0,
    retries: 0,
    client: 'c',
    local: 'l',
    upstream: 'u',
    bytesReceived: 1n,
    bytesSent: 2n,
    durationUs: 3n,
    connectUs: 4,
    message: '',
    ...fields,
  };
}

async function read(query: { service?: string; tail?: number }): Promise<string[]> {
  const out: string[] = [];
  const all = log.read({ service: '', tail: 100, follow: false, ...query }, new AbortController().signal);
  for await (const { entry } of all)
    out.push(`${entry.service}/${entry.backend} ${LogKind[entry.kind]} ${entry.reason} ${entry.connectionId}`);
  return out;
}

test('events become entries with names and reasons', async () => {
  pending = [
    event({ reason: 6 }),
    event({ kind: 3, reason: 1 }),
    event({ kind: 4, reason: 1, backendSlot: 0, message: 'tcp *:80' }),
  ];
  log.collect();
  expect(await read({})).toEqual([
    'web/10.0.0.1:80 CONNECTION_CLOSED connect-failed 1',
    'web/10.0.0.1:80 HEALTH_CHANGED healthy 1',
    'web/ LISTENER_CHANGED bound 1',
  ]);
  expect(bound).toEqual(['web true tcp *:80']);
});

test('the last ones of one service, however many there were of others', async () => {
  for (let i = 0; i < 40; i++) {
    pending = Array.from({ length: 300 }, (_, j) =>
      event({ serviceSlot: j === 0 ? 3 : 1, backendSlot: 0, connectionId: BigInt(i * 300 + j) }),
    );
    log.collect();
  }
  expect((await read({ service: 'dns', tail: 2 })).map((line) => line.split(' ').at(-1))).toEqual(['11400', '11700']);
  const kept = await read({ tail: 100_000 });
  expect(kept).toHaveLength(10_000);
  expect(kept.at(-1)).toContain('11999');
});

test('entries keep the names that their slots had when these were settled', async () => {
  const names = async () => (await read({})).map((line) => line.split(' ')[0]);
  pending = [event({})];
  log.collect();
  log.settle();
  slots.set(1, { service: 'other', name: '' });
  slots.delete(2);
  pending = [event({})];
  log.collect();
  expect(await names()).toEqual(['web/10.0.0.1:80', 'other/']);
  log.settle();
  slots.set(1, { service: 'third', name: '' });
  expect(await names()).toEqual(['web/10.0.0.1:80', 'other/']);
});

test('listeners, health and what is ejected are told as they are collected', () => {
  pending = [
    event({ kind: EventKind.healthChanged, serviceSlot: 3 }),
    event({}),
    event({ kind: EventKind.listenerChanged, serviceSlot: 1, reason: 1, message: 'tcp:80' }),
    event({ kind: EventKind.healthChanged, serviceSlot: 99 }),
    event({ kind: EventKind.backendEjected, serviceSlot: 1 }),
  ];
  log.collect();
  expect([health, bound]).toEqual([['dns', 'web ejected'], ['web true tcp:80']]);
});

test('a follower gets what comes, of its service, and ends with the signal', async () => {
  const control = new AbortController();
  const stream = log.read({ service: 'web', tail: 0, follow: true }, control.signal)[Symbol.asyncIterator]();
  const next = stream.next();
  pending = [event({ serviceSlot: 3 }), event({ connectionId: 7n })];
  log.collect();
  expect((await next).value?.entry.connectionId).toBe(7n);
  const last = stream.next();
  control.abort();
  expect((await last).done).toBe(true);
});

test('a follower that does not read loses entries, and is told how many', async () => {
  const stream = log.read({ service: '', tail: 0, follow: true }, new AbortController().signal)[Symbol.asyncIterator]();
  const first = stream.next();
  pending = [event({})];
  log.collect();
  await first;
  pending = Array.from({ length: 5_000 }, () => event({}));
  log.collect();
  expect((await stream.next()).value?.dropped).toBe(904n);
  expect((await stream.next()).value?.dropped).toBe(0n);
  await stream.return?.(undefined);
});
