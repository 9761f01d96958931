// SPDX-License-Identifier: Apache-2.0
/** Who may use the API from elsewhere: users, API keys, and certificates of operators. */
import type { AgentCalls } from '@marcher/client/fleet';
import {
  AccessRole,
  type ApiKey,
  type Scope,
  type User,
  type WhoAmIResponse,
} from '@marcher/proto/marcher/v1/access_service_pb';
import type { ClientCertificate } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { type ReactNode, useCallback, useMemo } from 'react';
import { AskedHead } from '../components/asked-head.js';
import { Badge, type Tone } from '../components/badge.js';
import { CommandLine } from '../components/command-line.js';
import { type Column, DataTable } from '../components/data-table.js';
import { Facts, Panel } from '../components/panel.js';
import { useAnswer } from '../state/answer.js';
import { navigate, useConsole, useFleet, useReach } from '../state/console.js';
import { parseFilter } from '../state/filter.js';
import { clock, span, timeMs } from '../text/quantity.js';
import { said } from '../text/said.js';
import {
  addingUser,
  changingPassword,
  changingRole,
  enrolling,
  makingKey,
  renewingCodes,
  rotatingKey,
} from '../writes/access-forms.js';
import { type Deeds, DoButton, useDeeds } from '../writes/deeds.js';

interface Answer {
  readonly me: WhoAmIResponse;
  readonly users: readonly User[];
  readonly keys: readonly ApiKey[];
  readonly certificates: readonly ClientCertificate[];
}

const SOON_MS = 30 * 86_400_000;
const CALL_MS = 20_000;

const roleText = (role: AccessRole): string => (AccessRole[role] ?? String(role)).toLowerCase();

/** "cluster eu; service web" */
function scopeText(scope: Scope | undefined): string {
  const { clusters = [], services = [] } = scope ?? {};
  const parts = [
    ...(clusters.length > 0 ? [`cluster ${clusters.join(', ')}`] : []),
    ...(services.length > 0 ? [`service ${services.join(', ')}`] : []),
  ];
  return parts.join('; ') || '–';
}

function factorsText({ hasPassword, hasSecondFactor }: User): string {
  if (!hasPassword) return 'client certificate';
  return hasSecondFactor ? 'password and code' : 'password';
}

const userColumns: readonly Column<User>[] = [
  { key: 'name', title: 'User', render: ({ name }) => said(name), value: ({ name }) => name },
  {
    key: 'role',
    title: 'Role',
    width: '130px',
    render: ({ role }) => roleText(role),
    value: ({ role }) => roleText(role),
  },
  { key: 'scope', title: 'Of', render: ({ scope }) => said(scopeText(scope)), value: ({ scope }) => scopeText(scope) },
  { key: 'factors', title: 'Comes with', width: '170px', render: factorsText, value: factorsText },
  {
    key: 'created',
    title: 'Made',
    width: '170px',
    render: ({ created }) => clock(timeMs(created)),
    value: ({ created }) => timeMs(created) ?? 0,
  },
  { key: 'by', title: 'By', render: ({ createdBy }) => said(createdBy || '–'), value: ({ createdBy }) => createdBy },
];

function left(until: number | undefined, nowMs: number): readonly [Tone, string] {
  const ms = (until ?? 0) - nowMs;
  if (ms <= 0) return ['bad', 'expired'];
  return [ms < SOON_MS ? 'warn' : 'good', `${span(ms)} left`];
}

const keyColumns = (nowMs: number): readonly Column<ApiKey>[] => [
  { key: 'name', title: 'API key', render: ({ name }) => said(name), value: ({ name }) => name },
  { key: 'id', title: 'Id', width: '170px', render: ({ id }) => <code>{said(id)}</code>, value: ({ id }) => id },
  {
    key: 'role',
    title: 'Role',
    width: '120px',
    render: ({ role }) => roleText(role),
    value: ({ role }) => roleText(role),
  },
  { key: 'scope', title: 'Of', render: ({ scope }) => said(scopeText(scope)), value: ({ scope }) => scopeText(scope) },
  {
    key: 'left',
    title: 'Good for',
    width: '150px',
    render: ({ expires }) => {
      const [tone, word] = left(timeMs(expires), nowMs);
      return <Badge tone={tone}>{word}</Badge>;
    },
    value: ({ expires }) => timeMs(expires) ?? 0,
  },
  {
    key: 'rotated',
    title: 'Secret of',
    width: '170px',
    render: ({ rotated }) => clock(timeMs(rotated)),
    value: ({ rotated }) => timeMs(rotated) ?? 0,
  },
];

const certificateColumns = (
  nowMs: number,
  calls: AgentCalls,
  begin: Deeds['begin'],
): readonly Column<ClientCertificate>[] => [
  { key: 'user', title: 'Operator', render: ({ user }) => said(user), value: ({ user }) => user },
  {
    key: 'serial',
    title: 'Serial',
    width: 'minmax(160px, 1.6fr)',
    render: ({ serial }) => <code>{said(serial)}</code>,
    value: ({ serial }) => serial,
  },
  {
    key: 'left',
    title: 'Good for',
    width: '150px',
    render: ({ expires, revoked }) => {
      const [tone, word] = revoked === undefined ? left(timeMs(expires), nowMs) : (['bad', 'revoked'] as const);
      return <Badge tone={tone}>{word}</Badge>;
    },
    value: ({ expires }) => timeMs(expires) ?? 0,
  },
  { key: 'by', title: 'By', render: ({ issuedBy }) => said(issuedBy || '–'), value: ({ issuedBy }) => issuedBy },
  {
    key: 'revoke',
    title: 'Change',
    width: '110px',
    render: (certificate) => (
      <DoButton
        not={certificate.revoked === undefined ? undefined : 'It is revoked'}
        onClick={() =>
          begin((actions) => ({ title: '', make: () => actions.revokeClientCertificate(calls, certificate) }))
        }
      >
        Revoke
      </DoButton>
    ),
  },
];

export default function Access(): ReactNode {
  const { route } = useConsole();
  const reach = useReach();
  const { atMs, mesh } = useFleet();
  const calls = reach.entry;
  const ask = useCallback(
    async (signal: AbortSignal): Promise<Answer> => {
      const call = { signal, timeoutMs: CALL_MS };
      const [me, { users }, { keys }, { certificates }] = await Promise.all([
        calls.access.whoAmI({}, call),
        calls.access.listUsers({}, call),
        calls.access.listApiKeys({}, call),
        calls.mesh.listClientCertificates({}, call),
      ]);
      return { me, users, keys, certificates };
    },
    [calls],
  );
  const { value, error, isLoading, again } = useAnswer(ask);
  const { begin, dialog } = useDeeds(again);
  const filter = useMemo(() => parseFilter(route.filter), [route.filter]);
  const minute = Math.floor(atMs / 60_000) * 60_000;
  const columnsOfKeys = useMemo(() => keyColumns(minute), [minute]);
  const columnsOfCertificates = useMemo(() => certificateColumns(minute, calls, begin), [minute, calls, begin]);
  const users = useMemo(
    () =>
      (value?.users ?? []).filter(({ name, role, scope }) =>
        filter.matches(`${name} ${roleText(role)} ${scopeText(scope)}`),
      ),
    [value, filter],
  );
  const keys = useMemo(
    () =>
      (value?.keys ?? []).filter(({ name, id, role, scope }) =>
        filter.matches(`${name} ${id} ${roleText(role)} ${scopeText(scope)}`),
      ),
    [value, filter],
  );
  const certificates = useMemo(
    () => (value?.certificates ?? []).filter(({ user, serial }) => filter.matches(`${user} ${serial}`)),
    [value, filter],
  );
  const user = value?.users.find(({ name }) => route.name === `user:${name}`);
  const key = value?.keys.find(({ id }) => route.name === `key:${id}`);
  const not = mesh === undefined ? 'Users and keys are of a mesh, and this node is in none' : undefined;
  const go = (name: string): void => navigate({ page: 'access', name, filter: route.filter });
  const empty = isLoading ? 'Asking…' : error === undefined ? 'There is none.' : '';
  return (
    <>
      <AskedHead
        title="Users and Keys"
        note={
          value === undefined ? undefined : (
            <>
              you are <strong>{said(value.me.name)}</strong>, {roleText(value.me.role)}, by {said(value.me.via)}
            </>
          )
        }
        error={error}
        again={again}
      >
        <DoButton not={not} tone="primary" onClick={() => begin((actions) => addingUser(actions, calls))}>
          New user
        </DoButton>
        <DoButton not={not} onClick={() => begin((actions) => makingKey(actions, calls))}>
          New API key
        </DoButton>
      </AskedHead>
      <Panel title="Users">
        <DataTable
          label="Users"
          columns={userColumns}
          rows={users}
          rowKey={({ name }) => name}
          open={({ name }) => go(`user:${name}`)}
          order={{ key: 'name', descending: false }}
          empty={empty}
        />
      </Panel>
      {user !== undefined && (
        <Panel
          title={`User ${said(user.name)}`}
          side={<UserButtons user={user} isSelf={value?.me.name === `user:${user.name}`} calls={calls} begin={begin} />}
        >
          <Facts
            facts={[
              ['Role', roleText(user.role)],
              ['Of', said(scopeText(user.scope))],
              ['Comes with', factorsText(user)],
              ['Recovery codes left', user.hasSecondFactor ? String(user.recoveryCodesLeft) : '–'],
              ['Made', `${clock(timeMs(user.created))} by ${said(user.createdBy || '–')}`],
            ]}
          />
          <p className="note">
            There is no putting a user on hold: make it a viewer and end its sessions, which leaves it nothing to
            change, or remove it. An authenticator is enrolled with the password of the user, by nobody else.
          </p>
        </Panel>
      )}
      <Panel title="API keys">
        <DataTable
          label="API keys"
          columns={columnsOfKeys}
          rows={keys}
          rowKey={({ id }) => id}
          open={({ id }) => go(`key:${id}`)}
          order={{ key: 'name', descending: false }}
          empty={empty}
        />
      </Panel>
      {key !== undefined && (
        <Panel title={`API key ${said(key.name)}`} side={<KeyButtons apiKey={key} calls={calls} begin={begin} />}>
          <Facts
            facts={[
              ['Id', <code key="id">{said(key.id)}</code>],
              ['Role', roleText(key.role)],
              ['Of', said(scopeText(key.scope))],
              ['Until', clock(timeMs(key.expires))],
              ['Secret of', clock(timeMs(key.rotated))],
              [
                'Secret before',
                key.previousUntil === undefined ? 'worthless' : `good until ${clock(timeMs(key.previousUntil))}`,
              ],
              ['Made', `${clock(timeMs(key.created))} by ${said(key.createdBy || '–')}`],
            ]}
          />
        </Panel>
      )}
      <Panel title="Client certificates of operators">
        <DataTable
          label="Client certificates"
          columns={columnsOfCertificates}
          rows={certificates}
          rowKey={({ serial }) => serial}
          order={{ key: 'user', descending: false }}
          empty={empty}
        />
        <p className="note">
          One is issued where its key is made, so that the key goes nowhere: marcher mesh certificate issue USER.
        </p>
      </Panel>
      <footer className="page-foot">
        <CommandLine command={'marcher user list\nmarcher key list\nmarcher mesh certificate list'} />
      </footer>
      {dialog}
    </>
  );
}

interface UserButtonsProps {
  readonly user: User;
  readonly isSelf: boolean;
  readonly calls: AgentCalls;
  readonly begin: Deeds['begin'];
}

function UserButtons({ user, isSelf, calls, begin }: UserButtonsProps): ReactNode {
  return (
    <span className="buttons">
      <DoButton onClick={() => begin((actions) => changingRole(actions, calls, user))}>Change role</DoButton>
      <DoButton onClick={() => begin((actions) => changingPassword(actions, calls, user, isSelf))}>
        Change password
      </DoButton>
      {user.hasSecondFactor && (
        <DoButton
          tone="danger"
          onClick={() => begin((actions) => ({ title: '', make: () => actions.resetSecondFactor(calls, user) }))}
        >
          Take second factor away
        </DoButton>
      )}
      {user.hasPassword && (
        <DoButton onClick={() => begin((actions) => enrolling(actions, calls, user.name))}>
          Enrol authenticator
        </DoButton>
      )}
      {user.hasSecondFactor && (
        <DoButton onClick={() => begin((actions) => renewingCodes(actions, calls, user.name))}>
          New recovery codes
        </DoButton>
      )}
      <DoButton onClick={() => begin((actions) => ({ title: '', make: () => actions.endSessions(calls, user) }))}>
        End sessions
      </DoButton>
      <DoButton
        tone="danger"
        onClick={() => begin((actions) => ({ title: '', make: () => actions.removeUser(calls, user) }))}
      >
        Remove
      </DoButton>
    </span>
  );
}

interface KeyButtonsProps {
  readonly apiKey: ApiKey;
  readonly calls: AgentCalls;
  readonly begin: Deeds['begin'];
}

function KeyButtons({ apiKey, calls, begin }: KeyButtonsProps): ReactNode {
  return (
    <span className="buttons">
      <DoButton onClick={() => begin((actions) => rotatingKey(actions, calls, apiKey))}>Rotate</DoButton>
      <DoButton
        tone="danger"
        onClick={() => begin((actions) => ({ title: '', make: () => actions.revokeApiKey(calls, apiKey) }))}
      >
        Revoke
      </DoButton>
    </span>
  );
}
