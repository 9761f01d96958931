// SPDX-License-Identifier: Apache-2.0
/**
 * What the terminal console's client takes of a core while it watches: HTTP/2 over a Unix socket, gRPC, decoding, merging, publishing; without a
 * terminal. The client is a process of its own (this file, started with a socket), as the agents' work is not to be counted.
 */
import { fork } from 'node:child_process';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createAgentClient } from '@marcher/client';
import { Fleet, systemAmbient } from '@marcher/client/fleet';
import { parseTarget } from '@marcher/client/target';
import { type Simulation, simulatedAgents } from '@marcher/client/testing';
import { REPOSITORY, Scope } from '@marcher/e2e/harness/scope';
import { serveSimulation } from '@marcher/e2e/suites/console/served-simulation';
import { keepHeapSmall } from '@marcher/tui/cli/small-heap';

export interface ClientCpu {
  /** Whether the same services move on all nodes. */
  readonly moving: 'the same on all nodes' | 'others on each node';
  /** Of a core. */
  readonly percent: number;
  /** MiB after the last state. */
  readonly heapMiB: number;
  readonly states: number;
  readonly seconds: number;
}

/** Until all nodes are live and what was compiled is compiled. */
const SETTLE_MS = 10_000;

export async function clientCpu(nodes: number, services: number, seconds: number): Promise<readonly ClientCpu[]> {
  const results: ClientCpu[] = [];
  for (const moving of ['the same on all nodes', 'others on each node'] as const) {
    const scope = new Scope(path.join(REPOSITORY, '.cache/bench-console'));
    const simulation = watchedMesh(nodes, services, moving);
    const socket = path.join(scope.dir, 'agent.sock');
    const server = await serveSimulation(simulation, socket);
    try {
      results.push({ moving, ...(await measured(socket, nodes, seconds)) });
    } finally {
      server.close();
      await scope.close();
    }
  }
  return results;
}

/** One in a hundred services has traffic. */
export function watchedMesh(nodes: number, services: number, moving: ClientCpu['moving']): Simulation {
  const alike = moving === 'the same on all nodes';
  const ambient = systemAmbient();
  const simulation = simulatedAgents({ nodes, services, backends: 2, moving: alike ? 0 : 0.01, ambient });
  for (const agent of alike ? simulation.agents : []) {
    for (let at = 0; at < services; at += 100) {
      agent.traffic.setRate(`service-${String(at).padStart(4, '0')}`, 1 + (at % 19), ambient.nowMs());
    }
  }
  return simulation;
}

async function measured(socket: string, nodes: number, seconds: number): Promise<Omit<ClientCpu, 'moving'>> {
  const child = fork(fileURLToPath(import.meta.url), [socket, String(nodes), String(seconds)]);
  return await new Promise((resolve, reject) => {
    child.once('message', (result) => resolve(result as Omit<ClientCpu, 'moving'>));
    child.once('exit', (code) => reject(new Error(`the client has ended with ${code}`)));
  });
}

/** In the process that is measured. */
async function watch(socket: string, nodes: number, seconds: number): Promise<void> {
  keepHeapSmall();
  const agent = createAgentClient(parseTarget(`unix:${socket}`));
  const fleet = new Fleet({ reach: { entry: agent, node: (id) => agent.throughNode(id) }, ambient: systemAmbient() });
  let states = 0;
  fleet.subscribe(() => states++);
  fleet.start();
  while (fleet.state.coverage.live < nodes) await setTimeout(100);
  await setTimeout(SETTLE_MS);
  const [before, beganMs, statesBefore] = [process.cpuUsage(), performance.now(), states];
  await setTimeout(seconds * 1_000);
  const { user, system } = process.cpuUsage(before);
  const passedMs = performance.now() - beganMs;
  process.send?.({
    percent: ((user + system) / 1_000 / passedMs) * 100,
    heapMiB: process.memoryUsage().heapUsed / (1 << 20),
    states: states - statesBefore,
    seconds,
  } satisfies Omit<ClientCpu, 'moving'>);
  process.exit(0);
}

const [, started, socket, nodes, seconds] = process.argv;
if (started === fileURLToPath(import.meta.url) && socket !== undefined)
  await watch(socket, Number(nodes), Number(seconds));
