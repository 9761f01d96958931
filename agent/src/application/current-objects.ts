// SPDX-License-Identifier: Apache-2.0
/**
 * The guards and traffic policies that are in force by the store, decoded once for each version: for all who carry
 * packets or connections by them. They are few.
 */
import type { Guard, TrafficPolicy } from '@marcher/model';
import type { ConfigStore } from '../ports/config-store.js';
import { unpackObject } from './object-codec.js';

export interface CurrentObject<T> {
  readonly value: T;
  /** Version in which it was last changed. */
  readonly generation: bigint;
}

/** By name. */
export type Current<T> = ReadonlyMap<string, CurrentObject<T>>;

export class CurrentObjects {
  readonly #store: Pick<ConfigStore, 'version' | 'objects'>;
  #version: bigint | undefined;
  #guards: Current<Guard> = new Map();
  #trafficPolicies: Current<TrafficPolicy> = new Map();

  constructor(store: Pick<ConfigStore, 'version' | 'objects'>) {
    this.#store = store;
  }

  get guards(): Current<Guard> {
    this.#read();
    return this.#guards;
  }

  get trafficPolicies(): Current<TrafficPolicy> {
    this.#read();
    return this.#trafficPolicies;
  }

  #read(): void {
    const { version } = this.#store;
    if (this.#version === version) return;
    const guards = new Map<string, CurrentObject<Guard>>();
    const trafficPolicies = new Map<string, CurrentObject<TrafficPolicy>>();
    for (const { kind, name, body, generation } of this.#store.objects()) {
      const { object } = unpackObject(kind, body);
      if (object.case === 'guard') guards.set(name, { value: object.value, generation });
      else if (object.case === 'trafficPolicy') trafficPolicies.set(name, { value: object.value, generation });
    }
    this.#guards = guards;
    this.#trafficPolicies = trafficPolicies;
    this.#version = version;
  }
}
