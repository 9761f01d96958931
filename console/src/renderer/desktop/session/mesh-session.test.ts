// SPDX-License-Identifier: Apache-2.0
import { type AgentCalls, AgentError, type FleetState, type Link } from '@marcher/client/fleet';
import { SimulatedClock } from '@marcher/client/testing';
import { expect, test } from 'vitest';
import type { SessionView } from '../../../ipc/session-contract.js';
import { type Answers, MeshSession } from './mesh-session.js';

const MINUTE = 60_000;

function opened(first: SessionView | undefined = undefined) {
  const clock = new SimulatedClock();
  const good = (): SessionView => ({
    ...{ by: 'session', user: 'alice' },
    ...{ expiresMs: clock.nowMs() + 15 * MINUTE, endsMs: clock.nowMs() + 720 * MINUTE },
  });
  const asked = { kept: 0, logins: [] as unknown[], retried: [] as string[] };
  const main = { view: first ?? good(), isEnded: false };
  let tell = (): void => undefined;
  const fleet = {
    state: stateOf({ kind: 'live', sinceMs: 0 }),
    subscribe(listener: () => void) {
      tell = listener;
      return () => undefined;
    },
    retry: (key: string) => void asked.retried.push(key),
  };
  const whoAmI = async () => {
    if (main.isEnded) throw new AgentError('denied', 'the session was ended', [], undefined);
    return {};
  };
  const session = new MeshSession({
    ...{ mesh: 'prod', fleet, clock },
    reach: { entry: { access: { whoAmI } } as unknown as AgentCalls, node: () => ({}) as AgentCalls },
    bridge: {
      session: async () => main.view,
      keepSession: async () => {
        asked.kept++;
        return main.view;
      },
      logIn: async (login) => {
        asked.logins.push(login);
        if (login.password !== 'right') throw new Error('name, password or code is wrong');
        main.isEnded = false;
        main.view = good();
        return main.view;
      },
      logOut: async () => {
        main.view = { by: 'session' };
        return main.view;
      },
    },
  });
  const link = (next: Link): void => {
    fleet.state = stateOf(next);
    tell();
  };
  return { session, clock, asked, main, link };
}

const stateOf = (link: Link): FleetState =>
  ({ nodes: new Map([['n1', { key: 'n1', isEntry: true, link }]]) }) as unknown as FleetState;
const refused: Link = { kind: 'refused', sinceMs: 0, reason: 'denied', retryAtMs: 0 };
const answers = (password: string): Answers => ({ user: 'alice', password, code: '123456' });

test('a session is kept up while nobody calls', async () => {
  const { session, clock, asked } = opened();
  await session.start();
  await clock.advance(10 * MINUTE);
  expect([asked.kept, session.state.phase]).toEqual([40, 'good']);
});

test('where nobody is logged in the page knows at once, and calls go on when somebody is', async () => {
  const { session, asked, link } = opened({ by: 'session' });
  await session.start();
  expect(session.state).toMatchObject({ phase: 'over', looks: 1 });
  link(refused);
  await expect(session.logIn(answers('wrong'))).rejects.toThrow(/is wrong/);
  expect([session.state.phase, asked.retried]).toEqual(['over', []]);
  await session.logIn(answers('right'));
  expect(session.state).toMatchObject({ phase: 'good', view: { user: 'alice' } });
  expect(asked.retried).toEqual(['n1']);
  expect(asked.logins.at(-1)).toEqual({ mesh: 'prod', ...answers('right') });
});

test('that somebody has ended it is known when the agent refuses, without waiting for the next look', async () => {
  const { session, clock, main, link } = opened();
  await session.start();
  main.isEnded = true;
  link(refused);
  await clock.advance(0);
  expect(session.state.phase).toBe('over');
});

test('an agent that refuses for another reason ends no session', async () => {
  const { session, clock, link } = opened();
  await session.start();
  link(refused);
  await clock.advance(MINUTE);
  expect(session.state.phase).toBe('good');
});

test('after a logout nobody is logged in', async () => {
  const { session } = opened();
  await session.start();
  await session.logOut();
  expect(session.state).toMatchObject({ phase: 'over', view: { by: 'session' } });
  expect(session.state.view?.user).toBeUndefined();
});

test.each(['machine', 'certificate'] as const)('who is let in by a %s has no session to be kept up', async (by) => {
  const { session, clock, asked } = opened({ by });
  await session.start();
  await clock.advance(MINUTE);
  expect([asked.kept, session.state.phase]).toEqual([0, 'good']);
});
