// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { Counter, EventKind, SlotKind } from '../../../ports/dataplane.js';
import { dataplaneCompliance, snapshot } from './compliance.js';
import { InMemoryDataplane } from './in-memory.js';

dataplaneCompliance('in memory', async () => {
  const dataplane = new InMemoryDataplane();
  return { dataplane, ports: [8080, 8081], dispose: () => dataplane.close() };
});

it('refuses an occupied port, or tolerates it when told to', async () => {
  const dataplane = new InMemoryDataplane();
  dataplane.occupied.add('tcp/80');
  const refused = await dataplane.apply(snapshot(1n, 0n, { web: 80 }), { tolerateBindErrors: false });
  expect(refused).toMatchObject({ accepted: false, reasons: [{ path: 'services[0].listeners[0]', service: 'web' }] });
  const tolerated = await dataplane.apply(snapshot(1n, 0n, { web: 80 }), { tolerateBindErrors: true });
  expect(tolerated).toMatchObject({ accepted: true, unbound: [{ service: 'web' }] });
});

it('counts, logs, and forgets the counters in a crash but not the snapshot', async () => {
  const dataplane = new InMemoryDataplane();
  await dataplane.apply(snapshot(1n, 0n, { web: 80 }), { tolerateBindErrors: false });
  dataplane.count('web', '', Counter.connectionsOpened, 3);
  dataplane.log({ service: 'web', bytesSent: 12n });
  const [slot] = [...dataplane.stats({ activeOnly: true })];
  expect(slot?.kind).toBe(SlotKind.service);
  expect(slot?.counter(Counter.connectionsOpened)).toBe(3n);
  const event = dataplane.events().at(0);
  expect(event).toMatchObject({ kind: EventKind.connectionClosed, bytesSent: 12n });
  expect(dataplane.slotName(event.serviceSlot)?.service).toBe('web');
  dataplane.crash();
  expect(dataplane.status()).toMatchObject({ generation: 1n, restarts: 1 });
  expect([...dataplane.stats({ activeOnly: true })]).toEqual([]);
});
