// SPDX-License-Identifier: Apache-2.0
/** The mesh as its entry node sees it: who is in it, who is behind, who has another configuration. */
import type { NodeView } from '@marcher/client/fleet';
import { type Member, MemberState } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { age, plural, timeMs } from '../../cli/output/quantity.js';
import { nodes } from './nodes.js';
import type { View } from './view.js';

const bad = new Set([MemberState.DEAD, MemberState.SUSPECT]);

export const members: View<NodeView> = {
  name: 'mesh',
  aliases: ['members', 'member'],
  help: 'members of the mesh: state, agreement, certificates',
  subject: 'node',
  timed: true,
  columns: [
    { title: 'NAME', key: 'N', rank: 0, min: 10, value: ({ name }) => name },
    {
      ...{ title: 'STATE', key: 'S', rank: 0, value: ({ member }) => stateText(member) },
      tone: (text, { member }) =>
        member !== undefined && bad.has(member.state) ? 'bad' : text === '-' ? 'dim' : 'good',
    },
    { title: 'CONFIG', key: 'C', rank: 1, value: ({ status }) => status?.configHash.slice(0, 12) || '-' },
    {
      ...{ title: 'BEHIND', key: 'B', rank: 2, align: 'right' },
      value: ({ member }) => (member?.behind === undefined ? '-' : String(member.behind)),
      order: ({ member }) => member?.behind ?? -1n,
      tone: (text) => (text === '0' || text === '-' ? undefined : 'warn'),
    },
    {
      ...{ title: 'HEALTH', key: 'H', rank: 1, max: 48, value: ({ member }) => healthText(member) },
      tone: (text) => (text === 'ready' ? 'good' : text === '-' ? 'dim' : 'warn'),
    },
    { title: 'ADDRESS', key: 'A', rank: 3, max: 48, value: ({ member }) => member?.address || '-' },
    {
      ...{ title: 'CERTIFICATE', key: 'E', rank: 4, align: 'right' },
      value: ({ member }, { nowMs }) => certificateText(member, nowMs),
      order: ({ member }) => timeMs(member?.certificateExpires) ?? 0,
      tone: (text) => (text === 'expired' ? 'bad' : undefined),
    },
    { title: 'CLUSTERS', key: 'K', rank: 5, max: 32, value: ({ member }) => member?.clusters.join(', ') || '-' },
    { title: 'ID', key: 'I', rank: 6, value: ({ key }) => key },
  ],
  items: ({ state }) => [...state.nodes.values()],
  id: ({ key }) => key,
  label: ({ name, key }) => name || key,
  scopeOf: ({ key }) => ({ node: key }),
  none: () => 'This node is in no mesh: marcher mesh init NAME makes one.',
  detail: (node, sight) => nodes.detail?.(node, sight) ?? [],
};

function stateText(member: Member | undefined): string {
  if (member === undefined) return '-';
  return member.state === MemberState.SELF ? 'entry' : (MemberState[member.state] ?? '-').toLowerCase();
}

function healthText(member: Member | undefined): string {
  const status = member?.status;
  if (status === undefined) return '-';
  const short = [
    ...(status.unhealthyCount === 0 ? [] : [`${plural(status.unhealthyCount, 'backend')} unhealthy`]),
    ...status.unmet.filter((type) => !(status.draining && type === 'InService')).map((type) => `${type} unmet`),
  ];
  return [status.draining ? 'draining' : status.ready ? 'ready' : 'not ready', ...short.slice(0, 2)].join(', ');
}

function certificateText(member: Member | undefined, nowMs: number): string {
  const expires = timeMs(member?.certificateExpires);
  if (expires === undefined) return '-';
  if (expires <= nowMs) return 'expired';
  // In hours: it counts down without the screen changing each second.
  return age(Math.floor((expires - nowMs) / 3_600_000) * 3_600_000);
}
