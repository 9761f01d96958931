// SPDX-License-Identifier: Apache-2.0
/**
 * Changes of the configuration, to any number of readers.
 *
 *   start ──▶ snapshot ──▶ synced ──▶ changes ◀──┐
 *                ▲                       │ queue full
 *                └────── resync ◀────────┘
 *
 * A reader's queue holds names, not messages: an object that changes ten times while a reader is away is sent once, as
 * it is then. So memory is bounded by the number of names, and a slow reader costs nobody else anything.
 */
import type { ObjectKind } from '@marcher/model';
import type { ObjectResource, ServiceResource } from '@marcher/proto/marcher/v1/config_service_pb';
import type { Changed } from '../ports/config-store.js';
import type { WatchEvent } from '../ports/use-cases.js';

export interface WatchSource {
  readonly version: bigint;
  get(name: string): ServiceResource | undefined;
  names(): Iterable<string>;
  object(key: ObjectName): ObjectResource | undefined;
  /** Of all objects that are not services. */
  objectNames(): readonly ObjectName[];
  /** undefined: history does not reach back that far. */
  changedSince(version: bigint): Changed | undefined;
}

interface ObjectName {
  readonly kind: ObjectKind;
  readonly name: string;
}

const NOTHING: Changed = { services: [], objects: [] };

/** In a reader's queue: no name of a service has a slash. */
function keyOf({ kind, name }: ObjectName): string {
  return `${kind}/${name}`;
}

function* keysOf({ services, objects }: Partial<Changed>): Iterable<string> {
  for (const object of objects ?? []) yield keyOf(object);
  yield* services ?? [];
}

function changedOf(keys: readonly string[]): Changed {
  const services: string[] = [];
  const objects: ObjectName[] = [];
  for (const key of keys) {
    const slash = key.indexOf('/');
    if (slash === -1) services.push(key);
    else objects.push({ kind: key.slice(0, slash) as ObjectKind, name: key.slice(slash + 1) });
  }
  return { services, objects };
}

interface Reader {
  readonly names: Set<string>;
  overflowed: boolean;
  wake: () => void;
}

/** For who reads at a pace of its own. */
export interface ChangedNames {
  /** Since it was asked last. undefined: so many that they were not kept, so that everything is to be looked at. */
  take(): Changed | undefined;
  /** Nothing has changed since. */
  readonly isEmpty: boolean;
  /** Of the configuration; all that came into force until then was told. */
  readonly version: bigint;
  close(): void;
}

export interface WatchOptions {
  /** Names that one reader may be behind. */
  readonly queueMax?: number;
  readonly heartbeatMs?: number;
}

export class WatchHub {
  readonly #source: WatchSource;
  readonly #readers = new Set<Reader>();
  readonly #queueMax: number;
  readonly #heartbeatMs: number;
  /** A version is in force before it is told. */
  #toldVersion: bigint;

  constructor(source: WatchSource, options: WatchOptions = {}) {
    this.#source = source;
    this.#queueMax = options.queueMax ?? 4_096;
    this.#heartbeatMs = options.heartbeatMs ?? 15_000;
    this.#toldVersion = source.version;
  }

  get readers(): number {
    return this.#readers.size;
  }

  changed(changed: Partial<Changed>): void {
    this.#toldVersion = this.#source.version;
    if (this.#readers.size === 0) return;
    for (const name of keysOf(changed)) {
      for (const reader of this.#readers) {
        if (reader.overflowed) continue;
        reader.names.add(name);
        if (reader.names.size > this.#queueMax) {
          reader.overflowed = true;
          reader.names.clear();
        }
      }
    }
    for (const reader of this.#readers) reader.wake();
  }

  async *watch(resumeVersion: bigint, signal: AbortSignal): AsyncGenerator<WatchEvent> {
    const reader: Reader = { names: new Set(), overflowed: false, wake: () => undefined };
    this.#readers.add(reader);
    const wake = (): void => reader.wake();
    signal.addEventListener('abort', wake);
    try {
      const missed = resumeVersion > 0n ? this.#source.changedSince(resumeVersion) : undefined;
      const { services, objects } = missed ?? NOTHING;
      if (missed !== undefined && services.length + objects.length <= this.#queueMax) {
        for (const key of keysOf(missed)) reader.names.add(key);
        yield* this.#drain(reader, signal);
        yield { kind: 'synced', version: this.#source.version };
      } else {
        // The reader has a state that can't be brought forward: it must not keep what has gone meanwhile.
        if (resumeVersion > 0n) yield { kind: 'resync', version: this.#source.version };
        yield* this.#snapshot(signal);
      }
      while (!signal.aborted) {
        if (reader.overflowed) {
          reader.overflowed = false;
          yield { kind: 'resync', version: this.#source.version };
          yield* this.#snapshot(signal);
        } else if (reader.names.size > 0) yield* this.#drain(reader, signal);
        else if (!(await this.#wait(reader, signal))) yield { kind: 'heartbeat', version: this.#source.version };
      }
    } finally {
      signal.removeEventListener('abort', wake);
      this.#readers.delete(reader);
    }
  }

  /** onChange: whenever there is something to take. */
  follow(onChange: () => void): ChangedNames {
    const reader: Reader = { names: new Set(), overflowed: false, wake: onChange };
    this.#readers.add(reader);
    const version = (): bigint => this.#toldVersion;
    return {
      take: () => {
        const { overflowed } = reader;
        const names = [...reader.names];
        reader.overflowed = false;
        reader.names.clear();
        return overflowed ? undefined : changedOf(names);
      },
      get isEmpty() {
        return reader.names.size === 0 && !reader.overflowed;
      },
      get version() {
        return version();
      },
      close: () => this.#readers.delete(reader),
    };
  }

  *#snapshot(signal: AbortSignal): Iterable<WatchEvent> {
    for (const key of this.#source.objectNames()) {
      if (signal.aborted) return;
      const resource = this.#source.object(key);
      if (resource !== undefined) yield { kind: 'upsertObject', resource, version: this.#source.version };
    }
    for (const name of this.#source.names()) {
      if (signal.aborted) return;
      const resource = this.#source.get(name);
      if (resource !== undefined) yield { kind: 'upsert', resource, version: this.#source.version };
    }
    if (!signal.aborted) yield { kind: 'synced', version: this.#source.version };
  }

  *#drain(reader: Reader, signal: AbortSignal): Iterable<WatchEvent> {
    for (const name of reader.names) {
      if (signal.aborted) return;
      reader.names.delete(name);
      const version = this.#source.version;
      const slash = name.indexOf('/');
      if (slash !== -1) {
        const key = { kind: name.slice(0, slash) as ObjectKind, name: name.slice(slash + 1) };
        const resource = this.#source.object(key);
        yield resource === undefined
          ? { kind: 'removeObject', key, version }
          : { kind: 'upsertObject', resource, version };
        continue;
      }
      const resource = this.#source.get(name);
      yield resource === undefined ? { kind: 'remove', name, version } : { kind: 'upsert', resource, version };
    }
  }

  /** True when there is something to do, false when the time for a heartbeat has come. */
  #wait(reader: Reader, signal: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const done = (woken: boolean): void => {
        clearTimeout(timer);
        reader.wake = () => undefined;
        resolve(woken);
      };
      const timer = setTimeout(() => done(false), this.#heartbeatMs);
      reader.wake = () => done(true);
      if (signal.aborted || reader.names.size > 0 || reader.overflowed) done(true);
    });
  }
}
