// SPDX-License-Identifier: Apache-2.0
/** What lets machines into the mesh, and what it is sealed and signed by: tokens, keys of gossip, roots of the CA. */
import type { AgentCalls } from '@marcher/client/fleet';
import {
  type Cluster,
  type GetMeshCaResponse,
  type GossipKeyUse,
  type JoinToken,
  KeyRotationState,
  type ListGossipKeysResponse,
  type MeshRoot,
  MeshRootState,
  NodeRole,
} from '@marcher/proto/marcher/v1/mesh_service_pb';
import { type ReactNode, useCallback, useMemo } from 'react';
import { Badge, type Tone } from '../components/badge.js';
import { CommandLine } from '../components/command-line.js';
import { type Column, DataTable } from '../components/data-table.js';
import { Panel, Problem } from '../components/panel.js';
import { type Asked, useAnswer } from '../state/answer.js';
import { useFleet, useReach } from '../state/console.js';
import { clock, plural, span, timeMs } from '../text/quantity.js';
import { said } from '../text/said.js';
import { type Deeds, DoButton } from '../writes/deeds.js';
import { makingToken, rotatingCa } from '../writes/mesh-forms.js';

interface Answer {
  readonly tokens: readonly JoinToken[];
  readonly gossip: ListGossipKeysResponse;
  readonly ca: GetMeshCaResponse;
  readonly clusters: readonly Cluster[];
}

/** Asked for where the node is in a mesh. */
export function useAdministration(): Asked<Answer | undefined> {
  const reach = useReach();
  const { mesh } = useFleet();
  const id = mesh?.id;
  const ask = useCallback(
    async (signal: AbortSignal): Promise<Answer | undefined> => {
      if (id === undefined) return undefined;
      const call = { signal, timeoutMs: 20_000 };
      const { mesh: calls } = reach.entry;
      const [{ tokens }, gossip, ca, { clusters }] = await Promise.all([
        calls.listJoinTokens({}, call),
        calls.listGossipKeys({}, call),
        calls.getMeshCa({}, call),
        calls.listClusters({}, call),
      ]);
      return { tokens, gossip, ca, clusters };
    },
    [reach, id],
  );
  return useAnswer(ask);
}

interface AdministrationProps extends Asked<Answer | undefined> {
  readonly calls: AgentCalls;
  readonly begin: Deeds['begin'];
}

export function Administration({ value, error, again, calls, begin }: AdministrationProps): ReactNode {
  const { atMs } = useFleet();
  const minute = Math.floor(atMs / 60_000) * 60_000;
  const tokens = useMemo(() => tokenColumns(minute, calls, begin), [minute, calls, begin]);
  const roots = useMemo(() => rootColumns(calls, begin), [calls, begin]);
  const target = value?.gossip.target ?? '';
  const keys = useMemo(() => keyColumns(target), [target]);
  return (
    <>
      {error !== undefined && <Problem>{said(error)}</Problem>}
      <Panel
        title="Tokens for new nodes"
        side={
          <span className="buttons">
            <button type="button" onClick={again}>
              Ask again
            </button>
            <DoButton onClick={() => begin((actions) => makingToken(actions, calls))}>New token</DoButton>
          </span>
        }
      >
        <DataTable
          label="Join tokens"
          columns={tokens}
          rows={value?.tokens ?? []}
          rowKey={({ id }) => id}
          order={{ key: 'created', descending: true }}
          empty="The agent that is connected to has made none in the last 7 days."
        />
      </Panel>
      <Panel
        title="Keys of gossip"
        side={
          <DoButton onClick={() => begin((actions) => ({ title: '', make: () => actions.rotateGossipKey(calls) }))}>
            New key
          </DoButton>
        }
      >
        <DataTable
          label="Keys of gossip"
          columns={keys}
          rows={value?.gossip.keys ?? []}
          rowKey={({ keyId }) => keyId}
          empty="Nothing is known of them."
        />
        {value !== undefined && <p className="note">{gossipText(value.gossip)}</p>}
      </Panel>
      <Panel
        title="Roots of the CA"
        side={<DoButton onClick={() => begin((actions) => rotatingCa(actions, calls))}>New root</DoButton>}
      >
        <DataTable
          label="Roots of the CA"
          columns={roots}
          rows={value?.ca.roots ?? []}
          rowKey={({ fingerprint }) => fingerprint}
          empty="Nothing is known of them."
        />
        {value !== undefined && value.ca.waitingFor.length > 0 && (
          <p className="note">The newest is not yet taken by {said(value.ca.waitingFor.join(', '))}.</p>
        )}
        <CommandLine command={'marcher mesh tokens\nmarcher mesh keys\nmarcher mesh ca'} />
      </Panel>
    </>
  );
}

const tokenColumns = (nowMs: number, calls: AgentCalls, begin: Deeds['begin']): readonly Column<JoinToken>[] => [
  { key: 'id', title: 'Token', width: '170px', render: ({ id }) => <code>{said(id)}</code>, value: ({ id }) => id },
  {
    key: 'state',
    title: 'State',
    width: '180px',
    render: (token) => {
      const [tone, word] = tokenState(token, nowMs);
      return <Badge tone={tone}>{word}</Badge>;
    },
    value: (token) => tokenState(token, nowMs)[1],
  },
  {
    key: 'role',
    title: 'As',
    width: '100px',
    render: ({ role }) => (role === NodeRole.AUTHORITY ? 'authority' : 'member'),
    value: ({ role }) => role,
  },
  { key: 'clusters', title: 'Into', render: ({ clusters }) => said(clusters.join(', ') || '–') },
  {
    key: 'created',
    title: 'Made',
    width: '170px',
    render: ({ created }) => clock(timeMs(created)),
    value: ({ created }) => timeMs(created) ?? 0,
  },
  { key: 'by', title: 'By', render: ({ createdBy }) => said(createdBy || '–'), value: ({ createdBy }) => createdBy },
  { key: 'used', title: 'Used by', width: '170px', render: ({ usedBy }) => <code>{said(usedBy || '–')}</code> },
  {
    key: 'revoke',
    title: 'Change',
    width: '112px',
    render: (token) =>
      tokenState(token, nowMs)[0] !== 'info' ? null : (
        <DoButton
          label={`Take back ${said(token.id)}`}
          onClick={() => begin((actions) => ({ title: '', make: () => actions.revokeJoinToken(calls, token) }))}
        >
          Take back
        </DoButton>
      ),
  },
];

function tokenState({ usedBy, expires }: JoinToken, nowMs: number): readonly [Tone, string] {
  if (usedBy !== '') return ['good', 'used'];
  const left = (timeMs(expires) ?? 0) - nowMs;
  return left > 0 ? ['info', `open, ${span(left)} left`] : ['plain', 'expired'];
}

const keyColumns = (target: string): readonly Column<GossipKeyUse>[] => [
  { key: 'id', title: 'Key', width: '170px', render: ({ keyId }) => <code>{said(keyId)}</code> },
  {
    key: 'state',
    title: 'State',
    width: '170px',
    render: ({ keyId, primary }) => {
      if (primary) return <Badge tone="good">{keyId === target ? 'in use' : 'in use, to be replaced'}</Badge>;
      return <Badge tone="plain">{keyId === target ? 'new' : 'old'}</Badge>;
    },
  },
  { key: 'held', title: 'Held by', render: ({ heldBy }) => said(heldBy.join(', ') || '–') },
  { key: 'seals', title: 'Seals at', render: ({ primaryOf }) => said(primaryOf.join(', ') || '–') },
];

const GOSSIP: Readonly<Record<number, string>> = {
  [KeyRotationState.DONE]: 'All members that are there seal by the newest key.',
  [KeyRotationState.INSTALLING]: 'The new key is brought to the members',
  [KeyRotationState.USING]: 'Members begin to seal by the new key',
  [KeyRotationState.REMOVING]:
    'All members that are there seal by the newest key; older ones are removed within a minute.',
};

function gossipText({ state, waitingFor }: ListGossipKeysResponse): string {
  const text = GOSSIP[state] ?? 'The agent names a state that this console does not know.';
  if (text.endsWith('.')) return text;
  return `${text}${waitingFor.length === 0 ? '' : `; waiting for ${said(waitingFor.join(', '))}`}.`;
}

const SHOWN_DIGITS = 16;

const rootColumns = (calls: AgentCalls, begin: Deeds['begin']): readonly Column<MeshRoot>[] => [
  {
    key: 'root',
    title: 'Root',
    width: '170px',
    render: ({ fingerprint }) => <code title={fingerprint}>{said(fingerprint.slice(0, SHOWN_DIGITS))}</code>,
  },
  {
    key: 'state',
    title: 'State',
    width: '200px',
    render: (root) => {
      const [tone, word] = rootState(root);
      return <Badge tone={tone}>{word}</Badge>;
    },
  },
  { key: 'expires', title: 'Until', width: '110px', render: ({ expires }) => clock(timeMs(expires)).slice(0, 10) },
  { key: 'trusted', title: 'Trusted by', render: ({ trustedBy }) => said(trustedBy.join(', ') || '–') },
  { key: 'key', title: 'Key at', render: ({ keyHeldBy }) => said(keyHeldBy.join(', ') || '–') },
  {
    key: 'leaves',
    title: 'Signed, in use',
    width: '146px',
    render: ({ leaves }) => plural(leaves.length, 'certificate'),
  },
  {
    key: 'retire',
    title: 'Change',
    width: '100px',
    render: (root) =>
      root.state !== MeshRootState.TRUSTED ? null : (
        <DoButton
          label={`Retire ${said(root.fingerprint.slice(0, SHOWN_DIGITS))}`}
          onClick={() => begin((actions) => ({ title: '', make: () => actions.retireRoot(calls, root) }))}
        >
          Retire
        </DoButton>
      ),
  },
];

function rootState({ state, planned, retired }: MeshRoot): readonly [Tone, string] {
  switch (state) {
    case MeshRootState.SIGNS:
      return ['good', 'signs'];
    case MeshRootState.INTRODUCED:
      return ['info', `signs ${clock(timeMs(planned)).slice(0, 16)}`];
    case MeshRootState.TRUSTED:
      return ['warn', 'trusted'];
    case MeshRootState.RETIRED:
      return ['plain', `retired ${clock(timeMs(retired)).slice(0, 10)}`];
    case MeshRootState.EXPIRED:
      return ['plain', 'expired'];
    case MeshRootState.OFFLINE:
      return ['good', 'offline'];
    default:
      return ['plain', 'unknown'];
  }
}
