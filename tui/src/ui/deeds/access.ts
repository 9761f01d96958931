// SPDX-License-Identifier: Apache-2.0
/** Users and API keys: made, changed, taken away. What lets somebody in is shown once. */
import { commandLine } from '@marcher/client/actions';
import { AccessRole, type ApiKey, type User } from '@marcher/proto/marcher/v1/access_service_pb';
import { roleText, scopeText } from '../../cli/commands/scope.js';
import { clock, timeMs } from '../../cli/output/quantity.js';
import type { FormFieldSpec, Values } from '../store/form.js';
import { accountOf, type Deed, type DeedContext, type DeedPlan, Faulty, NO_UNDO, timeOf, wordsOf } from './deed.js';

const ROLES: Readonly<Record<string, AccessRole>> = {
  ...{ viewer: AccessRole.VIEWER, owner: AccessRole.OWNER, administrator: AccessRole.ADMINISTRATOR },
};
const PASSWORD_MIN = 15;
const PASSWORD_MAX = 128;

interface Rights {
  readonly role: string;
  readonly clusters: readonly string[];
  readonly services: readonly string[];
}

function rightsFields(before?: User): FormFieldSpec[] {
  return [
    {
      ...{ kind: 'choice', name: 'role', label: 'role', choices: Object.keys(ROLES), hint: 'what it may do' },
      ...(before === undefined ? {} : { value: roleText(before.role) }),
    },
    {
      ...{ kind: 'text', name: 'clusters', label: 'clusters', value: before?.scope?.clusters.join(' ') ?? '' },
      hint: 'of an owner: services and traffic policies of these clusters; or nothing',
    },
    {
      ...{ kind: 'text', name: 'services', label: 'services', value: before?.scope?.services.join(' ') ?? '' },
      hint: 'of an owner: these services; or nothing',
    },
  ];
}

function rightsOf(values: Values): Rights {
  const role = values['role'] ?? 'viewer';
  const [clusters, services] = [wordsOf(values['clusters']), wordsOf(values['services'])];
  if (role !== 'owner' && clusters.length + services.length > 0)
    throw new Faulty(
      `clusters and services are for an owner: leave them out for ${role === 'administrator' ? 'an' : 'a'} ${role}`,
    );
  return { role, clusters, services };
}

function rightsText({ role, clusters, services }: Rights): string {
  const scope = scopeText({ $typeName: 'marcher.v1.Scope', clusters: [...clusters], services: [...services] });
  return scope === '-' ? role : `${role}, of ${scope}`;
}

function scopeWords({ clusters, services }: Rights): string[] {
  return [
    ...(clusters.length === 0 ? [] : ['--cluster', ...clusters]),
    ...(services.length === 0 ? [] : ['--service', ...services]),
  ];
}

function requestOf({ role, clusters, services }: Rights) {
  return { role: ROLES[role] ?? AccessRole.VIEWER, scope: { clusters: [...clusters], services: [...services] } };
}

/** A new one, typed twice; empty where that is allowed. */
function passwordOf(values: Values, mayBeNone: boolean): string {
  const [password = '', again = ''] = [values['password'], values['again']];
  if (password !== again) throw new Faulty('these are two different passwords');
  const { length } = [...password];
  if (length === 0 && mayBeNone) return '';
  if (length < PASSWORD_MIN || length > PASSWORD_MAX)
    throw new Faulty(`the password has ${length} characters: expected ${PASSWORD_MIN} to ${PASSWORD_MAX}`);
  return password;
}

const passwordFields = (hint: string): FormFieldSpec[] => [
  { kind: 'secret', name: 'password', label: 'new password', hint },
  { kind: 'secret', name: 'again', label: 'once more', hint: 'the same' },
];

const addUser: Deed = {
  ...{ command: 'new', subject: 'user', isOfNone: true, help: 'create a user' },
  form: () => ({
    title: 'Create a user',
    fields: [
      { kind: 'text', name: 'name', label: 'name', hint: '1 to 64 of a-z, 0-9, ., _ and -' },
      ...rightsFields(),
      ...passwordFields(`${PASSWORD_MIN} to ${PASSWORD_MAX} characters; nothing: it comes with a client certificate`),
    ],
  }),
  plan: (_items, values, { calls, target }) => {
    const name = accountOf(values);
    const rights = rightsOf(values);
    const password = passwordOf(values, true);
    return {
      question: `Create user ${name}?`,
      lines: [
        `As ${rightsText(rights)}.`,
        password === ''
          ? 'Without a password: it comes with a client certificate.'
          : 'With the password that was typed.',
        ':undo removes it again.',
      ],
      commands: [
        commandLine(target, [
          ...['user', 'add', name, '--role', rights.role, ...scopeWords(rights)],
          ...(password === '' ? ['--no-password'] : []),
        ]),
      ],
      apply: async (call) => {
        await calls.access.createUser({ name, password, ...requestOf(rights) }, call);
        return {
          text: `User ${name} is ${rightsText(rights)}. :undo removes it again.`,
          undo: () => removal(name, calls, target),
        };
      },
    };
  },
};

function removal(name: string, calls: DeedContext['calls'], target: DeedContext['target']): DeedPlan {
  return {
    question: `Remove user ${name}?`,
    lines: [
      'With its sessions, its password and its second factor. It can be created again, with another password.',
      NO_UNDO,
    ],
    commands: [commandLine(target, ['user', 'remove', name, '-y'])],
    word: name,
    apply: async (call) => {
      await calls.access.removeUser({ name }, call);
      return { text: `User ${name} is removed.` };
    },
  };
}

const removeUser: Deed = {
  ...{ command: 'delete', subject: 'user', help: 'remove it, with its sessions' },
  plan: (items, _values, { calls, target }) => removal((items[0] as User).name, calls, target),
};

function roleChange(before: User, rights: Rights, { calls, target }: Pick<DeedContext, 'calls' | 'target'>): DeedPlan {
  const { name } = before;
  const was: Rights = {
    ...{ role: roleText(before.role), clusters: before.scope?.clusters ?? [] },
    services: before.scope?.services ?? [],
  };
  return {
    question: `Make user ${name} ${rightsText(rights)}?`,
    lines: [
      `- ${rightsText(was)}`,
      `+ ${rightsText(rights)}`,
      '',
      'From its next call on. :undo makes it what it was.',
    ],
    commands: [commandLine(target, ['user', 'role', name, rights.role, ...scopeWords(rights)])],
    apply: async (call) => {
      const { user } = await calls.access.setRole({ name, ...requestOf(rights) }, call);
      const after = user ?? { ...before, ...requestOf(rights), scope: undefined };
      return {
        text: `User ${name} is ${rightsText(rights)}. :undo makes it what it was.`,
        undo: () => roleChange(after as User, was, { calls, target }),
      };
    },
  };
}

const role: Deed = {
  ...{ command: 'role', subject: 'user', help: 'give it another role, or another scope' },
  form: (items) => ({
    title: `Another role for user ${(items[0] as User).name}`,
    fields: rightsFields(items[0] as User),
  }),
  plan: (items, values, context) => roleChange(items[0] as User, rightsOf(values), context),
};

const password: Deed = {
  ...{ command: 'password', subject: 'user', help: 'give it another password, which ends its sessions' },
  form: (items) => ({
    title: `Another password for user ${(items[0] as User).name}`,
    fields: [
      {
        kind: 'secret',
        name: 'current',
        label: 'password until now',
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
    const { name } = items[0] as User;
    const given = passwordOf(values, false);
    const resets = values['reset'] === 'goes';
    return {
      question: `Give user ${name} another password?`,
      lines: [
        'Its sessions end.',
        ...(resets ? ['Its second factor and its recovery codes are taken away.'] : []),
        NO_UNDO,
      ],
      commands: [commandLine(target, ['user', 'password', name, ...(resets ? ['--reset-totp'] : [])])],
      word: name,
      apply: async (call) => {
        const request = { name, password: given, currentPassword: values['current'] ?? '', resetSecondFactor: resets };
        await calls.access.setPassword(request, call);
        return { text: `User ${name} has another password, and no session any more.` };
      },
    };
  },
};

const totp: Deed = {
  ...{ command: 'totp', subject: 'user', help: 'take its second factor away' },
  plan: (items, _values, { calls, target }) => {
    const { name, hasSecondFactor } = items[0] as User;
    return {
      question: `Take the second factor of user ${name} away?`,
      lines: [
        hasSecondFactor
          ? 'It logs in by its password alone then; its recovery codes are gone, too.'
          : 'It has none now.',
        `${NO_UNDO} To enrol another, with its password: marcher user totp ${name}`,
      ],
      commands: [commandLine(target, ['user', 'totp', name, '--remove'])],
      word: name,
      apply: async (call) => {
        await calls.access.resetSecondFactor({ name }, call);
        return { text: `User ${name} has no second factor any more.` };
      },
    };
  },
};

const logout: Deed = {
  ...{ command: 'logout', subject: 'user', help: 'end all of its sessions' },
  plan: (items, _values, { calls, target }) => {
    const { name } = items[0] as User;
    return {
      question: `End all sessions of user ${name}?`,
      lines: ['At all nodes. It can log in again.', NO_UNDO],
      commands: [commandLine(target, ['user', 'logout', name])],
      apply: async (call) => {
        await calls.access.revokeSessions({ name }, call);
        return { text: `User ${name} has no session any more.` };
      },
    };
  },
};

const SHOWN_ONCE = 'It is shown only here, and only now: keep it where nobody else can read it.';

const makeKey: Deed = {
  ...{ command: 'new', subject: 'key', isOfNone: true, help: 'make a key for a program' },
  form: () => ({
    title: 'Make an API key',
    fields: [
      { kind: 'text', name: 'name', label: 'name', hint: 'what it is for: 1 to 64 of a-z, 0-9, ., _ and -' },
      ...rightsFields(),
      { kind: 'text', name: 'ttl', label: 'good for', value: '365d', hint: 'from 1h to 1095d' },
    ],
  }),
  plan: (_items, values, { calls, target }) => {
    const name = accountOf(values);
    const rights = rightsOf(values);
    const lifetimeMs = BigInt(timeOf(values['ttl'], 'the time', '1h', '1095d'));
    return {
      question: `Make API key ${name}?`,
      lines: [
        `As ${rightsText(rights)}, good for ${values['ttl']?.trim()}.`,
        'The key is shown once. :undo makes it worthless again.',
      ],
      commands: [
        commandLine(target, [
          'key',
          'create',
          name,
          '--role',
          rights.role,
          ...scopeWords(rights),
          '--ttl',
          values['ttl']?.trim() ?? '',
        ]),
      ],
      apply: async (call) => {
        const made = await calls.access.createApiKey({ name, lifetimeMs, ...requestOf(rights) }, call);
        const id = made.details?.id ?? '';
        const until = clock(timeMs(made.details?.expires));
        return {
          text: `Key ${name} is there, until ${until}. :undo makes it worthless again.`,
          secret: { title: `API key ${name}, good until ${until}`, lines: [made.key, '', SHOWN_ONCE] },
          undo: () => worthless([{ id, name }], calls, target),
        };
      },
    };
  },
};

const rotate: Deed = {
  ...{ command: 'rotate', subject: 'key', help: 'give it another secret' },
  form: (items) => ({
    title: `Another secret for API key ${(items[0] as ApiKey).name}`,
    fields: [
      {
        kind: 'text',
        name: 'overlap',
        label: 'overlap',
        value: '1d',
        hint: 'how long the one before stays good: 0 to 30d',
      },
    ],
  }),
  plan: (items, values, { calls, target }) => {
    const { id, name } = items[0] as ApiKey;
    const overlap = values['overlap']?.trim() ?? '';
    const overlapMs = BigInt(timeOf(overlap, 'the overlap', '0', '30d'));
    return {
      question: `Give API key ${name} another secret?`,
      lines: [
        overlapMs === 0n ? 'The one before is worthless at once.' : `The one before stays good for ${overlap}.`,
        `The new one is shown once. ${NO_UNDO}`,
      ],
      commands: [commandLine(target, ['key', 'rotate', id, '--overlap', overlap])],
      ...(overlapMs === 0n ? { word: name } : {}),
      apply: async (call) => {
        const made = await calls.access.rotateApiKey({ id, overlapMs }, call);
        return {
          text: `Key ${name} has another secret.`,
          secret: { title: `API key ${name}, its new secret`, lines: [made.key, '', SHOWN_ONCE] },
        };
      },
    };
  },
};

function worthless(
  keys: readonly Pick<ApiKey, 'id' | 'name'>[],
  calls: DeedContext['calls'],
  target: DeedContext['target'],
): DeedPlan {
  const [only] = keys;
  const what = keys.length === 1 ? `API key ${only?.name}` : `${keys.length} API keys`;
  return {
    question: `Make ${what} worthless?`,
    lines: [
      ...keys.map(({ id, name }) => `- ${name} (${id})`),
      `For everybody who uses ${keys.length === 1 ? 'it' : 'them'}. ${NO_UNDO}`,
    ],
    commands: keys.map(({ id }) => commandLine(target, ['key', 'revoke', id, '-y'])),
    word: keys.length === 1 ? (only?.name ?? '') : `revoke ${keys.length}`,
    apply: async (call) => {
      for (const { id } of keys) await calls.access.revokeApiKey({ id }, call);
      return { text: `Nobody is let in by ${what} any more.` };
    },
  };
}

const revokeKeys: Deed = {
  ...{ command: 'delete', subject: 'key', isOfMany: true, help: 'make it worthless' },
  plan: (items, _values, { calls, target }) => worthless(items as readonly ApiKey[], calls, target),
};

export const accessDeeds: readonly Deed[] = [
  ...[addUser, role, password, totp, logout, removeUser],
  ...[makeKey, rotate, revokeKeys, { ...revokeKeys, command: 'revoke' } as const],
];
