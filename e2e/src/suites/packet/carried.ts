// SPDX-License-Identifier: Apache-2.0
/** Services that a director carries by its kernel, and what becomes of a load on them. */
import type { Agent, ServiceFile } from '../../harness/agent.js';
import type { Load, Tally } from '../../harness/load.js';
import { until } from '../../harness/scope.js';
import type { World } from '../../harness/suite.js';
import type { Ground, ServiceOptions } from './ground.js';

export const HEALTHY = 2;
export const SERVICES = ['web4', 'web6'];

/** Puts services in force, with all of these backends up, and waits until the tier carries them. */
export const carry = async (
  director: Agent,
  services: readonly ServiceFile[],
  backends: readonly number[],
  tier = 'xdp',
): Promise<void> => {
  // An agent does not have its engine wait for long until the programs are loaded, and a busy machine takes longer.
  await until('the packet tier to be open', async () => {
    const { tiers } = await director.node.tiers({ service: '' });
    return tiers.some((one) => one.tier === tier && one.available);
  });
  await director.apply(services);
  const names = backends.map((i) => `b${i}`);
  for (const { name } of services) await director.backendsAre(name, HEALTHY, names);
  await until(`${tier} to carry the services`, async () => {
    const found = await director.node.tiers({ service: '' });
    return found.services.length === services.length && found.services.every((service) => service.tier === tier);
  });
};

/** A director that carries the services in the mode, with all backends up. */
export const carried = async (
  ground: Ground,
  mode: string,
  backends: readonly number[],
  options: ServiceOptions & { director?: number } = {},
): Promise<Agent> => {
  const director = ground.director(options.director ?? 1);
  await director.start();
  await carry(director, ground.services(mode, backends, options), backends);
  return director;
};

const ANSWERED_LEAST = 50;

/** Ends loads once each has sent enough to say something: none has lost anything. Hands back what they have sent. */
export const settleAll = async (
  world: World,
  loads: readonly Load[],
  label = '',
): Promise<readonly (Tally & { readonly load: Load })[]> => {
  const enough = async (load: Load): Promise<boolean> => (await load.snapshot()).exchanges.length > ANSWERED_LEAST;
  await Promise.all(
    loads.map((load) =>
      until(`${label}${load.settings.name} to have sent ${ANSWERED_LEAST} requests`, () => enough(load), 10_000, 50),
    ),
  );
  const settled = await Promise.all(loads.map(async (load) => ({ ...(await world.settle(load, label)), load })));
  for (const { load, answered, failed, reasons } of settled) {
    world.equal(failed, 0, `${label}${load.settings.name}: failed (${JSON.stringify(reasons)})`);
    world.check(answered > ANSWERED_LEAST, `${label}${load.settings.name}: only ${answered} answered`);
  }
  return settled;
};
