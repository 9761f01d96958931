// SPDX-License-Identifier: Apache-2.0
/** Users and API keys: made, changed, taken away. What lets somebody in is shown once. */
import {
  ACCESS_ROLES,
  createApiKey,
  createUser,
  endSessions,
  enrolSecondFactor,
  type Grant,
  grantOf,
  type RoleWord,
  removeUser,
  renewRecoveryCodes,
  resetSecondFactor,
  revokeApiKey,
  rotateApiKey,
  setPassword,
  setRole,
} from '@marcher/client/actions';
import type { ApiKey, User } from '@marcher/proto/marcher/v1/access_service_pb';
import type { FormFieldSpec, Values } from '../store/form.js';
import { accountOf, type Deed, type DeedForm, Faulty, numberOf, planOf, planOfAll, wordsOf } from './deed.js';

/** The one that may least first: what is not chosen on purpose is that. */
const ROLES = Object.keys(ACCESS_ROLES).reverse() as RoleWord[];
const PASSWORD_MIN = 15;
const PASSWORD_MAX = 128;
const KEY_DAYS_MAX = 1_095;
const OVERLAP_HOURS_MAX = 720;

function grantFields(before?: User): FormFieldSpec[] {
  const grant = before === undefined ? undefined : grantOf(before);
  return [
    {
      ...{ kind: 'choice', name: 'role', label: 'role', choices: ROLES, hint: 'what it may do' },
      ...(grant === undefined ? {} : { value: grant.role }),
    },
    {
      ...{ kind: 'text', name: 'clusters', label: 'clusters', value: grant?.clusters.join(' ') ?? '' },
      hint: 'of an owner: services and traffic policies of these clusters; or nothing',
    },
    {
      ...{ kind: 'text', name: 'services', label: 'services', value: grant?.services.join(' ') ?? '' },
      hint: 'of an owner: these services; or nothing',
    },
  ];
}

function givenGrant(values: Values): Grant {
  const role = ROLES.find((each) => each === values['role']) ?? 'viewer';
  const [clusters, services] = [wordsOf(values['clusters']), wordsOf(values['services'])];
  if (role !== 'owner' && clusters.length + services.length > 0)
    throw new Faulty('clusters and services are for an owner: leave them out for other roles');
  return { role, clusters, services };
}

/** A new one, typed twice; undefined: none, where that is allowed. */
function givenPassword(values: Values): string | undefined {
  const [password = '', again = ''] = [values['password'], values['again']];
  if (password !== again) throw new Faulty('these are two different passwords');
  const { length } = [...password];
  if (length === 0) return undefined;
  if (length < PASSWORD_MIN || length > PASSWORD_MAX)
    throw new Faulty(`the password has ${length} characters: expected ${PASSWORD_MIN} to ${PASSWORD_MAX}`);
  return password;
}

const passwordFields = (hint: string): FormFieldSpec[] => [
  { kind: 'secret', name: 'password', label: 'new password', hint },
  { kind: 'secret', name: 'again', label: 'once more', hint: 'the same' },
];

/** The second factor is sealed by the password. Who may not list users has none to choose, and one account. */
function passwordForm(title: string, items: readonly object[]): DeedForm {
  const hint = 'it is asked for each time, also of an administrator';
  const name = onlyName(items);
  if (name !== undefined) {
    const label = `password of ${name}`;
    return { title: `${title} for user ${name}`, fields: [{ kind: 'secret', name: 'password', label, hint }] };
  }
  return {
    title,
    fields: [
      { kind: 'text', name: 'name', label: 'user', hint: 'yourself; an administrator also another one' },
      { kind: 'secret', name: 'password', label: 'password', hint },
    ],
  };
}

function onlyName(items: readonly object[]): string | undefined {
  return items.length === 1 ? user(items).name : undefined;
}

function whose(items: readonly object[], values: Values): string {
  return onlyName(items) ?? accountOf(values);
}

function knownPassword({ password = '' }: Values): string {
  if (password === '') throw new Faulty('expected the password');
  return password;
}

const user = (items: readonly object[]): User => items[0] as User;
const key = (items: readonly object[]): ApiKey => items[0] as ApiKey;

const revokeKeys: Deed = {
  ...{ command: 'delete', subject: 'key', isOfMany: true, help: 'make it worthless' },
  plan: (items, _values, { calls, target }) =>
    planOfAll(
      (items as readonly ApiKey[]).map((each) => revokeApiKey(calls, each)),
      target,
      `Revoke ${items.length} API keys?`,
      `revoke ${items.length}`,
    ),
};

export const accessDeeds: readonly Deed[] = [
  {
    ...{ command: 'new', subject: 'user', isOfNone: true, help: 'create a user' },
    form: () => ({
      title: 'Create a user',
      fields: [
        { kind: 'text', name: 'name', label: 'name', hint: '1 to 64 of a-z, 0-9, ., _ and -' },
        ...grantFields(),
        ...passwordFields(`${PASSWORD_MIN} to ${PASSWORD_MAX} characters; nothing: it comes with a client certificate`),
      ],
    }),
    plan: (_items, values, { calls, target }) =>
      planOf(createUser(calls, accountOf(values), givenGrant(values), givenPassword(values)), target),
  },
  {
    ...{ command: 'role', subject: 'user', help: 'give it another role, or another scope' },
    form: (items) => ({ title: `Another role for user ${user(items).name}`, fields: grantFields(user(items)) }),
    plan: (items, values, { calls, target }) => planOf(setRole(calls, user(items), givenGrant(values)), target),
  },
  {
    ...{ command: 'password', subject: 'user', help: 'give it another password, which ends its sessions' },
    form: (items) => ({
      title: `Another password for user ${user(items).name}`,
      fields: [
        {
          kind: 'secret',
          name: 'current',
          label: 'password now',
          hint: 'of your own account; for another user nothing',
        },
        ...passwordFields(`${PASSWORD_MIN} to ${PASSWORD_MAX} characters`),
        {
          ...{ kind: 'choice', name: 'reset', label: 'second factor', choices: ['stays', 'goes'] },
          hint: 'without the password before it can not stay: its secret is sealed by that',
        },
      ],
    }),
    plan: (items, values, { calls, target }) => {
      const password = givenPassword(values);
      if (password === undefined) throw new Faulty('expected a password');
      const current = values['current'] ?? '';
      const given = { password, resetSecondFactor: values['reset'] === 'goes' };
      return planOf(setPassword(calls, user(items), current === '' ? given : { ...given, current }), target);
    },
  },
  {
    ...{ command: 'totp', subject: 'user', help: 'take its second factor away' },
    plan: (items, _values, { calls, target }) => planOf(resetSecondFactor(calls, user(items)), target),
  },
  {
    ...{ command: 'enrol', subject: 'user', isOfNone: true, help: 'give it an authenticator as second factor' },
    form: (items) => passwordForm('An authenticator', items),
    plan: (items, values, { calls, target }) =>
      planOf(enrolSecondFactor(calls, whose(items, values), knownPassword(values)), target),
  },
  {
    ...{ command: 'codes', subject: 'user', isOfNone: true, help: 'give it new recovery codes' },
    form: (items) => passwordForm('New recovery codes', items),
    plan: (items, values, { calls, target }) =>
      planOf(renewRecoveryCodes(calls, whose(items, values), knownPassword(values)), target),
  },
  {
    ...{ command: 'logout', subject: 'user', help: 'end all of its sessions' },
    plan: (items, _values, { calls, target }) => planOf(endSessions(calls, user(items)), target),
  },
  {
    ...{ command: 'delete', subject: 'user', help: 'remove it, with its sessions' },
    plan: (items, _values, { calls, target }) => planOf(removeUser(calls, user(items)), target),
  },
  {
    ...{ command: 'new', subject: 'key', isOfNone: true, help: 'make a key for a program' },
    form: () => ({
      title: 'Make an API key',
      fields: [
        { kind: 'text', name: 'name', label: 'name', hint: 'what it is for: 1 to 64 of a-z, 0-9, ., _ and -' },
        ...grantFields(),
        { kind: 'text', name: 'days', label: 'days', value: '365', hint: `how long it is good: 1 to ${KEY_DAYS_MAX}` },
      ],
    }),
    plan: (_items, values, { calls, target }) => {
      const days = numberOf(values['days'], 'days', 1, KEY_DAYS_MAX);
      return planOf(createApiKey(calls, accountOf(values), givenGrant(values), days), target);
    },
  },
  {
    ...{ command: 'rotate', subject: 'key', help: 'give it another secret' },
    form: (items) => ({
      title: `Another secret for API key ${key(items).name}`,
      fields: [
        {
          ...{ kind: 'text', name: 'hours', label: 'hours', value: '24' },
          hint: `how long the one before stays good: 0 to ${OVERLAP_HOURS_MAX}`,
        },
      ],
    }),
    plan: (items, values, { calls, target }) =>
      planOf(rotateApiKey(calls, key(items), numberOf(values['hours'], 'hours', 0, OVERLAP_HOURS_MAX)), target),
  },
  ...[revokeKeys, { ...revokeKeys, command: 'revoke' } as const],
];
