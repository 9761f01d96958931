// SPDX-License-Identifier: Apache-2.0
/**
 * The part of a change that concerns the kinds beside services: what has to be stored, or what is wrong with it. The
 * stored objects are read only when the change touches some; services ask for the policies that they name.
 */
import {
  isObjectKind,
  kindOf,
  LIST_OF,
  NOUN_OF,
  OBJECT_KINDS,
  type Object$,
  type ObjectKind,
  type TrafficPolicy,
} from '@marcher/model';
import { LIMITS } from '../domain/defaults.js';
import type { Faults } from '../domain/faults.js';
import { type PlacedGuard, validateGuard, validateGuardsTogether } from '../domain/guard.js';
import { validateTrafficPolicy } from '../domain/traffic-policy.js';
import type { CommitChange, ConfigStore, StoredObject } from '../ports/config-store.js';
import type { RequestedChange } from '../ports/use-cases.js';
import { packObject, unpackObject } from './object-codec.js';
import { sameBytes } from './service-codec.js';

type Store = Pick<ConfigStore, 'object' | 'objects'>;

const MAX: Readonly<Record<ObjectKind, number>> = { Guard: LIMITS.guards, TrafficPolicy: LIMITS.trafficPolicies };

/** An object as it will be, and where the change says so; an empty path: it stays as it is stored. */
interface Placed {
  readonly object: Object$;
  readonly path: string;
}

export class ObjectPreparation {
  readonly changes: CommitChange[] = [];
  /** Policies that are replaced by others of their name. */
  readonly changedPolicies = new Map<string, string>();
  /** Policies that will be gone, each with the place of the change that says so. */
  readonly removedPolicies = new Map<string, string>();
  readonly #store: Store;
  readonly #faults: Faults;
  readonly #after = new Map<string, Placed | undefined>();
  readonly #policies = new Map<string, TrafficPolicy | undefined>();
  #policyNames: readonly string[] | undefined;

  constructor(store: Store, change: RequestedChange, faults: Faults) {
    this.#store = store;
    this.#faults = faults;
    const { upsertObjects = [], removeObjects = [], replaceAll } = change;
    const stored = replaceAll || removeObjects.length > 0 ? this.#stored() : new Map<string, StoredObject>();
    const touched = this.#upsert(upsertObjects);
    this.#remove(removeObjects, stored);
    if (replaceAll && faults.list.length === 0) {
      for (const [key, { kind, name, body }] of stored) {
        if (!this.#after.has(key)) this.#removeOne(kind, name, body, LIST_OF[kind]);
      }
    }
    if (touched) this.#judgeTogether();
  }

  /** As it will be after the change; undefined: there is none of the name. */
  policy(name: string): TrafficPolicy | undefined {
    if (this.#policies.has(name)) return this.#policies.get(name);
    const key = keyOf('TrafficPolicy', name);
    const stored = this.#after.has(key) ? undefined : this.#store.object('TrafficPolicy', name);
    const { object } = (stored === undefined ? this.#after.get(key)?.object : unpackStored(stored)) ?? {};
    const policy = object?.case === 'trafficPolicy' ? object.value : undefined;
    this.#policies.set(name, policy);
    return policy;
  }

  /** Of the policies that there will be. */
  get policyNames(): readonly string[] {
    if (this.#policyNames === undefined) {
      const prefix = keyOf('TrafficPolicy', '');
      const names = new Set(this.#store.objects('TrafficPolicy').map(({ name }) => name));
      for (const [key, placed] of this.#after) {
        if (!key.startsWith(prefix)) continue;
        if (placed === undefined) names.delete(key.slice(prefix.length));
        else names.add(key.slice(prefix.length));
      }
      this.#policyNames = [...names].sort();
    }
    return this.#policyNames;
  }

  #stored(): Map<string, StoredObject> {
    return new Map(this.#store.objects().map((stored) => [keyOf(stored.kind, stored.name), stored]));
  }

  /** Whether there was any. */
  #upsert(objects: Iterable<Object$>): boolean {
    const places = new Map<ObjectKind, number>();
    const seen = new Map<string, string>();
    let count = 0;
    for (const object of objects) {
      if (this.#faults.full) break;
      const kind = kindOf(object);
      if (kind === undefined) {
        const fix = `send one of ${OBJECT_KINDS.join(', ')}, or upgrade this agent`;
        this.#faults.add(`upsertObjects[${count++}]`, 'is of a kind that this agent does not know', fix);
        continue;
      }
      count++;
      const place = places.get(kind) ?? 0;
      places.set(kind, place + 1);
      this.#upsertOne(kind, object, `${LIST_OF[kind]}[${place}]`, seen);
    }
    return count > 0;
  }

  #upsertOne(kind: ObjectKind, object: Object$, path: string, seen: Map<string, string>): void {
    const { name, after } = packObject(object);
    const key = keyOf(kind, name);
    const earlier = seen.get(key);
    if (earlier !== undefined) {
      const fix = `give each ${NOUN_OF[kind]} its own name`;
      this.#faults.add(`${path}.name`, `${JSON.stringify(name)} is also ${earlier}`, fix);
      return;
    }
    seen.set(key, path);
    const before = this.#store.object(kind, name)?.body;
    if (before !== undefined && sameBytes(before, after)) {
      this.#after.set(key, { object, path: '' });
      return;
    }
    this.#after.set(key, { object, path });
    if (object.object.case === 'guard') validateGuard(object.object.value, path, this.#faults);
    else if (object.object.case === 'trafficPolicy') validateTrafficPolicy(object.object.value, path, this.#faults);
    this.changes.push({ kind, name, before, after });
    if (kind === 'TrafficPolicy' && before !== undefined) this.changedPolicies.set(name, path);
  }

  #remove(keys: NonNullable<RequestedChange['removeObjects']>, stored: ReadonlyMap<string, StoredObject>): void {
    keys.forEach(({ kind, name }, i) => {
      const path = `removeObjects[${i}]`;
      if (!isObjectKind(kind)) {
        const fix =
          kind === 'Service' ? 'write the name of a service into remove' : `write ${OBJECT_KINDS.join(' or ')}`;
        this.#faults.add(`${path}.kind`, `${JSON.stringify(kind.slice(0, 80))} is not the kind of an object`, fix);
        return;
      }
      const key = keyOf(kind, name);
      const shown = JSON.stringify(name.slice(0, 80));
      const body = stored.get(key)?.body;
      if (this.#after.get(key) !== undefined) {
        this.#faults.add(path, `${NOUN_OF[kind]} ${shown} is to be created or replaced too`, 'ask for one of the two');
      } else if (body === undefined) {
        this.#faults.add(path, `there is no ${NOUN_OF[kind]} ${shown}`, `look at the names with: ${lister(kind)}`);
      } else if (!this.#after.has(key)) this.#removeOne(kind, name, body, path);
    });
  }

  #removeOne(kind: ObjectKind, name: string, before: Uint8Array, path: string): void {
    this.#after.set(keyOf(kind, name), undefined);
    this.changes.push({ kind, name, before, after: undefined });
    if (kind === 'TrafficPolicy') this.removedPolicies.set(name, path);
  }

  /** What only shows with all objects of a kind. Those that are wrong for themselves have been told already. */
  #judgeTogether(): void {
    const known = this.#faults.list.length;
    const all = new Map<string, Placed | undefined>(this.#after);
    const counts = new Map<ObjectKind, number>();
    for (const [key, stored] of this.#stored()) {
      if (!all.has(key)) all.set(key, { object: unpackStored(stored), path: '' });
    }
    const guards: PlacedGuard[] = [];
    for (const placed of all.values()) {
      const kind = placed && kindOf(placed.object);
      if (kind === undefined) continue;
      counts.set(kind, (counts.get(kind) ?? 0) + 1);
      if (placed?.object.object.case === 'guard') guards.push({ guard: placed.object.object.value, path: placed.path });
    }
    for (const [kind, count] of counts) {
      if (count <= MAX[kind]) continue;
      this.#faults.add(LIST_OF[kind], `would be ${count}`, `keep at most ${MAX[kind]} on a node`);
    }
    if (known === 0 && guards.some(({ path }) => path !== '')) validateGuardsTogether(guards, this.#faults);
  }
}

function unpackStored({ kind, body }: StoredObject): Object$ {
  return unpackObject(kind, body);
}

function keyOf(kind: ObjectKind, name: string): string {
  return `${kind}/${name}`;
}

function lister(kind: ObjectKind): string {
  return kind === 'Guard' ? 'marcher get guards' : 'marcher get policies';
}
