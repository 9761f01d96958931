// SPDX-License-Identifier: Apache-2.0
/** What is in force at a simulated node: it follows its cells by the real projection, part by part, as the agent does. */
import { createHash } from 'node:crypto';
import { ConfigurationIndex } from '../application/change-preparation.js';
import { type CellsByCluster, type Exclusion, type ObjectName, Projection } from '../application/mesh/projection.js';
import { objectKey } from '../domain/replication/object.js';
import type { CommitChange, ConfigReader, ConfigStore } from '../ports/config-store.js';
import { MemoryConfigStore } from './memory-config-store.js';

const REVISION = { timeMs: 0, author: 'sim', origin: 'mesh', message: '' };

export type FollowedStore = ConfigReader & Pick<ConfigStore, 'follow'>;

export class FollowedConfiguration {
  readonly store: FollowedStore;
  readonly #projection: Projection;
  readonly #index: ConfigurationIndex;
  readonly #dirty = new Map<string, ObjectName>();
  #whole = false;

  /** What it followed last is not known: it begins with all of it. */
  constructor(cells: CellsByCluster, store: FollowedStore) {
    this.store = store;
    this.#index = new ConfigurationIndex(store);
    this.#index.load();
    this.#projection = new Projection(cells, store);
    this.#bringIn(this.#projection.whole());
  }

  get exclusions(): readonly Exclusion[] {
    return this.#projection.exclusions;
  }

  /** Nothing has changed that it does not have. */
  get followed(): boolean {
    return this.#dirty.size === 0 && !this.#whole;
  }

  /** They look different now. */
  changed(objects: Iterable<ObjectName>): void {
    for (const object of objects) this.#dirty.set(objectKey(object.kind, object.id), object);
  }

  /** There are other cells now. */
  changedWhole(): void {
    this.#whole = true;
  }

  /** Gives how much was looked at; undefined: nothing had changed. */
  follow(): 'whole' | 'part' | undefined {
    const objects = [...this.#dirty.values()];
    this.#dirty.clear();
    const whole = this.#whole;
    this.#whole = false;
    if (objects.length === 0 && !whole) return undefined;
    const part = whole ? undefined : this.#projection.partly(objects);
    this.#bringIn(part ?? this.#projection.whole());
    return part === undefined ? 'whole' : 'part';
  }

  #bringIn(first: readonly CommitChange[]): void {
    let changes = first;
    let adopted = this.#index.adopt(changes);
    if (adopted === undefined) {
      // Two services claim one port.
      changes = this.#projection.whole();
      adopted = this.#index.adopt(changes);
      if (adopted === undefined) throw new Error('a configuration in which no port is shared shares one');
    }
    if (changes.length > 0) this.store.follow(REVISION, changes);
    adopted.accept();
  }
}

/** Of a node that works it out from nothing. */
export function configurationFrom(cells: CellsByCluster): ConfigReader {
  return new FollowedConfiguration(cells, new MemoryConfigStore()).store;
}

export function hashOf(store: ConfigReader): string {
  const hash = createHash('sha256');
  const bodies = [...store.scan(), ...store.objects()].sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const { name, body } of bodies) hash.update(`${name}\n${body.length}\n`).update(body);
  return hash.digest('hex');
}
