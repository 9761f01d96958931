// SPDX-License-Identifier: Apache-2.0
/** This node says what it has open to backends, and its data plane hears what the others say: docs/decisions/0024. */
import type { BackendLoads } from '../application/mesh/backend-loads.js';
import {
  loadElsewhere,
  loadPauseMs,
  loadWrites,
  type OpenConnections,
  readLoad,
  type SaidLoad,
} from '../domain/mesh/backend-load.js';
import { NODE_STATE_KIND } from '../domain/mesh/node-state.js';
import { aliveOthers } from './membership.js';
import type { Part } from './part.js';

const LOOK_MS = 500;
/** Of the pause between two words. */
const SUM_SHARE = 0.1;

export class SharedLoads {
  readonly #part: Part;
  readonly #loads: BackendLoads;
  /** What is stored of others' words; undefined: nothing. */
  readonly #heard = new Map<string, SaidLoad | undefined>();
  /** Monotonic time of its last word. */
  #saidMs = Number.NEGATIVE_INFINITY;
  #sum: OpenConnections = new Map();
  #summedMs = Number.NEGATIVE_INFINITY;
  /** Bytes of the longest word in it. */
  #longest = 0;
  #failure = '';

  constructor(part: Part, loads: BackendLoads) {
    this.#part = part;
    this.#loads = loads;
  }

  start(): void {
    this.#part.timers.after(LOOK_MS * (0.75 + Math.random() / 2), () => {
      void this.#look().finally(() => this.start());
    });
  }

  /** Objects of that kind look different now. */
  changed(kind: string, ids: readonly string[]): void {
    if (kind === NODE_STATE_KIND) for (const id of ids) this.#heard.delete(id);
  }

  /** Services that are balanced by this node's connections alone, since there are too many. */
  get leftOut(): readonly string[] {
    return this.#loads.leftOut;
  }

  async #look(): Promise<void> {
    try {
      if (!this.#loads.isIdle) await this.#loads.tell(this.#elsewhere());
      await this.#say();
      this.#failure = '';
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const { log } = this.#part.options;
      if (reason !== this.#failure) log.warn({ reason }, "the load of the mesh's nodes is not shared; trying again");
      this.#failure = reason;
    }
  }

  async #say(): Promise<void> {
    const { identity, cells, replication, nodes, timers } = this.#part;
    const { nodeId } = identity;
    const members = nodes.members.size;
    const before = this.#of(nodeId);
    if (this.#loads.isIdle && (before?.open.size ?? 0) === 0) return;
    const pauseMs = loadPauseMs(members, before?.bytes ?? 0);
    if (performance.now() - this.#saidMs < pauseMs) return;
    const open = await this.#loads.open(pauseMs);
    if (open === undefined || timers.stopped || !replication.admitted) return;
    const stored = cells.object(NODE_STATE_KIND, nodeId);
    const writes = loadWrites(nodeId, stored, open, { members, nowMs: Date.now() });
    if (writes.length === 0) return;
    replication.write('', '', writes);
    this.#heard.delete(nodeId);
    this.#saidMs = performance.now();
  }

  /** Summed up the less often the more there is to sum up: news of it are as rare. */
  #elsewhere(): OpenConnections {
    const members = this.#part.nodes.members.size;
    const now = performance.now();
    if (now - this.#summedMs < loadPauseMs(members, this.#longest) * SUM_SHARE) return this.#sum;
    const words = aliveOthers(this.#part).flatMap((nodeId) => this.#of(nodeId) ?? []);
    this.#sum = loadElsewhere(words, members, Date.now());
    this.#longest = words.reduce((most, { bytes }) => Math.max(most, bytes), 0);
    this.#summedMs = now;
    return this.#sum;
  }

  #of(nodeId: string): SaidLoad | undefined {
    if (!this.#heard.has(nodeId)) {
      this.#heard.set(nodeId, readLoad(nodeId, this.#part.cells.object(NODE_STATE_KIND, nodeId)));
    }
    return this.#heard.get(nodeId);
  }
}
