// SPDX-License-Identifier: Apache-2.0
/**
 * The logs of nodes, followed. What is kept is bounded; a node whose log ends is asked again after a while, and what it says anew of
 * what is known already is left out.
 */
import { type Ambient, type FannedNode, type MergedLog, mergedLogs, type NodeKey } from '@marcher/client/fleet';
import type { LogEntry } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { timeMs } from '../text/quantity.js';

/** A line: an entry, or what is to be said of a node's log. */
export interface LogLine {
  /** In the order in which they came. */
  readonly serial: number;
  readonly node: NodeKey;
  /** Unix time, by the node's clock. */
  readonly atMs: number;
  readonly entry: LogEntry | undefined;
  /** Where there is no entry: what was lost, or why the log has ended. */
  readonly note: string;
}

export interface LogFeedOptions {
  readonly ambient: Ambient;
  readonly service: string;
  readonly nodes: readonly FannedNode[];
  /** Lines that are kept. Default 5,000. */
  readonly keptMax?: number;
}

/** Of what has been, from each node. */
const TAIL = 100;
const AGAIN_MS = 5_000;

interface Known {
  newestMs: number;
  /** Of entries of that time. */
  readonly keys: Set<string>;
}

export class LogFeed {
  readonly #options: LogFeedOptions;
  readonly #keptMax: number;
  readonly #stop = new AbortController();
  readonly #cancels = new Set<() => void>();
  readonly #known = new Map<NodeKey, Known>();
  /** The oldest first; up to twice as many as are kept, so that it is cut seldom. */
  #lines: LogLine[] = [];
  #serial = 0;

  constructor(options: LogFeedOptions) {
    this.#options = options;
    this.#keptMax = options.keptMax ?? 5_000;
  }

  start(): void {
    void this.#follow(this.#options.nodes);
  }

  close(): void {
    this.#stop.abort();
    for (const cancel of this.#cancels) cancel();
  }

  /** Grows with each line. */
  get serial(): number {
    return this.#serial;
  }

  lines(): readonly LogLine[] {
    return this.#lines.slice(-this.#keptMax);
  }

  async #follow(nodes: readonly FannedNode[]): Promise<void> {
    const { ambient, service } = this.#options;
    const { signal } = this.#stop;
    for await (const log of mergedLogs({ nodes, ambient, service, tail: TAIL, follow: true, signal })) {
      if (signal.aborted) return;
      this.#take(log);
    }
  }

  #take(log: MergedLog): void {
    const { node } = log;
    switch (log.kind) {
      case 'entry': {
        const atMs = timeMs(log.entry.time) ?? this.#options.ambient.nowMs();
        if (this.#isNew(node, log.entry, atMs)) this.#add({ node, atMs, entry: log.entry, note: '' });
        return;
      }
      case 'dropped':
        this.#say(node, `${log.count} entries were lost: they came faster than they were read`);
        return;
      case 'failed': {
        const again = this.#options.nodes.filter(({ key }) => key === node);
        if (log.isLimit) {
          void this.#follow(again);
          return;
        }
        this.#say(node, `its log has ended, and is asked for again: ${log.reason}`);
        const cancel = this.#options.ambient.after(AGAIN_MS, () => {
          this.#cancels.delete(cancel);
          void this.#follow(again);
        });
        this.#cancels.add(cancel);
      }
    }
  }

  #say(node: NodeKey, note: string): void {
    this.#add({ node, atMs: this.#options.ambient.nowMs(), entry: undefined, note });
  }

  #add(line: Omit<LogLine, 'serial'>): void {
    this.#lines.push({ serial: ++this.#serial, ...line });
    if (this.#lines.length >= 2 * this.#keptMax) this.#lines = this.#lines.slice(-this.#keptMax);
  }

  /** One node says its entries in order, so only those of its newest time have to be told apart. */
  #isNew(node: NodeKey, { kind, connectionId, service, backend }: LogEntry, atMs: number): boolean {
    const key = `${kind} ${connectionId} ${service} ${backend}`;
    const known = this.#known.get(node);
    if (known === undefined || atMs > known.newestMs) {
      this.#known.set(node, { newestMs: atMs, keys: new Set([key]) });
      return true;
    }
    if (atMs < known.newestMs || known.keys.has(key)) return false;
    known.keys.add(key);
    return true;
  }
}
