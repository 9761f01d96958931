// SPDX-License-Identifier: Apache-2.0
/** Denying and allowing sources at once, in the guard "operator"; and what all guards say. */
import { create, equals } from '@bufbuild/protobuf';
import type { AgentClient } from '@marcher/client';
import { parsePorts, printPorts } from '@marcher/model/scalar';
import { type Change, ChangeSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { type Guard, GuardAction, type GuardRule, GuardSchema, Protocol } from '@marcher/proto/marcher/v1/model_pb';
import { ExitCode } from '../exit-code.js';
import { Failure, usage } from '../failure.js';
import type { Column } from '../output/table.js';
import type { Session, TargetOptions } from '../session.js';
import { type ChangeOptions, makeChange } from './change.js';
import { writeTable } from './get.js';
import { actionName, decide, forget, OPERATOR, type Scope } from './operator-guard.js';

interface GuardOptions extends ChangeOptions {
  readonly protocol?: 'tcp' | 'udp';
  readonly ports?: string;
  readonly unlimited?: boolean;
}

export async function deny(session: Session, options: GuardOptions, prefixes: readonly string[]): Promise<ExitCode> {
  const scope = scopeOf(options);
  return await edit(session, options, 'deny', prefixes, (guard) => {
    return decide(guard, prefixes, scope, { action: GuardAction.DENY, unlimited: false });
  });
}

export async function allow(session: Session, options: GuardOptions, prefixes: readonly string[]): Promise<ExitCode> {
  const scope = scopeOf(options);
  return await edit(session, options, 'allow', prefixes, (guard) => {
    return decide(guard, prefixes, scope, { action: GuardAction.ALLOW, unlimited: options.unlimited === true });
  });
}

export async function remove(session: Session, options: GuardOptions, prefixes: readonly string[]): Promise<ExitCode> {
  const scope = options.protocol === undefined && options.ports === undefined ? undefined : scopeOf(options);
  return await edit(session, options, 'remove', prefixes, (before) => {
    const { guard, missing } = forget(before, prefixes, scope);
    if (missing.length === 0) return guard;
    const where = scope === undefined ? '' : ' for these ports';
    throw new Failure(
      ExitCode.notFound,
      `guard ${OPERATOR} says nothing of ${missing.join(', ')}${where}: see marcher guard list`,
    );
  });
}

function scopeOf({ protocol, ports }: GuardOptions): Scope {
  if (ports !== undefined && protocol === undefined) throw usage('--ports needs --protocol tcp or --protocol udp');
  const parsed = parsePorts(ports === undefined ? [] : ports.split(','));
  if ('reason' in parsed) throw usage(`--ports: ${parsed.reason}: ${parsed.fix}`);
  const code = protocol === undefined ? Protocol.UNSPECIFIED : protocol === 'tcp' ? Protocol.TCP : Protocol.UDP;
  return { protocol: code, ports: parsed.value };
}

async function edit(
  session: Session,
  options: GuardOptions,
  verb: string,
  prefixes: readonly string[],
  change: (guard: Guard | undefined) => Guard | undefined,
): Promise<ExitCode> {
  const scope = [options.protocol, options.ports].filter((part) => part !== undefined).join(' ');
  const note = `guard ${verb} ${prefixes.join(' ')}${scope === '' ? '' : ` (${scope})`}`;
  const short = note.length > 200 ? `${note.slice(0, 197)}...` : note;
  return await makeChange(session, options, short, async (agent) => {
    const { guard, version } = await readOperator(agent, session.call(options));
    const after = change(guard);
    const same = guard === undefined ? after === undefined : after !== undefined && equals(GuardSchema, guard, after);
    return same ? undefined : { change: changeOf(after), version };
  });
}

async function readOperator(agent: AgentClient, call: { timeoutMs: number }) {
  const { resources, version } = await agent.config.listObjects({ kind: 'Guard', name: OPERATOR }, call);
  const object = resources[0]?.object?.object;
  return { guard: object?.case === 'guard' ? object.value : undefined, version };
}

function changeOf(guard: Guard | undefined): Change {
  return guard === undefined
    ? create(ChangeSchema, { removeObjects: [{ kind: 'Guard', name: OPERATOR }] })
    : create(ChangeSchema, { upsertObjects: [{ object: { case: 'guard', value: guard } }] });
}

interface ListedRule {
  readonly guard: string;
  readonly rule: GuardRule;
  readonly source: string;
  /** Of the whole rule. */
  readonly packets: bigint | undefined;
}

/** A line for each source of each rule, so that it can be searched. */
export async function list(
  session: Session,
  options: TargetOptions & { readonly output: 'table' | 'json' },
): Promise<undefined> {
  const agent = await session.agent(options);
  const { resources } = await agent.config.listObjects({ kind: 'Guard' }, session.call(options));
  const guards = resources.flatMap(({ object }) => (object?.object.case === 'guard' ? object.object.value : []));
  if (options.output === 'json') {
    const { guardRuleToFile } = await import('@marcher/model');
    const rules = guards.flatMap((guard) =>
      guard.rules.map((rule) => ({ guard: guard.name, ...guardRuleToFile(rule) })),
    );
    await session.write(`${JSON.stringify(rules, null, 2)}\n`);
    return;
  }
  const counts = await packetsOf(agent, session.call(options));
  const rows = guards.flatMap((guard) =>
    guard.rules.flatMap((rule, position): ListedRule[] => {
      const sources = rule.sources.length === 0 ? ['*'] : rule.sources;
      const packets = counts?.get(`${guard.name} ${position}`);
      return sources.map((source) => ({ guard: guard.name, rule, source, packets }));
    }),
  );
  const shown = columns(session);
  if (counts !== undefined) {
    const value = ({ packets }: ListedRule): string => (packets === undefined ? '-' : String(packets));
    shown.push({ title: 'PACKETS', value, align: 'right' });
  }
  await writeTable(session, shown, rows, 'rules');
}

/** What each rule has decided about, by guard and position; undefined: the node guards nothing, or can't say. */
async function packetsOf(agent: AgentClient, call: { timeoutMs: number }): Promise<Map<string, bigint> | undefined> {
  try {
    const { guard } = await agent.node.status({ withTraffic: true }, call);
    return guard && new Map(guard.rules.map((rule) => [`${rule.guard} ${rule.position}`, rule.packets]));
  } catch {
    return undefined;
  }
}

function columns({ style }: Session): Column<ListedRule>[] {
  return [
    { title: 'SOURCE', value: ({ source }) => source },
    {
      title: 'ACTION',
      value: ({ rule }) => actionName(rule.action),
      paint: (text, { rule }) => (rule.action === GuardAction.DENY ? style.red(text) : text),
    },
    {
      title: 'PROTOCOL',
      value: ({ rule }) =>
        rule.protocol === Protocol.UNSPECIFIED ? '*' : (Protocol[rule.protocol] ?? '?').toLowerCase(),
    },
    {
      title: 'PORTS',
      value: ({ rule }) => (rule.ports.length === 0 ? '*' : [printPorts(rule.ports)].flat().join(',')),
    },
    { title: 'GUARD', value: ({ guard }) => guard },
    { title: 'HOW', value: ({ rule }) => howText(rule) },
  ];
}

function howText({ unlimited, redirectDevice, redirectAddress }: GuardRule): string {
  if (unlimited) return 'unlimited';
  if (redirectDevice !== '') return `to device ${redirectDevice}`;
  return redirectAddress === '' ? '-' : `to ${redirectAddress}`;
}
