// SPDX-License-Identifier: Apache-2.0
import { Fleet } from '@marcher/client/fleet';
import { type Simulation, simulatedAgents } from '@marcher/client/testing';
import { afterEach, expect, test } from 'vitest';
import { concerns } from '../state/attention.js';
import { serviceState } from '../state/service-words.js';
import { COLUMN_MAX, layOut } from './traffic-map-layout.js';

let fleet: Fleet | undefined;
afterEach(() => fleet?.close());

async function observed(simulation: Simulation): Promise<Fleet> {
  fleet = new Fleet({ reach: simulation.reach, ambient: simulation.ambient });
  fleet.start();
  for (let i = 0; i < 10; i++) await simulation.advance(500);
  return fleet;
}

test('of many the busiest have a box, the others are one, and no traffic is left out', async () => {
  const { state } = await observed(simulatedAgents({ nodes: 3, services: 30, moving: 1 }));
  const { boxes, links } = layOut(state, () => true);
  const services = boxes.filter(({ column }) => column === 0);
  expect(services).toHaveLength(COLUMN_MAX);
  expect(services.at(-1)).toMatchObject({ label: '21 other services', leads: undefined });
  const shown = services.reduce((sum, { detail }) => sum + detail.bytesPerSecond, 0);
  expect(shown).toBeCloseTo(state.flow.bytesReceived + state.flow.bytesSent, 3);
  expect(boxes.filter(({ column }) => column === 1).map(({ label }) => label)).toEqual(['node01', 'node02', 'node03']);
  expect(Math.max(...links.map(({ share }) => share))).toBe(1);
});

test('a filter leaves services that match, and their backends', async () => {
  const { state } = await observed(simulatedAgents({ nodes: 2, services: 5, moving: 1 }));
  const { boxes } = layOut(state, (name) => name === 'service-0003');
  expect(boxes.filter(({ column }) => column !== 1).map(({ label }) => label)).toEqual([
    'service-0003',
    'service-0003/a',
    'service-0003/b',
  ]);
});

test('a backend that one node finds unhealthy is said, of its service as well, and a node that is away is no service that fails', async () => {
  const simulation = simulatedAgents({ nodes: 3, services: 3 });
  simulation.agent('node02').setHealthy('service-0001', 'a', false);
  const { state } = await observed(simulation);
  expect(concerns(state)).toMatchObject([{ tone: 'warn', what: 'service-0001', why: 'a is unhealthy to some nodes' }]);
  const said = [...state.services.values()].map((service) => serviceState(service).join(' '));
  expect(said).toEqual(['good healthy', 'warn degraded', 'good healthy']);
  const boxes = layOut(state, () => true).boxes.filter(({ column }) => column === 0);
  expect(boxes.map(({ health }) => health)).toEqual(['good', 'warn', 'good']);
});

test('a backend whose connections are too short to be open at a look has its link, and one that takes none has not', async () => {
  const simulation = simulatedAgents({ nodes: 2, services: 2, moving: 0 });
  const service = 'service-0001';
  for (const agent of simulation.agents) agent.setHealthy(service, 'b', false);
  simulation.entry.traffic.setRate(service, 5, simulation.ambient.nowMs());
  const { state } = await observed(simulation);
  const backends = new Map(
    [...state.backends].map(([key, view]) => {
      const nodes = new Map([...view.nodes].map(([node, status]) => [node, { ...status, connections: 0n }]));
      return [key, { ...view, nodes, connections: 0 }];
    }),
  );
  const { links } = layOut({ ...state, backends }, (name) => name === service);
  const ends = links.filter(({ side }) => side === 'backend').map(({ from, to }) => `${from} ${to}`);
  expect(ends).toEqual([`n:${simulation.entry.id} b:${service}/a`]);
});
