// SPDX-License-Identifier: Apache-2.0
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import {
  type Client,
  Code,
  ConnectError,
  createClient,
  createContextValues,
  createRouterTransport,
  type HandlerContext,
} from '@connectrpc/connect';
import { AccessRole, AccessService } from '@marcher/proto/marcher/v1/access_service_pb';
import { ConfigService } from '@marcher/proto/marcher/v1/config_service_pb';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { localAdministrator, type Principal } from '../../../domain/access/principal.js';
import type { AccessUseCases, UserView } from '../../../ports/access.js';
import { ApplicationError } from '../../../ports/use-cases.js';
import { routeAccessService } from './access-api.js';
import { createCallGate, peerKey } from './call-gate.js';
import { toConnectError } from './errors.js';
import type { Peer } from './peer.js';

const root = localAdministrator('root (uid 0)', 'socket');
const session = { id: '0'.repeat(32), startedMs: 1_000 };
const alice: Principal = { name: 'user:alice', via: 'session', role: 'viewer', scope: 'all', session };
const view: UserView = {
  name: 'alice',
  role: 'owner',
  scope: { clusters: ['eu'], services: ['web'] },
  hasPassword: true,
  hasSecondFactor: true,
  recoveryCodesLeft: 9,
  createdMs: 2_000,
  createdBy: 'root (uid 0)',
};
const key = {
  id: '00000000000000b1',
  name: 'ci',
  role: 'viewer' as const,
  scope: { clusters: [], services: [] },
  createdMs: 1_000,
  createdBy: 'root (uid 0)',
  expiresMs: 9_000,
  rotatedMs: 2_000,
  previousUntilMs: 3_000,
};

function fakes() {
  return {
    bearer: vi.fn(),
    certificate: vi.fn(),
    login: vi.fn<AccessUseCases['login']>(async () => ({ token: 'a.b.c', expiresMs: 5_000, sessionEndsMs: 6_000 })),
    renew: vi.fn<AccessUseCases['renew']>(async () => ({ reason: 'the session has ended' })),
    logout: vi.fn(),
    sessionEndsMs: vi.fn(() => 7_000),
    users: vi.fn(() => [view]),
    createUser: vi.fn(async () => view),
    setRole: vi.fn(() => view),
    setPassword: vi.fn(async () => undefined),
    resetSecondFactor: vi.fn(),
    enrolTotp: vi.fn(async () => ({ secret: 'BASE32', uri: 'otpauth://totp/x' })),
    confirmTotp: vi.fn(() => ['one', 'two']),
    createRecoveryCodes: vi.fn(async () => ['three']),
    removeUser: vi.fn(),
    revokeSessions: vi.fn(),
    keys: vi.fn(() => [key]),
    createKey: vi.fn(() => ({ text: 'mk_secret', key })),
    rotateKey: vi.fn(() => ({ text: 'mk_other', key })),
    revokeKey: vi.fn(),
  } satisfies AccessUseCases;
}

let access: ReturnType<typeof fakes>;
let deniedReasons: string[];
const denied = (_context: HandlerContext, reason: string): void => void deniedReasons.push(reason);

function as(principal: Principal | undefined, source = ''): Client<typeof AccessService> {
  const via = principal?.via ?? 'session';
  const peer: Peer = { allowed: true, author: principal?.name ?? 'unknown', principal, via, source };
  const transport = createRouterTransport((router) => routeAccessService(router, access, denied), {
    router: {
      interceptors: [
        (next) => async (request) => {
          request.contextValues.set(peerKey, peer);
          return await next(request).catch((reason: unknown) => {
            throw toConnectError(reason);
          });
        },
      ],
    },
  });
  return createClient(AccessService, transport);
}

async function failure(promise: Promise<unknown>): Promise<ConnectError> {
  return await promise.then(
    () => {
      throw new Error('expected a failure');
    },
    (error: unknown) => ConnectError.from(error),
  );
}

beforeEach(() => {
  access = fakes();
  deniedReasons = [];
});

describe('sessions', () => {
  test('a login goes with its source; who is wrong is unauthenticated, who is too quick exhausted', async () => {
    const credentials = { name: 'alice', password: 'p', code: ' 123456\n' };
    const granted = await as(undefined, '192.0.2.7').login(credentials);
    expect(granted.session).toMatchObject({
      token: 'a.b.c',
      expires: timestampFromMs(5_000),
      sessionEnds: timestampFromMs(6_000),
    });
    expect(access.login).toHaveBeenCalledWith({ ...credentials, code: '123456' }, '192.0.2.7');
    access.login.mockResolvedValueOnce({ reason: 'wrong' });
    expect(await failure(as(root).login(credentials))).toMatchObject({
      code: Code.Unauthenticated,
      rawMessage: 'wrong',
    });
    expect(access.login).toHaveBeenLastCalledWith(expect.anything(), 'local');
    access.login.mockResolvedValueOnce({ reason: 'slow', retryAfterMs: 1 });
    expect((await failure(as(root).login(credentials))).code).toBe(Code.ResourceExhausted);
    access.login.mockResolvedValueOnce({ reason: 'wrong' });
    await failure(as(root).login({ ...credentials, name: 'My password' }));
    expect(deniedReasons).toEqual(['wrong: user alice', 'slow: user alice', 'wrong: a name that none can have']);
    expect((await failure(as(root).login({ password: 'x'.repeat(10_000) }))).code).toBe(Code.InvalidArgument);
    expect((await failure(as(root).login({ code: '1'.repeat(65) }))).code).toBe(Code.InvalidArgument);
  });

  test('who is asked is told who it is', async () => {
    expect(await as(root).whoAmI({})).toMatchObject({
      name: 'root (uid 0)',
      via: 'socket',
      role: AccessRole.ADMINISTRATOR,
    });
    const scoped: Principal = { ...alice, role: 'owner', scope: { clusters: ['eu'], services: [] } };
    expect(await as(scoped).whoAmI({})).toMatchObject({
      name: 'user:alice',
      via: 'session',
      role: AccessRole.OWNER,
      scope: { clusters: ['eu'] },
      sessionEnds: timestampFromMs(7_000),
    });
    expect((await failure(as(undefined).whoAmI({}))).code).toBe(Code.Unauthenticated);
  });

  test('renewing and logging out are for the session that calls', async () => {
    expect((await failure(as(alice).renew({}))).code).toBe(Code.Unauthenticated);
    await as(alice).logout({});
    expect(access.renew).toHaveBeenCalledWith(alice);
    expect(access.logout).toHaveBeenCalledWith(alice);
  });
});

describe('accounts', () => {
  const password = 'p1';

  test('without a name it is the caller’s own, which takes the password before', async () => {
    expect((await failure(as(alice).setPassword({ password }))).rawMessage).toMatch(/^current_password is empty/);
    expect((await failure(as(alice).setPassword({ name: 'alice', password }))).code).toBe(Code.InvalidArgument);
    await as(alice).setPassword({ password, currentPassword: 'p0' });
    const request = { name: 'alice', password, current: 'p0', resetSecondFactor: false };
    expect(access.setPassword).toHaveBeenCalledWith(request, expect.anything(), 'local');
    await as(root).setPassword({ name: 'alice', password, resetSecondFactor: true });
    const forced = { name: 'alice', password, current: undefined, resetSecondFactor: true };
    expect(access.setPassword).toHaveBeenLastCalledWith(forced, expect.anything(), 'local');
    expect((await failure(as(root).setPassword({ password }))).rawMessage).toMatch(/the caller is no user/);
  });

  test("another's is an administrator's", async () => {
    const client = as(alice);
    const name = 'bob';
    for (const call of [
      client.setPassword({ name, password, currentPassword: 'p0' }),
      client.enrolTotp({ name, password }),
      client.confirmTotp({ name, code: '123456' }),
      client.createRecoveryCodes({ name, password }),
      client.revokeSessions({ name }),
    ]) {
      expect((await failure(call)).code).toBe(Code.PermissionDenied);
    }
    expect(deniedReasons).toHaveLength(5);
    for (const call of [access.setPassword, access.enrolTotp, access.confirmTotp, access.revokeSessions]) {
      expect(call).not.toHaveBeenCalled();
    }
    expect(await as(root).enrolTotp({ name, password })).toMatchObject({ secret: 'BASE32', uri: 'otpauth://totp/x' });
    expect((await as(alice).confirmTotp({ code: '123456' })).recoveryCodes).toEqual(['one', 'two']);
    expect((await as(alice).createRecoveryCodes({ password })).recoveryCodes).toEqual(['three']);
  });

  test('users as they are listed; a name that is none never comes to the use case, and is not repeated', async () => {
    expect((await as(root).listUsers({})).users).toMatchObject([
      { name: 'alice', role: AccessRole.OWNER, scope: { clusters: ['eu'], services: ['web'] }, recoveryCodesLeft: 9 },
    ]);
    for (const name of ['', 'A', 'my secret', 'x'.repeat(65)]) {
      const error = await failure(as(root).createUser({ name, role: AccessRole.VIEWER }));
      expect(error.code).toBe(Code.InvalidArgument);
      expect(error.rawMessage).not.toContain('secret');
    }
    expect((await failure(as(root).createUser({ name: 'bob' }))).rawMessage).toMatch(/^role is 0/);
    expect((await failure(as(root).setRole({ name: 'bob', role: 9 as AccessRole }))).code).toBe(Code.InvalidArgument);
    expect(access.createUser).not.toHaveBeenCalled();
  });

  test('expected failures have the codes that callers decide by', async () => {
    for (const [code, expected] of [
      ['denied', Code.PermissionDenied],
      ['slowed', Code.ResourceExhausted],
      ['conflict', Code.Aborted],
      ['refused', Code.FailedPrecondition],
    ] as const) {
      access.createUser.mockRejectedValueOnce(new ApplicationError(code, 'why'));
      const call = as(root).createUser({ name: 'bob', role: AccessRole.VIEWER });
      expect(await failure(call)).toMatchObject({ code: expected, rawMessage: 'why' });
    }
  });
});

test('keys: a year and a day unless it is said, and an overlap of nothing is one', async () => {
  const { key: text, details } = await as(root).createApiKey({ name: 'ci', role: AccessRole.VIEWER });
  expect([text, details?.previousUntil]).toEqual(['mk_secret', timestampFromMs(3_000)]);
  expect(access.createKey).toHaveBeenCalledWith(
    expect.objectContaining({ lifetimeMs: 31_536_000_000 }),
    expect.anything(),
  );
  await as(root).rotateApiKey({ id: key.id });
  expect(access.rotateKey).toHaveBeenCalledWith({ id: key.id, overlapMs: 86_400_000 }, expect.anything());
  await as(root).rotateApiKey({ id: key.id, overlapMs: 0n });
  expect(access.rotateKey).toHaveBeenLastCalledWith({ id: key.id, overlapMs: 0 }, expect.anything());
  const wrong = await failure(as(root).revokeApiKey({ id: 'mk_00000000000000b1_secret' }));
  expect(wrong.code).toBe(Code.InvalidArgument);
  expect(wrong.rawMessage).not.toContain('secret');
});

describe('the call gate', () => {
  const gate = createCallGate({ changesInFlight: 8, openStreams: 8 }, denied);
  const call = (peer: Peer, method: { parent: unknown; name: string }): ConnectError | undefined => {
    const values = createContextValues().set(peerKey, peer);
    const context = { values, service: method.parent, method, signal: new AbortController().signal };
    try {
      gate(context as unknown as HandlerContext);
      return undefined;
    } catch (error) {
      return ConnectError.from(error);
    }
  };
  const peerOf = (principal: Principal | undefined): Peer => ({
    allowed: true,
    author: 'x',
    via: 'session',
    source: '',
    principal,
  });

  test('asks who calls before anything is read', () => {
    expect(call(peerOf(root), ConfigService.method.apply)).toBeUndefined();
    expect(call(peerOf(alice), ConfigService.method.get)).toBeUndefined();
    expect(call(peerOf(alice), ConfigService.method.apply)).toMatchObject({ code: Code.PermissionDenied });
    expect(call(peerOf(undefined), ConfigService.method.get)).toMatchObject({ code: Code.Unauthenticated });
    expect(call(peerOf(undefined), AccessService.method.login)).toBeUndefined();
    expect(
      call({ ...peerOf(undefined), allowed: false, principal: undefined, reason: 'no' }, AccessService.method.login),
    ).toMatchObject({
      code: Code.PermissionDenied,
      rawMessage: 'no',
    });
    expect(deniedReasons).toHaveLength(3);
  });

  test('lets nobody call what no rule names', () => {
    const method = { ...ConfigService.method.get, name: 'Sudo' };
    expect(call(peerOf(root), method)).toMatchObject({ code: Code.PermissionDenied });
  });
});
