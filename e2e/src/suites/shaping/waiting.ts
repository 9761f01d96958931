// SPDX-License-Identifier: Apache-2.0
/** Services that tc carries: what is over their rate waits in the queues of the interface that it leaves by. */
import { VIP4 } from '../../harness/routed.js';
import { sleep } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { inside, SERVER, ShapedGround } from './shaped.js';

/** In two seconds at most the rate and the burst come, which is 250 ms of it (a connection that stood still has some of that left), and what
 * stood in the buffers of a receiver that had no processor. Exact figures are of longer times: e2e/src/suites/guest/shaping.ts. */
const ABOVE = 0.28;
const BELOW = 0.15;

const MBIT = 1e6;

export const waiting: readonly Case[] = [
  {
    name: 'what is over a rate waits on its way out, both ways, and is not lost',
    run: async (world: World) => {
      const ground = new ShapedGround(world);
      const director = await ground.director();
      const server = await ground.server();
      const services = [
        { name: 'in', port: SERVER.sink, policy: 'in' },
        { name: 'out', port: SERVER.source, policy: 'out' },
        { name: 'bursts', port: SERVER.udp, protocol: 'udp', policy: 'bursts' },
      ] as const;
      await ground.apply(director, services, [
        { name: 'in', ingress: { rate: '40Mbit' } },
        { name: 'out', egress: { rate: '40Mbit' } },
        { name: 'bursts', priority: 'P1', ingress: { rate: '40Mbit', burst: '64KiB' } },
      ]);
      const before = await ground.shaping(director, 'front');
      world.note('waits by', before);
      world.check(before === 'fq' || before === 'htb', `nothing waits: ${before}`);
      const tc = inside(world.net.proxy.netns, 'tc', 'qdisc', 'show', 'dev', 'front', 'root');
      world.check(tc.startsWith(`qdisc ${before} 4d41:`), `the root is: ${tc}`);
      const text = (await director.marcher('status')).stdout;
      world.check(new RegExp(`^Shaping +front: ${before}`, 'm').test(text), `marcher status says: ${text}`);

      const up = await ground.client('in', { port: SERVER.sink, kind: 'tcp-send', count: 2 });
      const down = await ground.client('out', { port: SERVER.source, kind: 'tcp-receive', count: 2 });
      await sleep(1_200); // the burst: 250 ms of the rate at least, where a service has TCP
      const [to, from] = await Promise.all([server.received(2_000), down.received(2_000)]);
      ground.holds('in', to, 40 * MBIT, BELOW, ABOVE);
      ground.holds('out', from, 40 * MBIT, BELOW, ABOVE);
      await Promise.all([up.stop(), down.stop()]);
      // Each burst is more than the bucket holds, and less than what may wait.
      const seen = await ground.arrivals('backend', `udp dst port ${SERVER.udp}`, () =>
        ground.bursts(SERVER.udp, 300, 1_200, 3, 200),
      );
      world.note('datagrams of 900', seen.length);
      world.equal(seen.length, 900, 'datagrams that came');
      // Of one burst, behind what passes at once: 20 ms of the rate at least. HTB takes frames for a little shorter.
      const [first] = seen;
      const last = seen[299];
      world.check(first !== undefined && last !== undefined, 'a burst came');
      const took = last.at - first.at;
      world.note('a burst took', `${(took * 1_000).toFixed(1)} ms`);
      world.check(took > ((300 * 1_200 - 100_000) * 8) / (40 * MBIT) - 0.006, 'a burst is spread');
    },
  },
  {
    name: 'P0 answers soon beside bulk of P3 that fills a narrow link, and not without policies',
    run: async (world: World) => {
      const ground = new ShapedGround(world);
      const director = await ground.director();
      await ground.server();
      await world.backend(1);
      // Somebody's own bottleneck, which stays as it is: its queue has the bands of the kernel's priorities.
      const { netns } = world.net.proxy;
      inside(netns, ...'tc qdisc add dev front root handle 1: tbf rate 40mbit burst 32k limit 4mb'.split(' '));
      inside(netns, ...'tc qdisc add dev front parent 1:1 handle 2: pfifo_fast'.split(' '));
      const measure = async (label: string, policies: readonly [string?, string?]): Promise<number> => {
        const [quick, bulk] = policies;
        await ground.apply(
          director,
          [
            { name: 'quick', port: 8080, ...(quick === undefined ? {} : { policy: quick }) },
            { name: 'bulk', port: SERVER.source, ...(bulk === undefined ? {} : { policy: bulk }) },
          ],
          quick === undefined
            ? []
            : [
                { name: 'quick', priority: 'P0' },
                { name: 'bulk', priority: 'P3' },
              ],
        );
        const flow = await ground.client(`bulk ${label}`, { port: SERVER.source, kind: 'tcp-receive', count: 12 });
        await sleep(500);
        const load = await world.load({
          name: label,
          kind: 'tcp-keepalive',
          host: VIP4,
          port: 8080,
          rate: 200,
          connections: 4,
        });
        await sleep(800);
        const { p50Ms, failed, answered } = await world.settle(load);
        const { bitsPerSecond } = await flow.received(200);
        world.note(`bulk ${label}`, `${(bitsPerSecond / MBIT).toFixed(0)} Mbit/s`);
        await flow.stop();
        world.equal(failed, 0, 'failed requests');
        world.check(answered > 50, `only ${answered} answered`);
        // The 99th of a hundred is the busy machine's as often as the queue's: it stands in the report.
        return p50Ms;
      };
      const without = await measure('without policies', []);
      const with_ = await measure('P0 beside P3', ['quick', 'bulk']);
      world.check(without > 5, `the link is not narrow enough: the median is ${without} ms without policies`);
      world.check(with_ < without / 4, `the median is ${with_} ms as P0, ${without} ms without policies`);
    },
  },
];
