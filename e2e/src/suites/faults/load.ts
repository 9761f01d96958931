// SPDX-License-Identifier: Apache-2.0
/** The continuous load that a fault happens under. */
import type { Agent } from '../../harness/agent.js';
import type { Load } from '../../harness/load.js';
import type { World } from '../../harness/suite.js';
import { quickHealth, targets, tcpService, udpService } from '../services.js';

export const HEALTHY = 2;
export const UNHEALTHY = 3;

/** Fault to certain detection with quickHealth: two probes of 200 ms, the later one with its timeout, and jitter. */
export const DETECTION_MS = 1_000;

/** web (TCP 5001) and dns (UDP 5353) over three backends. */
export const standardServices = (world: World): ReturnType<typeof tcpService>[] => [
  tcpService('web', 5001, targets(world, 3), { health: quickHealth }),
  udpService('dns', 5353, targets(world, 3), { health: { ...quickHealth, port: 8080 } }),
];

/** Starts the agent, applies the standard services, and waits until every backend is healthy. */
export const bringUp = async (world: World, agent: Agent): Promise<void> => {
  await agent.start();
  await agent.apply(standardServices(world));
  await agent.backendsAre('web', HEALTHY, ['b1', 'b2', 'b3']);
  await agent.backendsAre('dns', HEALTHY, ['b1', 'b2', 'b3']);
};

export interface StandardLoad {
  readonly short: Load;
  readonly keepalive: Load;
  readonly udp: Load;
}

export const startLoad = async (world: World): Promise<StandardLoad> => ({
  short: await world.load({ name: 'tcp, a connection per request', kind: 'tcp-short', port: 5001, rate: 150 }),
  keepalive: await world.load({
    name: 'tcp, standing connections',
    kind: 'tcp-keepalive',
    port: 5001,
    rate: 150,
    connections: 9,
  }),
  udp: await world.load({
    name: 'udp',
    kind: 'udp',
    port: 5353,
    rate: 150,
    connections: 9,
    bytes: 200,
    timeoutMs: 2_000,
  }),
});

/** Stops the load; nothing of it may have failed. */
export const nothingLost = async (world: World, load: StandardLoad): Promise<void> => {
  for (const one of [load.short, load.keepalive, load.udp]) {
    const counts = await world.settle(one);
    world.check(counts.answered > 0, `${one.settings.name}: nothing was answered`);
    world.equal(counts.failed, 0, `${one.settings.name}: failed requests`);
  }
};
