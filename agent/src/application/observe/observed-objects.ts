// SPDX-License-Identifier: Apache-2.0
/** How each object of the configuration stands, in as few words as tell one state of it from another. */
import type { Kind } from '@marcher/model';
import type { Condition } from '@marcher/proto/marcher/v1/config_service_pb';
import type { ChangedNames } from '../watch-hub.js';
import { RevisedTable } from './revised-table.js';
import { sameLists } from './same.js';
import type { Slices } from './slices.js';
import type { Declared, ObservedConfiguration } from './sources.js';

/** SHA-256. */
export type Hash = (bytes: Uint8Array) => Uint8Array;

export const DIGEST_BYTES = 8;

export interface Standing {
  readonly kind: Kind;
  readonly name: string;
  readonly generation: bigint;
  /** Of what it declares. */
  readonly digest: Uint8Array;
  readonly unmet: readonly Condition[];
  /** A condition was unmet at some time since the table began: that may have changed without a generation. */
  readonly wavered: boolean;
}

export function standingOf(kind: Kind, name: string, { body, generation, conditions }: Declared, hash: Hash) {
  const unmet = conditions.filter(({ status }) => !status);
  return { kind, name, generation, digest: hash(body).slice(0, DIGEST_BYTES), unmet };
}

export class ObservedObjects {
  /** By "Kind/name". */
  readonly table = new RevisedTable<Standing>(sameStanding);
  readonly #configuration: ObservedConfiguration;
  readonly #hash: Hash;
  readonly #names: ChangedNames;
  /** Everything is to be looked at. */
  #whole = true;
  #doubts = 0;
  #version = 0n;

  /** onChange: the next look will find something. */
  constructor(configuration: ObservedConfiguration, hash: Hash, onChange: () => void) {
    this.#configuration = configuration;
    this.#hash = hash;
    this.#names = configuration.follow(onChange);
  }

  /** All that came into force until this version is in the table. */
  get version(): bigint {
    return this.#version;
  }

  /** The table is not what it is to be: something has changed, or is being looked at. */
  get isBehind(): boolean {
    return this.#whole || !this.#names.isEmpty;
  }

  /** Conditions of any of them may have changed. */
  doubt(): void {
    this.#doubts++;
    this.#whole = true;
  }

  async look(slices: Slices): Promise<void> {
    const [whole, doubts] = [this.#whole, this.#doubts];
    const changed = this.#names.take();
    const { version } = this.#names;
    // What was taken is not told again: should this fail, everything is looked at.
    this.#whole = true;
    if (whole || changed === undefined) await this.#lookAtAll(slices);
    else {
      await slices.each(changed.services, (name) => this.#lookAt('Service', name));
      for (const { kind, name } of changed.objects) {
        this.#lookAt(kind, name);
        if (kind !== 'TrafficPolicy') continue;
        await slices.each([...this.#configuration.servicesNaming(name)], (service) => this.#lookAt('Service', service));
      }
    }
    this.#whole = this.#doubts !== doubts;
    this.#version = version;
  }

  async #lookAtAll(slices: Slices): Promise<void> {
    this.table.begin();
    for (const { kind, name } of this.#configuration.objectNames()) this.#lookAt(kind, name);
    await slices.each(this.#configuration.serviceNames(), (name) => this.#lookAt('Service', name));
    await slices.each(this.table.end(), () => undefined);
  }

  #lookAt(kind: Kind, name: string): void {
    const key = `${kind}/${name}`;
    const declared = this.#configuration.declared(kind, name);
    if (declared === undefined) {
      this.table.delete(key);
      return;
    }
    const standing = standingOf(kind, name, declared, this.#hash);
    const wavered = standing.unmet.length > 0 || this.table.get(key)?.wavered === true;
    this.table.set(key, { ...standing, wavered });
  }

  close(): void {
    this.#names.close();
  }
}

function sameStanding(a: Standing, b: Standing): boolean {
  return (
    a.generation === b.generation &&
    Buffer.compare(a.digest, b.digest) === 0 &&
    sameLists(a.unmet, b.unmet, (x, y) => x.type === y.type && x.reason === y.reason && x.message === y.message)
  );
}
