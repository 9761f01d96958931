// SPDX-License-Identifier: Apache-2.0
import { clone, toBinary } from '@bufbuild/protobuf';
import { ServiceSchema } from '@marcher/proto/marcher/v1/model_pb';
import { expect, test } from 'vitest';
import { seededRandom, simulatedAgents } from '../../testing/index.js';
import { changeOf } from '../../testing/simulated-configuration.js';
import type { FleetState, NodeKey } from '../contract.js';
import { Fleet } from '../fleet.js';
import { StateDiffer } from './differ.js';
import { StateMirror } from './mirror.js';

const byKey = <V>(map: ReadonlyMap<string, V>): [string, V][] => [...map].sort(([a], [b]) => (a < b ? -1 : 1));

/** Digests are the fleet's own. */
function plain(state: FleetState): unknown {
  const { nodes, services, objects, backends } = state;
  const onNodes = (map: ReadonlyMap<NodeKey, object>) =>
    byKey(map).map(([key, { digest: _, ...on }]: [string, { digest?: string }]) => [key, on]);
  return {
    ...state,
    nodes: [...nodes],
    services: byKey(services).map(([, view]) => ({
      ...{ ...view, nodes: onNodes(view.nodes), tiers: byKey(view.tiers), flows: byKey(view.flows) },
      sizes: [view.nodes.size, view.tiers.size, view.flows.size],
    })),
    objects: byKey(objects).map(([, view]) => ({ ...view, nodes: onNodes(view.nodes) })),
    backends: byKey(backends).map(([, view]) => ({ ...view, nodes: byKey(view.nodes) })),
  };
}

function passOn(differ: StateDiffer, mirror: StateMirror, state: FleetState): number {
  let numbers = 0;
  for (const patch of differ.patches(state)) {
    numbers += patch.numbers.length;
    mirror.take(structuredClone(patch, { transfer: [patch.numbers.buffer] }));
  }
  return numbers;
}

test.for([1, 2])('is what the fleet is, whatever happens to the mesh (%i)', async (seed) => {
  const random = seededRandom(seed);
  const pick = <T>(all: readonly T[]): T => all[Math.floor(random() * all.length)] as T;
  const simulation = simulatedAgents({ nodes: 5, services: 12, moving: 0.3, seed, relayed: true });
  const { agents, ambient, entry } = simulation;
  const fleet = new Fleet({ reach: simulation.reach, ambient });
  const differ = new StateDiffer();
  const mirror = new StateMirror();
  let before = fleet.state;
  const stop = fleet.watch(['service-0001', 'service-0002']);
  fleet.start();
  const steps: readonly (() => void)[] = [
    () => pick(agents).traffic.setRate(`service-000${Math.floor(random() * 9)}`, random() * 40, ambient.nowMs(), 0.1),
    () => pick(agents).setHealthy('service-0003', pick(['a', 'b']), random() < 0.5),
    () => pick(agents).breakStreams(),
    () => pick(agents.slice(1)).kill(),
    () => {
      for (const agent of agents) if (agent.condition === 'down') agent.start();
    },
    () => void (agents.length < 8 && simulation.join(`more${ambient.nowMs()}`)),
    () => agents.length > 4 && simulation.remove((agents.at(-1) as { id: string }).id),
    () => {
      const service = entry.configuration.service('service-0004');
      if (service === undefined) return;
      const changed = clone(ServiceSchema, service);
      for (const backend of changed.backends) backend.weight = Math.floor(random() * 9);
      if (random() < 0.5) changed.backends.pop();
      const steps_ = entry.configuration.apply(changeOf([changed]), 0n, { author: 'x', origin: 'api', message: '' });
      for (const agent of agents.slice(1))
        if (random() < 0.7) agent.configuration.take(steps_, { author: 'x', origin: 'api', message: '' });
    },
    () => (fleet.state.paused ? fleet.resume() : fleet.pause()),
  ];
  for (let turn = 0; turn < 60; turn++) {
    if (turn > 4) pick(steps)();
    // Sometimes several states at once.
    await simulation.advance(pick([200, 500, 500, 1_700, 6_000]));
    const old = mirror.state;
    passOn(differ, mirror, fleet.state);
    expect(plain(mirror.state)).toEqual(plain(fleet.state));
    for (const [name, view] of fleet.state.services) {
      if (before.services.get(name) === view) expect(mirror.state.services.get(name)).toBe(old.services.get(name));
    }
    for (const of of ['services', 'objects', 'backends', 'nodes'] as const) {
      if (turn > 0 && fleet.state[of] === before[of]) expect(mirror.state[of]).toBe(old[of]);
    }
    before = fleet.state;
  }
  stop();
  fleet.close();
  expect(before.coverage.nodes).toBeGreaterThan(3);
});

test('what one service does is a few numbers, however many services there are', async () => {
  const simulation = simulatedAgents({ nodes: 3, services: 400, moving: 0 });
  const fleet = new Fleet({ reach: simulation.reach, ambient: simulation.ambient });
  fleet.start();
  await simulation.advance(3_000);
  const differ = new StateDiffer();
  const mirror = new StateMirror();
  expect(passOn(differ, mirror, fleet.state)).toBeGreaterThan(400);
  simulation.agent('node02').traffic.setRate('service-0123', 5, simulation.ambient.nowMs());
  await simulation.advance(1_000);
  expect(passOn(differ, mirror, fleet.state)).toBeLessThan(250);
  expect(mirror.state.services.get('service-0123')?.flow.open).toBeGreaterThan(0);
  fleet.close();
});

test('what objects declare is a message on the other side, too', async () => {
  const simulation = simulatedAgents({ nodes: 2, services: 1 });
  const fleet = new Fleet({ reach: simulation.reach, ambient: simulation.ambient });
  fleet.start();
  await simulation.advance(2_000);
  const mirror = new StateMirror();
  passOn(new StateDiffer(), mirror, fleet.state);
  const [here, there] = [fleet.state, mirror.state].map((state) => state.services.get('service-0000')?.declared);
  if (here === undefined || there === undefined) throw new Error('nothing is declared');
  expect(toBinary(ServiceSchema, there)).toEqual(toBinary(ServiceSchema, here));
  expect(clone(ServiceSchema, there)).toEqual(there);
  fleet.close();
});
