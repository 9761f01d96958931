// SPDX-License-Identifier: Apache-2.0
/**
 * One policy, three services that name it: by the relay, by XDP and by tc, on one node. Each has clients and a server of
 * its own, all at once; what arrives is measured, and what is on the wire to the backend is looked at.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Flow } from '../../harness/flow.js';
import { VIP4 } from '../../harness/routed.js';
import { sleep, until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import type { Host } from '../../harness/topology.js';
import { Ground } from '../packet/ground.js';

const RATE = 12e6;
const EF = 46;
const NAT_VIP = '198.51.100.11';
const TIERS = ['relay', 'tc', 'xdp'] as const;
type Tier = (typeof TIERS)[number];

/** What a second of a busy machine may be off by; exact figures are the benchmark's (npm run bench -- qos). */
const LEAST = 0.6;
/** TCP that is policed comes in bursts of 250 ms. */
const MOST = { udp: 1.15, tcp: 1.35 } as const;

interface Path {
  readonly tier: Tier;
  /** Where clients come to. */
  readonly address: string;
  readonly ports: { readonly sink: number; readonly source: number; readonly udp: number };
  readonly forwarding?: object;
}

const pathsOf = ({ v4 }: Host): Path[] => [
  { tier: 'relay', address: v4, ports: { sink: 9000, source: 9001, udp: 9002 } },
  {
    tier: 'tc',
    address: NAT_VIP,
    ports: { sink: 9010, source: 9011, udp: 9012 },
    forwarding: { mode: 'nat', sourceNat: true },
  },
  { tier: 'xdp', address: VIP4, ports: { sink: 9020, source: 9021, udp: 9022 }, forwarding: { mode: 'ipip' } },
];

/** Values of the DSCP field in all IPv4 headers on the way to the backend, outer and inner, by destination. */
const marksSeen = (text: string): Map<string, Set<number>> => {
  const seen = new Map<string, Set<number>>();
  // IP (tos 0xb8, ttl 64, ...)\n    10.79.1.2 > 10.78.1.2: IP (tos 0xb8, ...)\n    10.77.0.2.4711 > 198.51.100.10.9022: ...
  for (const [, tos = '', to = ''] of text.matchAll(/\bIP \(tos 0x([0-9a-f]+)[^\n]*\)\n\s+\S+ > ([0-9.]+):/g)) {
    const known = seen.get(to) ?? new Set<number>();
    seen.set(to, known.add(Number.parseInt(tos, 16) >> 2));
  }
  return seen;
};

const capture = async (
  world: World,
  { net }: Ground,
  during: () => Promise<void>,
): Promise<Map<string, Set<number>>> => {
  const log = 'tcpdump-b1.log';
  const filter = 'proto 4 or dst portrange 9000-9029';
  const argv = ['tcpdump', '-i', 'b1', '-nn', '-v', '-l', '--immediate-mode', '-Q', 'out', '-c', '3000', filter];
  const child = world.scope.spawn(argv, { netns: net.router, log });
  const text = (): string => readFileSync(path.join(world.scope.logs, log), 'utf8');
  await until('tcpdump to listen', () => text().includes('listening on'));
  await during();
  if (child.exitCode === null) {
    child.kill('SIGINT');
    await new Promise((resolve) => child.once('exit', resolve));
  }
  return marksSeen(text());
};

export const tiers: readonly Case[] = [
  {
    name: 'one policy means the same in the relay, in XDP and in tc: rates of TCP and UDP, and DSCP on the wire',
    run: async (world: World) => {
      const ground = new Ground(world, { directors: 1, backends: 1 });
      const [host] = ground.net.directors;
      const [backend] = ground.net.backends;
      if (host === undefined || backend === undefined) throw new Error('the ground has no hosts');
      const director = ground.director(1);
      const paths = pathsOf(host);
      const [, , ...servers] = await Promise.all([
        ground.receiver(1),
        director.start(),
        ...paths.map(({ tier, ports }) => Flow.server(world.scope, `server ${tier}`, ports, backend.netns)),
      ]);
      const services = paths.flatMap(({ tier, address, ports, forwarding }) =>
        (['tcp', 'udp'] as const).map((protocol) => {
          const port = protocol === 'tcp' ? ports.sink : ports.udp;
          return {
            name: `${tier}-${protocol}`,
            listeners: [{ protocol, address, port }],
            backends: [{ name: 'b', address: `${backend.v4}:${port}` }],
            trafficPolicy: 'same',
            ...(forwarding && { forwarding }),
          };
        }),
      );
      const policy = { name: 'same', ingress: { rate: `${RATE / 1e6}Mbit`, burst: '64KiB' }, dscp: 'EF' };
      await director.apply(services, { trafficPolicies: [policy] });
      await until('each tier to carry its services', async () => {
        const found = (await director.node.tiers({ service: '' })).services;
        return found.length === services.length && found.every(({ service, tier }) => service.startsWith(`${tier}-`));
      });

      const measure = async (what: 'tcp' | 'udp', ms: number): Promise<void> => {
        const clients = await Promise.all(
          paths.map(({ tier, address, ports }) =>
            Flow.client(
              world.scope,
              `${what} ${tier}`,
              what === 'tcp'
                ? { host: address, port: ports.sink, kind: 'tcp-send', count: 4 }
                : { host: address, port: ports.udp, kind: 'udp', count: 2, bitsPerSecond: 2 * RATE },
              ground.net.client.netns,
            ),
          ),
        );
        await sleep(400); // the bursts
        const received = await Promise.all(servers.map((server) => server.received(ms)));
        await Promise.all(clients.map((client) => client.stop()));
        for (const [i, { tier }] of paths.entries()) {
          const ratio = (received[i]?.bitsPerSecond ?? 0) / RATE;
          world.note(`${what}, ${tier}`, `${((ratio * RATE) / 1e6).toFixed(2)} of ${RATE / 1e6} Mbit/s`);
          world.check(ratio >= LEAST && ratio <= MOST[what], `${what}, ${tier}: ${ratio.toFixed(3)} of the rate`);
        }
      };
      const seen = await capture(world, ground, () => measure('udp', 800));
      await measure('tcp', 1_200);

      for (const { tier, address, ports } of paths) {
        // What the relay and tc send goes to the backend's address; XDP's is for the service's, inside another header.
        const to = tier === 'xdp' ? [backend.v4, `${address}.${ports.udp}`] : [`${backend.v4}.${ports.udp}`];
        for (const destination of to) {
          world.equal([...(seen.get(destination) ?? [])].join(), String(EF), `DSCP by ${tier} to ${destination}`);
        }
      }
      for await (const { services: all } of director.traffic.stats({ service: '' })) {
        for (const tier of TIERS) {
          const { rateDropped = 0n } = all.find(({ service }) => service === `${tier}-udp`)?.counters ?? {};
          world.note(`datagrams over the rate, ${tier}`, String(rateDropped));
          world.check(rateDropped > 200n, `${tier} counts what exceeds its rate: ${rateDropped}`);
        }
        break;
      }
      const { stdout } = await director.marcher('stats');
      world.check(/OVER-RATE/.test(stdout), 'marcher stats shows what exceeds rates');
    },
  },
];
