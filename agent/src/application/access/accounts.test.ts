// SPDX-License-Identifier: Apache-2.0
/** Users, sessions and keys over a replicated store in memory, with what is real in secrets but Argon2's cost. */
import { Secret, TOTP } from 'otpauth';
import { beforeEach, describe, expect, test } from 'vitest';
import { cheapAccounts, MemoryMesh } from '../../adapters/outbound/access/testing/memory-mesh.js';
import { API_KEY } from '../../domain/access/api-key-record.js';
import type { Principal } from '../../domain/access/principal.js';
import { SESSION } from '../../domain/access/session.js';
import type { AccessUseCases, NotAuthenticated, SessionGrant } from '../../ports/access.js';
import type { Caller } from '../../ports/use-cases.js';
import { findUser } from './records.js';

const ROOT: Caller = { author: 'root (uid 0)', origin: 'api' };
const EVERYTHING = { clusters: [], services: [] };
const PASSWORD = 'four words, or rather five';
const SOURCE = '192.0.2.7';

let nowMs: number;
let mesh: MemoryMesh;
let accounts: AccessUseCases;

/** As another agent over the same state. */
function start(): void {
  accounts = cheapAccounts(
    () => mesh,
    () => nowMs,
  );
}

beforeEach(() => {
  nowMs = Date.UTC(2026, 10, 22, 12);
  mesh = new MemoryMesh(() => nowMs);
  start();
});

function granted(answer: SessionGrant | NotAuthenticated): SessionGrant {
  if ('reason' in answer) throw new Error(`expected a session: ${answer.reason}`);
  return answer;
}

async function login(name = 'alice', password = PASSWORD, code = ''): Promise<SessionGrant> {
  return granted(await accounts.login({ name, password, code }, SOURCE));
}

async function principal(token: string): Promise<Principal> {
  const found = await accounts.bearer(token, SOURCE);
  if ('reason' in found) throw new Error(`expected a principal: ${found.reason}`);
  return found;
}

async function refusal(token: string): Promise<string> {
  const found = await accounts.bearer(token, SOURCE);
  return 'reason' in found ? found.reason : `let in as ${found.name}`;
}

async function alice(role: 'administrator' | 'viewer' = 'viewer'): Promise<void> {
  await accounts.createUser({ name: 'alice', role, scope: EVERYTHING, password: PASSWORD }, ROOT);
}

/** Returns what gives codes, and recovery codes. */
async function enrol(): Promise<{ code: () => string; recovery: readonly string[] }> {
  const { secret } = await accounts.enrolTotp({ name: 'alice', password: PASSWORD }, SOURCE);
  const totp = new TOTP({ secret: Secret.fromBase32(secret) });
  const code = () => totp.generate({ timestamp: nowMs });
  const recovery = accounts.confirmTotp({ name: 'alice', code: code() }, ROOT);
  nowMs += 30_000;
  return { code, recovery };
}

const WRONG = { reason: 'the name, the password or the code is wrong' };

describe('users', () => {
  test('are created, listed, given another role, and removed', async () => {
    await alice();
    await accounts.createUser(
      { name: 'bob', role: 'owner', scope: { clusters: ['eu'], services: ['web'] }, password: '' },
      ROOT,
    );
    expect(accounts.users()).toMatchObject([
      { name: 'alice', role: 'viewer', hasPassword: true, hasSecondFactor: false, createdBy: 'root (uid 0)' },
      { name: 'bob', role: 'owner', scope: { clusters: ['eu'], services: ['web'] }, hasPassword: false },
    ]);
    expect(accounts.setRole({ name: 'bob', role: 'administrator', scope: EVERYTHING }, ROOT).role).toBe(
      'administrator',
    );
    accounts.removeUser('bob', ROOT);
    expect(accounts.users().map(({ name }) => name)).toEqual(['alice']);
    expect(() => accounts.removeUser('bob', ROOT)).toThrow(/there is no user "bob"/);
    await expect(alice()).rejects.toMatchObject({ code: 'conflict' });
  });

  test.each([
    [{ name: 'Alice' }, /no name of a user/],
    [{ role: 'owner' as const }, /an owner needs a scope/],
    [{ scope: { clusters: ['eu'], services: [] } }, /a scope is for owners/],
    [{ password: 'short' }, /has 5 characters: expected 15 to 128/],
  ])('what is wrong with one is said (%#)', async (wrong, why) => {
    const request = { name: 'alice', role: 'viewer' as const, scope: EVERYTHING, password: PASSWORD, ...wrong };
    await expect(accounts.createUser(request, ROOT)).rejects.toThrow(why);
    expect(mesh.written).toEqual([]);
  });

  test('nothing that is written has a password, a secret or a code in it', async () => {
    await alice();
    const { secret } = await accounts.enrolTotp({ name: 'alice', password: PASSWORD }, SOURCE);
    const code = new TOTP({ secret: Secret.fromBase32(secret) }).generate({ timestamp: nowMs });
    const recovery = accounts.confirmTotp({ name: 'alice', code }, ROOT);
    const { text } = accounts.createKey({ name: 'ci', role: 'viewer', scope: EVERYTHING, lifetimeMs: 3_600_000 }, ROOT);
    const bytes = Buffer.concat(
      mesh.written.flatMap(({ writes }) => writes.map(({ value }) => value ?? new Uint8Array())),
    );
    const secrets: (string | Buffer)[] = [PASSWORD, secret, Buffer.from(Secret.fromBase32(secret).bytes)];
    secrets.push(...recovery, ...recovery.map((each) => each.replaceAll('-', '')));
    secrets.push(text.slice(-64), Buffer.from(text.slice(-64), 'hex'));
    for (const each of secrets) expect(bytes.includes(each)).toBe(false);
    expect(JSON.stringify(mesh.written.map(({ message }) => message))).not.toMatch(/four words|mk_/);
  });

  test('without a mesh everything says how to make one, and nobody is let in', async () => {
    const alone = cheapAccounts(
      () => undefined,
      () => nowMs,
    );
    expect(() => alone.users()).toThrow(/marcher mesh init/);
    await expect(alone.login({ name: 'a', password: 'b', code: '' }, SOURCE)).rejects.toMatchObject({
      code: 'refused',
    });
    expect(await alone.bearer('mk_x', SOURCE)).toMatchObject({ reason: /in no mesh/ });
    expect(alone.certificate('alice')).toMatchObject({ reason: /in no mesh/ });
  });
});

describe('sessions', () => {
  test('a login is good for 15 minutes, and is renewed for 12 hours', async () => {
    await alice();
    let { token, expiresMs, sessionEndsMs } = await login();
    expect([expiresMs - nowMs, sessionEndsMs - nowMs]).toEqual([SESSION.tokenMs, SESSION.longestMs]);
    expect(await principal(token)).toMatchObject({ name: 'user:alice', via: 'session', role: 'viewer', scope: 'all' });
    const end = sessionEndsMs;
    while (expiresMs < end) {
      nowMs = expiresMs - 1_000;
      ({ token, expiresMs, sessionEndsMs } = granted(await accounts.renew(await principal(token))));
      expect(sessionEndsMs).toBe(end);
    }
    expect(expiresMs).toBe(end);
    nowMs = end;
    expect(await refusal(token)).toMatch(/not valid/);
  });

  test('after its time a token is worth nothing', async () => {
    await alice();
    const { token, expiresMs } = await login();
    nowMs = expiresMs + 10_000;
    expect(await refusal(token)).toMatch(/not valid/);
  });

  test('what a session may do is what the user may do now', async () => {
    await alice();
    const { token } = await login();
    const scope = { clusters: [], services: ['web'] };
    accounts.setRole({ name: 'alice', role: 'owner', scope }, ROOT);
    expect(await principal(token)).toMatchObject({ role: 'owner', scope });
    accounts.removeUser('alice', ROOT);
    expect(await refusal(token)).toMatch(/not valid/);
    // Nor is it of somebody who gets the name later.
    nowMs += 1_000;
    await alice();
    expect(await refusal(token)).toMatch(/not valid/);
  });

  test('logging out ends one session, revoking all of the user, and one may log in again at once', async () => {
    await alice();
    const [one, other] = [await login(), await login()];
    const ended = await principal(one.token);
    accounts.logout(ended);
    expect(await refusal(one.token)).toMatch(/not valid/);
    expect(await accounts.renew(ended)).toMatchObject({ reason: /not valid/ });
    expect((await principal(other.token)).name).toBe('user:alice');
    accounts.revokeSessions('alice', ROOT);
    expect(await refusal(other.token)).toMatch(/not valid/);
    expect((await principal((await login()).token)).name).toBe('user:alice');
  });

  test('a session that began elsewhere within the difference of clocks is revoked, too', async () => {
    await alice();
    nowMs += 4_000;
    const ahead = await login();
    nowMs -= 4_000;
    accounts.revokeSessions('alice', ROOT);
    nowMs += 4_000;
    expect(await refusal(ahead.token)).toMatch(/not valid/);
  });

  test('ended sessions are forgotten when they would have ended, and are never too many', async () => {
    await alice();
    const first = await login();
    accounts.logout(await principal(first.token));
    nowMs += SESSION.longestMs + 1;
    accounts.logout(await principal((await login()).token));
    expect(findUser(mesh, 'alice')?.endedSessions.size).toBe(1);
    const rest = await login();
    const session = (await principal(rest.token)).session;
    for (let i = 0; i < SESSION.endedMax; i++) {
      const id = i.toString(16).padStart(32, '0');
      accounts.logout({ ...(await principal(rest.token)), session: { startedMs: session?.startedMs ?? 0, id } });
      if (findUser(mesh, 'alice')?.endedSessions.size === 0) break;
    }
    expect(findUser(mesh, 'alice')?.endedSessions.size).toBe(0);
    expect(await refusal(rest.token)).toMatch(/not valid/);
  });

  test('wrong names, passwords and texts are told in one way', async () => {
    await alice();
    await accounts.createUser({ name: 'carol', role: 'viewer', scope: EVERYTHING, password: '' }, ROOT);
    for (const [name, password] of [
      ['alice', `${PASSWORD}!`],
      ['nobody', PASSWORD],
      ['carol', PASSWORD],
      ['alice', ''],
      ['Alice\n', PASSWORD],
      ['alice', 'x'.repeat(100_000)],
    ] as const) {
      expect(await accounts.login({ name, password, code: '' }, SOURCE)).toEqual(WRONG);
    }
    for (const text of ['', 'x', 'mk_', 'a.b.c', 'x'.repeat(100_000)]) expect(await refusal(text)).toMatch(/not valid/);
    expect(accounts.certificate('nobody')).toMatchObject({ reason: /no user "nobody"/ });
    expect(accounts.certificate('carol')).toEqual({
      name: 'user:carol',
      via: 'certificate',
      role: 'viewer',
      scope: 'all',
    });
  });
});

describe('guessing', () => {
  const guess = (source: string, name = 'alice', password = 'not the password at all') =>
    accounts.login({ name, password, code: '' }, source);

  test('an account that does not exist is slowed like one that does', async () => {
    await alice();
    for (const name of ['alice', 'nobody']) {
      for (let i = 0; i < 5; i++) expect(await guess(`192.0.2.${i}`, name)).toEqual(WRONG);
      expect(await guess('192.0.2.99', name)).toEqual({
        reason: 'too many attempts: try again in 1 s',
        retryAfterMs: 1_000,
      });
    }
  });

  test('many at once are not many free ones', async () => {
    await alice();
    const answers = await Promise.all(Array.from({ length: 30 }, (_, i) => guess(`198.51.100.${i}`)));
    expect(answers.filter((answer) => !('retryAfterMs' in answer))).toHaveLength(5);
  });

  test('a source is slowed whatever names it tries, an IPv6 one by its network', async () => {
    await alice();
    for (let i = 0; i < 20; i++) expect(await guess(`2001:db8::${i}`, `user${i}`)).toEqual(WRONG);
    expect(await guess('2001:db8::99', 'alice', PASSWORD)).toMatchObject({ retryAfterMs: 1_000 });
    expect(await guess('2001:db8:0:1::1', 'alice', PASSWORD)).toHaveProperty('token');
  });

  test('waiting is not enough with the wrong password, and the right one is not looked at before', async () => {
    await alice();
    for (let i = 0; i < 5; i++) await guess(SOURCE);
    expect(await guess(SOURCE, 'alice', PASSWORD)).toMatchObject({ retryAfterMs: 1_000 });
    nowMs += 1_000;
    await guess(SOURCE);
    expect(await guess(SOURCE)).toMatchObject({ retryAfterMs: 2_000 });
    nowMs += 2_000;
    expect(await guess(SOURCE, 'alice', PASSWORD)).toHaveProperty('token');
    expect(await guess(SOURCE)).toEqual(WRONG);
  });

  test('whoever came in from somewhere lately is not kept out by what others try elsewhere', async () => {
    await alice();
    await login();
    for (let i = 0; i < 20; i++) await guess(`198.51.100.${i}`);
    expect(await guess('198.51.100.99', 'alice', PASSWORD)).toHaveProperty('retryAfterMs');
    expect(await guess(SOURCE, 'alice', PASSWORD)).toHaveProperty('token');
  });

  test('where there was no room to look at it, it was no attempt', async () => {
    await alice();
    const answers = await Promise.allSettled(Array.from({ length: 60 }, (_, i) => guess(`192.0.2.${i}`, `user${i}`)));
    const full = answers.findIndex(({ status }) => status === 'rejected');
    expect(answers[full]).toMatchObject({ reason: { code: 'unavailable' } });
    for (let i = 0; i < 5; i++) expect(await guess('203.0.113.1', `user${full}`)).toEqual(WRONG);
  });
});

describe('passwords', () => {
  test('one is changed with the one before, which ends the sessions', async () => {
    await alice();
    const { token } = await login();
    const next = 'another five words or so';
    const change = (current: string) =>
      accounts.setPassword({ name: 'alice', password: next, current, resetSecondFactor: false }, ROOT, SOURCE);
    await expect(change('not the password at all')).rejects.toMatchObject({ code: 'denied', message: WRONG.reason });
    await change(PASSWORD);
    expect(await refusal(token)).toMatch(/not valid/);
    expect(await accounts.login({ name: 'alice', password: PASSWORD, code: '' }, SOURCE)).toEqual(WRONG);
    await login('alice', next);
  });

  test('the wrong password before counts as a guess', async () => {
    await alice();
    for (let i = 0; i < 5; i++) await accounts.login({ name: 'alice', password: `wrong ${i}`, code: '' }, SOURCE);
    const request = {
      name: 'alice',
      password: 'another five words or so',
      current: PASSWORD,
      resetSecondFactor: false,
    };
    await expect(accounts.setPassword(request, ROOT, SOURCE)).rejects.toMatchObject({ code: 'slowed' });
  });
});

describe('second factors', () => {
  test('once it is there, a code is needed, and each is good once', async () => {
    await alice();
    const { code } = await enrol();
    expect(accounts.users()[0]).toMatchObject({ hasSecondFactor: true, recoveryCodesLeft: 10 });
    expect(await accounts.login({ name: 'alice', password: PASSWORD, code: '' }, SOURCE)).toEqual(WRONG);
    const used = code();
    await login('alice', PASSWORD, used);
    expect(await accounts.login({ name: 'alice', password: PASSWORD, code: used }, SOURCE)).toEqual(WRONG);
    nowMs += 30_000;
    await login('alice', PASSWORD, code());
    // After a restart of this node, or at another: it is mesh.written.
    start();
    expect(await accounts.login({ name: 'alice', password: PASSWORD, code: code() }, SOURCE)).toEqual(WRONG);
  });

  test('of two logins with one code at once, one is let in', async () => {
    await alice();
    const { code } = await enrol();
    const both = [1, 2].map(() => accounts.login({ name: 'alice', password: PASSWORD, code: code() }, SOURCE));
    expect((await Promise.all(both)).filter((answer) => 'token' in answer)).toHaveLength(1);
  });

  test('a code of half a minute ago is good, of a minute ago not', async () => {
    await alice();
    const { code } = await enrol();
    nowMs += 60_000;
    const early = code();
    nowMs += 60_000;
    expect(await accounts.login({ name: 'alice', password: PASSWORD, code: early }, SOURCE)).toEqual(WRONG);
    const late = code();
    nowMs += 30_000;
    await login('alice', PASSWORD, late);
  });

  test('a code that can not be marked as used lets nobody in', async () => {
    await alice();
    const { code, recovery } = await enrol();
    mesh.fails = true;
    for (const each of [code(), recovery[0] ?? '']) {
      await expect(login('alice', PASSWORD, each)).rejects.toMatchObject({ code: 'unavailable' });
    }
    mesh.fails = false;
    await login('alice', PASSWORD, code());
  });

  test('recovery codes are good once each, and new ones replace them', async () => {
    await alice();
    const { recovery } = await enrol();
    const [one = '', two = ''] = recovery;
    await login('alice', PASSWORD, one.toUpperCase());
    expect(await accounts.login({ name: 'alice', password: PASSWORD, code: one }, SOURCE)).toEqual(WRONG);
    expect(accounts.users()[0]?.recoveryCodesLeft).toBe(9);
    const fresh = await accounts.createRecoveryCodes({ name: 'alice', password: PASSWORD }, ROOT, SOURCE);
    expect(accounts.users()[0]?.recoveryCodesLeft).toBe(10);
    expect(await accounts.login({ name: 'alice', password: PASSWORD, code: two }, SOURCE)).toEqual(WRONG);
    await login('alice', PASSWORD, fresh[0]);
  });

  test('enrolling takes the password and a code; until then nothing has changed', async () => {
    await alice();
    const wrong = accounts.enrolTotp({ name: 'alice', password: 'not the password at all' }, SOURCE);
    await expect(wrong).rejects.toMatchObject({ code: 'denied' });
    expect(() => accounts.confirmTotp({ name: 'alice', code: '000000' }, ROOT)).toThrow(/begin anew/);
    await accounts.enrolTotp({ name: 'alice', password: PASSWORD }, SOURCE);
    for (let i = 0; i < 5; i++) {
      expect(() => accounts.confirmTotp({ name: 'alice', code: 'nocode' }, ROOT)).toThrow(/the code is wrong/);
    }
    expect(() => accounts.confirmTotp({ name: 'alice', code: 'nocode' }, ROOT)).toThrow(/begin anew/);
    await login();
  });

  test('it outlives a change of the password by its user; an administrator has to say that it goes', async () => {
    await alice();
    const { code } = await enrol();
    const next = 'another five words or so';
    const set = (current: string | undefined, resetSecondFactor: boolean, password = next) =>
      accounts.setPassword({ name: 'alice', password, current, resetSecondFactor }, ROOT, SOURCE);
    await set(PASSWORD, false);
    expect(await accounts.login({ name: 'alice', password: next, code: '' }, SOURCE)).toEqual(WRONG);
    await login('alice', next, code());
    await expect(set(undefined, false, PASSWORD)).rejects.toThrow(/--reset-totp/);
    await set(undefined, true, PASSWORD);
    expect(accounts.users()[0]).toMatchObject({ hasSecondFactor: false, recoveryCodesLeft: 0 });
    await login();
  });

  test('an administrator takes it away', async () => {
    await alice();
    await enrol();
    accounts.resetSecondFactor('alice', ROOT);
    await login();
    expect(() => accounts.resetSecondFactor('alice', ROOT)).toThrow(/has no second factor/);
  });
});

describe('API keys', () => {
  const create = (name = 'ci') =>
    accounts.createKey(
      { name, role: 'owner', scope: { clusters: ['eu'], services: [] }, lifetimeMs: 7 * 86_400_000 },
      ROOT,
    );

  test('one is what it was made for, until it expires', async () => {
    const { text, key } = create();
    expect(text).toMatch(/^mk_[0-9a-f]{16}_[0-9a-f]{64}$/);
    expect(await principal(text)).toEqual({
      name: 'key:ci',
      via: 'api-key',
      role: 'owner',
      scope: { clusters: ['eu'], services: [] },
    });
    expect(JSON.stringify(accounts.keys())).not.toContain(text.slice(-64));
    nowMs = key.expiresMs - 1;
    await principal(text);
    nowMs++;
    expect(await refusal(text)).toMatch(/not valid/);
    expect(() => accounts.rotateKey({ id: key.id, overlapMs: 0 }, ROOT)).toThrow(/has expired/);
  });

  test('a rotated one is good for a while beside the new one, and not the one before that', async () => {
    const { text: first, key } = create();
    const { text: second, key: rotated } = accounts.rotateKey({ id: key.id, overlapMs: API_KEY.overlapMs }, ROOT);
    expect(rotated.previousUntilMs).toBe(nowMs + API_KEY.overlapMs);
    await principal(first);
    await principal(second);
    const { text: third } = accounts.rotateKey({ id: key.id, overlapMs: API_KEY.overlapMs }, ROOT);
    expect(await refusal(first)).toMatch(/not valid/);
    nowMs += API_KEY.overlapMs - 1;
    await principal(second);
    nowMs++;
    expect(await refusal(second)).toMatch(/not valid/);
    await principal(third);
    expect(accounts.keys()[0]).not.toHaveProperty('previousUntilMs');
    const { text: fourth } = accounts.rotateKey({ id: key.id, overlapMs: 0 }, ROOT);
    expect(await refusal(third)).toMatch(/not valid/);
    await principal(fourth);
  });

  test('revoked, forged and mistyped ones are worth nothing', async () => {
    const { text, key } = create();
    const last = text.endsWith('0') ? '1' : '0';
    const wrong = [text.slice(0, -1) + last, text.toUpperCase(), `${text}0`, `mk_${'0'.repeat(16)}_${text.slice(-64)}`];
    for (const each of wrong) expect(await refusal(each)).toMatch(/not valid/);
    accounts.revokeKey(key.id, ROOT);
    expect(await refusal(text)).toMatch(/not valid/);
    expect(accounts.keys()).toEqual([]);
    expect(() => accounts.revokeKey(key.id, ROOT)).toThrow(/no API key/);
  });

  test('names are one key’s, and lifetimes and overlaps have bounds', () => {
    const { key } = create();
    expect(() => create()).toThrow(/there is a key ci already/);
    const scope = EVERYTHING;
    for (const lifetimeMs of [0, API_KEY.lifetimeMinMs - 1, API_KEY.lifetimeMaxMs + 1, Number.NaN]) {
      expect(() => accounts.createKey({ name: 'x', role: 'viewer', scope, lifetimeMs }, ROOT)).toThrow(
        /an hour to 3 years/,
      );
    }
    expect(() => accounts.rotateKey({ id: key.id, overlapMs: API_KEY.overlapMaxMs + 1 }, ROOT)).toThrow(/30 days/);
  });
});
