// SPDX-License-Identifier: Apache-2.0
/** Traffic shaping: the policies, and which services go by them. */
import type { FleetState, Flow, ObjectView, ServiceView } from '@marcher/client/fleet';
import { printBandwidth, printDscp } from '@marcher/model/scalar';
import { type Bandwidth, Ecn, Priority, type TrafficPolicy } from '@marcher/proto/marcher/v1/model_pb';
import { type Line, piece } from '../theme/line.js';
import { stateText } from './services.js';
import { BLANK, bytesRate, field, heading, nodeName } from './shown.js';
import type { Column, Sight, View } from './view.js';

const rate = (bandwidth: Bandwidth | undefined): string =>
  bandwidth === undefined ? '-' : printBandwidth(bandwidth.rate);

export const policies: View<ObjectView> = {
  name: 'shaping',
  aliases: ['policies', 'policy', 'tp'],
  help: 'traffic policies: rates, priorities, marks, who goes by them',
  subject: 'object',
  composed: true,
  columns: [
    { title: 'NAME', key: 'N', rank: 0, min: 12, max: 63, value: ({ name }) => name },
    { title: 'PRIORITY', key: 'P', rank: 1, value: (view) => Priority[policyOf(view)?.priority || Priority.P2] ?? '-' },
    {
      title: 'INGRESS',
      key: 'I',
      rank: 1,
      align: 'right',
      value: (view) => rate(policyOf(view)?.ingress),
      order: (view) => policyOf(view)?.ingress?.rate ?? 0n,
    },
    {
      title: 'EGRESS',
      key: 'E',
      rank: 1,
      align: 'right',
      value: (view) => rate(policyOf(view)?.egress),
      order: (view) => policyOf(view)?.egress?.rate ?? 0n,
    },
    { title: 'CONN-IN', rank: 4, align: 'right', value: (view) => rate(policyOf(view)?.connectionIngress) },
    { title: 'CONN-OUT', rank: 4, align: 'right', value: (view) => rate(policyOf(view)?.connectionEgress) },
    {
      ...{ title: 'CONN/S', rank: 3, align: 'right' },
      value: (view) => String(policyOf(view)?.connections?.perSecond ?? '-'),
    },
    { title: 'DSCP', key: 'D', rank: 3, value: (view) => dscpText(policyOf(view)) },
    {
      ...{ title: 'SERVICES', key: 'S', rank: 2, align: 'right' },
      value: (view, sight) => String(usersOf(view, sight).length),
      order: (view, sight) => usersOf(view, sight).length,
    },
    movedColumn('IN', 'V', ({ bytesReceived }) => bytesReceived),
    movedColumn('OUT', 'U', ({ bytesSent }) => bytesSent),
    { title: 'STATE', rank: 1, value: (view) => stateText(view), tone: (text) => (text === 'ok' ? 'good' : 'bad') },
    { title: 'CLUSTER', key: 'K', rank: 5, value: (view) => policyOf(view)?.cluster || '-' },
  ],
  items: ({ state }) => [...state.objects.values()].filter(({ kind }) => kind === 'TrafficPolicy'),
  id: ({ kind, name }) => `${kind}/${name}`,
  label: ({ name }) => name,
  none: () => 'No traffic policy is configured.',
  detail,
};

export function policyOf({ declared }: ObjectView): TrafficPolicy | undefined {
  return declared?.object.case === 'trafficPolicy' ? declared.object.value : undefined;
}

function dscpText(policy: TrafficPolicy | undefined): string {
  return policy?.dscp === undefined ? '-' : String(printDscp(policy.dscp));
}

/** What moves of all services that go by it. A policy stays the same object while that changes: its cells are made each time. */
function movedColumn(title: string, key: string, take: (flow: Flow) => number): Column<ObjectView> {
  const sum = (view: ObjectView, sight: Sight): number =>
    usersOf(view, sight).reduce((all, { flow }) => all + take(flow), 0);
  return {
    ...{ title, key, rank: 2, align: 'right', order: sum },
    value: (view, sight) => bytesRate(sum(view, sight)),
  };
}

/** By policy; made once for all services as they are at a time. */
const users = new WeakMap<FleetState['services'], ReadonlyMap<string, readonly ServiceView[]>>();

function usersOf({ name }: ObjectView, { state: { services } }: Sight): readonly ServiceView[] {
  let known = users.get(services);
  if (known === undefined) {
    known = Map.groupBy(services.values(), ({ declared }) => declared?.trafficPolicy ?? '');
    users.set(services, known);
  }
  return known.get(name) ?? [];
}

function detail(view: ObjectView, sight: Sight): Line[] {
  const policy = policyOf(view);
  const goers = usersOf(view, sight);
  return [
    field('Policy', view.name, 'strong'),
    field('Priority', Priority[policy?.priority || Priority.P2] ?? '-'),
    field('Of service', `${rate(policy?.ingress)} in, ${rate(policy?.egress)} out`),
    field('Of connection', `${rate(policy?.connectionIngress)} in, ${rate(policy?.connectionEgress)} out`),
    field('Connections', policy?.connections === undefined ? 'as many as come' : `${policy.connections.perSecond}/s`),
    field('DSCP', dscpText(policy)),
    field('ECN', policy?.ecn === Ecn.MARK ? 'marks what is over the rate' : 'as it came'),
    field('Cluster', policy?.cluster || 'every node'),
    BLANK,
    heading(`Services that go by it: ${goers.length}`),
    ...goers
      .slice(0, 200)
      .map(
        ({ name, flow }): Line => [
          name.padEnd(30),
          ` ${bytesRate(flow.bytesReceived)} in, ${bytesRate(flow.bytesSent)} out`,
        ],
      ),
    BLANK,
    heading('On each node'),
    ...[...view.nodes].map(
      ([key, { generation, same, unmet }]): Line => [
        nodeName(sight.state, key).padEnd(20),
        ` version ${generation}  `,
        same ? '' : piece('bad', 'differs from most nodes  '),
        piece('bad', unmet.map(({ reason, message }) => `${reason}: ${message}`).join('; ')),
      ],
    ),
  ];
}
