// SPDX-License-Identifier: Apache-2.0
/**
 * Which tier carries each service. It follows from what the service declares and from what the node offers, so of most
 * services it is worked out once: again where the configuration changes, and of all where the offer does. Services that ask
 * for a packet tier have counters beside it, and reasons that come and go.
 */
import type { ServiceTier, TierAvailability } from '@marcher/proto/marcher/v1/node_service_pb';
import type { ChangedNames } from '../watch-hub.js';
import { RevisedTable } from './revised-table.js';
import { sameAvailability, sameTier } from './same.js';
import type { Slices } from './slices.js';
import type { ObservedConfiguration, TierSource } from './sources.js';

export class ObservedTiers {
  /** By service. */
  readonly table = new RevisedTable<ServiceTier>(sameTier);
  readonly availability = new RevisedTable<readonly TierAvailability[]>(sameAvailability);
  readonly #source: TierSource;
  readonly #configuration: ObservedConfiguration;
  readonly #names: ChangedNames;
  /** undefined: none was worked out by any. */
  #basis: string | undefined;

  constructor(source: TierSource, configuration: ObservedConfiguration) {
    this.#source = source;
    this.#configuration = configuration;
    this.#names = configuration.follow(() => undefined);
  }

  async look(slices: Slices): Promise<void> {
    const [before, basis] = [this.#basis, this.#source.basis()];
    const changed = this.#names.take();
    // What was taken is not told again: should this fail, all are worked out.
    this.#basis = undefined;
    this.availability.set('', this.#source.availability());
    if (before !== basis || changed === undefined) await this.#lookAtAll(slices);
    else {
      const names = new Set(changed.services);
      for (const { kind, name } of changed.objects) {
        if (kind === 'TrafficPolicy')
          for (const service of this.#configuration.servicesNaming(name)) names.add(service);
      }
      await this.#lookAt(names, slices);
      await this.#lookAt([...this.#source.restless()], slices);
    }
    this.#basis = basis;
  }

  async #lookAtAll(slices: Slices): Promise<void> {
    this.table.begin();
    await slices.each(this.#source.of(this.#configuration.serviceNames()), (tier) =>
      this.table.set(tier.service, tier),
    );
    await slices.each(this.table.end(), () => undefined);
  }

  async #lookAt(names: Iterable<string>, slices: Slices): Promise<void> {
    const missing = new Set(names);
    await slices.each(this.#source.of([...missing]), (tier) => {
      missing.delete(tier.service);
      this.table.set(tier.service, tier);
    });
    for (const name of missing) this.table.delete(name);
  }

  close(): void {
    this.#names.close();
  }
}
