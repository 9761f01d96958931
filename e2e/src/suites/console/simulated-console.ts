// SPDX-License-Identifier: Apache-2.0
/** The console in a browser, through the gateway, at agents that are simulated: for meshes that no machine of the tests could run. */
import type { Simulation } from '@marcher/client/testing';
import type { World } from '../../harness/suite.js';
import { type ConsolePage, withConsole } from './browser.js';
import { startGateway } from './gateway.js';
import { serveSimulation } from './served-simulation.js';

export async function withSimulated(
  world: World,
  simulation: Simulation,
  use: (console_: ConsolePage) => Promise<void>,
): Promise<void> {
  const socket = `${world.scope.dir}/agent.sock`;
  const server = await serveSimulation(simulation, socket);
  try {
    await withConsole(world, await startGateway(world, `unix:${socket}`), use);
  } finally {
    server.close();
  }
}
