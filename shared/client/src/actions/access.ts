// SPDX-License-Identifier: Apache-2.0
/** Users of the mesh and API keys: made, changed, taken away. Each is looked at again before. */
import { AccessRole, type ApiKey, type Scope, type User } from '@marcher/proto/marcher/v1/access_service_pb';
import type { AgentCalls } from '../fleet/contract.js';
import { commandLine } from './command.js';
import { byTyping, changedSince, type Deed, goneSince, plainly, within } from './deed.js';

/** As `--role` takes them. */
export const ACCESS_ROLES = {
  administrator: AccessRole.ADMINISTRATOR,
  owner: AccessRole.OWNER,
  viewer: AccessRole.VIEWER,
} as const;
export type RoleWord = keyof typeof ACCESS_ROLES;

/** Who may do what. The scope is an owner's; others have none. */
export interface Grant {
  readonly role: RoleWord;
  readonly clusters: readonly string[];
  readonly services: readonly string[];
}

export function roleWord(role: AccessRole): RoleWord | 'unknown' {
  const found = Object.entries(ACCESS_ROLES).find(([, each]) => each === role)?.[0];
  return (found as RoleWord | undefined) ?? 'unknown';
}

/** "owner of cluster eu, services web" */
export function grantText({ role, clusters, services }: Grant): string {
  const of = [
    ...(clusters.length > 0 ? [`cluster ${clusters.join(', ')}`] : []),
    ...(services.length > 0 ? [`service ${services.join(', ')}`] : []),
  ];
  return of.length === 0 ? role : `${role} of ${of.join(' and ')}`;
}

export function grantOf({ role, scope }: { readonly role: AccessRole; readonly scope?: Scope | undefined }): Grant {
  const word = roleWord(role);
  return {
    role: word === 'unknown' ? 'viewer' : word,
    clusters: scope?.clusters ?? [],
    services: scope?.services ?? [],
  };
}

/** password: undefined: the user has none, and comes with a client certificate. */
export function createUser(calls: AgentCalls, name: string, grant: Grant, password: string | undefined): Deed {
  const title = `create user ${name}`;
  return {
    title,
    confirmation: plainly(title),
    consequences: [
      `${name} is ${grantText(grant)}, at all nodes.`,
      password === undefined
        ? 'There is no password: the user comes with a client certificate (marcher mesh certificate issue).'
        : 'The user logs in with the password: marcher login.',
    ],
    lasting: undefined,
    apply: async (signal) => {
      const { user } = await calls.access.createUser(
        { name, ...wireGrant(grant), password: password ?? '' },
        within(signal),
      );
      const undo = user === undefined ? {} : { undo: removeUser(calls, user) };
      return { text: `User ${name} is ${grantText(grant)}.`, ...undo };
    },
    asCommand: (target = {}) => {
      const none = password === undefined ? ['--no-password'] : [];
      return commandLine(target, ['user', 'add', name, ...none, '--role', grant.role, ...scopeWords(grant)]);
    },
  };
}

export function setRole(calls: AgentCalls, user: User, grant: Grant): Deed {
  const { name } = user;
  const title = `make user ${name} ${grantText(grant)}`;
  const before = grantOf(user);
  return {
    title,
    confirmation: plainly(title),
    consequences: [
      `${name} is ${grantText(before)} now, and ${grantText(grant)} from then on, also in sessions that are open.`,
    ],
    lasting: undefined,
    apply: async (signal) => {
      await userAsSeen(calls, user, signal);
      const { user: now } = await calls.access.setRole({ name, ...wireGrant(grant) }, within(signal));
      const undo = now === undefined ? {} : { undo: setRole(calls, now, before) };
      return { text: `User ${name} is ${grantText(grant)}.`, ...undo };
    },
    asCommand: (target = {}) => commandLine(target, ['user', 'role', name, grant.role, ...scopeWords(grant)]),
  };
}

export interface NewPassword {
  readonly password: string;
  /** Of one's own. */
  readonly current?: string;
  /** Without the password before a second factor can't be kept. */
  readonly resetSecondFactor: boolean;
}

export function setPassword(calls: AgentCalls, { name }: Pick<User, 'name'>, given: NewPassword): Deed {
  const title = `change the password of user ${name}`;
  const { password, current, resetSecondFactor } = given;
  return {
    title,
    confirmation: plainly(title),
    consequences: [
      `All sessions of ${name} end.`,
      ...(resetSecondFactor ? ['The second factor is taken away, with the recovery codes.'] : []),
    ],
    lasting: 'The password before is kept nowhere.',
    apply: async (signal) => {
      const request = { name, password, currentPassword: current ?? '', resetSecondFactor };
      await calls.access.setPassword(request, within(signal));
      return { text: `User ${name} has another password, and no session any more.` };
    },
    asCommand: (target = {}) =>
      commandLine(target, ['user', 'password', name, ...(resetSecondFactor ? ['--reset-totp'] : [])]),
  };
}

export function resetSecondFactor(calls: AgentCalls, user: User): Deed {
  const { name } = user;
  const title = `take the second factor of user ${name} away`;
  return {
    title,
    confirmation: byTyping(title, name),
    consequences: [`${name} logs in with the password alone from then on, until another is enrolled.`],
    lasting: `The authenticator's secret is gone: marcher user totp ${name} enrols another.`,
    apply: async (signal) => {
      await userAsSeen(calls, user, signal);
      await calls.access.resetSecondFactor({ name }, within(signal));
      return { text: `User ${name} has no second factor any more.` };
    },
    asCommand: (target = {}) => commandLine(target, ['user', 'totp', name, '--remove']),
  };
}

export function endSessions(calls: AgentCalls, { name }: Pick<User, 'name'>): Deed {
  const title = `end all sessions of user ${name}`;
  return {
    title,
    confirmation: plainly(title),
    consequences: [`${name} has to log in again, everywhere. API keys and client certificates are not concerned.`],
    lasting: 'A session that has ended stays so.',
    apply: async (signal) => {
      await calls.access.revokeSessions({ name }, within(signal));
      return { text: `User ${name} has no session any more.` };
    },
    asCommand: (target = {}) => commandLine(target, ['user', 'logout', name]),
  };
}

export function removeUser(calls: AgentCalls, user: User): Deed {
  const { name } = user;
  const title = `remove user ${name}`;
  return {
    title,
    confirmation: byTyping(title, name),
    consequences: [`${name} is let in no more, at any node, and all sessions end.`],
    lasting: 'The password and the second factor are kept nowhere: the user would have to be made anew.',
    apply: async (signal) => {
      await userAsSeen(calls, user, signal);
      await calls.access.removeUser({ name }, within(signal));
      return { text: `User ${name} is removed.` };
    },
    asCommand: (target = {}) => commandLine(target, ['user', 'remove', name, '-y']),
  };
}

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

/** days: 1 to 1,095. */
export function createApiKey(calls: AgentCalls, name: string, grant: Grant, days: number): Deed {
  const title = `make API key ${name}`;
  return {
    title,
    confirmation: plainly(title),
    consequences: [`Whoever has it is ${grantText(grant)}, for ${days} days. It is shown once, when it is made.`],
    lasting: undefined,
    apply: async (signal) => {
      const request = { name, ...wireGrant(grant), lifetimeMs: BigInt(days * DAY_MS) };
      const { key, details } = await calls.access.createApiKey(request, within(signal));
      const undo = details === undefined ? {} : { undo: revokeApiKey(calls, details) };
      return { text: `API key ${name} is made.`, secret: shownKey(name, key), ...undo };
    },
    asCommand: (target = {}) =>
      commandLine(target, ['key', 'create', name, '--ttl', `${days}d`, '--role', grant.role, ...scopeWords(grant)]),
  };
}

/** hours: for how long the secret before stays good, 0 to 720. */
export function rotateApiKey(calls: AgentCalls, key: ApiKey, hours: number): Deed {
  const { id, name } = key;
  const title = `give API key ${name} another secret`;
  return {
    title,
    confirmation: hours === 0 ? byTyping(title, name) : plainly(title),
    consequences: [
      'The new one is shown once, when it is made.',
      hours === 0
        ? 'The one before is worthless at once, for everybody who uses it.'
        : `The one before stays good for ${hours} hours.`,
    ],
    lasting: 'The secret before can be given back by nobody.',
    apply: async (signal) => {
      await keyAsSeen(calls, key, signal);
      const made = await calls.access.rotateApiKey({ id, overlapMs: BigInt(hours * HOUR_MS) }, within(signal));
      return { text: `API key ${name} has another secret.`, secret: shownKey(name, made.key) };
    },
    asCommand: (target = {}) => commandLine(target, ['key', 'rotate', id, '--overlap', `${hours}h`]),
  };
}

export function revokeApiKey(calls: AgentCalls, key: ApiKey): Deed {
  const { id, name } = key;
  const title = `revoke API key ${name}`;
  return {
    title,
    confirmation: byTyping(title, name),
    consequences: ['It is worthless from then on, for everybody who uses it, at all nodes.'],
    lasting: 'A key that was revoked stays so: make another.',
    apply: async (signal) => {
      await keyAsSeen(calls, key, signal);
      await calls.access.revokeApiKey({ id }, within(signal));
      return { text: `Nobody is let in by API key ${name} any more.` };
    },
    asCommand: (target = {}) => commandLine(target, ['key', 'revoke', id, '-y']),
  };
}

function shownKey(name: string, text: string) {
  const advice = 'Keep it where only its user can read it. Nobody can show it again.';
  return { what: `API key ${name}`, text, advice };
}

function wireGrant({ role, clusters, services }: Grant) {
  return { role: ACCESS_ROLES[role], scope: { clusters: [...clusters], services: [...services] } };
}

/** Last on the line: each takes all words that follow. */
function scopeWords({ clusters, services }: Grant): string[] {
  return [
    ...(clusters.length > 0 ? ['--cluster', ...clusters] : []),
    ...(services.length > 0 ? ['--service', ...services] : []),
  ];
}

async function userAsSeen(calls: AgentCalls, seen: User, signal: AbortSignal | undefined): Promise<void> {
  const { users } = await calls.access.listUsers({}, within(signal));
  const now = users.find(({ name }) => name === seen.name);
  if (now === undefined) throw goneSince(`user ${seen.name}`);
  const same = grantText(grantOf(now)) === grantText(grantOf(seen)) && isSameTime(now.created, seen.created);
  if (!same || now.hasSecondFactor !== seen.hasSecondFactor) throw changedSince(`user ${seen.name}`);
}

async function keyAsSeen(calls: AgentCalls, seen: ApiKey, signal: AbortSignal | undefined): Promise<void> {
  const { keys } = await calls.access.listApiKeys({}, within(signal));
  const now = keys.find(({ id }) => id === seen.id);
  if (now === undefined) throw goneSince(`API key ${seen.name}`);
  if (!isSameTime(now.rotated, seen.rotated)) throw changedSince(`API key ${seen.name}`);
}

interface Time {
  readonly seconds: bigint;
  readonly nanos: number;
}

function isSameTime(a: Time | undefined, b: Time | undefined): boolean {
  return a?.seconds === b?.seconds && a?.nanos === b?.nanos;
}
