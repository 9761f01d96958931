// SPDX-License-Identifier: Apache-2.0
/** What is not seen at the consoles, whose tests have the rest. */
import { expect, test } from 'vitest';
import { AgentError } from './agent-error.js';
import type { AgentCalls, FleetState } from './fleet/contract.js';
import { SessionWatch } from './session-watch.js';
import { SimulatedClock } from './testing/index.js';

const MINUTE = 60_000;

function watched(keep: (nowMs: number) => Promise<void> = async () => {}) {
  const clock = new SimulatedClock();
  const times = { expiresMs: clock.nowMs() + 15 * MINUTE, endsMs: clock.nowMs() + 20 * MINUTE };
  const told: string[] = [];
  const watch = new SessionWatch({
    clock,
    session: { expiresMs: () => times.expiresMs, endsMs: () => times.endsMs, keep: () => keep(clock.nowMs()) },
    fleet: { state: { nodes: new Map() } as unknown as FleetState, subscribe: () => () => undefined },
    reach: { entry: {} as AgentCalls, node: () => ({}) as AgentCalls },
    looked: (phase, isNews) => void (isNews && told.push(phase)),
  });
  watch.start();
  return { watch, clock, times, told };
}

test('an agent that is away ends no session before its time', async () => {
  const { clock, told } = watched(async () => {
    throw new AgentError('unreachable', 'nobody listens', [], undefined);
  });
  await clock.advance(14 * MINUTE);
  expect(told).toEqual([]);
  await clock.advance(2 * MINUTE);
  expect(told).toEqual(['over']);
});

test('that it can not be renewed for much longer is told once', async () => {
  const { clock, times, told } = watched();
  times.expiresMs = times.endsMs;
  await clock.advance(14 * MINUTE);
  expect(told).toEqual([]);
  await clock.advance(3 * MINUTE);
  expect(told).toEqual(['ending']);
});

test('a look that began before a login says nothing of the session after it', async () => {
  let answer = (_: Error): void => undefined;
  const { watch, clock, told } = watched(() => new Promise((_, reject) => (answer = reject)));
  await clock.advance(15_000);
  watch.begun();
  answer(new AgentError('denied', 'the one before is over', [], undefined));
  await clock.advance(0);
  expect([watch.phase, told]).toEqual(['good', []]);
});

test('who has closed it is told nothing more', async () => {
  const { watch, clock, told } = watched(async () => Promise.reject(new AgentError('denied', 'over', [], undefined)));
  watch.close();
  await clock.advance(MINUTE);
  expect(told).toEqual([]);
});
