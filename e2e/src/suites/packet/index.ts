// SPDX-License-Identifier: Apache-2.0
/** Services that the kernel tiers carry: packets go on to backends, which answer the client themselves, or by tc's NAT. */
import { sleep } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { auto } from './auto.js';
import { carried, settleAll } from './carried.js';
import { Ground } from './ground.js';
import { guards } from './guard.js';
import { lifecycle } from './lifecycle.js';
import { modes } from './modes.js';
import { moves } from './moves.js';
import { nat } from './nat.js';
import { natFast } from './nat-fast.js';
import { quic } from './quic.js';
import { steering } from './steering.js';
import { tunnels } from './tunnels.js';
import { vlan } from './vlan.js';

export const packet: readonly Case[] = [
  ...modes,
  ...moves,
  ...vlan,
  {
    name: 'the agent is killed and comes back: packets pass all the time',
    run: async (world: World) => {
      const ground = new Ground(world, { directors: 1, backends: 2, oneLink: true });
      const [director] = await Promise.all([carried(ground, 'l2', [1, 2]), ground.backends(2, false)]);
      const loads = await ground.loads(['tcp-short', 'tcp-keepalive', 'udp'], 200);
      await sleep(500);
      director.kill();
      await director.exited();
      await sleep(1_000);
      await director.start();
      await sleep(1_000);
      await settleAll(world, loads);
    },
  },
  {
    name: 'a backend that dies loses what it had, and nothing new goes to it once the probe knows',
    run: async (world: World) => {
      const ground = new Ground(world, { directors: 1, backends: 3, oneLink: true });
      const [[, second]] = await Promise.all([ground.backends(3, false), carried(ground, 'l2', [1, 2, 3])]);
      const [load] = await ground.loads(['tcp-short'], 300);
      world.check(load !== undefined && second !== undefined, 'there is a load');
      await sleep(800);
      const death = second.kill();
      // Three probes a quarter of a second apart, as much for the last one, and a moment for the ring.
      const settled = death.to + 1_500;
      await sleep(2_300);
      const { exchanges } = await world.settle(load);
      const late = exchanges.filter(({ sent }) => sent >= settled);
      world.check(late.length > 50, `only ${late.length} requests after the probe knew`);
      world.equal(late.filter(({ failure }) => failure !== '').length, 0, 'failed after the probe knew');
      world.equal(late.filter(({ backend }) => backend === 'b2').length, 0, 'answered by the dead one');
    },
  },
  ...tunnels,
  ...quic,
  ...nat,
  ...natFast,
  ...auto,
  ...steering,
  ...guards,
  ...lifecycle,
];
