// SPDX-License-Identifier: Apache-2.0
/** Services whose tier the node chooses: by tc where answers are sure to come back through it, by the relay otherwise. */
import { Load } from '../../harness/load.js';
import { VIP4, VIP6 } from '../../harness/routed.js';
import { sleep } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { carry, settleAll } from './carried.js';
import { inside, NatGround, PORT } from './nat.js';

export const auto: readonly Case[] = [
  {
    name: 'mode auto: tc for what comes by its interfaces, the relay for this node itself and for backends behind others',
    run: async (world: World) => {
      const ground = new NatGround(world);
      const { proxy, backends } = world.net;
      for (const vip of [`${VIP4}/32`, `${VIP6}/128`]) inside(proxy.netns, 'ip', 'address', 'add', vip, 'dev', 'lo');
      const [director] = await Promise.all([ground.director([], ['front', 'back1']), ground.backends(2)]);
      const services = (count: number) => ground.services(backends.slice(0, count), { mode: 'auto' });
      await carry(director, services(1), [1], 'tc');
      const loads = await ground.loads(['tcp-short', 'udp'], 200);
      const settings = { kind: 'tcp-short', port: PORT, rate: 200, connections: 20, timeoutMs: 3_000 } as const;
      const local = await Load.start(world.scope, { name: 'this node', host: VIP4, ...settings }, proxy.netns);
      await sleep(800);
      world.equal(await ground.clientSeen(), 'the director', 'whom the backend sees');
      await settleAll(world, [...loads, local]);
      const counted = async (name: string): Promise<bigint> => {
        const { traffic } = await director.node.status({ withTraffic: true });
        return traffic.find(({ tier }) => tier === name)?.bytes ?? 0n;
      };
      world.check((await counted('tc')) > 10_000n, `tc has carried ${await counted('tc')} bytes`);
      world.check((await counted('relay')) > 300n, `the relay has carried ${await counted('relay')} bytes`);

      await carry(director, services(2), [1, 2], 'relay');
      const { services: explained } = await director.node.tiers({ service: 'echo-v4' });
      const reasons = explained[0]?.reasons.join() ?? '';
      world.check(reasons.includes('is reached by back2, which tc is not attached to'), `explained: ${reasons}`);
      const before = await counted('tc');
      const again = await ground.loads(['tcp-short', 'udp'], 200);
      await sleep(600);
      await settleAll(world, again);
      world.equal(await counted('tc'), before, 'bytes of tc, which is to leave it to the relay');
    },
  },
];
