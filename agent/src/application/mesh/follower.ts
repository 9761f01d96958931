// SPDX-License-Identifier: Apache-2.0
/**
 * Brings into force what the mesh has made of the configuration. Nobody is there to be refused: it is a version at once,
 * and the data plane is told until it agrees.
 */
import type { TrafficPolicy } from '@marcher/model';
import type { CommitChange, ConfigStore, NewRevision } from '../../ports/config-store.js';
import type { ConfigurationIndex } from '../change-preparation.js';
import { unpackObject } from '../object-codec.js';
import type { Delta, Programming } from '../programming.js';
import { unpackService } from '../service-codec.js';
import { guarded } from '../unavailable.js';

export interface Following {
  /** Each valid by itself. */
  readonly changes: readonly CommitChange[];
  readonly revision: Omit<NewRevision, 'timeMs'>;
}

/** What has changed since it was asked last; whole: of everything, where a part does not tell. undefined: nothing has. */
export type Project = (whole: boolean) => Following | undefined;

export interface Followed {
  readonly changes: readonly CommitChange[];
  readonly author: string;
}

export interface FollowerOptions {
  readonly store: ConfigStore;
  readonly programming: Programming;
  readonly index: ConfigurationIndex;
  readonly nowMs: () => number;
}

const NOTHING: Followed = { changes: [], author: '' };

export class Follower {
  readonly #options: FollowerOptions;

  constructor(options: FollowerOptions) {
    this.#options = options;
  }

  /** In turn with other changes. */
  async follow(project: Project): Promise<Followed> {
    const { store, programming, index, nowMs } = this.#options;
    const following = guarded(() => project(false));
    if (following === undefined) return NOTHING;
    let { changes } = following;
    let adopted = index.adopt(changes);
    if (adopted === undefined) {
      // Two services claim one port: who has it, all of them together tell.
      changes = guarded(() => project(true))?.changes ?? [];
      adopted = index.adopt(changes);
      if (adopted === undefined) throw new Error('a configuration in which no port is shared shares one');
      if (changes.length === 0) return NOTHING;
    }
    const base = store.version;
    const delta = programming.inStep ? programming.delta() : undefined;
    const concernsServices = this.#compile(changes, delta);
    try {
      guarded(() => store.follow({ ...following.revision, timeMs: nowMs() }, changes));
    } catch (error) {
      adopted.reject();
      throw error;
    }
    adopted.accept();
    if (concernsServices) await this.#tell(delta);
    else programming.carryOver(base, store.version);
    return { changes, author: following.revision.author };
  }

  /** Whether the data plane has to be told of any service. */
  #compile(changes: readonly CommitChange[], delta: Delta | undefined): boolean {
    const { store, index } = this.#options;
    const policies = new Map<string, TrafficPolicy | undefined>();
    for (const { kind, name, after } of changes) {
      if (kind !== 'TrafficPolicy') continue;
      const { object } = after === undefined ? {} : unpackObject(kind, after);
      policies.set(name, object?.case === 'trafficPolicy' ? object.value : undefined);
    }
    const bodies = new Map<string, Uint8Array | undefined>();
    for (const policy of policies.keys()) {
      for (const name of index.naming(policy)) bodies.set(name, store.get(name)?.body);
    }
    for (const { kind, name, after } of changes) if (kind === 'Service') bodies.set(name, after);
    for (const [name, body] of delta === undefined ? [] : bodies) {
      const service = body && unpackService(body);
      if (service === undefined) {
        delta?.removed(name);
        continue;
      }
      const policy = policies.get(service.trafficPolicy);
      // Gone with this change: it is carried without.
      if (policy === undefined && policies.has(service.trafficPolicy)) service.trafficPolicy = '';
      delta?.service(service, policy);
    }
    return bodies.size > 0;
  }

  /** What can't be told now the next reconciliation tells. */
  async #tell(delta: Delta | undefined): Promise<void> {
    const { programming, store } = this.#options;
    if (delta === undefined) {
      programming.forget("the mesh's configuration has not been handed to the data plane yet");
      return;
    }
    try {
      const outcome = await delta.send(true);
      if (outcome?.accepted === true) {
        programming.record(store.version);
        return;
      }
      const reasons = outcome?.reasons.map(({ path, reason }) => `${path}: ${reason}`).join('; ');
      programming.forget(`the data plane did not take what came from the mesh: ${reasons ?? 'it has restarted'}`);
    } catch (error) {
      programming.forget(error instanceof Error ? error.message : String(error));
    }
  }
}
