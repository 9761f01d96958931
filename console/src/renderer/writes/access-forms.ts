// SPDX-License-Identifier: Apache-2.0
/** What is asked for before something is done to a user or a key. */
import type { Grant, RoleWord } from '@marcher/client/actions';
import type { AgentCalls } from '@marcher/client/fleet';
import type { ApiKey, User } from '@marcher/proto/marcher/v1/access_service_pb';
import type { Doing } from './deed-dialog.js';
import type { Actions } from './deeds.js';
import { ACCESS_NAME, type Field, type Values, wordsOf } from './fields.js';

const PASSWORD_MIN = 15;
const PASSWORD_HINT = `${PASSWORD_MIN} to 128 characters; no other rules`;

const nameField = (hint: string): Field => ({ kind: 'text', name: 'name', label: 'Name', pattern: ACCESS_NAME, hint });

function grantFields(actions: Actions, before?: Grant): readonly Field[] {
  const isOwner = ({ role }: Values): boolean => role === 'owner';
  return [
    {
      ...{ kind: 'choice', name: 'role', label: 'Role', choices: Object.keys(actions.ACCESS_ROLES) },
      initial: before?.role ?? 'viewer',
    },
    {
      ...{ kind: 'text', name: 'clusters', label: 'Owner of clusters', optional: true, max: 4_000, when: isOwner },
      initial: before?.clusters.join(' ') ?? '',
      hint: 'names with spaces between them',
    },
    {
      ...{ kind: 'text', name: 'services', label: 'Owner of services', optional: true, max: 4_000, when: isOwner },
      initial: before?.services.join(' ') ?? '',
      hint: 'names with spaces between them',
    },
  ];
}

function grantOf({ role, clusters, services }: Values): Grant {
  const isOwner = role === 'owner';
  const grant = {
    role: role as RoleWord,
    clusters: isOwner ? wordsOf(clusters) : [],
    services: isOwner ? wordsOf(services) : [],
  };
  if (isOwner && grant.clusters.length + grant.services.length === 0) {
    throw new Error('an owner is of clusters or of services: name one');
  }
  return grant;
}

export function addingUser(actions: Actions, calls: AgentCalls): Doing {
  const withPassword = ({ none }: Values): boolean => none !== 'yes';
  return {
    title: 'New user',
    fields: [
      nameField('a to z, 0 to 9, ., _ and -'),
      ...grantFields(actions),
      { kind: 'check', name: 'none', label: 'No password: comes with a client certificate' },
      {
        ...{
          kind: 'password',
          isNew: true,
          name: 'password',
          label: 'Password',
          min: PASSWORD_MIN,
          when: withPassword,
        },
        hint: PASSWORD_HINT,
      },
      {
        ...{ kind: 'password', isNew: true, name: 'again', label: 'Password again', min: PASSWORD_MIN },
        when: withPassword,
      },
    ],
    make: (values) => {
      const { name = '', none, password, again } = values;
      const grant = grantOf(values);
      if (none !== 'yes' && password !== again) throw new Error('the two passwords are not the same');
      return actions.createUser(calls, name, grant, none === 'yes' ? undefined : password);
    },
  };
}

export function changingRole(actions: Actions, calls: AgentCalls, user: User): Doing {
  return {
    title: `Change the role of user ${user.name}`,
    fields: grantFields(actions, actions.grantOf(user)),
    make: (values) => actions.setRole(calls, user, grantOf(values)),
  };
}

/** isSelf: of one's own the password before is asked for. */
export function changingPassword(actions: Actions, calls: AgentCalls, user: User, isSelf: boolean): Doing {
  return {
    title: `Change the password of user ${user.name}`,
    fields: [
      ...(isSelf
        ? ([{ kind: 'password', isNew: false, name: 'current', label: 'Password until now' }] satisfies Field[])
        : []),
      {
        ...{ kind: 'password', isNew: true, name: 'password', label: 'New password', min: PASSWORD_MIN },
        hint: PASSWORD_HINT,
      },
      { kind: 'password', isNew: true, name: 'again', label: 'New password again', min: PASSWORD_MIN },
      ...(user.hasSecondFactor && !isSelf
        ? ([{ kind: 'check', name: 'reset', label: 'Take the second factor away, too' }] satisfies Field[])
        : []),
    ],
    make: ({ current, password = '', again, reset }) => {
      if (password !== again) throw new Error('the two passwords are not the same');
      const given = { password, resetSecondFactor: reset === 'yes', ...(isSelf ? { current: current ?? '' } : {}) };
      return actions.setPassword(calls, user, given);
    },
  };
}

/** By the password of that user, which seals the second factor. */
export function enrolling(actions: Actions, calls: AgentCalls, name: string): Doing {
  return {
    title: `An authenticator for user ${name}`,
    fields: [ownPassword(name)],
    make: ({ password = '' }) => actions.enrolSecondFactor(calls, name, password),
  };
}

export function renewingCodes(actions: Actions, calls: AgentCalls, name: string): Doing {
  return {
    title: `New recovery codes for user ${name}`,
    fields: [ownPassword(name)],
    make: ({ password = '' }) => actions.renewRecoveryCodes(calls, name, password),
  };
}

function ownPassword(name: string): Field {
  return { kind: 'password', isNew: false, name: 'password', label: `Password of ${name}` };
}

export function makingKey(actions: Actions, calls: AgentCalls): Doing {
  return {
    title: 'New API key',
    note: 'It is shown once, when it is made.',
    fields: [
      nameField('what it is for: a to z, 0 to 9, ., _ and -'),
      ...grantFields(actions),
      { kind: 'number', name: 'days', label: 'Days that it is good for', from: 1, to: 1_095, initial: 365 },
    ],
    make: (values) => actions.createApiKey(calls, values['name'] ?? '', grantOf(values), Number(values['days'])),
  };
}

export function rotatingKey(actions: Actions, calls: AgentCalls, key: ApiKey): Doing {
  return {
    title: `Another secret for API key ${key.name}`,
    fields: [
      {
        ...{ kind: 'number', name: 'hours', label: 'Hours that the secret before stays good', from: 0, to: 720 },
        initial: 24,
        hint: '0: it is worthless at once',
      },
    ],
    make: ({ hours }) => actions.rotateApiKey(calls, key, Number(hours)),
  };
}
