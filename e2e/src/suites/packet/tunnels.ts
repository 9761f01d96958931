// SPDX-License-Identifier: Apache-2.0
/** The backend's end of the tunnels: what its agent does there besides taking off the outer header. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { VIP4, VIP6 } from '../../harness/routed.js';
import type { Case, World } from '../../harness/suite.js';
import { carried, HEALTHY, SERVICES } from './carried.js';
import { Ground, HTTP_PORT } from './ground.js';

/** Nothing says "too big" to that host any more, as behind a firewall that was meant well. */
const deafen = (netns: string): void => {
  const rules = [
    'add table inet deaf',
    'add chain inet deaf in { type filter hook input priority 0; }',
    'add rule inet deaf in icmp type destination-unreachable drop',
    'add rule inet deaf in icmpv6 type packet-too-big drop',
  ];
  execFileSync('ip', ['netns', 'exec', netns, 'nft', '-f', '-'], { input: rules.join('\n') });
};

/** To both families at once; curl's exit code and what the server says. */
const upload = (world: World, ground: Ground, file: string, seconds: number) =>
  Promise.all(
    [VIP4, `[${VIP6}]`].map(async (host) => {
      const out = ['-o', '/dev/null', '-w', '%{http_code} %{size_upload}'];
      const { code, stdout } = await world.scope.run(
        [
          'curl',
          '--silent',
          '--max-time',
          String(seconds),
          ...out,
          '-H',
          'Expect:',
          '--data-binary',
          `@${file}`,
          `http://${host}:${HTTP_PORT}/health`,
        ],
        { netns: ground.net.client.netns },
      );
      return { code, stdout };
    }),
  );

export const tunnels: readonly Case[] = [
  {
    name: "a client that hears no ICMP sends what fits through the tunnel, since the backend's node tells it; XDP off there",
    run: async (world: World) => {
      const ground = new Ground(world, { directors: 1, backends: 2 });
      deafen(ground.net.client.netns);
      const [, receiver] = await Promise.all([
        ground.receiver(1, ['--decapsulate-mtu', '65535']),
        ground.receiver(2, ['--xdp', 'off']),
        ground.backend(1),
        ground.backend(2),
      ]);
      const director = await carried(ground, 'ipip', [1], { port: HTTP_PORT });
      const file = path.join(world.scope.dir, 'upload');
      writeFileSync(file, Buffer.alloc(300_000, 'x'));
      // The first backend's node was told of a way that carries anything: full segments are lost for ever.
      for (const { code, stdout } of await upload(world, ground, file, 1)) {
        world.equal(code, 28, `an upload without advice ends with: ${stdout}`);
      }
      const { stdout } = await director.marcher('explain', 'service', 'web4');
      world.check(
        stdout.includes('ip route change default via GATEWAY advmss 1440'),
        `marcher explain says: ${stdout}`,
      );
      await director.apply(ground.services('ipip', [2], { port: HTTP_PORT }));
      for (const service of SERVICES) await director.backendsAre(service, HEALTHY, ['b2']);
      for (const answer of await upload(world, ground, file, 5)) {
        world.equal(`${answer.code} ${answer.stdout}`, '0 200 300000', 'an upload with advice');
      }
      const { xdpInterfaces, xdpDrops } = await receiver.node.status({ withTraffic: true });
      const dropped = xdpDrops.filter(({ packets }) => packets > 0n).map(({ reason }) => reason);
      world.equal(dropped.join(), '', "what was dropped at the backend's node, buffers of many segments among it");
      world.equal(xdpInterfaces.map(({ decapsulation }) => decapsulation).join(), 'tc', 'what decapsulates');
    },
  },
];
