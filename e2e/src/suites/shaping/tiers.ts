// SPDX-License-Identifier: Apache-2.0
/**
 * One policy, three services that name it: by the relay, by XDP and by tc, on one node. Each has clients and a server of
 * its own, all at once; what arrives is measured, and what is on the wire to the backend is looked at.
 */
import { execFileSync } from 'node:child_process';
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
const NOT_ECT = 0;
const ECT_0 = 2;
const CE = 3;
/** Datagrams of two senders, by whose length they are known on the wire: one says ECT(0) and does not react to marks. */
const CAPABLE_BYTES = 1_200;
const PLAIN_BYTES = 1_100;
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

/** A datagram on the way to the backend: traffic classes of its IPv4 headers, outer and inner, and where each is for. */
interface Seen {
  readonly bytes: number;
  readonly headers: readonly { readonly to: string; readonly tos: number }[];
}

const datagramsSeen = (text: string): Seen[] =>
  text.split(/\n(?=\d+:\d+:)/).flatMap((packet) => {
    // IP (tos 0xb8, ttl 64, ...)\n    10.79.1.2 > 10.78.1.2: IP (tos 0xbb,CE, ...)\n    10.77.0.2.4711 > 198.51.100.10.9022: UDP, length 1200
    const headers = [...packet.matchAll(/\bIP \(tos 0x([0-9a-f]+)[^\n]*\)\n\s+\S+ > ([0-9.]+):/g)];
    const bytes = /: UDP, length (\d+)/.exec(packet)?.[1];
    if (bytes === undefined) return [];
    return {
      bytes: Number(bytes),
      headers: headers.map(([, tos = '', to = '']) => ({ to, tos: Number.parseInt(tos, 16) })),
    };
  });

const capture = async (world: World, { net }: Ground, during: () => Promise<void>): Promise<Seen[]> => {
  const log = 'tcpdump-b1.log';
  const filter = 'proto 4 or dst portrange 9000-9029';
  const argv = ['tcpdump', '-i', 'b1', '-nn', '-v', '-l', '--immediate-mode', '-Q', 'out', '-c', '6000', filter];
  const child = world.scope.spawn(argv, { netns: net.router, log });
  const text = (): string => readFileSync(path.join(world.scope.logs, log), 'utf8');
  await until('tcpdump to listen', () => text().includes('listening on'));
  await during();
  if (child.exitCode === null) {
    child.kill('SIGINT');
    await new Promise((resolve) => child.once('exit', resolve));
  }
  return datagramsSeen(text());
};

/** What leaves this namespace says ECT(0), of that length. */
const sayCapable = (netns: string, bytes: number): void => {
  const rules = [
    'add table ip capable',
    'add chain ip capable out { type filter hook output priority 0; }',
    `add rule ip capable out udp length ${bytes + 8} ip ecn set ect0`,
  ];
  execFileSync('ip', ['netns', 'exec', netns, 'nft', '-f', '-'], { input: rules.join('\n') });
};

export const tiers: readonly Case[] = [
  {
    name: 'one policy means the same in the relay, in XDP and in tc: rates of TCP and UDP, DSCP and ECN on the wire',
    run: async (world: World) => {
      const ground = new Ground(world, { directors: 1, backends: 1 });
      const [host] = ground.net.directors;
      const [backend] = ground.net.backends;
      if (host === undefined || backend === undefined) throw new Error('the ground has no hosts');
      const director = ground.director(1);
      sayCapable(ground.net.client.netns, CAPABLE_BYTES);
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
      const policy = { name: 'same', ingress: { rate: `${RATE / 1e6}Mbit`, burst: '64KiB' }, dscp: 'EF', ecn: 'mark' };
      await director.apply(services, { trafficPolicies: [policy] });
      await until('each tier to carry its services', async () => {
        const found = (await director.node.tiers({ service: '' })).services;
        return found.length === services.length && found.every(({ service, tier }) => service.startsWith(`${tier}-`));
      });

      const datagrams = { kind: 'udp', count: 2, datagram: [CAPABLE_BYTES, PLAIN_BYTES] } as const;
      const measure = async (what: 'tcp' | 'udp', ms: number): Promise<void> => {
        const clients = await Promise.all(
          paths.map(({ tier, address, ports }) =>
            Flow.client(
              world.scope,
              `${what} ${tier}`,
              what === 'tcp'
                ? { host: address, port: ports.sink, kind: 'tcp-send', count: 4 }
                : { ...datagrams, host: address, port: ports.udp, bitsPerSecond: 2 * RATE },
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
        const own = seen.filter(({ headers }) => headers.map((header) => header.to).join() === to.join());
        const [capable, plain] = [CAPABLE_BYTES, PLAIN_BYTES].map((bytes) => own.filter((one) => one.bytes === bytes));
        if (capable === undefined || plain === undefined) throw new Error('there are two senders');
        const values = (of: readonly Seen[], value: (tos: number) => number): string =>
          [...new Set(of.map(({ headers }) => headers.map(({ tos }) => value(tos)).join('+')))].sort().join();
        // The same in each header.
        const in_ = (value: number): string => to.map(() => value).join('+');
        world.equal(
          values([...capable, ...plain], (tos) => tos >> 2),
          in_(EF),
          `DSCP by ${tier}`,
        );
        const ecn = (tos: number): number => tos & 3;
        world.equal(values(capable, ecn), `${in_(ECT_0)},${in_(CE)}`, `ECN by ${tier} of what says ECT(0)`);
        world.equal(values(plain, ecn), in_(NOT_ECT), `ECN by ${tier} of what does not say ECT`);
        const marked = capable.filter(({ headers }) => headers.every(({ tos }) => ecn(tos) === CE)).length;
        world.note(
          `datagrams on the wire, ${tier}`,
          `${capable.length} with ECT, of which ${marked} marked; ${plain.length} without`,
        );
        // Both send as many; that one does not react to marks does not keep the other out.
        world.check(plain.length > capable.length / 8, `${tier} lets senders without ECT get through`);
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
