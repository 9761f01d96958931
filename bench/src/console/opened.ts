// SPDX-License-Identifier: Apache-2.0
/**
 * The console as an operator has it, with a mesh that is none: simulated agents behind one socket, the gateway that `npm run console:web`
 * starts, and Debian's Chromium, each in a process of its own but for the agents, which are in this one.
 */
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg } from 'node:os';
import path from 'node:path';
import { systemAmbient } from '@marcher/client/fleet';
import { type Simulation, type SimulationOptions, simulatedAgents } from '@marcher/client/testing';
import { REPOSITORY, Scope } from '@marcher/e2e/harness/scope';
import { World } from '@marcher/e2e/harness/suite';
import { startGateway } from '@marcher/e2e/suites/console/gateway';
import { serveSimulation } from '@marcher/e2e/suites/console/served-simulation';
import { type BrowserContext, chromium, type Page } from 'playwright-core';

export const CHROMIUM = '/usr/bin/chromium';

export interface Opened {
  readonly simulation: Simulation;
  /** With the token. */
  readonly address: string;
  readonly context: BrowserContext;
  readonly page: Page;
  /** Where Chromium is debugged. */
  readonly debugPort: number;
}

/** A page at 1440×900, loaded and showing all nodes. */
export async function withOpened<T>(options: SimulationOptions, use: (opened: Opened) => Promise<T>): Promise<T> {
  const scope = new Scope(path.join(REPOSITORY, '.cache/bench-console'));
  const simulation = simulatedAgents({ ...options, ambient: systemAmbient() });
  const socket = path.join(scope.dir, 'agent.sock');
  const server = await serveSimulation(simulation, socket);
  const profile = path.join(scope.dir, 'profile');
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    viewport: { width: 1440, height: 900 },
    args: [
      '--headless=new',
      '--remote-debugging-port=0',
      '--enable-precise-memory-info',
      // As root it has no sandbox of its own.
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
    ],
  });
  try {
    const address = await startGateway(new World(scope, undefined), `unix:${socket}`, { isApart: true });
    const page = context.pages()[0] ?? (await context.newPage());
    page.setDefaultTimeout(60_000);
    await page.goto(address);
    await page.getByText(`all of ${options.nodes} nodes`).waitFor();
    const debugPort = Number(readFileSync(path.join(profile, 'DevToolsActivePort'), 'utf8').split('\n')[0]);
    return await use({ simulation, address, context, page, debugPort });
  } finally {
    await context.close();
    server.close();
    await scope.close();
  }
}

/** What stands beside each figure: who measures on a busy machine measures the others. */
export function machine(): Readonly<Record<string, unknown>> {
  return {
    cpu: cpus()[0]?.model,
    cores: availableParallelism(),
    load: loadavg().map((each) => Math.round(each * 100) / 100),
  };
}
