// SPDX-License-Identifier: Apache-2.0
import type { ObjectKind } from '@marcher/model';
import type {
  CommitChange,
  ConfigReader,
  ConfigStore,
  NewRevision,
  StoredObject,
  StoredService,
} from '../ports/config-store.js';

/** As much of a configuration's store as following a mesh takes, in memory. */
export class MemoryConfigStore implements ConfigReader, Pick<ConfigStore, 'follow'> {
  readonly #services = new Map<string, Uint8Array>();
  readonly #objects = new Map<string, StoredObject>();
  version = 0n;

  get(name: string): StoredService | undefined {
    const body = this.#services.get(name);
    return body && { name, body, generation: 0n };
  }

  names(): Iterable<string> {
    return [...this.#services.keys()].sort();
  }

  *scan(afterName = ''): Iterable<StoredService> {
    for (const name of this.names()) if (name > afterName) yield this.get(name) as StoredService;
  }

  count(): number {
    return this.#services.size;
  }

  objects(kind?: ObjectKind): StoredObject[] {
    return [...this.#objects.values()].filter((object) => kind === undefined || object.kind === kind);
  }

  object(kind: ObjectKind, name: string): StoredObject | undefined {
    return this.#objects.get(`${kind}/${name}`);
  }

  follow(_revision: NewRevision, changes: readonly CommitChange[]): bigint {
    for (const { kind, name, after } of changes) {
      if (kind === 'Service') {
        if (after === undefined) this.#services.delete(name);
        else this.#services.set(name, after);
      } else if (after === undefined) this.#objects.delete(`${kind}/${name}`);
      else this.#objects.set(`${kind}/${name}`, { kind, name, body: after, generation: 0n });
    }
    this.version += 1n;
    return this.version;
  }
}
