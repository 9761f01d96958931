// SPDX-License-Identifier: Apache-2.0
/**
 * A process of a node with clusters: the agent's own routing (shards.ts), index of who is in what (clusters.ts) and
 * projection, put together as the agent does (mesh/opening.ts, application/mesh/replication.ts), but for its timers.
 */
import { Clusters } from '../../application/mesh/clusters.js';
import { Shards, type Written } from '../../application/mesh/shards.js';
import { writesByCluster } from '../../application/mesh/writes.js';
import { nodeIdOf } from '../../domain/identity/names.js';
import { CLUSTER_KIND } from '../../domain/mesh/cluster.js';
import type { ReplicaSettings } from '../../domain/replication/context.js';
import {
  type CellWrite,
  type ClusterName,
  type Environment,
  type NodeId,
  type ReplicaEvent,
  type ReplicaStore,
  ReplicaStoreError,
} from '../../domain/replication/contract.js';
import { Replica } from '../../domain/replication/replica.js';
import type { CommitChange } from '../../ports/config-store.js';
import { ApplicationError } from '../../ports/use-cases.js';
import { FollowedConfiguration, type FollowedStore } from '../followed-configuration.js';
import type { MachineDisk } from './machine-disk.js';

const AUTHOR = { author: 'sim', message: '' };
/** After a cluster could not be opened or left. */
const RETRY_MS = 300;

export interface ClusterNodeOptions {
  readonly node: NodeId;
  readonly disk: MachineDisk;
  readonly config: FollowedStore;
  readonly environment: Environment;
  readonly settings: Readonly<Record<'mesh' | 'cluster', Partial<ReplicaSettings>>>;
  readonly onEvent: (cluster: ClusterName, event: ReplicaEvent) => void;
  /** A message of another that was not taken. */
  readonly onRefused: (from: NodeId, reason: string) => void;
  /** What this node had of that cluster is gone. */
  readonly onDropped: (cluster: ClusterName) => void;
  readonly onOpened: (cluster: ClusterName) => void;
}

export class ClusterNode {
  readonly #options: ClusterNodeOptions;
  readonly shards: Shards;
  readonly clusters: Clusters;
  readonly configuration: FollowedConfiguration;
  /** Clusters are to be opened or left, which has failed. */
  #retryAtMs: number | undefined;
  /** Changes until the configuration follows. */
  #patience = 0;

  constructor(options: ClusterNodeOptions) {
    this.#options = options;
    const { node, disk, environment, settings, config, onRefused, onDropped, onOpened } = options;
    this.clusters = new Clusters(disk.mesh, () => true);
    this.clusters.load();
    const stores = new Map<ClusterName, ReplicaStore>([['', disk.mesh]]);
    const replicaOf = (cluster: ClusterName, store: ReplicaStore): Replica =>
      new Replica({
        ...{ node, store, environment, cluster, founds: cluster === '' },
        settings: cluster === '' ? settings.mesh : settings.cluster,
      });
    this.shards = new Shards({
      replica: replicaOf('', disk.mesh),
      clusters: {
        directory: this.clusters,
        stored: () => disk.stored(),
        open: (cluster) => {
          const store = disk.open(cluster);
          stores.set(cluster, store);
          onOpened(cluster);
          return replicaOf(cluster, store);
        },
        heldUnder: (cluster) => disk.store(cluster)?.heldUnder,
        setHeldUnder: (cluster, under) => disk.store(cluster)?.setHeldUnder(under),
        drop: (cluster) => {
          stores.delete(cluster);
          disk.drop(cluster);
          onDropped(cluster);
        },
      },
      refused: onRefused,
      monotonicMs: environment.monotonicMs,
    });
    this.#arrange();
    this.configuration = new FollowedConfiguration(stores, config);
  }

  /** False: what this node holds may not be what it should, as its disk has failed. */
  get arranged(): boolean {
    return this.#retryAtMs === undefined;
  }

  /** Throws ApplicationError where the agent would. */
  change(changes: readonly CommitChange[]): readonly Written[] {
    const parts = writesByCluster(changes);
    for (const [cluster, writes] of parts) {
      if (this.shards.of(cluster) === undefined) throw new ApplicationError('unavailable', 'not in that cluster');
      const refusal = this.shards.refusal(cluster, writes);
      if (refusal !== undefined) throw new ApplicationError('unavailable', refusal.code);
    }
    return this.#write(parts);
  }

  /** Of what is not configuration. */
  write(writes: readonly CellWrite[]): readonly Written[] {
    return this.#write(new Map([['', writes]]));
  }

  #write(parts: ReadonlyMap<ClusterName, readonly CellWrite[]>): readonly Written[] {
    this.settle();
    try {
      return this.shards.write(AUTHOR, parts, undefined);
    } catch (error) {
      // One that was to be read again and could not be is missing.
      if (parts.size > 1) this.#clustersChanged();
      throw error;
    }
  }

  tick(): void {
    if (this.#retryAtMs !== undefined && this.#retryAtMs <= this.#now) this.#clustersChanged();
    this.shards.tick();
  }

  nextDueMs(): number {
    return Math.min(this.shards.nextDueMs(), this.#retryAtMs ?? Number.POSITIVE_INFINITY);
  }

  /** What follows from what has happened. */
  settle(): void {
    for (const [cluster, events] of this.shards.events()) {
      for (const event of events) {
        this.#options.onEvent(cluster, event);
        if (event.type !== 'changed') continue;
        const clusters = event.objects.filter(({ kind }) => kind === CLUSTER_KIND);
        if (cluster === '' && clusters.length > 0) {
          this.clusters.changed(clusters.map(({ id }) => id));
          this.#clustersChanged();
        }
        this.configuration.changed(event.objects);
      }
    }
    if (this.#patience-- > 0) return;
    this.#patience = Number(this.#options.node % 3n);
    this.configuration.follow();
  }

  get #now(): number {
    return this.#options.environment.monotonicMs();
  }

  #clustersChanged(): void {
    const { entered, left } = this.#arrange();
    if (entered + left === 0) return;
    this.configuration.changedWhole();
    // What was in it is not served a moment longer.
    this.#patience = 0;
  }

  #arrange(): { entered: number; left: number } {
    this.#retryAtMs = undefined;
    try {
      const { entered, left } = this.shards.arrange(false);
      return { entered: entered.length, left: left.length };
    } catch (error) {
      if (!(error instanceof ReplicaStoreError)) throw error;
      this.#retryAtMs = this.#now + RETRY_MS;
      return { entered: 1, left: 1 };
    }
  }
}

/** As nodes name themselves among those that are in a cluster. */
export function nameOf(node: NodeId): string {
  return nodeIdOf(node);
}
