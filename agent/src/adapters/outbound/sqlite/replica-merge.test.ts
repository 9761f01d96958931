// SPDX-License-Identifier: Apache-2.0
/** States of whole replicas, merged with each other: in memory and in SQLite, whatever was written where. */
import { hash as digest } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import type { CellWrite, Frame, ReplicaStore } from '../../../domain/replication/contract.js';
import { encodeFrame } from '../../../domain/replication/frame.js';
import { joinSnapshot } from '../../../domain/replication/join.js';
import { Ledger } from '../../../domain/replication/ledger.js';
import { MemoryStore } from '../../../domain/replication/memory-store.js';
import { EXISTENCE } from '../../../domain/replication/object.js';
import { SqliteConfigStore } from './sqlite-config-store.js';

const hash = (bytes: Uint8Array): Uint8Array => digest('sha256', bytes, 'buffer');
const START_MS = 1_700_000_000_000;

/** Of one transaction: what it writes, and how much later than the one before. */
interface Step {
  readonly writes: readonly CellWrite[];
  readonly laterMs: number;
}

const write: fc.Arbitrary<CellWrite> = fc.record({
  kind: fc.constantFrom('Service', 'Node'),
  id: fc.constantFrom('a', 'b', 'é\0c'),
  group: fc.constantFrom(EXISTENCE, EXISTENCE, '1', '2'),
  value: fc.option(fc.uint8Array({ maxLength: 3 }), { nil: undefined }),
});
const step: fc.Arbitrary<Step> = fc.record({
  writes: fc.uniqueArray(write, {
    minLength: 1,
    maxLength: 4,
    selector: ({ kind, id, group }) => `${kind} ${id} ${group}`,
  }),
  laterMs: fc.nat(3),
});
/** Of three nodes, each its log. */
const logs = fc.tuple(...[1, 2, 3].map(() => fc.array(step, { maxLength: 5 })));

function framesOf(node: bigint, steps: readonly Step[]): Frame[] {
  const frames: Frame[] = [];
  let ms = START_MS;
  for (const { writes, laterMs } of steps) {
    ms += laterMs;
    const before = frames.at(-1);
    const frame = encodeFrame(
      {
        ...{ origin: { node, incarnation: 1 }, sequence: frames.length + 1, author: '', message: '', writes },
        ...{ stamp: { ms, counter: frames.length, node }, previous: before?.hash ?? new Uint8Array(0) },
      },
      hash,
      () => new Uint8Array(8),
    );
    if ('fault' in frame) throw new Error(frame.fault);
    frames.push(frame);
  }
  return frames;
}

function plain(store: ReplicaStore): string {
  const reader = store.openSnapshot();
  const cells = [];
  for (let page = reader.next(1_000); page.length > 0; page = reader.next(1_000)) cells.push(...page);
  const { heads, horizon, forks } = reader.state;
  reader.close();
  const parts = { cells, heads: [...heads].sort(([a], [b]) => (a < b ? -1 : 1)), horizon, forks };
  return JSON.stringify(parts, (_, part) => {
    if (typeof part === 'bigint') return part.toString(16);
    if (part instanceof Map) return [...part];
    return part instanceof Uint8Array ? Buffer.from(part).toString('hex') : part;
  });
}

describe.each([
  ['in memory', 40],
  ['in SQLite', 4],
])('states of replicas %s', (where, numRuns) => {
  const directory = mkdtempSync(join(tmpdir(), 'marcher-merge-'));
  let opened: SqliteConfigStore[] = [];
  let files = 0;
  const close = (): void => {
    for (const store of opened) store.close();
    opened = [];
  };
  afterEach(() => {
    close();
    rmSync(directory, { recursive: true, force: true });
  });

  const empty = (): Ledger => {
    let store: ReplicaStore = new MemoryStore();
    if (where === 'in SQLite') {
      const file = new SqliteConfigStore(join(directory, `${files++}.db`));
      opened.push(file);
      store = file.openReplica();
    }
    return new Ledger({ store, node: 9n, hash, wallMs: () => START_MS + 1_000, aheadMaxMs: 5_000 });
  };
  const of = (...frames: readonly Frame[]): Ledger => {
    const ledger = empty();
    for (const frame of frames) {
      ledger.clock.receive(frame.stamp);
      ledger.apply([frame]);
    }
    return ledger;
  };
  /** A replica that takes over these, one after the other. */
  const merged = (...states: readonly Ledger[]): Ledger => {
    const ledger = empty();
    for (const { store } of states) {
      const reader = store.openSnapshot();
      const cells = reader.next(1_000_000);
      ledger.clock.receive(reader.state.clock);
      joinSnapshot(ledger, cells, reader.state);
      reader.close();
    }
    return ledger;
  };
  const seen = ({ store }: Ledger): string => plain(store);

  test('merge commutatively, associatively and idempotently, and to what all their frames give in any order', () => {
    fc.assert(
      fc.property(logs, fc.array(fc.nat(2), { maxLength: 20 }), (steps, turns) => {
        const frames = steps.map((log, at) => framesOf(BigInt(at + 1), log));
        const [a, b, c] = frames.map((log) => of(...log)) as [Ledger, Ledger, Ledger];
        // Each origin's in order, and the origins in any.
        const left = frames.map((log) => [...log]);
        const mixed = turns.flatMap((origin) => left[origin]?.splice(0, 1) ?? []).concat(left.flat());
        const expected = seen(of(...mixed));
        expect(seen(merged(a, b, c))).toBe(expected);
        expect(seen(merged(c, b, a))).toBe(expected);
        const ab = merged(a, b);
        const bc = merged(b, c);
        expect(seen(merged(ab, c))).toBe(expected);
        expect(seen(merged(a, bc))).toBe(expected);
        const older = of(...(frames[0]?.slice(0, 2) ?? []));
        expect(seen(merged(ab, bc, ab, older))).toBe(expected);
        close();
      }),
      { numRuns },
    );
  });
});
