// SPDX-License-Identifier: Apache-2.0
/**
 * From merged cells to the configuration in force. Whatever several sides have written without knowing each other, there
 * is one, and it depends on the cells alone: all nodes with the same cells, in the same clusters, come to the same bytes.
 *
 * - Of two objects of one kind and name, in two clusters that this node is in, the one that was created first is taken.
 * - What is not valid by itself (two sides' edits may contradict each other) is left out, and said.
 * - Of two services that claim one port the one that was created first is taken. Guards that contradict each other, and
 *   what is more than a limit, likewise.
 * - A service whose traffic policy is gone is carried without it: an outage would be worse, and it is said.
 *
 * Nothing is lost: what is left out stays in the cells, and comes into force when what stands in its way has gone.
 */
import { compare, type Timestamp } from '@marcher/hlc';
import { KINDS, type Kind, NOUN_OF, type Object$, type Service } from '@marcher/model';
import { LIMITS } from '../../domain/defaults.js';
import { Faults } from '../../domain/faults.js';
import { type PlacedGuard, validateGuard, validateGuardsTogether } from '../../domain/guard.js';
import { joinObject } from '../../domain/object-fields.js';
import { type Claim, PortOwnership } from '../../domain/port-ownership.js';
import type { Cell, ClusterName, ReplicaStore } from '../../domain/replication/contract.js';
import { allObjects, compareText, EXISTENCE, isThere, visible } from '../../domain/replication/object.js';
import { validateTrafficPolicy } from '../../domain/traffic-policy.js';
import { claimsOf, validateService } from '../../domain/validate.js';
import type { CommitChange, ConfigReader } from '../../ports/config-store.js';
import { clusterOf } from '../cluster-of.js';
import { packObject, unpackObject } from '../object-codec.js';
import { repackService, sameBytes, unpackService } from '../service-codec.js';

export interface Exclusion {
  readonly kind: Kind;
  readonly name: string;
  /** Absent: it is in none. */
  readonly cluster?: ClusterName;
  readonly reason: 'Invalid' | 'Conflicted' | 'TooMany';
  /** What is wrong, with whom, and what to do. */
  readonly message: string;
}

export interface ObjectName {
  readonly kind: string;
  readonly id: string;
}

interface Sound {
  readonly name: string;
  readonly cluster: ClusterName;
  readonly body: Uint8Array;
  /** Of its existence. */
  readonly stamp: Timestamp;
  readonly service?: Service;
  readonly object?: Object$;
}

const MAX: Readonly<Record<Kind, number>> = {
  Service: LIMITS.services,
  Guard: LIMITS.guards,
  TrafficPolicy: LIMITS.trafficPolicies,
};

export function isConfigurationKind(kind: string): kind is Kind {
  return (KINDS as readonly string[]).includes(kind);
}

/** What is kept of each replica of this node: '' is the mesh's. It may change from call to call. */
export type CellsByCluster = ReadonlyMap<ClusterName, ReplicaStore>;

/** Objects of the configuration that are there, whether or not they are in force: "Service/web". */
export function recordedObjects(cells: ReplicaStore): string[] {
  const objects: string[] = [];
  for (const groups of allObjects(cells)) {
    const { kind, id } = groups.values().next().value as Cell;
    if (isConfigurationKind(kind) && isThere(groups)) objects.push(`${kind}/${id}`);
  }
  return objects.sort();
}

export class Projection {
  readonly #cells: CellsByCluster;
  readonly #store: ConfigReader;
  #exclusions: readonly Exclusion[] = [];
  /** While something is left out: when the services that are not were created. */
  #created: ReadonlyMap<string, Timestamp> = new Map();

  constructor(cells: CellsByCluster, store: ConfigReader) {
    this.#cells = cells;
    this.#store = store;
  }

  /** What was left out, as of the last call. */
  get exclusions(): readonly Exclusion[] {
    return this.#exclusions;
  }

  /**
   * What has to change in the store for these objects, which look different; undefined: that takes whole(). Whether two
   * services claim one port is for the caller to see.
   */
  partly(dirty: Iterable<ObjectName>): CommitChange[] | undefined {
    const changes: CommitChange[] = [];
    let services = 0;
    for (const { kind, id } of dirty) {
      if (!isConfigurationKind(kind)) continue;
      const sound = this.#only(kind, id);
      if (typeof sound === 'string') return undefined;
      const change = this.#change(kind, id, sound?.body);
      if (this.#exclusions.length > 0 && !this.#keepsItsPlace(change, sound)) return undefined;
      if (change === undefined) continue;
      changes.push(change);
      // Few, and they are judged together.
      if (kind !== 'Service') return undefined;
      services += Number(change.before === undefined) - Number(change.after === undefined);
    }
    return services > 0 && this.#store.count() + services > MAX.Service ? undefined : changes;
  }

  /** The object of that name, or why a part does not tell: it can't be read, or there are two. */
  #only(kind: Kind, name: string): Sound | string | undefined {
    let found: Sound | undefined;
    for (const [cluster, store] of this.#cells) {
      const sound = this.#read(cluster, kind, store.object(kind, name));
      if (typeof sound === 'string') return sound;
      if (sound !== undefined && found !== undefined) return 'there are two of that name';
      found ??= sound;
    }
    return found;
  }

  /** Nothing that is left out can come in by it, and nothing else go out: it claims what it did, and is as old. */
  #keepsItsPlace(change: CommitChange | undefined, sound: Sound | undefined): boolean {
    const created = sound?.service && this.#created.get(sound.name);
    if (sound?.service === undefined || created === undefined || compare(created, sound.stamp) !== 0) return false;
    if (change === undefined) return true;
    if (change.before === undefined) return false;
    return sameClaims(claimsOf(unpackService(change.before)), claimsOf(sound.service));
  }

  /** What has to change in the store for it to be what the cells make. */
  whole(): CommitChange[] {
    const exclusions: Exclusion[] = [];
    const found = new Map<Kind, Sound[]>(KINDS.map((kind) => [kind, []]));
    // In one order everywhere, whatever this node came into first.
    const stores = [...this.#cells].sort(([a], [b]) => compareText(a, b));
    for (const [cluster, store] of stores) {
      for (const groups of allObjects(store)) {
        const { kind, id: name } = groups.values().next().value as Cell;
        if (!isConfigurationKind(kind)) continue;
        const sound = this.#read(cluster, kind, [...groups.values()]);
        if (typeof sound === 'string') {
          const fix = 'write it anew, or remove it, with: marcher apply';
          exclusions.push({ ...whereIs({ kind, name, cluster }), reason: 'Invalid', message: `${sound}: ${fix}` });
        } else if (sound !== undefined) found.get(kind)?.push(sound);
      }
    }
    const changes: CommitChange[] = [];
    for (const kind of [...KINDS].reverse()) {
      const inOrder = named(kind, (found.get(kind) ?? []).sort(byAge), exclusions);
      const room = inOrder.slice(0, MAX[kind]);
      for (const { name, cluster } of inOrder.slice(MAX[kind])) {
        const message = `there are more than ${MAX[kind]}, and it was created last: remove some`;
        exclusions.push({ ...whereIs({ kind, name, cluster }), reason: 'TooMany', message });
      }
      const taken =
        kind === 'Service'
          ? withoutSharedPorts(room, exclusions)
          : kind === 'Guard'
            ? agreeing(room, exclusions)
            : room;
      if (kind === 'Service') this.#created = new Map(taken.map(({ name, stamp }) => [name, stamp]));
      const names = new Set<string>();
      for (const { name, body } of taken) {
        names.add(name);
        const change = this.#change(kind, name, body);
        if (change !== undefined) changes.push(change);
      }
      for (const name of this.#storedNames(kind)) {
        const change = names.has(name) ? undefined : this.#change(kind, name, undefined);
        if (change !== undefined) changes.push(change);
      }
    }
    this.#exclusions = exclusions;
    if (exclusions.length === 0) this.#created = new Map();
    return changes;
  }

  #storedNames(kind: Kind): Iterable<string> {
    return kind === 'Service' ? [...this.#store.names()] : this.#store.objects(kind).map(({ name }) => name);
  }

  #change(kind: Kind, name: string, after: Uint8Array | undefined): CommitChange | undefined {
    const before = (kind === 'Service' ? this.#store.get(name) : this.#store.object(kind, name))?.body;
    if (before === undefined ? after === undefined : after !== undefined && sameBytes(before, after)) return undefined;
    return { kind, name, before, after };
  }

  /** The object that the cells make, undefined if it does not exist, or what is wrong with it. */
  #read(cluster: ClusterName, kind: Kind, cells: readonly Cell[]): Sound | string | undefined {
    const groups = new Map(cells.map((cell) => [cell.group, cell]));
    const registers = new Map<string, Uint8Array>();
    for (const { group, value } of visible(groups)) if (value !== undefined) registers.set(group, value);
    const joined = joinObject(kind, registers);
    if (joined === undefined) return undefined;
    const { stamp, id: name } = groups.get(EXISTENCE) as Cell;
    const faults = new Faults();
    try {
      // What is in no replica of its own cluster would be carried to nodes that are not in it, or be where it is not known.
      const said = clusterOf(kind, joined);
      if (said !== cluster) return `it is ${inCluster(cluster)}, and says that it is ${inCluster(said.slice(0, 80))}`;
      if (kind === 'Service') {
        const service = unpackService(joined);
        if (service.name !== name) return `it calls itself ${JSON.stringify(service.name.slice(0, 80))}`;
        validateService(service, kind, faults);
        return faults.list.length === 0
          ? { name, cluster, stamp, service, body: repackService(joined, service) }
          : faultOf(faults);
      }
      const object = unpackObject(kind, joined);
      const packed = packObject(object);
      if (packed.name !== name) return `it calls itself ${JSON.stringify(packed.name.slice(0, 80))}`;
      if (object.object.case === 'guard') validateGuard(object.object.value, kind, faults);
      else if (object.object.case === 'trafficPolicy') validateTrafficPolicy(object.object.value, kind, faults);
      return faults.list.length === 0 ? { name, cluster, stamp, object, body: packed.after } : faultOf(faults);
    } catch (error) {
      return `it can't be read: ${error instanceof Error ? error.message : String(error)}`;
    }
  }
}

function inCluster(cluster: ClusterName): string {
  return cluster === '' ? 'in no cluster' : `in cluster ${JSON.stringify(cluster)}`;
}

function whereIs({ kind, name, cluster }: { kind: Kind; name: string; cluster: ClusterName }) {
  return cluster === '' ? { kind, name } : { kind, name, cluster };
}

function byAge(a: Sound, b: Sound): number {
  return compare(a.stamp, b.stamp) || compareText(a.name, b.name) || compareText(a.cluster, b.cluster);
}

/** In order of creation, the first of each name. */
function named(kind: Kind, sounds: readonly Sound[], exclusions: Exclusion[]): readonly Sound[] {
  const taken = new Map<string, Sound>();
  for (const sound of sounds) {
    const { name, cluster } = sound;
    const first = taken.get(name);
    if (first === undefined) {
      taken.set(name, sound);
      continue;
    }
    const what = `the ${NOUN_OF[kind]} ${inCluster(first.cluster)} that has this name was created before it`;
    const message = `${what}: give one of them another name, or no node both clusters`;
    exclusions.push({ ...whereIs({ kind, name, cluster }), reason: 'Conflicted', message });
  }
  return [...taken.values()];
}

function faultOf({ list: [first, ...others] }: Faults): string {
  const more = others.length === 0 ? '' : `, and ${others.length} more`;
  return `${first?.path} ${first?.reason}${more}`;
}

function sameClaims(one: readonly Claim[], other: readonly Claim[]): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** In order of creation, those whose ports are free. */
function withoutSharedPorts(services: readonly Sound[], exclusions: Exclusion[]): readonly Sound[] {
  const ports = new PortOwnership();
  return services.filter(({ name, cluster, service }) => {
    const claims = claimsOf(service as Service);
    for (const [i, claim] of claims.entries()) {
      const conflict = ports.claim(name, claim);
      if (conflict === undefined) continue;
      for (const taken of claims.slice(0, i)) ports.release(name, taken);
      const what = `${claim.udp ? 'udp' : 'tcp'} port ${conflict.port} is that of service ${JSON.stringify(conflict.owner)}, which was created before it`;
      const message = `${what}: give one of them another port, or remove one`;
      exclusions.push({ ...whereIs({ kind: 'Service', name, cluster }), reason: 'Conflicted', message });
      return false;
    }
    return true;
  });
}

/** In order of creation, those that go with the ones before. */
function agreeing(guards: readonly Sound[], exclusions: Exclusion[]): readonly Sound[] {
  const placed = guards.map((sound) => ({ sound, guard: guardOf(sound) }));
  if (contradiction(placed.map(({ guard }) => guard)) === undefined) return guards;
  const taken: typeof placed = [];
  for (const one of placed) {
    const message = contradiction([...taken.map(({ guard }) => guard), one.guard]);
    if (message === undefined) taken.push(one);
    else
      exclusions.push({
        ...whereIs({ kind: 'Guard', name: one.sound.name, cluster: one.sound.cluster }),
        reason: 'Conflicted',
        message: `${message}: change one of the two`,
      });
  }
  return taken.map(({ sound }) => sound);
}

function guardOf({ object }: Sound): PlacedGuard['guard'] {
  if (object?.object.case !== 'guard') throw new Error('what was read as a guard is one');
  return object.object.value;
}

function contradiction(guards: readonly PlacedGuard['guard'][]): string | undefined {
  const faults = new Faults();
  validateGuardsTogether(
    guards.map((guard, i) => ({ guard, path: i === guards.length - 1 ? NOUN_OF.Guard : '' })),
    faults,
  );
  return faults.list.length === 0 ? undefined : faultOf(faults);
}
