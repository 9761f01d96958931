// SPDX-License-Identifier: Apache-2.0
/** DSCP as tcpdump sees it on the links of the proxy. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { sleep, until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';

interface Seen {
  readonly tos: number;
  readonly from: string;
  readonly to: string;
  readonly text: string;
}

/** What leaves by a device of the proxy's namespace while something happens. */
const capture = async (world: World, device: string, during: () => Promise<void>): Promise<Seen[]> => {
  const log = `tcpdump-${device}.log`;
  const filter = 'tcp port 6001 or udp port 6002 or port 8080';
  const argv = ['tcpdump', '-i', device, '-nn', '-v', '-l', '--immediate-mode', '-Q', 'out', filter];
  const child = world.scope.spawn(argv, { netns: world.net.proxy.netns, log });
  const text = (): string => readFileSync(path.join(world.scope.logs, log), 'utf8');
  await until('tcpdump to listen', () => text().includes('listening on'));
  await during();
  await sleep(150);
  child.kill('SIGINT');
  await new Promise((resolve) => child.once('exit', resolve));
  // IP (tos 0xb8, ttl 64, ...)\n    10.77.0.1.6001 > 10.77.0.2.40112: ...   IP6 (class 0xb8, ...) fd77::1.6001 > ...: ...
  const seen: Seen[] = [];
  const packet = /^\S+ IP6? \(([^\n]*?)\)\s+(\S+) > (\S+): ([^\n]*)/gm;
  for (const [, head = '', from = '', to = '', rest = ''] of text().matchAll(packet)) {
    const tos = /(?:tos|class) 0x([0-9a-f]+)/.exec(head)?.[1] ?? '0';
    seen.push({ tos: Number.parseInt(tos, 16), from, to, text: rest });
  }
  return seen;
};

export const marks: readonly Case[] = [
  {
    name: 'packets to clients and to backends carry the DSCP, from the first to the last',
    run: async (world: World) => {
      const agent = world.agent();
      await agent.start();
      await world.backend(1);
      const services = ['tcp', 'udp'].map((protocol, i) => ({
        name: protocol,
        listeners: [{ protocol, port: 6001 + i }],
        backends: [{ address: '10.78.1.2:8080' }, { address: '[fd78:1::2]:8080' }],
        balance: { algorithm: 'round-robin' },
        trafficPolicy: 'voice',
      }));
      await agent.apply(services, { trafficPolicies: [{ name: 'voice', priority: 'P0', dscp: 'EF' }] });
      const exchange = async (): Promise<void> => {
        for (const host of [world.net.proxy.v4, world.net.proxy.v6]) {
          const common = { host, rate: 40, connections: 2 } as const;
          const tcp = await world.load({ name: `tcp ${host}`, kind: 'tcp-short', port: 6001, ...common });
          const udp = await world.load({ name: `udp ${host}`, kind: 'udp', port: 6002, ...common });
          await sleep(200);
          world.equal((await world.settle(tcp)).failed + (await world.settle(udp)).failed, 0, 'failed requests');
        }
      };
      let back: Seen[] = [];
      const front = await capture(world, 'front', async () => {
        back = await capture(world, 'back1', exchange);
      });
      for (const [link, seen] of [
        ['to the client', front],
        ['to the backend', back],
      ] as const) {
        const v4 = seen.filter(({ from }) => from.includes('10.7'));
        const v6 = seen.filter(({ from }) => from.includes('fd7'));
        for (const [family, packets] of [
          ['IPv4', v4],
          ['IPv6', v6],
        ] as const) {
          const of = `${family} packets ${link}`;
          world.note(of, packets.length);
          world.check(packets.length > 20, `there are ${of}`);
          world.check(
            packets.some(({ text }) => text.startsWith('Flags [S')),
            `there is a SYN or its answer among the ${of}`,
          );
          world.check(
            packets.some(({ text }) => text.includes('UDP')),
            `there is UDP among the ${of}`,
          );
          const other = packets.find(({ tos }) => tos >> 2 !== 46);
          world.check(other === undefined, `of ${of} one has tos ${other?.tos}: ${other?.from} ${other?.text}`);
        }
      }
    },
  },
];
