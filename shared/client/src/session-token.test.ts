// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import type { StoredSession } from './address-book.js';
import { sessionToken } from './session-token.js';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const first: StoredSession = { user: 'alice', token: 't1', grantedMs: 0, expiresMs: 15 * MINUTE, endsMs: 12 * HOUR };

function source(session: StoredSession, renew?: () => Promise<StoredSession>) {
  const clock = { nowMs: session.grantedMs };
  const kept: [string, string][] = [];
  const book: { now: StoredSession | undefined } = { now: undefined };
  let asked = 0;
  const token = sessionToken({
    session,
    renew: async (before) => {
      asked++;
      if (renew !== undefined) return await renew();
      const grantedMs = clock.nowMs;
      return {
        ...session,
        token: `${before.token}+`,
        grantedMs,
        expiresMs: Math.min(grantedMs + 15 * MINUTE, session.endsMs),
      };
    },
    keep: async (before, { token }) => void kept.push([before, token]),
    kept: async () => {
      if (book.now === undefined) throw new Error('it is not JSON');
      return book.now;
    },
    nowMs: () => clock.nowMs,
  });
  return { clock, kept, book, token, asked: () => asked };
}

test('a token is renewed at half of its time, once for all who ask, and kept', async () => {
  const { clock, kept, token, asked } = source(first);
  expect(await token()).toBe('t1');
  clock.nowMs = 7 * MINUTE;
  expect(await token()).toBe('t1');
  clock.nowMs = 8 * MINUTE;
  expect(await Promise.all([token(), token(), token()])).toEqual(['t1+', 't1+', 't1+']);
  expect([asked(), kept]).toEqual([1, [['t1', 't1+']]]);
  clock.nowMs = 16 * MINUTE;
  expect(await token()).toBe('t1++');
});

test('one that is over is shown to nobody', async () => {
  const { clock, token, asked } = source(first);
  clock.nowMs = 15 * MINUTE;
  await expect(token()).rejects.toMatchObject({ code: 'denied', message: expect.stringContaining('marcher login') });
  expect(asked()).toBe(0);
});

test('where nobody is logged in nothing is shown until somebody is', async () => {
  const token = sessionToken({
    session: undefined,
    renew: async (before) => before,
    keep: async () => {},
    kept: async () => undefined,
    nowMs: () => 0,
  });
  await expect(token()).rejects.toMatchObject({
    code: 'denied',
    message: expect.stringContaining('nobody is logged in'),
  });
  expect(token.session()).toBeUndefined();
  token.begin(first);
  expect(await token()).toBe('t1');
});

test('what another program has renewed or begun is shown within 2 s', async () => {
  const { clock, book, token, asked } = source(first);
  expect(await token()).toBe('t1');
  book.now = { ...first, token: 't1+', grantedMs: 8 * MINUTE, expiresMs: 23 * MINUTE };
  clock.nowMs = 1_999;
  expect(await token()).toBe('t1');
  clock.nowMs = 8 * MINUTE;
  expect(await Promise.all([token(), token()])).toContain('t1+');
  expect([await token(), asked()]).toEqual(['t1+', 0]);
  // One that was kept before it is none that takes its place.
  book.now = first;
  clock.nowMs = 9 * MINUTE;
  expect(await token()).toBe('t1+');
});

test('another user takes the place of one whose session is over, and not before', async () => {
  const { clock, book, token } = source(first);
  book.now = { ...first, user: 'bob', token: 'b1', grantedMs: 2 * MINUTE, expiresMs: 30 * MINUTE };
  clock.nowMs = 2 * MINUTE;
  expect(await token()).toBe('t1');
  clock.nowMs = 15 * MINUTE;
  expect(await token()).toBe('b1');
});

test('while a renewal fails the one before is good, and the next call tries again', async () => {
  const { clock, token, asked } = source(first, () => Promise.reject(new Error('no')));
  clock.nowMs = 8 * MINUTE;
  expect([await token(), await token(), asked()]).toEqual(['t1', 't1', 2]);
});

test('at the end of the session there is nothing to renew', async () => {
  const { clock, token, asked } = source({ ...first, endsMs: first.expiresMs });
  clock.nowMs = 14 * MINUTE;
  expect([await token(), asked()]).toEqual(['t1', 0]);
});

test('another login takes the place of a session that is over, and of a renewal of it that comes late', async () => {
  let answer = (_session: StoredSession): void => undefined;
  const { clock, kept, token } = source(first, () => new Promise((resolve) => (answer = resolve)));
  clock.nowMs = 16 * MINUTE;
  await expect(token()).rejects.toThrow('marcher login');
  const second = { ...first, token: 't2', grantedMs: 16 * MINUTE, expiresMs: 31 * MINUTE };
  token.begin(second);
  expect(await token()).toBe('t2');
  clock.nowMs = 25 * MINUTE;
  const asking = token();
  const third = { ...second, token: 't3', grantedMs: 25 * MINUTE, expiresMs: 40 * MINUTE };
  token.begin(third);
  answer({ ...second, token: 'late' });
  await asking;
  expect([await token(), token.session(), kept]).toEqual(['t3', third, []]);
});
