// SPDX-License-Identifier: Apache-2.0
import { Fleet } from '@marcher/client/fleet';
import { simulatedAgents } from '@marcher/client/testing';
import { afterEach, expect, test } from 'vitest';
import type { FromFleet, ToFleet } from './fleet-port.js';
import { RemoteFleet } from './remote-fleet.js';
import { serveFleet } from './served-fleet.js';

let fleet: Fleet | undefined;
afterEach(() => fleet?.close());

/** Both ends in one thread, with all that structured clones take away. Messages arrive when deliver() says so. */
function ways() {
  const [toPage, toFleet]: [FromFleet[], ToFleet[]] = [[], []];
  const heard = { page: (_: { data: FromFleet }) => {}, fleet: (_: { data: ToFleet }) => {} };
  return {
    waiting: toPage,
    page: {
      postMessage: (message: ToFleet) => void toFleet.push(structuredClone(message)),
      addEventListener: (_: 'message', listener: typeof heard.page) => {
        heard.page = listener;
      },
    },
    fleet: {
      postMessage: (message: FromFleet, transfer: ArrayBuffer[]) =>
        void toPage.push(structuredClone(message, { transfer })),
      addEventListener: (_: 'message', listener: typeof heard.fleet) => {
        heard.fleet = listener;
      },
    },
    deliver: async () => {
      await Promise.resolve();
      while (toPage.length + toFleet.length > 0) {
        for (const data of toFleet.splice(0)) heard.fleet({ data });
        for (const data of toPage.splice(0)) heard.page({ data });
      }
    },
  };
}

async function opened(nodes: number) {
  const simulation = simulatedAgents({ nodes, services: 300, moving: 0.2 });
  fleet = new Fleet({ reach: simulation.reach, ambient: simulation.ambient });
  const way = ways();
  const remote = new RemoteFleet(way.page);
  serveFleet(fleet, way.fleet);
  fleet.start();
  await simulation.advance(3_000);
  return { simulation, fleet, way, remote };
}

test('a page that does not take what it is told is told the newest, in one state', async () => {
  const { simulation, fleet: served, way, remote } = await opened(2);
  await way.deliver();
  const revisions: number[] = [];
  remote.subscribe(({ revision }) => revisions.push(revision));
  const before = remote.state.revision;
  await simulation.advance(20_000);
  expect(way.waiting).toHaveLength(1);
  await way.deliver();
  expect(remote.state.revision).toBe(served.state.revision);
  expect(served.state.revision - before).toBeGreaterThan(10);
  expect(revisions).toHaveLength(2);
});

test('a large state comes in pieces, and is shown when it is whole', async () => {
  const { way, remote } = await opened(3);
  const sizes: number[] = [];
  const { postMessage } = way.fleet;
  way.fleet.postMessage = (message, transfer) => {
    sizes.push(message.patch.numbers.length);
    postMessage(message, transfer);
  };
  const states: number[] = [];
  remote.subscribe(({ services }) => states.push(services.size));
  await way.deliver();
  expect(states).toContain(300);
  expect(Math.max(...sizes)).toBeLessThan(20_000);
});

test('pausing, going on, trying again and watching reach the fleet', async () => {
  const { simulation, way, remote } = await opened(2);
  remote.watch(['service-0001']);
  remote.watch(['service-0002'])();
  remote.pause();
  await way.deliver();
  expect(remote.state.paused).toBe(true);
  remote.resume();
  await way.deliver();
  simulation.agent('node01').traffic.setRate('service-0001', 9, simulation.ambient.nowMs());
  simulation.agent('node02').kill();
  await simulation.advance(2_000);
  await way.deliver();
  const { services, paused, nodes } = remote.state;
  expect(paused).toBe(false);
  expect(services.get('service-0001')?.history.length).toBeGreaterThan(1);
  expect(services.get('service-0002')?.history).toEqual([]);
  const [key] = [...nodes.values()].filter(({ name }) => name === 'node02').map((node) => node.key);
  simulation.agent('node02').start();
  remote.retry(key ?? '');
  await way.deliver();
  await simulation.advance(100);
  await way.deliver();
  expect(remote.state.nodes.get(key ?? '')?.link.kind).toBe('live');
});
