// SPDX-License-Identifier: Apache-2.0
import { type AgentCalls, AgentError } from '@marcher/client/fleet';
import { expect, test } from 'vitest';
import { type Harness, harness, settled } from '../../testing/console-harness.js';
import { changed, meshState, NOW_MS, nodeKey } from '../../testing/mesh-state.js';
import type { ConsoleSession } from '../ports.js';

const MINUTE = 60_000;
const state = meshState({ nodes: 3, services: 2, backends: 1 });

function open(session: Partial<ConsoleSession>, entry: Partial<AgentCalls> = {}) {
  const asked = { kept: 0, logins: [] as string[] };
  let isOver = false;
  const made = harness(state, {
    entry,
    columns: 110,
    session: {
      user: () => 'alice',
      endsMs: () => NOW_MS + 12 * 60 * MINUTE,
      expiresMs: () => (isOver ? NOW_MS : NOW_MS + 60 * MINUTE),
      keep: async () => {
        asked.kept++;
        if (isOver) throw new AgentError('denied', 'the session of alice was good until then', [], undefined);
      },
      login: async ({ user, password, code }) => {
        asked.logins.push(`${user}/${password}/${code}`);
        if (password !== 'right') throw new AgentError('denied', 'name, password or code is wrong', [], undefined);
        isOver = false;
      },
      ...session,
    },
  });
  made.type(':services');
  made.press('enter');
  return {
    ...{ made, asked },
    end: () => {
      isOver = true;
    },
  };
}
const text = (made: Harness): string => made.screen().join('\n');
async function pass(made: Harness, ms: number): Promise<void> {
  for (let at = 0; at < ms; at += 15_000) {
    made.clock.pass(15_000);
    await settled();
  }
}

test('a session is renewed while nobody asks anything, and nothing is written because of it', async () => {
  const { made, asked } = open({});
  const before = made.controller.lines();
  await pass(made, 10 * MINUTE);
  expect(asked.kept).toBe(40);
  expect(made.controller.lines()).toBe(before);
});

test('when it is over whoever is there logs in again, and what was on the screen is there again', async () => {
  const { made, asked, end } = open({});
  made.type('/0001');
  made.press('enter');
  const away = changed(state, {
    nodes: { [nodeKey(0)]: { link: { kind: 'refused', sinceMs: NOW_MS, reason: 'denied', retryAtMs: NOW_MS } } },
  });
  end();
  await pass(made, 15_000);
  expect(text(made)).toContain('The session of alice is over: log in again');
  expect(made.screen()[0]).toContain('SESSION OVER');
  made.fleet.set(away);
  made.type('wrong');
  made.press('enter', 'enter');
  await settled();
  expect(text(made)).toContain('name, password or code is wrong');
  expect(text(made)).not.toContain('wrong/');
  made.type('right');
  made.press('enter');
  made.type('123456');
  made.press('enter');
  await settled();
  expect(asked.logins).toEqual(['alice/wrong/', 'alice/right/123456']);
  expect(made.fleet.retried).toEqual([nodeKey(0)]);
  expect(made.screen()[0]).not.toContain('SESSION OVER');
  expect(text(made)).toContain('/0001');
  expect(text(made)).toContain('web-0001');
});

test('who is in the middle of something is asked afterwards, and once', async () => {
  const { made, end } = open({});
  made.type(':serv');
  end();
  await pass(made, MINUTE);
  expect(text(made)).not.toContain('log in again');
  expect(made.screen()[0]).toContain('SESSION OVER');
  made.press('esc');
  await pass(made, 15_000);
  expect(text(made)).toContain('log in again');
  made.press('esc');
  await pass(made, MINUTE);
  expect(text(made)).not.toContain('log in again');
  made.type(':login');
  made.press('enter');
  expect(text(made)).toContain('log in again');
});

test('one that somebody has ended is noticed although its times are good', async () => {
  const denied = async () => Promise.reject(new AgentError('denied', 'the session was ended', [], undefined));
  const { made } = open({}, { access: { whoAmI: denied } } as unknown as AgentCalls);
  made.fleet.set(
    changed(state, {
      nodes: { [nodeKey(0)]: { link: { kind: 'refused', sinceMs: NOW_MS, reason: 'denied', retryAtMs: NOW_MS } } },
    }),
  );
  await pass(made, 15_000);
  expect(text(made)).toContain('log in again');
});

test('that it ends whatever is done is said some minutes before', async () => {
  const { made } = open({ endsMs: () => NOW_MS + 6 * MINUTE });
  await pass(made, 30_000);
  expect(text(made)).not.toContain(':login begins another');
  await pass(made, 45_000);
  expect(text(made)).toContain(':login begins another');
});
