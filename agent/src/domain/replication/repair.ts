// SPDX-License-Identifier: Apache-2.0
/** What two members with equal vectors and different digests send each other: the cells of the buckets that differ. */
import type { Cell, Key, Message } from './contract.js';
import { BUCKETS } from './digest.js';
import type { Ledger } from './ledger.js';
import { cellBytes } from './memory-store.js';

/** The others' turn comes in later rounds. */
const BUCKETS_AT_ONCE = 16;
const PAGE = 1024;

/** Buckets of which another's digest is not ours; the first of them, if there are many. */
export function differing(ledger: Ledger, digests: readonly number[]): number[] {
  const buckets: number[] = [];
  for (let bucket = 0; bucket < BUCKETS && buckets.length < BUCKETS_AT_ONCE; bucket++) {
    if (digests[bucket] !== ledger.digests.of(bucket)) buckets.push(bucket);
  }
  return buckets;
}

/**
 * A bucket's cells, in messages of about that many bytes. answer: the other is to send its own when it has the last.
 */
export function* repairsOf(ledger: Ledger, bucket: number, maxBytes: number, answer: boolean): Iterable<Message> {
  const { horizon } = ledger;
  const forks = ledger.forks.map(({ origin, sequence }) => ({ origin, sequence }));
  const vector = ledger.vector();
  let start: Key | undefined;
  let after: Key | undefined;
  let cells: Cell[] = [];
  let bytes = 0;
  for (;;) {
    const page = ledger.store.bucket(bucket, after, PAGE);
    for (const cell of page) {
      if (bytes > maxBytes) {
        yield { type: 'repair', answer, bucket, after: start, through: after, cells, vector, horizon, forks };
        start = after;
        cells = [];
        bytes = 0;
      }
      cells.push(cell);
      bytes += cellBytes(cell);
      after = cell;
    }
    if (page.length < PAGE) break;
  }
  yield { type: 'repair', answer, bucket, after: start, through: undefined, cells, vector, horizon, forks };
}
