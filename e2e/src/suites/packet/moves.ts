// SPDX-License-Identifier: Apache-2.0
/**
 * Which flows move to another backend when backends come and go and when another director takes over: none that is open,
 * and of those that are opened again from the same ports as many as consistent hashing has to move.
 */
import type { Agent } from '../../harness/agent.js';
import { FixedFlows } from '../../harness/fixed-flows.js';
import { routeVips, VIP4, VIP6 } from '../../harness/routed.js';
import { sleep } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import type { Host } from '../../harness/topology.js';
import { carried, carry, SERVICES, settleAll } from './carried.js';
import { Ground, PORT } from './ground.js';

const FLOWS = 300;
/** Above the share that has to move: Maglev with 100 slots per backend moves a little more, and 600 flows are a sample. */
const SLACK = 0.08;

/** Two blocks of TCP flows, and one of UDP's. */
const flowsOf = (ground: Ground): Promise<FixedFlows[]> => {
  const { world, net } = ground;
  const common = { port: PORT, count: FLOWS, timeoutMs: 4_000 };
  return Promise.all([
    FixedFlows.start(
      world.scope,
      { name: 'tcp v4', kind: 'tcp', host: VIP4, firstPort: 20_000, ...common },
      net.client.netns,
    ),
    FixedFlows.start(
      world.scope,
      { name: 'tcp v6', kind: 'tcp', host: VIP6, firstPort: 21_000, ...common },
      net.client.netns,
    ),
    FixedFlows.start(
      world.scope,
      { name: 'udp v4', kind: 'udp', host: VIP4, firstPort: 22_000, ...common },
      net.client.netns,
    ),
  ]);
};

const backendsOf = async (flows: readonly FixedFlows[]): Promise<readonly string[]> =>
  (await Promise.all(flows.map((one) => one.backends()))).flat();

const moved = (before: readonly string[], after: readonly string[]): number[] =>
  before.flatMap((backend, i) => (after[i] === backend ? [] : [i]));

/** Every TCP flow again, from its port. Whom each reaches. */
const again = async (flows: readonly FixedFlows[]): Promise<readonly string[]> => {
  const tcp = flows.filter(({ settings }) => settings.kind === 'tcp');
  await Promise.all(tcp.map((one) => one.open()));
  return backendsOf(tcp);
};

export const moves: readonly Case[] = [
  {
    name: 'backends come and go, directors change: no open flow moves, and of new ones as few as have to',
    run: async (world: World) => {
      const ground = new Ground(world, { directors: 2, backends: 4, oneLink: true });
      const [, first, second] = await Promise.all([
        ground.backends(4, false),
        carried(ground, 'l2', [1, 2, 3], { director: 1 }),
        carried(ground, 'l2', [3, 2, 1], { director: 2 }),
      ]);
      const both = (backends: readonly number[]): Promise<unknown> =>
        Promise.all([first, second].map((one) => carry(one, ground.services('l2', backends), backends)));
      const loads = await ground.loads(['tcp-keepalive', 'tcp-short', 'udp'], 100);
      const flows = await flowsOf(ground);
      let standing = await backendsOf(flows);
      const none = async (what: string): Promise<void> => {
        const now = await backendsOf(flows);
        const count = moved(standing, now).length;
        world.note(`open flows moved, ${what}`, `${count} of ${now.length}`);
        world.equal(count, 0, `open flows that moved, ${what}`);
      };
      const few = async (what: string, share: number): Promise<void> => {
        const before = standing.slice(0, 2 * FLOWS);
        const now = await again(flows);
        const count = moved(before, now).length;
        world.note(
          `new flows moved, ${what}`,
          `${count} of ${now.length}, at most ${Math.round(share * 100)} % have to`,
        );
        if (share === 0) world.equal(count, 0, `new flows moved, ${what}`);
        world.check(count > 0 || share === 0, `${what}: no new flow goes another way`);
        world.check(count <= (share + SLACK) * now.length, `${what}: ${count} of ${now.length} new flows moved`);
        standing = await backendsOf(flows);
      };

      // The second one has never seen these flows.
      routeVips(ground.net, ground.net.directors[1] as Host);
      await none('to a director that does not know them');
      await both([1, 2, 3, 4]);
      await none('as a fourth backend comes');
      await few('as a fourth backend comes', 1 / 4);
      routeVips(ground.net, ground.net.directors[0] as Host);
      await few('by the first director again', 0);
      const drained = await Promise.all(
        [first, second].flatMap((one: Agent) => SERVICES.map((service) => one.marcher('drain', service, 'b4'))),
      );
      for (const { code, stderr } of drained) world.equal(code, 0, `marcher drain: ${stderr}`);
      await none('as the fourth backend is drained');
      await few('as the fourth backend is drained', 1 / 4);
      await sleep(200);
      await settleAll(world, loads);
      await both([1, 2, 3]);
      const tcp = flows.slice(0, 2);
      const now = await backendsOf(tcp);
      world.equal(
        moved(standing.slice(0, 2 * FLOWS), now).length,
        0,
        'open flows of others that moved with its removal',
      );
      const { services } = await second.node.tiers({ service: '' });
      for (const { service, xdpPackets } of services) {
        world.check(xdpPackets > 1_000n, `${service}: only ${xdpPackets} packets by the second director`);
      }
    },
  },
];
