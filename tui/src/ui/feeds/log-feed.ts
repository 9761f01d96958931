// SPDX-License-Identifier: Apache-2.0
/** The logs of all live nodes, followed and put in order of time. */
import type { NodeKey, NodeView } from '@marcher/client/fleet';
import type { LogEntry } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { timeMs } from '../../cli/output/quantity.js';
import type { FeedContext } from './readers.js';

interface Entry {
  readonly serial: number;
  readonly node: NodeKey;
  readonly entry: LogEntry;
}

/** Entries that are kept. */
const KEPT_MAX = 5_000;
/** Nodes that are followed at the same time. */
const STREAMS_MAX = 64;
/** Of what has been, from each node. */
const TAIL = 200;
/** Between two states of the list. */
const PUBLISH_MS = 250;
/** Between two looks at who is there, and before a stream that has ended is begun again. */
const LOOK_MS = 3_000;

export function followLogs({ reach, clock, scope, state, publish }: FeedContext): () => void {
  const ending = new AbortController();
  const followed = new Set<NodeKey>();
  const problems = new Map<NodeKey, string>();
  /** Of the newest entry from each node: a stream that begins again says them anew. */
  const newestMs = new Map<NodeKey, number>();
  let entries: Entry[] = [];
  let serial = 0;
  let dropped = 0;
  let isDue = false;
  const cancels = new Set<() => void>();
  const after = (ms: number, run: () => void): void => {
    const cancel = clock.after(ms, () => {
      cancels.delete(cancel);
      run();
    });
    cancels.add(cancel);
  };

  const publishSoon = (): void => {
    if (isDue || ending.signal.aborted) return;
    isDue = true;
    after(PUBLISH_MS, () => {
      isDue = false;
      entries.sort((one, other) => (timeMs(one.entry.time) ?? 0) - (timeMs(other.entry.time) ?? 0));
      if (entries.length > KEPT_MAX) entries = entries.slice(-KEPT_MAX);
      const lost = dropped === 0 ? [] : [`${dropped} entries were lost: they came faster than they were read`];
      publish({ status: 'ready', items: [...entries], problems: [...problems.values(), ...lost], total: undefined });
    });
  };

  const follow = async (node: NodeView): Promise<void> => {
    const calls = node.isEntry ? reach.entry : reach.node(node.key);
    const since = newestMs.get(node.key) ?? -1;
    let seen = 0;
    try {
      const query = { service: scope.service ?? '', follow: true, tail: TAIL };
      for await (const { entry, dropped: lost } of calls.traffic.logs(query, { signal: ending.signal })) {
        if (ending.signal.aborted) return;
        problems.delete(node.key);
        dropped += Number(lost);
        const at = timeMs(entry?.time) ?? 0;
        if (entry === undefined) continue;
        // Only what has been: a node whose clock was set back goes on to say something.
        if (seen++ < TAIL && at <= since) continue;
        newestMs.set(node.key, at);
        entries.push({ serial: serial++, node: node.key, entry });
        // Between two publications no more is kept than could be shown.
        if (entries.length > KEPT_MAX * 2) entries = entries.slice(-KEPT_MAX);
        publishSoon();
      }
    } catch (error) {
      if (ending.signal.aborted) return;
      problems.set(node.key, `${node.name}: ${error instanceof Error ? error.message : String(error)}`);
      publishSoon();
    } finally {
      followed.delete(node.key);
    }
  };

  const look = (): void => {
    if (ending.signal.aborted) return;
    for (const node of state().nodes.values()) {
      if (followed.size >= STREAMS_MAX) break;
      if (node.link.kind !== 'live' || followed.has(node.key)) continue;
      if (scope.node !== undefined && scope.node !== node.key) continue;
      followed.add(node.key);
      void follow(node);
    }
    after(LOOK_MS, look);
  };
  look();
  // Nothing may ever come: then that is what there is.
  publishSoon();
  return () => {
    ending.abort();
    for (const cancel of cancels) cancel();
  };
}
