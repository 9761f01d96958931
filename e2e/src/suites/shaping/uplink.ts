// SPDX-License-Identifier: Apache-2.0
/**
 * A link to clients that is narrow behind the director, where nobody knows of priorities: as an uplink behind a modem with
 * a deep queue. A policy that holds bulk to less than the link brings the queue to the director's own HTB.
 */
import { execFileSync } from 'node:child_process';
import { Flow } from '../../harness/flow.js';
import { VIP4 } from '../../harness/routed.js';
import { sleep, until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { Ground, PORT } from '../packet/ground.js';
import { quickHealth } from '../services.js';

const SERVER = { sink: 9000, source: 9001, udp: 9002 } as const;
const LINK = '40mbit';
const BULK = '30Mbit';
const MBIT = 1e6;

interface Seen {
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export const uplink: readonly Case[] = [
  {
    name: 'P0 answers soon over a narrow link beyond the director while bulk of P3 saturates its rate in our HTB',
    run: async (world: World) => {
      const ground = new Ground(world, { directors: 1, backends: 1 });
      const { router, client, backends } = ground.net;
      const [backend] = backends;
      if (backend === undefined) throw new Error('the ground has no backend');
      const director = ground.director(1, 'up0', ['--xdp', 'off', '--egress-shaping', 'htb']);
      await Promise.all([
        director.start(),
        ground.backend(1),
        Flow.server(world.scope, 'server', SERVER, backend.netns),
      ]);
      const narrow = `tc qdisc add dev c root tbf rate ${LINK} burst 32k limit 4mb`;
      execFileSync('nsenter', [`--net=/run/netns/${router}`, '--', ...narrow.split(' ')]);

      const measure = async (label: string, policies: boolean): Promise<Seen> => {
        const services = (
          [
            ['quick', PORT],
            ['bulk', SERVER.source],
          ] as const
        ).map(([name, port]) => ({
          name,
          listeners: [{ protocol: 'tcp', address: VIP4, port }],
          backends: [{ name: 'b1', address: `${backend.v4}:${port}` }],
          forwarding: { mode: 'nat', sourceNat: true },
          health: { ...quickHealth, port: SERVER.sink },
          ...(policies && { trafficPolicy: name }),
        }));
        await director.apply(services, {
          trafficPolicies: policies
            ? [
                { name: 'quick', priority: 'P0' },
                { name: 'bulk', priority: 'P3', egress: { rate: BULK } },
              ]
            : [],
        });
        await until('tc to carry the services', async () => {
          const found = (await director.node.tiers({ service: '' })).services;
          return found.length === services.length && found.every(({ tier }) => tier === 'tc');
        });
        for (const { name } of services) await director.backendsAre(name, 2, ['b1']);
        const { xdpInterfaces } = await director.node.status({ withTraffic: false });
        const kind = xdpInterfaces.find(({ name }) => name === 'up0')?.shaping;
        if (policies) world.equal(kind, 'htb', 'what packets wait by');
        const settings = { host: VIP4, port: SERVER.source, kind: 'tcp-receive', count: 12 } as const;
        const flow = await Flow.client(world.scope, `bulk ${label}`, settings, client.netns);
        await sleep(1_200); // the burst, 250 ms of the rate, has to leave the narrow link's queue
        const load = await ground.load({ name: label, kind: 'tcp-keepalive', host: VIP4, rate: 200, connections: 4 });
        await sleep(1_200);
        const { p50Ms, p99Ms, failed, answered } = await world.settle(load);
        const { bitsPerSecond } = await flow.received(300);
        await flow.stop();
        world.note(label, `p50 ${p50Ms} ms, p99 ${p99Ms} ms; bulk ${(bitsPerSecond / MBIT).toFixed(1)} Mbit/s`);
        world.equal(failed, 0, 'failed requests');
        world.check(answered > 100, `only ${answered} answered`);
        world.check(bitsPerSecond > 15 * MBIT, `bulk does not saturate anything: ${bitsPerSecond} bit/s`);
        return { p50Ms, p99Ms };
      };
      const without = await measure('without policies', false);
      const with_ = await measure('P0, and P3 at its rate', true);
      world.check(
        without.p50Ms > 20,
        `the link is not narrow enough: the median is ${without.p50Ms} ms without policies`,
      );
      world.check(
        with_.p50Ms < without.p50Ms / 4,
        `the median is ${with_.p50Ms} ms, ${without.p50Ms} without policies`,
      );
      world.check(with_.p99Ms < without.p99Ms / 2, `p99 is ${with_.p99Ms} ms, ${without.p99Ms} without policies`);
    },
  },
];
