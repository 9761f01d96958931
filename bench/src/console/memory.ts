// SPDX-License-Identifier: Apache-2.0
/**
 * Whether consoles keep what they should have let go. Twice:
 *
 * - A day in simulated time, as fast as it goes, with the number of states of a day: what the client keeps, what it tells a page
 *   (patches and their mirror), and a terminal console on top. Services come and go, agents end and begin, a node is replaced by another each
 *   hour.
 * - The page in Chromium, some minutes of wall time at ten states a second (a day has two), through all of its pages, again and again.
 *
 * Heaps are those after a forced collection.
 */
import { setTimeout } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { create } from '@bufbuild/protobuf';
import { Fleet } from '@marcher/client/fleet';
import { StateDiffer, StateMirror } from '@marcher/client/fleet/mirror';
import { changeOf, type Simulation, simulatedAgents } from '@marcher/client/testing';
import { ServiceSchema } from '@marcher/proto/marcher/v1/model_pb';
import { harness } from '@marcher/tui/testing/console-harness';
import type { CDPSession } from 'playwright-core';
import { withOpened } from './opened.js';

export interface Memory {
  /** MiB, at equal distances, the first after the warm-up. */
  readonly heapsMiB: readonly number[];
  /** States that were published meanwhile. */
  readonly states: number;
  readonly seconds: number;
  /** The last beside the first. */
  readonly growth: number;
  readonly passed: boolean;
}

/** Of issue 5: within 10 %. */
export const GROWTH_GOAL = 0.1;
const STEP_MS = 500;

export async function simulatedDay(hours: number): Promise<Memory> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const began = performance.now();
  const simulation = simulatedAgents({ nodes: 5, services: 60, moving: 0.2, relayed: true });
  const fleet = new Fleet({ reach: simulation.reach, ambient: simulation.ambient });
  const [differ, mirror] = [new StateDiffer(), new StateMirror()];
  fleet.start();
  await simulation.advance(5_000);
  const terminal = harness(fleet.state);
  terminal.type(':services');
  terminal.press('enter');
  let states = 0;
  fleet.subscribe((state) => {
    states++;
    for (const patch of differ.patches(state)) mirror.take(patch);
    terminal.fleet.set(mirror.state);
    terminal.clock.pass(STEP_MS);
  });
  const heapsMiB: number[] = [];
  for (let hour = 0; hour <= hours; hour++) {
    // The first hour fills histories and caches.
    for (let second = 0; second < 3_600; second++) {
      if (second % 60 === 30) churn(simulation, hour * 60 + second / 60);
      await simulation.advance(1_000);
      terminal.screen();
    }
    collect();
    heapsMiB.push(process.memoryUsage().heapUsed / (1 << 20));
    console.error(`hour ${hour}: ${heapsMiB.at(-1)?.toFixed(1)} MiB after ${states} states`);
  }
  fleet.close();
  return judged(heapsMiB, states, (performance.now() - began) / 1_000);
}

/** What happens in a minute. */
function churn(simulation: Simulation, minute: number): void {
  const { entry, agents, ambient } = simulation;
  // The agents are in this process, too: what they keep of a day is not what is measured.
  for (const { configuration } of agents) configuration.historyMax = 10;
  const service = (name: string) =>
    create(ServiceSchema, {
      name,
      listeners: [{ ports: [{ first: 9_000, last: 9_000 }] }],
      backends: [{ name: 'a', address: '10.9.0.1:80' }],
    });
  const made = `made-${Math.floor(minute)}`;
  const by = { author: 'bench', origin: 'api', message: '' };
  const apply = (change: Parameters<typeof entry.configuration.apply>[0]): void => {
    const steps = entry.configuration.apply(change, 0n, by);
    for (const agent of agents) if (agent !== entry) agent.configuration.take(steps, by);
  };
  apply(changeOf([service(made)]));
  entry.traffic.setRate(made, 5, ambient.nowMs());
  const old = `made-${Math.floor(minute) - 5}`;
  if (entry.configuration.service(old) !== undefined) {
    apply({ ...changeOf([]), remove: [old] });
    for (const agent of agents) agent.traffic.forget(old);
  }
  const victim = agents[1 + (Math.floor(minute) % (agents.length - 1))];
  if (victim?.condition === 'up') victim.kill();
  else victim?.start();
  if (Math.floor(minute) % 60 === 59) {
    simulation.remove((agents.at(-1) as { readonly id: string }).id);
    simulation.join(`node-of-${Math.floor(minute)}`);
  }
}

const PAGES = [
  '#/',
  '#/services',
  '#/services/service-0001',
  '#/proxies',
  '#/shaping',
  '#/clusters',
  '#/certificates',
  '#/mesh',
  '#/history',
  '#/audit',
];
/** Heap looked at so often. */
const LOOKS = 6;

export async function pageMemory(nodes: number, services: number, minutes: number): Promise<Memory> {
  return await withOpened({ nodes, services, backends: 2, moving: 0.01 }, async ({ context, page, simulation }) => {
    const session = await context.newCDPSession(page);
    const { entry } = simulation;
    const service = entry.configuration.service('service-0000');
    if (service === undefined) throw new Error('there is no service-0000');
    let weight = 0;
    // Ten changes of the configuration a second, each of which is a state of its own.
    const timer = setInterval(() => {
      weight = (weight % 100) + 1;
      const backends = service.backends.map((backend) => ({ ...backend, weight }));
      const steps = entry.configuration.apply(changeOf([{ ...service, backends }]), 0n, {
        author: 'bench',
        origin: 'api',
        message: '',
      });
      for (const agent of simulation.agents.slice(1))
        agent.configuration.take(steps, { author: 'bench', origin: 'api', message: '' });
    }, 100);
    const heapsMiB: number[] = [];
    const began = performance.now();
    try {
      for (let look = 0; look <= LOOKS; look++) {
        const untilMs = performance.now() + (minutes * 60_000) / LOOKS;
        for (let at = 0; performance.now() < untilMs; at++) {
          await page.evaluate(`location.hash = ${JSON.stringify(PAGES[at % PAGES.length])}`);
          await setTimeout(700);
        }
        await page.evaluate(`location.hash = '#/services'`);
        await setTimeout(1_500);
        heapsMiB.push(await heapOf(session));
        console.error(`page, look ${look}: ${heapsMiB.at(-1)?.toFixed(1)} MiB`);
      }
    } finally {
      clearInterval(timer);
    }
    return judged(heapsMiB, Math.round(minutes * 600), (performance.now() - began) / 1_000);
  });
}

/** Of the page's own thread. */
async function heapOf(session: CDPSession): Promise<number> {
  for (let i = 0; i < 2; i++) await session.send('HeapProfiler.collectGarbage');
  const { usedSize } = await session.send('Runtime.getHeapUsage');
  return usedSize / (1 << 20);
}

function judged(heapsMiB: readonly number[], states: number, seconds: number): Memory {
  const growth = (heapsMiB.at(-1) ?? 0) / (heapsMiB[0] ?? 1) - 1;
  return { heapsMiB, states, seconds, growth, passed: growth <= GROWTH_GOAL };
}
