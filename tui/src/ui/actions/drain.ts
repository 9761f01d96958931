// SPDX-License-Identifier: Apache-2.0
/** Taking nodes and backends out of service, and back: what is asked before, who is told, what came of it. */
import type { BackendView, FleetState, NodeView, Reach } from '@marcher/client/fleet';
import { plural } from '../../cli/output/quantity.js';
import { callsOf, ofEach, TIMEOUT_MS } from '../feeds/readers.js';
import { nodesText } from '../views/shown.js';

export type Verb = 'drain' | 'undrain';

export interface DrainPlan {
  readonly verb: Verb;
  readonly title: string;
  readonly lines: readonly string[];
  /** What has to be typed, as most of the mesh would stand still. */
  readonly word: string | undefined;
  readonly steps: readonly { readonly node: NodeView; readonly service: string; readonly backend: string }[];
}

export function drainNodes(verb: Verb, nodes: readonly NodeView[], state: FleetState): DrainPlan {
  const live = nodes.filter(({ link }) => link.kind === 'live');
  const names = nodesText(
    state,
    live.map(({ key }) => key),
  );
  const stays = [...state.nodes.values()].filter(
    (node) => node.link.kind === 'live' && node.status?.draining !== true && !live.includes(node),
  ).length;
  const open = live.reduce((sum, { flow }) => sum + (flow?.open ?? 0), 0);
  const isLast = verb === 'drain' && stays === 0;
  return {
    verb,
    title: verb === 'drain' ? `Drain ${names}?` : `Have ${names} take connections again?`,
    lines: [
      ...(verb === 'drain'
        ? [`Its listeners close; ${plural(open, 'connection')} may finish within the drain times of their services.`]
        : ['Listeners open again.']),
      ...(isLast ? ['No other live node takes connections then: the mesh stands still.'] : []),
      ...notLive(nodes.length - live.length),
      '',
      'The same on the node itself:',
      `  marcher ${verb}`,
    ],
    word: isLast ? 'drain' : undefined,
    steps: live.map((node) => ({ node, service: '', backend: '' })),
  };
}

export function drainBackends(verb: Verb, backends: readonly BackendView[], state: FleetState): DrainPlan {
  const steps = backends.flatMap(({ service, backend, nodes }) =>
    [...nodes.keys()].flatMap((key) => {
      const node = state.nodes.get(key);
      return node?.link.kind === 'live' ? [{ node, service, backend }] : [];
    }),
  );
  const away = new Set(
    backends.flatMap(({ nodes }) => [...nodes.keys()].filter((key) => state.nodes.get(key)?.link.kind !== 'live')),
  ).size;
  const where = nodesText(state, [...new Set(steps.map(({ node }) => node.key))]);
  const [first] = backends;
  const what = backends.length === 1 ? `backend ${first?.key ?? ''}` : `${backends.length} backends`;
  const open = backends.reduce((sum, { connections }) => sum + connections, 0);
  const idle = verb === 'drain' ? leftWithout(backends, state) : [];
  return {
    verb,
    title: verb === 'drain' ? `Drain ${what} on ${where}?` : `Have ${what} take connections again on ${where}?`,
    lines: [
      ...(verb === 'drain' ? [`No new connections; the ${open} that are open are not cut.`] : []),
      ...idle.map((service) => `Service ${service} has no other healthy backend then: its clients are refused.`),
      ...notLive(away),
      '',
      'The same, on each of the nodes:',
      ...backends
        .slice(0, 20)
        .map(({ service, backend }) => `  marcher ${verb} ${shellWord(service)} ${shellWord(backend)}`),
    ],
    word: idle.length > 0 ? 'drain' : undefined,
    steps,
  };
}

/** Services that would have no healthy backend left. */
function leftWithout(drained: readonly BackendView[], { backends }: FleetState): string[] {
  const gone = new Set(drained.map(({ key }) => key));
  const services = [...new Set(drained.map(({ service }) => service))];
  const left = new Set<string>();
  for (const { key, service, health, draining } of backends.values()) {
    if (!gone.has(key) && health !== 'unhealthy' && draining !== 'yes') left.add(service);
  }
  return services.filter((service) => !left.has(service));
}

function notLive(count: number): string[] {
  return count === 0 ? [] : [`${plural(count, 'node')} can't be reached now, and will not be told.`];
}

/** Names may have what a shell gives a meaning to. */
function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

export async function carryOut(
  { verb, steps }: DrainPlan,
  reach: Reach,
): Promise<{ readonly ok: boolean; readonly text: string }> {
  let open = 0;
  const byNode = new Map(steps.map(({ node }) => [node.key, node]));
  const { problems, failed } = await ofEach([...byNode.values()], async (node) => {
    const calls = callsOf(reach, node);
    for (const { service, backend } of steps.filter((step) => step.node === node)) {
      if (verb === 'undrain') await calls.node.undrain({ service, backend }, { timeoutMs: TIMEOUT_MS });
      else open += Number((await calls.node.drain({ service, backend }, { timeoutMs: TIMEOUT_MS })).connections);
    }
    return [];
  });
  const told = byNode.size - failed.length;
  const done = verb === 'drain' ? `${plural(open, 'connection')} may finish` : 'it takes connections again';
  const [first] = problems;
  return first === undefined
    ? { ok: true, text: `${verb === 'drain' ? 'Drained' : 'Undrained'} on ${plural(told, 'node')}: ${done}.` }
    : { ok: false, text: `${told} of ${plural(byNode.size, 'node')} did it. ${first}` };
}
