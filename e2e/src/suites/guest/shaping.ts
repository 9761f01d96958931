// SPDX-License-Identifier: Apache-2.0
/** Packets over a rate leave by departure times, on kernels that have fq. */
import type { FlowClient } from '../../harness/flow-main.js';
import { sleep } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { inside, SERVER, ShapedGround } from '../shaping/shaped.js';

/** Low enough for an emulated machine to send more. */
const RATE = 4e6;
const BURST = 65_536;
const DATAGRAM = 1_200;
/** More than passes at once, and less than may wait: 80 of 100 ms. */
const COUNT = 88;
const SPREAD_S = ((COUNT * DATAGRAM - BURST) * 8) / RATE;
/** Rates are what the issue asks for; emulation has shown to keep them. */
const WITHIN = 0.03;

export const shaping: readonly Case[] = [
  {
    name: 'fq paces what is over the rate of a service that tc carries: spread, not dropped',
    limitSeconds: 300,
    run: async (world: World) => {
      const ground = new ShapedGround(world);
      const director = await ground.director();
      await ground.server();
      await ground.apply(
        director,
        [
          { name: 'in', port: SERVER.sink, policy: 'in' },
          { name: 'out', port: SERVER.source, policy: 'out' },
          { name: 'bursts', port: SERVER.udp, protocol: 'udp', policy: 'bursts' },
        ],
        [
          { name: 'in', ingress: { rate: '4Mbit' } },
          { name: 'out', egress: { rate: '4Mbit' } },
          { name: 'bursts', ingress: { rate: '4Mbit', burst: '64KiB' } },
        ],
      );
      for (const device of ['front', 'back1']) {
        world.equal(await ground.shaping(director, device), 'fq', `what waits on ${device}, waits by`);
        const root = inside(world.net.proxy.netns, 'tc', 'qdisc', 'show', 'dev', device, 'root');
        world.check(root.startsWith('qdisc fq 4d41:'), `the root of ${device} is: ${root}`);
      }
      // As the kernel has timed packets: processes here are too slow to tell.
      const hold = async (
        what: string,
        host: 'client' | 'backend',
        filter: string,
        settings: Omit<FlowClient, 'host'>,
      ) => {
        const seen = await ground.arrivals(host, filter, async () => {
          const flow = await ground.client(what, settings);
          await sleep(1_500);
          await flow.stop();
        });
        const end = seen.at(-1)?.at ?? 0;
        // Not the burst, which the first seconds have, nor the last moments.
        const from = (seen[0]?.at ?? 0) + 4;
        const counted = seen.filter(({ at }) => at >= from && at < end - 1);
        const bits = counted.slice(1).reduce((sum, { bytes }) => sum + bytes * 8, 0);
        const seconds = (counted.at(-1)?.at ?? 0) - (counted[0]?.at ?? 0);
        world.check(seconds > 5, `${what}: packets came for ${seconds} s only`);
        ground.holds(what, { bitsPerSecond: bits / seconds, each: [] }, RATE, WITHIN, WITHIN);
      };
      await hold('TCP in', 'backend', `tcp dst port ${SERVER.sink} and greater 100`, {
        port: SERVER.sink,
        kind: 'tcp-send',
        count: 2,
      });
      await hold('TCP out', 'client', `tcp src port ${SERVER.source} and greater 100`, {
        port: SERVER.source,
        kind: 'tcp-receive',
        count: 2,
      });
      await hold('UDP in, of half as much again', 'backend', `udp dst port ${SERVER.udp}`, {
        port: SERVER.udp,
        kind: 'udp',
        count: 2,
        bitsPerSecond: 1.5 * RATE,
        datagram: DATAGRAM,
      });

      const seen = await ground.arrivals('backend', `udp dst port ${SERVER.udp}`, () =>
        ground.bursts(SERVER.udp, COUNT, DATAGRAM, 2, 500),
      );
      world.equal(seen.length, 2 * COUNT, 'datagrams of two bursts that came');
      // Behind what the bucket has at once; timers are late here, and what is due then leaves together.
      for (const n of [0, 1]) {
        const took = (seen[(n + 1) * COUNT - 1]?.at ?? 0) - (seen[n * COUNT]?.at ?? 0);
        world.note(`burst ${n + 1} took, ms (and would by the rate)`, [took * 1_000, SPREAD_S * 1_000]);
        world.check(took > SPREAD_S * 0.95 && took < SPREAD_S * 1.5, `a burst took ${took * 1_000} ms`);
      }
    },
  },
];
