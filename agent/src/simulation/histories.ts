// SPDX-License-Identifier: Apache-2.0
/** What the history of a seed is made of: how many nodes, on what they keep their cells, and what is written. */
import { hash as digest } from 'node:crypto';
import { type HistoryResult, runHistory } from '../domain/replication/sim/history.js';
import type { Faults } from '../domain/replication/sim/plan.js';
import { runClusterHistory } from './clusters/cluster-history.js';
import { Configurations } from './configurations.js';
import { SqliteDisk } from './sqlite-disk.js';

export type StoreKind = 'memory' | 'sqlite';

export interface HistoryKind {
  /** Of nodes that are in clusters: a history of its own kind, of which the seed says the rest. */
  readonly clusters: boolean;
  readonly nodes: number;
  readonly store: StoreKind;
  /** Services and policies are written, and followed by the projection; otherwise objects that mean nothing. */
  readonly configurations: boolean;
  /** Of many nodes, where histories are few: every fault comes within two of them, one after the other. */
  readonly faults: Faults;
}

/** What was asked for; the rest is the seed's to say. */
export type Wanted = Partial<Pick<HistoryKind, 'nodes' | 'store' | 'clusters'>>;

const MANY = 100;

/** Most histories are of few nodes, which meet each other's troubles more often. */
function nodesOf(seed: number): number {
  // Few of these; odd and even ones by turns.
  if (seed % 2001 === 943) return 1000;
  if (seed % 401 === 200) return 100;
  if (seed % 50 === 10) return 10;
  return 3;
}

/** Enough that some are in none, or come and go while others stay. */
function clusterNodesOf(seed: number): number {
  return seed % 3 === 0 ? 5 : 3;
}

export function kindOf(seed: number, wanted: Wanted): HistoryKind {
  const unsaid = wanted.nodes === undefined && wanted.store === undefined;
  if (wanted.clusters ?? (unsaid && seed % 50 === 3)) {
    return { clusters: true, nodes: clusterNodesOf(seed), store: 'memory', configurations: true, faults: 'by-chance' };
  }
  const nodes = wanted.nodes ?? nodesOf(seed);
  const store = wanted.store ?? (nodes === 3 && seed % 125 === 7 ? 'sqlite' : 'memory');
  const configurations = store === 'sqlite' || (nodes <= 10 && seed % 10 === 0);
  return {
    clusters: false,
    nodes,
    store,
    configurations,
    faults: nodes < MANY ? 'by-chance' : seed % 2 === 1 ? 'all-kept' : 'all-given-up',
  };
}

export function runOf(seed: number, { clusters, nodes, store, configurations, faults }: HistoryKind): HistoryResult {
  const hash = (bytes: Uint8Array): Uint8Array => digest('sha256', bytes, 'buffer');
  if (clusters) return runClusterHistory({ seed, nodes, hash });
  return runHistory({
    ...{ seed, nodes, hash, faults },
    // Buckets are read by statements there: fewer at a time.
    ...(store === 'sqlite' ? { disk: (onFrame) => new SqliteDisk(onFrame), settings: { upkeepBuckets: 64 } } : {}),
    ...(configurations ? { effects: new Configurations() } : {}),
    ...(nodes < MANY ? {} : { durationMs: 3000, writes: 20 }),
  });
}
