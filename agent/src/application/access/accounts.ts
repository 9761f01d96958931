// SPDX-License-Identifier: Apache-2.0
/** Users, sessions, second factors and keys as one (AccessUseCases). */
import type { Principal, SessionFacts } from '../../domain/access/principal.js';
import { sessionEndsMs } from '../../domain/access/session.js';
import type { AccessUseCases, Credentials } from '../../ports/access.js';
import { ApiKeys } from './api-keys.js';
import { PasswordCheck, type PasswordCheckParts } from './password-check.js';
import type { MeshOf } from './records.js';
import { SecondFactors } from './second-factor.js';
import { Sessions } from './sessions.js';
import { Users } from './users.js';

export interface AccountsParts extends PasswordCheckParts {
  readonly meshOf: MeshOf;
}

export function createAccounts(parts: AccountsParts): AccessUseCases {
  const all = { ...parts, passwords: new PasswordCheck(parts) };
  const sessions = new Sessions(all);
  const users = new Users(all);
  const factors = new SecondFactors(all);
  const keys = new ApiKeys(all);
  return {
    bearer: (token, source) => sessions.bearer(token, source),
    certificate: (user) => sessions.certificate(user),
    login: (credentials: Credentials, source) => sessions.login(credentials, source),
    renew: (principal: Principal) => sessions.renew(principal),
    logout: (principal: Principal) => sessions.logout(principal),
    sessionEndsMs: (session: SessionFacts) => sessionEndsMs(session),
    users: () => users.list(),
    createUser: (request, caller) => users.create(request, caller),
    setRole: (request, caller) => users.setRole(request, caller),
    setPassword: (request, caller, source) => users.setPassword(request, caller, source),
    resetSecondFactor: (name, caller) => users.resetSecondFactor(name, caller),
    enrolTotp: (request, source) => factors.enrol(request, source),
    confirmTotp: (request, caller) => factors.confirm(request, caller),
    createRecoveryCodes: (request, caller, source) => factors.renewRecoveryCodes(request, caller, source),
    removeUser: (name, caller) => users.remove(name, caller),
    revokeSessions: (name, caller) => users.revokeSessions(name, caller),
    keys: () => keys.list(),
    createKey: (request, caller) => keys.create(request, caller),
    rotateKey: (request, caller) => keys.rotate(request, caller),
    revokeKey: (id, caller) => keys.revoke(id, caller),
  };
}
