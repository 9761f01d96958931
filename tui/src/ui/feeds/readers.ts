// SPDX-License-Identifier: Apache-2.0
/**
 * How each feed is read: who is asked, how often, and what is done with who does not answer. Everything that comes is
 * bounded, and what has come stays shown while later questions fail.
 */
import type { AgentCalls, FleetState, NodeKey, NodeView, Reach } from '@marcher/client/fleet';
import { timeMs } from '../../cli/output/quantity.js';
import type { Clock } from '../ports.js';
import type { Scope } from '../store/ui-state.js';
import { type Feed, LOADING } from './feed.js';
import { followLogs } from './log-feed.js';

export interface FeedContext {
  readonly reach: Reach;
  readonly clock: Clock;
  readonly scope: Scope;
  state(): FleetState;
  publish(feed: Feed): void;
}

/** Gives what ends it. */
export type FeedReader = (context: FeedContext) => () => void;

const CONNECTIONS_MAX = 5_000;
const AUDIT_MAX = 300;
const HISTORY_MAX = 300;
/** Of a call. */
export const TIMEOUT_MS = 10_000;
/** Nodes that are asked at the same time. */
const AT_ONCE = 8;

export const FEEDS: Readonly<Record<string, FeedReader>> = {
  history: polled(5_000, async ({ reach }, signal) => {
    const { revisions } = await reach.entry.config.history({ limit: HISTORY_MAX }, { signal, timeoutMs: TIMEOUT_MS });
    return { items: revisions };
  }),
  certificates: polled(10_000, async ({ reach }, signal) => {
    const { certificates } = await reach.entry.certificates.listCertificates({}, { signal, timeoutMs: TIMEOUT_MS });
    return { items: certificates.sort((one, other) => (timeMs(one.notAfter) ?? 0) - (timeMs(other.notAfter) ?? 0)) };
  }),
  clusters: polled(10_000, async ({ reach }, signal) => {
    return { items: (await reach.entry.mesh.listClusters({}, { signal, timeoutMs: TIMEOUT_MS })).clusters };
  }),
  users: polled(10_000, async ({ reach }, signal) => {
    return { items: (await reach.entry.access.listUsers({}, { signal, timeoutMs: TIMEOUT_MS })).users };
  }),
  keys: polled(10_000, async ({ reach }, signal) => {
    return { items: (await reach.entry.access.listApiKeys({}, { signal, timeoutMs: TIMEOUT_MS })).keys };
  }),
  connections: polled(2_000, async (context, signal) => {
    const asked = nodesOf(context);
    const limit = Math.max(50, Math.floor(CONNECTIONS_MAX / Math.max(1, asked.length)));
    let total = 0;
    const { items, problems } = await ofEach(asked, async (node) => {
      const query = { service: context.scope.service ?? '', limit };
      const answer = await callsOf(context.reach, node).traffic.listConnections(query, {
        signal,
        timeoutMs: TIMEOUT_MS,
      });
      total += Number(answer.total);
      return answer.connections.map((connection) => ({ node: node.key, connection }));
    });
    return { items, problems, total };
  }),
  audit: polled(5_000, async (context, signal) => {
    const { items, problems } = await ofEach(nodesOf(context), async (node) => {
      const { records } = await callsOf(context.reach, node).audit.listAuditRecords(
        { limit: AUDIT_MAX },
        { signal, timeoutMs: TIMEOUT_MS },
      );
      return records.map((record) => ({ node: node.key, record }));
    });
    items.sort((one, other) => (timeMs(other.record.time) ?? 0) - (timeMs(one.record.time) ?? 0));
    return { items, problems };
  }),
  logs: followLogs,
};

type Answer = Partial<Feed> & { readonly items: readonly object[] };

function polled(intervalMs: number, read: (context: FeedContext, signal: AbortSignal) => Promise<Answer>): FeedReader {
  return (context) => {
    const ending = new AbortController();
    let cancel = (): void => undefined;
    let last: Feed = LOADING;
    const again = async (): Promise<void> => {
      try {
        const answer = await read(context, ending.signal);
        const problems = answer.problems ?? [];
        const status = answer.items.length === 0 && problems.length > 0 ? 'failed' : 'ready';
        last = { status, problems, total: undefined, ...answer };
      } catch (error) {
        const problem = error instanceof Error ? error.message : String(error);
        last = { ...last, status: last.items.length > 0 ? 'ready' : 'failed', problems: [problem] };
      }
      if (ending.signal.aborted) return;
      context.publish(last);
      cancel = context.clock.after(intervalMs, () => void again());
    };
    void again();
    return () => {
      ending.abort();
      cancel();
    };
  };
}

export function callsOf(reach: Reach, { isEntry, key }: Pick<NodeView, 'isEntry' | 'key'>): AgentCalls {
  return isEntry ? reach.entry : reach.node(key);
}

/** Those that answer now; of a scope the one that it names. */
export function nodesOf({ scope, state }: Pick<FeedContext, 'scope' | 'state'>): NodeView[] {
  const all = [...state().nodes.values()].filter(({ link }) => link.kind === 'live');
  return scope.node === undefined ? all : all.filter(({ key }) => key === scope.node);
}

/** What all of them say, and of those that fail why: the others are shown. */
export async function ofEach<T>(
  nodes: readonly NodeView[],
  ask: (node: NodeView) => Promise<readonly T[]>,
): Promise<{ items: T[]; problems: string[]; failed: NodeKey[] }> {
  const items: T[] = [];
  const problems: string[] = [];
  const failed: NodeKey[] = [];
  const waiting = [...nodes];
  const work = async (): Promise<void> => {
    for (let node = waiting.shift(); node !== undefined; node = waiting.shift()) {
      try {
        for (const item of await ask(node)) items.push(item);
      } catch (error) {
        failed.push(node.key);
        problems.push(`${node.name}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, nodes.length) }, work));
  return { items, problems, failed };
}
