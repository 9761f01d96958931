// SPDX-License-Identifier: Apache-2.0
/** What an operator should know before nodes or backends are taken out of service, and who is to be told. */
import { DrainDraft, type DrainedNode } from '@marcher/client/actions';
import type { BackendView, FleetState, NodeView, Reach } from '@marcher/client/fleet';
import { plural } from '../../cli/output/quantity.js';
import { callsOf } from '../feeds/readers.js';
import { nodesText } from '../views/shown.js';

export type Verb = 'drain' | 'undrain';

export interface DrainPlan {
  readonly title: string;
  /** What comes of it. */
  readonly lines: readonly string[];
  /** What has to be typed, as something would stand still. */
  readonly word: string | undefined;
  /** None: nobody who could be told is live. */
  readonly drafts: readonly DrainDraft[];
}

export function drainNodes(verb: Verb, nodes: readonly NodeView[], state: FleetState, reach: Reach): DrainPlan {
  const live = nodes.filter(({ link }) => link.kind === 'live');
  const names = nodesText(
    state,
    live.map(({ key }) => key),
  );
  const others = [...state.nodes.values()].filter(
    (node) => node.link.kind === 'live' && node.status?.draining !== true && !live.includes(node),
  );
  const open = live.reduce((sum, { flow }) => sum + (flow?.open ?? 0), 0);
  const isLast = verb === 'drain' && others.length === 0;
  return {
    title: verb === 'drain' ? `Drain ${names}?` : `Have ${names} take connections again?`,
    lines: [
      verb === 'drain'
        ? `Its listeners close; ${plural(open, 'connection')} may finish within the drain times of their services.`
        : 'Its listeners open again.',
      ...(isLast ? ['No other live node takes connections then: the mesh stands still.'] : []),
      ...away(nodes.length - live.length),
    ],
    word: isLast ? 'drain' : undefined,
    drafts: live.length === 0 ? [] : [new DrainDraft({ verb, nodes: live.map((node) => toldNode(node, reach)) })],
  };
}

export function drainBackends(
  verb: Verb,
  backends: readonly BackendView[],
  state: FleetState,
  reach: Reach,
): DrainPlan {
  const holders = backends.map(({ service, backend, nodes }) => {
    const all = [...nodes.keys()].flatMap((key) => state.nodes.get(key) ?? []);
    return { backend: { service, backend }, all, live: all.filter(({ link }) => link.kind === 'live') };
  });
  const live = [...new Set(holders.flatMap((each) => each.live))];
  const absent = new Set(holders.flatMap((each) => each.all.filter((node) => !each.live.includes(node)))).size;
  const where = nodesText(
    state,
    live.map(({ key }) => key),
  );
  const what = backends.length === 1 ? `backend ${backends[0]?.key ?? ''}` : `${backends.length} backends`;
  const open = backends.reduce((sum, { connections }) => sum + connections, 0);
  const idle = verb === 'drain' ? leftWithout(backends, state) : [];
  return {
    title: verb === 'drain' ? `Drain ${what} on ${where}?` : `Have ${what} take connections again on ${where}?`,
    lines: [
      verb === 'drain' ? `No new connections; the ${open} that are open are not cut.` : 'New connections come again.',
      ...idle.map((service) => `Service ${service} has no other healthy backend then: its clients are refused.`),
      ...away(absent),
    ],
    word: idle.length > 0 ? 'drain' : undefined,
    drafts: holders.flatMap(({ backend, live: nodes }) =>
      nodes.length === 0 ? [] : [new DrainDraft({ verb, backend, nodes: nodes.map((node) => toldNode(node, reach)) })],
    ),
  };
}

function toldNode(node: NodeView, reach: Reach): DrainedNode {
  return { key: node.key, name: node.name, isEntry: node.isEntry, calls: callsOf(reach, node) };
}

/** Services that would have no healthy backend left. */
function leftWithout(drained: readonly BackendView[], { backends }: FleetState): string[] {
  const gone = new Set(drained.map(({ key }) => key));
  const left = new Set<string>();
  for (const { key, service, health, draining } of backends.values()) {
    if (!gone.has(key) && health !== 'unhealthy' && draining !== 'yes') left.add(service);
  }
  return [...new Set(drained.map(({ service }) => service))].filter((service) => !left.has(service));
}

function away(count: number): string[] {
  return count === 0 ? [] : [`${plural(count, 'node')} can't be reached now, and will not be told.`];
}

/** What came of it, in a sentence. */
export async function carryOut(
  verb: Verb,
  { drafts }: DrainPlan,
): Promise<{ readonly ok: boolean; readonly text: string }> {
  const nodes = new Set<string>();
  const failed = new Map<string, string>();
  let open = 0n;
  // One after the other: a draft asks all of its nodes at once.
  for (const draft of drafts) {
    for (const result of await draft.apply(AbortSignal.timeout(TIMEOUT_MS))) {
      nodes.add(result.node);
      if ('error' in result) failed.set(result.node, `${result.name}: ${result.error}`);
      else open += result.connections;
    }
  }
  const [first] = failed.values();
  if (first !== undefined)
    return { ok: false, text: `${nodes.size - failed.size} of ${plural(nodes.size, 'node')} did it. ${first}` };
  const done = verb === 'drain' ? `${plural(open, 'connection')} may finish` : 'connections come again';
  return { ok: true, text: `${verb === 'drain' ? 'Drained' : 'Undrained'} on ${plural(nodes.size, 'node')}: ${done}.` };
}

const TIMEOUT_MS = 30_000;
