// SPDX-License-Identifier: Apache-2.0
/** Services that XDP carries: a director sends packets on to backends, which answer the client themselves. */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Agent } from '../../harness/agent.js';
import { routeVips, VIP4, VIP6 } from '../../harness/routed.js';
import { sleep } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import type { Host } from '../../harness/topology.js';
import { carried, HEALTHY, SERVICES, settleAll } from './carried.js';
import { Ground, HTTP_PORT, PORT } from './ground.js';
import { guards } from './guard.js';
import { lifecycle } from './lifecycle.js';
import { nat } from './nat.js';
import { tunnels } from './tunnels.js';

const drops = async (director: Agent, reason: string): Promise<bigint | undefined> => {
  const { xdpDrops } = await director.node.status({ withTraffic: true });
  return xdpDrops.find((drop) => drop.reason === reason)?.packets;
};

const carriesBoth = (mode: string): Case => ({
  name: `${mode}: TCP and UDP over IPv4 and IPv6, answered by the backends themselves`,
  run: async (world: World) => {
    const l2 = mode === 'l2';
    const ground = new Ground(world, { directors: 1, backends: 3, oneLink: l2 });
    await ground.backends(3, !l2);
    const director = await carried(ground, mode, [1, 2, 3]);
    const loads = await ground.loads(['tcp-short', 'tcp-keepalive', 'udp'], 200);
    await sleep(2_000);
    await settleAll(world, loads);
    const { stdout } = await director.marcher('explain', 'service', 'web4');
    world.check(stdout.includes('xdp'), `marcher explain says: ${stdout}`);
    // Nobody listens: the packets never reach a socket of the director.
    const listening = readFileSync(`/proc/${director.pid}/net/tcp`, 'latin1').includes(
      `:${PORT.toString(16).toUpperCase().padStart(4, '0')} 00000000:0000 0A`,
    );
    world.check(!listening, 'the director listens on the service port');
  },
});

export const packet: readonly Case[] = [
  carriesBoth('ipip'),
  carriesBoth('gue'),
  carriesBoth('l2'),
  {
    name: 'flows stay with their backend when others come, go or are drained',
    run: async (world: World) => {
      const ground = new Ground(world, { directors: 1, backends: 3 });
      await ground.backends(3);
      const director = await carried(ground, 'ipip', [1, 2]);
      const loads = await ground.loads(['tcp-keepalive', 'tcp-short'], 200);
      await sleep(800);
      await director.apply(ground.services('ipip', [1, 2, 3]));
      for (const service of SERVICES) await director.backendsAre(service, HEALTHY, ['b3']);
      await sleep(800);
      const { code, stderr } = await director.marcher('drain', 'web4', 'b1');
      world.equal(code, 0, `marcher drain: ${stderr}`);
      await sleep(800);
      await settleAll(world, loads);
    },
  },
  {
    name: 'what is too big for the tunnel is told, and sent again in smaller pieces: curl uploads over both families',
    run: async (world: World) => {
      const ground = new Ground(world, { directors: 1, backends: 2 });
      await ground.backends(2);
      const director = await carried(ground, 'ipip', [1, 2], { port: HTTP_PORT });
      const file = path.join(world.scope.dir, 'upload');
      writeFileSync(file, Buffer.alloc(300_000, 'x'));
      for (const host of [VIP4, `[${VIP6}]`]) {
        const url = `http://${host}:${HTTP_PORT}/health`;
        const out = ['-o', '/dev/null', '-w', '%{http_code} %{size_upload}'];
        const answer = await world.scope.must(
          ['curl', '--silent', '--show-error', '--max-time', '10', ...out, '--data-binary', `@${file}`, url],
          { netns: ground.net.client.netns },
        );
        world.equal(answer, '200 300000', `upload to ${host}`);
      }
      // Full frames do not fit behind an outer header: that they came means that the client was told so.
      const routes = await world.scope.must(['ip', '-n', ground.net.client.netns, 'route', 'get', VIP4]);
      world.check(/mtu 1480/.test(routes), `the client's route says: ${routes}`);
      world.equal(await drops(director, 'too-big'), 0n, 'packets whose senders could not be told');
    },
  },
  {
    name: 'another director takes over with the same ring: no flow breaks',
    run: async (world: World) => {
      const ground = new Ground(world, { directors: 2, backends: 3 });
      await ground.backends(3);
      const [, second] = await Promise.all([
        carried(ground, 'ipip', [1, 2, 3], { director: 1 }),
        carried(ground, 'ipip', [3, 2, 1], { director: 2 }),
      ]);
      const loads = await ground.loads(['tcp-keepalive', 'tcp-short', 'udp'], 200);
      await sleep(800);
      routeVips(ground.net, ground.net.directors[1] as Host);
      await sleep(800);
      await settleAll(world, loads);
      const { services } = await second.node.tiers({ service: '' });
      for (const { service, xdpPackets } of services) {
        world.check(xdpPackets > 100n, `${service}: only ${xdpPackets} packets by the second director`);
      }
    },
  },
  {
    name: 'the agent is killed and comes back: packets pass all the time',
    run: async (world: World) => {
      const ground = new Ground(world, { directors: 1, backends: 2 });
      await ground.backends(2);
      const director = await carried(ground, 'ipip', [1, 2]);
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
      const ground = new Ground(world, { directors: 1, backends: 3 });
      const [, second] = await ground.backends(3);
      await carried(ground, 'ipip', [1, 2, 3]);
      const [load] = await ground.loads(['tcp-short'], 300);
      world.check(load !== undefined && second !== undefined, 'there is a load');
      await sleep(800);
      const death = second.kill();
      // Two probes 200 ms apart, 150 ms each, and a moment for the ring.
      await sleep(1_500);
      const settled = death.to + 1_000;
      await sleep(1_000);
      const { exchanges } = await world.settle(load);
      const late = exchanges.filter(({ sent }) => sent >= settled);
      world.check(late.length > 100, `only ${late.length} requests after the probe knew`);
      world.equal(late.filter(({ failure }) => failure !== '').length, 0, 'failed after the probe knew');
      world.equal(late.filter(({ backend }) => backend === 'b2').length, 0, 'answered by the dead one');
    },
  },
  ...tunnels,
  ...nat,
  ...guards,
  ...lifecycle,
];
