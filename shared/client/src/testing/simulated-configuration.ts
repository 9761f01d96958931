// SPDX-License-Identifier: Apache-2.0
/** The configuration of a simulated agent: versions, history, changes with their inverse. */
import { create, equals, toBinary, toJson } from '@bufbuild/protobuf';
import { type Timestamp, timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError } from '@connectrpc/connect';
import {
  type Change,
  ChangeSchema,
  type ObjectDiff,
  ObjectDiffSchema,
  Operation,
  type Revision,
  RevisionSchema,
  ValidationFailureSchema,
  type Violation,
  ViolationSchema,
} from '@marcher/proto/marcher/v1/config_service_pb';
import { type Object$, ObjectSchema, type Service, ServiceSchema } from '@marcher/proto/marcher/v1/model_pb';

export type Declared =
  | { readonly kind: 'Service'; readonly value: Service }
  | { readonly kind: 'Guard' | 'TrafficPolicy'; readonly value: Object$ };

export interface StoredObject {
  readonly key: string;
  readonly declared: Declared;
  readonly generation: bigint;
  readonly digest: Uint8Array<ArrayBuffer>;
}

/** What a change makes of an object. undefined: it is not there. */
interface Step {
  readonly key: string;
  readonly before: Declared | undefined;
  readonly after: Declared | undefined;
}

interface Made {
  readonly revision: Revision;
  readonly steps: readonly Step[];
}

const NOTHING: ReadonlySet<string> = new Set();

export class SimulatedConfiguration {
  readonly objects = new Map<string, StoredObject>();
  /** Keys that are no more, with the version since when. */
  readonly gone = new Map<string, bigint>();
  readonly #history: Made[] = [];
  readonly #nowMs: () => number;
  version = 0n;
  /** How many versions can be gone back. */
  historyMax = 1_000;
  #hash = 0n;
  #services: { readonly version: bigint; readonly list: readonly Service[] } = { version: -1n, list: [] };
  /** Of the next version; then they are forgotten. */
  readonly #waiting = new Set<() => void>();

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** 64 hex digits, equal where all objects are. */
  get hash(): string {
    return this.#hash.toString(16).padStart(16, '0').repeat(4);
  }

  /** Takes all of another's over: cheaper than to compare, when many nodes begin with the same. */
  copy(other: SimulatedConfiguration): void {
    for (const [key, object] of other.objects) this.objects.set(key, object);
    this.#hash = other.#hash;
    this.version = other.version;
    this.#history.push(...other.#history);
  }

  /** Runs once, with the next version. Gives what takes that back. */
  onChange(run: () => void): () => void {
    this.#waiting.add(run);
    return () => void this.#waiting.delete(run);
  }

  /** Keys of what was changed after that version. undefined: it is too long ago. */
  changedSince(version: bigint): ReadonlySet<string> | undefined {
    if (version >= this.version) return NOTHING;
    const after = Number(this.version - version);
    if (version <= 0n || after > this.#history.length) return undefined;
    return new Set(this.#history.slice(-after).flatMap(({ steps }) => steps.map(({ key }) => key)));
  }

  services(): readonly Service[] {
    if (this.#services.version !== this.version) {
      const list: Service[] = [];
      for (const { declared } of this.objects.values()) if (declared.kind === 'Service') list.push(declared.value);
      this.#services = { version: this.version, list };
    }
    return this.#services.list;
  }

  service(name: string): Service | undefined {
    const declared = this.objects.get(`Service/${name}`)?.declared;
    return declared?.kind === 'Service' ? declared.value : undefined;
  }

  plan(change: Change): { readonly diffs: ObjectDiff[]; readonly violations: Violation[] } {
    return { diffs: this.#steps(change).map(diffOf), violations: violationsOf(change) };
  }

  /** ConnectError, as an agent answers it: ABORTED, INVALID_ARGUMENT. */
  apply(change: Change, expected: bigint, by: Pick<Revision, 'author' | 'origin' | 'message'>): Step[] {
    this.#expect(expected);
    const violations = violationsOf(change);
    if (violations.length > 0) {
      const details = [{ desc: ValidationFailureSchema, value: create(ValidationFailureSchema, { violations }) }];
      throw new ConnectError('the configuration is not valid', Code.InvalidArgument, undefined, details);
    }
    const steps = this.#steps(change);
    this.take(steps, by);
    return steps;
  }

  /** ConnectError: ABORTED, NOT_FOUND. */
  revert(version: bigint, expected: bigint, by: Pick<Revision, 'author' | 'origin' | 'message'>): Step[] {
    this.#expect(expected);
    const undone = this.#history.filter(({ revision }) => revision.version > version);
    if (version < 0n || version > this.version || BigInt(undone.length) !== this.version - version) {
      throw new ConnectError(`there is no version ${version} any more`, Code.NotFound);
    }
    const steps = new Map<string, Step>();
    for (const made of undone.reverse()) {
      for (const { key, before } of made.steps) {
        steps.set(key, { key, before: this.objects.get(key)?.declared, after: before });
      }
    }
    const different = [...steps.values()].filter(({ before, after }) => !isSame(before, after));
    this.take(different, by);
    return different;
  }

  /** In force as they are: also what another node has decided. */
  take(steps: readonly Step[], by: Pick<Revision, 'author' | 'origin' | 'message'>): void {
    if (steps.length === 0) return;
    this.version++;
    for (const { key, after } of steps) {
      const before = this.objects.get(key);
      if (before !== undefined) this.#hash ^= asNumber(before.digest);
      if (after === undefined) {
        this.objects.delete(key);
        this.gone.set(key, this.version);
      } else {
        const digest = digestOf(after);
        this.objects.set(key, { key, declared: after, generation: this.version, digest });
        this.gone.delete(key);
        this.#hash ^= asNumber(digest);
      }
    }
    const diffs = diffsOf(steps);
    const count = (operation: Operation): number => diffs.filter((diff) => diff.operation === operation).length;
    const revision = create(RevisionSchema, {
      ...by,
      version: this.version,
      time: this.#time(),
      created: count(Operation.CREATE),
      updated: count(Operation.UPDATE),
      deleted: count(Operation.DELETE),
      diffs: [...diffs],
    });
    this.#history.push({ revision, steps });
    while (this.#history.length > this.historyMax) this.#history.shift();
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const run of waiting) run();
  }

  /** Newest first. */
  history(limit: number, beforeVersion: bigint, withDiff: boolean): Revision[] {
    return this.#history
      .map(({ revision }) => revision)
      .filter(({ version }) => beforeVersion === 0n || version < beforeVersion)
      .reverse()
      .slice(0, limit === 0 ? 50 : limit)
      .map((revision) => (withDiff ? revision : { ...revision, diffs: [] }));
  }

  diffs(steps: readonly Step[]): ObjectDiff[] {
    return steps.map(diffOf);
  }

  #expect(expected: bigint): void {
    if (expected === 0n || expected === this.version) return;
    const message = `the configuration is at version ${this.version}, not at ${expected}: plan again`;
    throw new ConnectError(message, Code.Aborted);
  }

  #steps(change: Change): Step[] {
    const after = new Map<string, Declared | undefined>();
    if (change.replaceAll) for (const key of this.objects.keys()) after.set(key, undefined);
    for (const name of change.remove) after.set(`Service/${name}`, undefined);
    for (const { kind, name } of change.removeObjects) after.set(`${kind}/${name}`, undefined);
    for (const value of change.upsert) after.set(`Service/${value.name}`, { kind: 'Service', value });
    for (const value of change.upsertObjects) {
      const kind = value.object.case === 'guard' ? 'Guard' : 'TrafficPolicy';
      after.set(`${kind}/${value.object.value?.name}`, { kind, value });
    }
    return [...after]
      .map(([key, declared]) => ({ key, before: this.objects.get(key)?.declared, after: declared }))
      .filter(({ before, after: declared }) => !isSame(before, declared));
  }

  #time(): Timestamp {
    return timestampFromMs(this.#nowMs());
  }
}

/** A change that makes everything of a list. */
export function changeOf(services: readonly Service[], objects: readonly Object$[] = []): Change {
  return create(ChangeSchema, { upsert: [...services], upsertObjects: [...objects] });
}

function isSame(a: Declared | undefined, b: Declared | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  if (a.kind === 'Service') return b.kind === 'Service' && equals(ServiceSchema, a.value, b.value);
  return b.kind !== 'Service' && equals(ObjectSchema, a.value, b.value);
}

function fieldsOf(declared: Declared | undefined): Record<string, unknown> {
  if (declared === undefined) return {};
  if (declared.kind === 'Service') return toJson(ServiceSchema, declared.value) as Record<string, unknown>;
  const [fields] = Object.values(toJson(ObjectSchema, declared.value) as Record<string, Record<string, unknown>>);
  return fields ?? {};
}

/** Coarser than an agent's: a field of the object as a whole. */
function diffOf({ key, before, after }: Step): ObjectDiff {
  const [kind = '', name = ''] = key.split('/');
  const [old, now] = [fieldsOf(before), fieldsOf(after)];
  const text = (value: unknown): string =>
    value === undefined ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value);
  const fields = [...new Set([...Object.keys(old), ...Object.keys(now)])]
    .map((path) => ({ path, before: text(old[path]), after: text(now[path]) }))
    .filter((field) => field.before !== field.after);
  const operation = before === undefined ? Operation.CREATE : after === undefined ? Operation.DELETE : Operation.UPDATE;
  return create(ObjectDiffSchema, { kind, name, operation, fields });
}

/** Some of what an agent finds: names, and backends without an address. */
function violationsOf(change: Change): Violation[] {
  const violations: Violation[] = [];
  const add = (path: string, reason: string, fix: string): void => {
    violations.push(create(ViolationSchema, { path, reason, fix }));
  };
  change.upsert.forEach((service, at) => {
    if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(service.name)) {
      add(`services[${at}].name`, `${JSON.stringify(service.name)} is not a name`, 'use 1 to 63 of a-z, 0-9 and -');
    }
    service.backends.forEach((backend, index) => {
      if (backend.address === '') {
        add(
          `services[${at}].backends[${index}].address`,
          'it is missing',
          'write an address, such as "10.0.0.11:8080"',
        );
      }
      if ((backend.weight ?? 1) > 256) {
        add(`services[${at}].backends[${index}].weight`, `${backend.weight} is too much`, 'write 0 to 256');
      }
    });
  });
  return violations;
}

/** Of the first thousand. All nodes take the same steps. */
function diffsOf(steps: readonly Step[]): readonly ObjectDiff[] {
  let diffs = knownDiffs.get(steps);
  if (diffs === undefined) {
    diffs = steps.slice(0, 1_000).map(diffOf);
    knownDiffs.set(steps, diffs);
  }
  return diffs;
}

const knownDiffs = new WeakMap<readonly Step[], readonly ObjectDiff[]>();
const knownDigests = new WeakMap<Declared, Uint8Array<ArrayBuffer>>();

/** FNV-1a, 64 bits. */
function digestOf(declared: Declared): Uint8Array<ArrayBuffer> {
  const known = knownDigests.get(declared);
  if (known !== undefined) return known;
  const bytes =
    declared.kind === 'Service' ? toBinary(ServiceSchema, declared.value) : toBinary(ObjectSchema, declared.value);
  // Two halves of 32 bits, each with another basis: good enough to tell objects of a test apart, and fast.
  let [high, low] = [0x811c9dc5, 0xc9dc5811];
  for (const byte of bytes) {
    high = Math.imul(high ^ byte, 0x01000193) >>> 0;
    low = Math.imul(low ^ byte ^ (high >>> 24), 0x01000193) >>> 0;
  }
  const digest = new Uint8Array(8);
  new DataView(digest.buffer).setUint32(0, high);
  new DataView(digest.buffer).setUint32(4, low);
  knownDigests.set(declared, digest);
  return digest;
}

function asNumber(digest: Uint8Array<ArrayBuffer>): bigint {
  return new DataView(digest.buffer).getBigUint64(0);
}
