// SPDX-License-Identifier: Apache-2.0
/**
 * AccessService over its use cases: bounds on what comes in, and whose account a call is for. Passwords, codes and keys go
 * into use cases and answers and nowhere else: no error of these calls has them, and the call log says nothing of messages.
 */
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from '@connectrpc/connect';
import { AccessRole, AccessService, type Scope as ScopeMessage } from '@marcher/proto/marcher/v1/access_service_pb';
import { API_KEY } from '../../../domain/access/api-key-record.js';
import { isAccessName, isApiKeyId, NAME_EXPECTED } from '../../../domain/access/names.js';
import { PASSWORD } from '../../../domain/access/password.js';
import { type Principal, type Role, type Scope, userOf } from '../../../domain/access/principal.js';
import type { AccessUseCases, ApiKeyView, NotAuthenticated, SessionGrant, UserView } from '../../../ports/access.js';
import { ApplicationError } from '../../../ports/use-cases.js';
import { peerKey } from './call-gate.js';
import { callerOf } from './config-api.js';
import { invalidArgument } from './errors.js';

const codeMaxCharacters = 64;
/** UTF-16 code units; how many characters a password may have is counted by the rules, not here. */
const passwordMaxUnits = 4 * PASSWORD.maxCharacters;

const messageOf: Readonly<Record<Role, AccessRole>> = {
  administrator: AccessRole.ADMINISTRATOR,
  owner: AccessRole.OWNER,
  viewer: AccessRole.VIEWER,
};

/** access: absent where the agent was made without. denied: told of attempts to log in, or at an account, that failed. */
export function routeAccessService(
  router: ConnectRouter,
  access: AccessUseCases | undefined,
  denied: (context: HandlerContext, reason: string) => void = () => undefined,
): void {
  const { method } = AccessService;
  const present = (): AccessUseCases => {
    if (access !== undefined) return access;
    throw new ConnectError('this agent knows no users and no keys', Code.Unimplemented);
  };
  /** The account that a call is for, once it is sure that the caller may. */
  const accountOf = (name: string, context: HandlerContext): string => {
    const account = name === '' ? userOf(principalOf(context)) : name;
    if (account === undefined) throw invalidArgument('name is empty, and the caller is no user: expected that of one');
    checkName(account);
    const verdict = callerOf(context).permits?.([{ kind: 'User', name: account, clusters: [] }]);
    if (verdict?.allowed === false) {
      denied(context, verdict.reason);
      throw new ApplicationError('denied', verdict.reason);
    }
    return account;
  };

  /** What fails by a wrong password is told, too. */
  const watched = async <T>(context: HandlerContext, account: string, work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      const { code } = error as Partial<ApplicationError>;
      if (code === 'denied' || code === 'slowed') denied(context, `${(error as Error).message}: user ${account}`);
      throw error;
    }
  };

  router.rpc(method.login, async ({ name, password, code }, context) => {
    checkSecrets(password, code);
    // Whatever else is wrong with them is told as what is not right.
    const granted = await present().login({ name: name.slice(0, 256), password, code: code.trim() }, sourceOf(context));
    // A password that was typed as a name is nobody's to read.
    const whom = isAccessName(name) ? `user ${name}` : 'a name that none can have';
    if ('reason' in granted) denied(context, `${granted.reason}: ${whom}`);
    return { session: sessionMessage(granted) };
  });
  router.rpc(method.renew, async (_request, context) => {
    return { session: sessionMessage(await present().renew(principalOf(context))) };
  });
  router.rpc(method.logout, (_request, context) => {
    present().logout(principalOf(context));
    return {};
  });
  router.rpc(method.whoAmI, (_request, context) => {
    const { name, via, role, scope, session } = principalOf(context);
    const ends = session === undefined ? undefined : present().sessionEndsMs(session);
    return {
      name,
      via,
      role: messageOf[role],
      ...(scope === 'all' ? {} : { scope: scopeMessage(scope) }),
      ...(ends === undefined ? {} : { sessionEnds: timestampFromMs(ends) }),
    };
  });

  router.rpc(method.listUsers, () => ({ users: present().users().map(userMessage) }));
  router.rpc(method.createUser, async ({ name, role, scope, password }, context) => {
    checkName(name);
    checkSecrets(password);
    const request = { name, role: roleOf(role), scope: scopeOf(scope), password };
    return { user: userMessage(await present().createUser(request, callerOf(context))) };
  });
  router.rpc(method.setRole, ({ name, role, scope }, context) => {
    checkName(name);
    const request = { name, role: roleOf(role), scope: scopeOf(scope) };
    return { user: userMessage(present().setRole(request, callerOf(context))) };
  });
  router.rpc(method.setPassword, async ({ name, password, currentPassword, resetSecondFactor }, context) => {
    const account = accountOf(name, context);
    checkSecrets(password);
    checkSecrets(currentPassword);
    // A session that somebody has left open is not to become an account that somebody has taken.
    if (currentPassword === '' && userOf(principalOf(context)) === account) {
      throw invalidArgument('current_password is empty: expected the password before, since it is your own');
    }
    const current = currentPassword === '' ? undefined : currentPassword;
    const request = { name: account, password, current, resetSecondFactor };
    await watched(context, account, present().setPassword(request, callerOf(context), sourceOf(context)));
    return {};
  });
  router.rpc(method.resetSecondFactor, ({ name }, context) => {
    checkName(name);
    present().resetSecondFactor(name, callerOf(context));
    return {};
  });
  router.rpc(method.enrolTotp, async ({ name, password }, context) => {
    const account = accountOf(name, context);
    checkSecrets(password);
    return await watched(context, account, present().enrolTotp({ name: account, password }, sourceOf(context)));
  });
  router.rpc(method.confirmTotp, ({ name, code }, context) => {
    const account = accountOf(name, context);
    checkSecrets('', code);
    return { recoveryCodes: [...present().confirmTotp({ name: account, code }, callerOf(context))] };
  });
  router.rpc(method.createRecoveryCodes, async ({ name, password }, context) => {
    const account = accountOf(name, context);
    checkSecrets(password);
    const request = { name: account, password };
    const work = present().createRecoveryCodes(request, callerOf(context), sourceOf(context));
    const codes = await watched(context, account, work);
    return { recoveryCodes: [...codes] };
  });
  router.rpc(method.removeUser, ({ name }, context) => {
    checkName(name);
    present().removeUser(name, callerOf(context));
    return {};
  });
  router.rpc(method.revokeSessions, ({ name }, context) => {
    present().revokeSessions(accountOf(name, context), callerOf(context));
    return {};
  });

  router.rpc(method.listApiKeys, () => ({ keys: present().keys().map(keyMessage) }));
  router.rpc(method.createApiKey, ({ name, role, scope, lifetimeMs }, context) => {
    checkName(name);
    const lifetime = lifetimeMs === 0n ? API_KEY.lifetimeMs : Number(lifetimeMs);
    const request = { name, role: roleOf(role), scope: scopeOf(scope), lifetimeMs: lifetime };
    const { text, key } = present().createKey(request, callerOf(context));
    return { key: text, details: keyMessage(key) };
  });
  router.rpc(method.rotateApiKey, ({ id, overlapMs }, context) => {
    checkKeyId(id);
    const overlap = overlapMs === undefined ? API_KEY.overlapMs : Number(overlapMs);
    const { text, key } = present().rotateKey({ id, overlapMs: overlap }, callerOf(context));
    return { key: text, details: keyMessage(key) };
  });
  router.rpc(method.revokeApiKey, ({ id }, context) => {
    checkKeyId(id);
    present().revokeKey(id, callerOf(context));
    return {};
  });
}

function principalOf(context: HandlerContext): Principal {
  const { principal } = context.values.get(peerKey);
  if (principal !== undefined) return principal;
  // The call gate lets nobody come here without; that is not to depend on it.
  throw new ConnectError('who calls is not known', Code.Unauthenticated);
}

/** Whom the limit of attempts counts. */
function sourceOf(context: HandlerContext): string {
  const { source } = context.values.get(peerKey);
  return source === '' ? 'local' : source;
}

function checkName(name: string): void {
  if (isAccessName(name)) return;
  // A password that was given as a name, by mistake, is not repeated.
  throw invalidArgument(`name is not that of a user or a key: ${NAME_EXPECTED}`);
}

function checkKeyId(id: string): void {
  if (isApiKeyId(id)) return;
  throw invalidArgument('id is not that of an API key: expected 16 hex digits, as listed');
}

function checkSecrets(password: string, code = ''): void {
  if (password.length > passwordMaxUnits) {
    throw invalidArgument(`the password is too long: expected at most ${PASSWORD.maxCharacters} characters`);
  }
  if (code.length > codeMaxCharacters)
    throw invalidArgument('code is too long: expected six digits or a recovery code');
}

function roleOf(role: AccessRole): Role {
  const found = (Object.entries(messageOf) as [Role, AccessRole][]).find(([, message]) => message === role)?.[0];
  if (found !== undefined) return found;
  throw invalidArgument(`role is ${role}: expected an administrator, an owner or a viewer`);
}

function scopeOf(scope: ScopeMessage | undefined): Scope {
  return { clusters: scope?.clusters ?? [], services: scope?.services ?? [] };
}

function scopeMessage({ clusters, services }: Scope): { clusters: string[]; services: string[] } {
  return { clusters: [...clusters], services: [...services] };
}

function sessionMessage(granted: SessionGrant | NotAuthenticated) {
  if ('reason' in granted) {
    const slowed = granted.retryAfterMs !== undefined;
    throw new ConnectError(granted.reason, slowed ? Code.ResourceExhausted : Code.Unauthenticated);
  }
  const { token, expiresMs, sessionEndsMs } = granted;
  return { token, expires: timestampFromMs(expiresMs), sessionEnds: timestampFromMs(sessionEndsMs) };
}

function userMessage({ name, role, scope, ...user }: UserView) {
  const { hasPassword, hasSecondFactor, recoveryCodesLeft, createdMs, createdBy } = user;
  return {
    name,
    role: messageOf[role],
    scope: scopeMessage(scope),
    hasPassword,
    hasSecondFactor,
    recoveryCodesLeft,
    created: timestampFromMs(createdMs),
    createdBy,
  };
}

function keyMessage({ id, name, role, scope, ...key }: ApiKeyView) {
  const { createdMs, createdBy, expiresMs, rotatedMs, previousUntilMs } = key;
  return {
    id,
    name,
    role: messageOf[role],
    scope: scopeMessage(scope),
    created: timestampFromMs(createdMs),
    createdBy,
    expires: timestampFromMs(expiresMs),
    rotated: timestampFromMs(rotatedMs),
    ...(previousUntilMs === undefined ? {} : { previousUntil: timestampFromMs(previousUntilMs) }),
  };
}
