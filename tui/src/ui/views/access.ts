// SPDX-License-Identifier: Apache-2.0
/** Users and API keys of the mesh: who may do what. */
import type { ApiKey, User } from '@marcher/proto/marcher/v1/access_service_pb';
import { roleText, scopeText } from '../../cli/commands/scope.js';
import { age, clock, timeMs } from '../../cli/output/quantity.js';
import type { View } from './view.js';

export const users: View<User> = {
  name: 'users',
  aliases: ['user'],
  help: 'users: role, scope, second factor',
  subject: 'user',
  feed: 'users',
  columns: [
    { title: 'NAME', key: 'N', rank: 0, min: 12, max: 64, value: ({ name }) => name },
    { title: 'ROLE', key: 'R', rank: 0, value: ({ role }) => roleText(role) },
    { title: 'SCOPE', key: 'S', rank: 1, min: 12, max: 60, value: ({ scope }) => scopeText(scope) },
    { title: 'PASSWORD', key: 'P', rank: 2, value: ({ hasPassword }) => (hasPassword ? 'yes' : 'no') },
    {
      ...{ title: 'TOTP', key: 'T', rank: 1 },
      value: ({ hasSecondFactor, recoveryCodesLeft }) =>
        hasSecondFactor ? `yes, ${recoveryCodesLeft} recovery codes` : 'no',
      tone: (text) => (text === 'no' ? 'warn' : undefined),
    },
    { title: 'CREATED', key: 'C', rank: 3, value: ({ created }) => clock(timeMs(created)) },
    { title: 'BY', key: 'B', rank: 4, value: ({ createdBy }) => createdBy || '-' },
  ],
  items: ({ feed }) => feed.items as readonly User[],
  id: ({ name }) => name,
  label: ({ name }) => name,
  none: () => 'There are no users: n makes one.',
};

export const keys: View<ApiKey> = {
  name: 'keys',
  aliases: ['key', 'apikeys'],
  help: 'API keys: role, scope, how long they last',
  subject: 'key',
  feed: 'keys',
  timed: true,
  columns: [
    { title: 'NAME', key: 'N', rank: 0, min: 12, max: 64, value: ({ name }) => name },
    { title: 'ID', key: 'I', rank: 1, value: ({ id }) => id },
    { title: 'ROLE', key: 'R', rank: 0, value: ({ role }) => roleText(role) },
    { title: 'SCOPE', key: 'S', rank: 1, min: 12, max: 60, value: ({ scope }) => scopeText(scope) },
    {
      ...{
        title: 'EXPIRES',
        key: 'E',
        rank: 0,
        align: 'right',
        value: ({ expires }, { nowMs }) => leftText(timeMs(expires), nowMs),
      },
      order: ({ expires }) => timeMs(expires) ?? 0,
      tone: (text) => (text === 'expired' ? 'bad' : undefined),
    },
    { title: 'ROTATED', key: 'O', rank: 3, value: ({ rotated }) => clock(timeMs(rotated)) },
    { title: 'BY', key: 'B', rank: 4, value: ({ createdBy }) => createdBy || '-' },
  ],
  items: ({ feed }) => feed.items as readonly ApiKey[],
  id: ({ id }) => id,
  label: ({ name }) => name,
  none: () => 'There are no API keys: n makes one.',
};

function leftText(endMs: number | undefined, nowMs: number): string {
  if (endMs === undefined) return '-';
  return endMs <= nowMs ? 'expired' : age(Math.floor((endMs - nowMs) / 3_600_000) * 3_600_000);
}
