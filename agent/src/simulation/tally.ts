// SPDX-License-Identifier: Apache-2.0
import type { HistoryResult } from '../domain/replication/sim/history.js';
import type { HistoryKind } from './histories.js';

interface Row {
  histories: number;
  failed: number;
  frames: number;
  healedMs: number;
  readonly events: Map<string, number>;
}

/** What the histories of each size have seen, so that nothing is said to be exercised that never happened. */
export class Tally {
  readonly #rows = new Map<string, Row>();

  add({ clusters, nodes, store }: HistoryKind, { faults, frames, healedMs, events }: HistoryResult): void {
    const name = `${nodes} nodes${clusters ? ' in clusters' : ''}${store === 'sqlite' ? ', SQLite' : ''}`;
    const row = this.#rows.get(name) ?? { histories: 0, failed: 0, frames: 0, healedMs: 0, events: new Map() };
    this.#rows.set(name, row);
    row.histories++;
    if (faults.length > 0) row.failed++;
    row.frames += frames;
    row.healedMs = Math.max(row.healedMs, healedMs);
    for (const [what, times] of Object.entries(events)) row.events.set(what, (row.events.get(what) ?? 0) + times);
  }

  get histories(): number {
    return this.#sum(({ histories }) => histories);
  }

  get failed(): number {
    return this.#sum(({ failed }) => failed);
  }

  get frames(): number {
    return this.#sum(({ frames }) => frames);
  }

  get healedMs(): number {
    return Math.max(0, ...Array.from(this.#rows.values(), ({ healedMs }) => healedMs));
  }

  /** A paragraph for each size, the smallest first. */
  *lines(): Iterable<string> {
    const rows = [...this.#rows].sort(
      ([a], [b]) => Number.parseInt(a, 10) - Number.parseInt(b, 10) || (a < b ? -1 : 1),
    );
    for (const [name, { histories, failed, frames, events }] of rows) {
      yield `${name}: ${histories} histories, ${failed} failed, ${frames} frames`;
      yield `  ${[...events]
        .sort()
        .map(([what, times]) => `${what}: ${times}`)
        .join(', ')}`;
    }
  }

  #sum(of: (row: Row) => number): number {
    let sum = 0;
    for (const row of this.#rows.values()) sum += of(row);
    return sum;
  }
}
