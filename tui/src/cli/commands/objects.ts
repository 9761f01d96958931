// SPDX-License-Identifier: Apache-2.0
/** Guards and traffic policies on a line, and as the file that apply takes. */
import { create } from '@bufbuild/protobuf';
import { printBandwidth, printDscp } from '@marcher/model/scalar';
import type { ObjectResource } from '@marcher/proto/marcher/v1/config_service_pb';
import {
  type Bandwidth,
  type Guard,
  GuardAction,
  Priority,
  type SynCookies,
  SynCookiesMode,
  type TrafficPolicy,
} from '@marcher/proto/marcher/v1/model_pb';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';
import type { Column } from '../output/table.js';
import type { Session } from '../session.js';
import { type GetOptions, writeTable } from './get.js';
import { nounOf, objectKinds } from './kind.js';
import { isWrong, stateText } from './services.js';

export async function getObjects(
  session: Session,
  options: GetOptions,
  kindName: keyof typeof objectKinds,
  name: string | undefined,
): Promise<undefined> {
  const agent = await session.agent(options);
  const kind = objectKinds[kindName];
  const { resources } = await agent.config.listObjects({ kind, name: name ?? '' }, session.call(options));
  if (name !== undefined && resources.length === 0) throw notFound(kind, name, kindName);
  if (options.output === 'json' || options.output === 'yaml') {
    const { ConfigurationSchema, printConfiguration } = await import('@marcher/model');
    const configuration = create(ConfigurationSchema, {
      guards: resources.flatMap(({ object }) => (object?.object.case === 'guard' ? object.object.value : [])),
      trafficPolicies: resources.flatMap(({ object }) => {
        return object?.object.case === 'trafficPolicy' ? object.object.value : [];
      }),
    });
    await session.write(printConfiguration(configuration, options.output));
    return;
  }
  const wide = options.output === 'wide';
  if (kindName === 'guards') {
    const rows = resources.flatMap((resource): GuardRow[] => {
      const object = resource.object?.object;
      return object?.case === 'guard' ? [{ resource, guard: object.value }] : [];
    });
    await writeTable(session, guardColumns(session, wide), rows, 'guards');
    return;
  }
  const rows = resources.flatMap((resource): PolicyRow[] => {
    const object = resource.object?.object;
    return object?.case === 'trafficPolicy' ? [{ resource, policy: object.value }] : [];
  });
  await writeTable(session, policyColumns(session, wide), rows, 'traffic policies');
}

export function notFound(kind: string, name: string, kindName: string): Failure {
  return new Failure(ExitCode.notFound, `there is no ${nounOf(kind)} "${name}": see marcher get ${kindName}`);
}

interface Row {
  readonly resource: ObjectResource;
}
interface GuardRow extends Row {
  readonly guard: Guard;
}
interface PolicyRow extends Row {
  readonly policy: TrafficPolicy;
}

function lastColumns<R extends Row>(session: Session, wide: boolean): Column<R>[] {
  const { style } = session;
  return [
    { title: 'VERSION', value: ({ resource }) => String(resource.generation), align: 'right' },
    {
      title: 'STATE',
      value: ({ resource }) => stateText(resource, wide),
      paint: (text, { resource }) => (isWrong(resource) ? style.red(text) : style.green(text)),
    },
  ];
}

function guardColumns(session: Session, wide: boolean): Column<GuardRow>[] {
  const sources = ({ rules }: Guard): number => rules.reduce((sum, rule) => sum + rule.sources.length, 0);
  const dropped = (guard: Guard): string => {
    const off = [
      guard.dropMalformed === false ? 'malformed' : [],
      guard.dropBadFragments === false ? 'badFragments' : [],
      guard.dropMartians === false ? 'martians' : [],
    ].flat();
    return off.length === 0 ? 'all' : `not ${off.join(',')}`;
  };
  return [
    { title: 'NAME', value: ({ guard }) => guard.name },
    { title: 'DEFAULT', value: ({ guard }) => (guard.defaultAction === GuardAction.DENY ? 'deny' : 'allow') },
    { title: 'RULES', value: ({ guard }) => String(guard.rules.length), align: 'right' },
    { title: 'SOURCES', value: ({ guard }) => String(sources(guard)), align: 'right' },
    { title: 'SOURCE-LIMITS', value: ({ guard }) => limitsText(guard) },
    { title: 'SYN-COOKIES', value: ({ guard }) => cookiesText(guard.synCookies) },
    ...(wide
      ? [
          { title: 'DROPS', value: ({ guard }: GuardRow) => dropped(guard) },
          { title: 'CLUSTER', value: ({ guard }: GuardRow) => guard.cluster || '-' },
        ]
      : []),
    ...lastColumns<GuardRow>(session, wide),
  ];
}

function limitsText({ sourceLimits: limits }: Guard): string {
  if (limits === undefined) return '-';
  const { packetsPerSecond: packets, bytesPerSecond: bytes, connectionsPerSecond: connections } = limits;
  const all = [
    packets === undefined ? [] : `${packets}pkt/s`,
    bytes === undefined ? [] : `${bytes}B/s`,
    connections === undefined ? [] : `${connections}conn/s`,
  ].flat();
  return all.join(' ') || '-';
}

function cookiesText(cookies: SynCookies | undefined): string {
  const mode = cookies?.mode ?? SynCookiesMode.UNSPECIFIED;
  return mode === SynCookiesMode.UNSPECIFIED ? 'auto' : (SynCookiesMode[mode] ?? '?').toLowerCase();
}

function policyColumns(session: Session, wide: boolean): Column<PolicyRow>[] {
  const rate = (bandwidth: Bandwidth | undefined): string =>
    bandwidth === undefined ? '-' : printBandwidth(bandwidth.rate);
  return [
    { title: 'NAME', value: ({ policy }) => policy.name },
    { title: 'PRIORITY', value: ({ policy }) => Priority[policy.priority || Priority.P2] ?? '?' },
    { title: 'INGRESS', value: ({ policy }) => rate(policy.ingress), align: 'right' },
    { title: 'EGRESS', value: ({ policy }) => rate(policy.egress), align: 'right' },
    ...(wide
      ? ([
          { title: 'CONN-INGRESS', value: ({ policy }) => rate(policy.connectionIngress), align: 'right' },
          { title: 'CONN-EGRESS', value: ({ policy }) => rate(policy.connectionEgress), align: 'right' },
        ] satisfies Column<PolicyRow>[])
      : []),
    {
      title: 'CONNECTIONS',
      value: ({ policy: { connections } }) => (connections === undefined ? '-' : `${connections.perSecond}/s`),
      align: 'right',
    },
    { title: 'DSCP', value: ({ policy }) => (policy.dscp === undefined ? '-' : String(printDscp(policy.dscp))) },
    ...(wide ? [{ title: 'CLUSTER', value: ({ policy }: PolicyRow) => policy.cluster || '-' }] : []),
    ...lastColumns<PolicyRow>(session, wide),
  ];
}
