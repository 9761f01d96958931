// SPDX-License-Identifier: Apache-2.0
/**
 * Logs and connections of many nodes as one list by time. What one node fails with is said of that node, and the others go on.
 *
 * Clocks of nodes differ and so do ways to them: entries wait for a moment, so that those of other nodes that belong before them
 * come first. One that is later than that comes all the same, out of its place.
 */
import type { Timestamp } from '@bufbuild/protobuf/wkt';
import type { Connection, LogEntry } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { isStreamLimit } from '../stream-limit.js';
import type { AgentCalls, Ambient, NodeKey } from './contract.js';
import { DialGate } from './dial-gate.js';
import { plainText } from './plain-text.js';

export interface FannedNode {
  readonly key: NodeKey;
  readonly calls: AgentCalls;
}

export type MergedLog =
  | { readonly kind: 'entry'; readonly node: NodeKey; readonly entry: LogEntry }
  /** Lost at the node before this, as nobody took them in time. */
  | { readonly kind: 'dropped'; readonly node: NodeKey; readonly count: bigint }
  /** Nothing more comes of this node. isLimit: by this side, which can begin anew at once; nothing is wrong with the node. */
  | { readonly kind: 'failed'; readonly node: NodeKey; readonly reason: string; readonly isLimit: boolean };

export interface LogsOptions {
  readonly nodes: readonly FannedNode[];
  readonly ambient: Ambient;
  /** undefined: of all. */
  readonly service?: string;
  /** Of each node, at most 10,000. Default 100. */
  readonly tail?: number;
  readonly follow?: boolean;
  /** How long entries wait for older ones. Default 1,000. */
  readonly windowMs?: number;
  /** Entries that wait at the same time: beyond it nodes are not read any further. Default 20,000. */
  readonly waitingMax?: number;
  readonly signal?: AbortSignal;
}

interface Waiting {
  readonly log: MergedLog;
  /** When it was, by its node; and when it came, by this machine. */
  readonly atMs: number;
  readonly cameMs: number;
  readonly order: number;
}

/** By time. Ends when all nodes have ended, or by the signal. Never fails. */
export async function* mergedLogs(options: LogsOptions): AsyncIterable<MergedLog> {
  const { nodes, ambient, windowMs = 1_000, waitingMax = 20_000, signal } = options;
  const ended = new AbortController();
  const stop = signal === undefined ? ended.signal : AbortSignal.any([ended.signal, signal]);
  const heap = new TimeHeap();
  const readers: (() => void)[] = [];
  let wake = (): void => {};
  let open = nodes.length;
  const put = (log: MergedLog, atMs: number): void => {
    heap.push(log, atMs, ambient.nowMs());
    wake();
  };
  const read = async ({ key: node, calls }: FannedNode): Promise<void> => {
    const { service = '', tail = 100, follow = false } = options;
    try {
      for await (const { entry, dropped } of calls.traffic.logs({ service, tail, follow }, { signal: stop })) {
        if (stop.aborted) break;
        const atMs = entry?.time === undefined ? ambient.nowMs() : millisOf(entry.time);
        if (dropped > 0n) put({ kind: 'dropped', node, count: dropped }, atMs);
        if (entry !== undefined) put({ kind: 'entry', node, entry }, atMs);
        while (heap.size >= waitingMax && !stop.aborted) await new Promise<void>((resolve) => readers.push(resolve));
      }
    } catch (error) {
      const reason = plainText(error instanceof Error ? error.message : String(error));
      if (!stop.aborted) put({ kind: 'failed', node, reason, isLimit: isStreamLimit(error) }, ambient.nowMs());
    } finally {
      open--;
      wake();
    }
  };
  const release = (): void => {
    for (const resolve of readers.splice(0)) resolve();
    wake();
  };
  stop.addEventListener('abort', release);
  for (const node of nodes) void read(node);
  try {
    while (!stop.aborted) {
      const next = heap.first;
      // With nobody left who could say something older, nothing has to wait.
      const waitMs = next === undefined ? undefined : next.cameMs + windowMs - ambient.nowMs();
      const isFull = heap.size >= waitingMax;
      if (next !== undefined && waitMs !== undefined && (waitMs <= 0 || open === 0 || isFull)) {
        heap.pop();
        if (heap.size < waitingMax) for (const resolve of readers.splice(0)) resolve();
        yield next.log;
        continue;
      }
      if (open === 0) return;
      await new Promise<void>((resolve) => {
        const cancel = waitMs === undefined ? () => {} : ambient.after(waitMs, () => wake());
        wake = () => {
          cancel();
          wake = () => {};
          resolve();
        };
        if (stop.aborted) wake();
      });
    }
  } finally {
    ended.abort();
    stop.removeEventListener('abort', release);
    release();
  }
}

export interface MergedConnections {
  /** Newest first. */
  readonly connections: readonly { readonly node: NodeKey; readonly connection: Connection }[];
  /** Of all nodes that have answered, also beyond those that are listed. */
  readonly total: bigint;
  readonly failed: ReadonlyMap<NodeKey, string>;
}

export interface ConnectionsOptions {
  readonly nodes: readonly FannedNode[];
  readonly service?: string;
  /** Of all nodes together. Default 1,000, at most 10,000. */
  readonly limit?: number;
  /** Nodes that are asked at the same time. Default 16. */
  readonly dialsMax?: number;
  /** Until a node has answered. Default 5,000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Never fails: each node says for itself. */
export async function mergedConnections(options: ConnectionsOptions): Promise<MergedConnections> {
  const { nodes, service = '', dialsMax = 16, timeoutMs = 5_000, signal } = options;
  const limit = Math.min(10_000, options.limit ?? 1_000);
  const gate = new DialGate(dialsMax);
  const never = new AbortController().signal;
  const failed = new Map<NodeKey, string>();
  let total = 0n;
  let found: { readonly node: NodeKey; readonly connection: Connection; readonly openedMs: number }[] = [];
  const newest = (): void => {
    found.sort((a, b) => b.openedMs - a.openedMs);
    found = found.slice(0, limit);
  };
  const ask = async ({ key: node, calls }: FannedNode): Promise<void> => {
    const leave = await gate.enter(signal ?? never);
    try {
      const answer = await calls.traffic.listConnections({ service, limit }, { timeoutMs, ...(signal && { signal }) });
      total += answer.total;
      for (const connection of answer.connections) {
        const openedMs = connection.opened === undefined ? 0 : millisOf(connection.opened);
        found.push({ node, connection, openedMs });
      }
      // Kept short all along: 50 nodes may list 10,000 each.
      if (found.length > 2 * limit) newest();
    } catch (error) {
      failed.set(node, plainText(error instanceof Error ? error.message : String(error)));
    } finally {
      leave?.();
    }
  };
  await Promise.all(nodes.map(ask));
  newest();
  return { connections: found.map(({ node, connection }) => ({ node, connection })), total, failed };
}

function millisOf({ seconds, nanos }: Timestamp): number {
  return Number(seconds) * 1_000 + nanos / 1e6;
}

/** The oldest first; of one time in the order in which they came. */
class TimeHeap {
  readonly #items: Waiting[] = [];
  #order = 0;

  get size(): number {
    return this.#items.length;
  }

  get first(): Waiting | undefined {
    return this.#items[0];
  }

  push(log: MergedLog, atMs: number, cameMs: number): void {
    const items = this.#items;
    const item: Waiting = { log, atMs, cameMs, order: this.#order++ };
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const above = (at - 1) >>> 1;
      const other = items[above] as Waiting;
      if (!isBefore(item, other)) break;
      items[at] = other;
      at = above;
    }
    items[at] = item;
  }

  pop(): void {
    const items = this.#items;
    const last = items.pop();
    if (last === undefined || items.length === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= items.length) break;
      const right = items[below + 1];
      if (right !== undefined && isBefore(right, items[below] as Waiting)) below++;
      const other = items[below] as Waiting;
      if (!isBefore(other, last)) break;
      items[at] = other;
      at = below;
    }
    items[at] = last;
  }
}

function isBefore(a: Waiting, b: Waiting): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
