// SPDX-License-Identifier: Apache-2.0
import { mkdirSync } from 'node:fs';
import { systemAmbient } from '@marcher/client/fleet';
import { simulatedAgents } from '@marcher/client/testing';
import type { Case, World } from '../../harness/suite.js';
import { SHOTS, type Theme, withConsole } from './browser.js';
import { startGateway } from './gateway.js';
import { serveSimulation } from './served-simulation.js';

interface Shot {
  readonly hash: string;
  readonly heading: string | RegExp;
  readonly name: string;
}

const PAGES: readonly Shot[] = [
  { hash: '#/', heading: 'Dashboard', name: 'dashboard' },
  { hash: '#/services', heading: 'Services', name: 'services' },
  { hash: '#/services/service-0001', heading: /service-0001/, name: 'service' },
  { hash: '#/proxies', heading: 'Proxies', name: 'proxies' },
  { hash: '#/proxies/8a3f0c61d2e90002', heading: /node02/, name: 'proxy' },
  { hash: '#/shaping', heading: 'Traffic Shaping', name: 'shaping' },
  { hash: '#/clusters', heading: 'Clusters', name: 'clusters' },
  { hash: '#/certificates', heading: 'Certificates', name: 'certificates' },
  { hash: '#/mesh', heading: 'Mesh', name: 'mesh' },
  { hash: '#/history', heading: 'History', name: 'history' },
  { hash: '#/audit', heading: 'Audit Log', name: 'audit' },
];

export const pages: readonly Case[] = [
  {
    name: 'every page in both themes: no error, and nothing that axe finds',
    run: async (world: World) => {
      mkdirSync(SHOTS, { recursive: true });
      const simulation = simulatedAgents({
        nodes: 5,
        services: 40,
        backends: 3,
        ambient: systemAmbient(),
        moving: 0.5,
      });
      simulation.agents[1]?.setHealthy('service-0001', 'b', false);
      const socket = `${world.scope.dir}/agent.sock`;
      const server = await serveSimulation(simulation, socket);
      try {
        const address = await startGateway(world, `unix:${socket}`);
        await withConsole(world, address, async (console_) => {
          await console_.page.getByText('all of 5 nodes').waitFor();
          for (const theme of ['dark', 'light'] satisfies Theme[]) {
            await console_.theme(theme);
            for (const { hash, heading, name } of PAGES) {
              await console_.goTo(hash, heading);
              await console_.accessible(`${name}, ${theme}`);
              await console_.picture(`${name}-${theme}`);
            }
          }
        });
      } finally {
        server.close();
      }
    },
  },
];
