// SPDX-License-Identifier: Apache-2.0
/** Services that a director carries by XDP, and what becomes of a load on them. */
import type { Agent } from '../../harness/agent.js';
import { until } from '../../harness/scope.js';
import type { World } from '../../harness/suite.js';
import type { Ground } from './ground.js';

export const HEALTHY = 2;
export const SERVICES = ['web4', 'web6'];

/** A director that carries the services in the mode, with all backends up. */
export const carried = async (
  ground: Ground,
  mode: string,
  backends: readonly number[],
  options: { director?: number; port?: number } = {},
): Promise<Agent> => {
  const director = ground.director(options.director ?? 1);
  await director.start();
  await director.apply(ground.services(mode, backends, options.port));
  const names = backends.map((i) => `b${i}`);
  for (const service of SERVICES) await director.backendsAre(service, HEALTHY, names);
  await until('XDP to carry the services', async () => {
    const { services } = await director.node.tiers({ service: '' });
    return services.length === SERVICES.length && services.every(({ tier }) => tier === 'xdp');
  });
  return director;
};

export const settleAll = async (world: World, loads: Awaited<ReturnType<Ground['loads']>>): Promise<void> => {
  for (const load of loads) {
    const counts = await world.settle(load);
    world.check(counts.answered > 100, `${load.settings.name}: only ${counts.answered} answered`);
    world.equal(counts.failed, 0, `${load.settings.name}: failed`);
  }
};
