// SPDX-License-Identifier: Apache-2.0
/** Prefixes and ranges of ports that the relay serves by one socket per worker, to which sk_lookup leads. */
import { execFileSync } from 'node:child_process';
import { appendFileSync, chmodSync, copyFileSync, renameSync } from 'node:fs';
import path from 'node:path';
import type { ServiceFile } from '../../harness/agent.js';
import { BackendProcess } from '../../harness/backend.js';
import { REPOSITORY, sleep, until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { settleAll } from './carried.js';

const PREFIX4 = '198.51.100.0/24';
const PREFIX6 = '2001:db8:51::/64';
const FIRST = 20_000;
const LAST = 20_999;
const MARCHERD = path.join(REPOSITORY, 'agent/bin/marcherd');

const inside = (netns: string, ...argv: string[]): string =>
  execFileSync('nsenter', [`--net=/run/netns/${netns}`, '--', ...argv], { encoding: 'utf8' });

/** The lines of ss about sockets of a process. */
const socketsOf = (netns: string, pid: number, kind: 't' | 'u'): number =>
  inside(netns, 'ss', `-Hln${kind}p`)
    .split('\n')
    .filter((line) => line.includes(`pid=${pid},`)).length;

/** What comes back to a socket that takes answers from where it has sent to alone. */
const asked = async (world: World, transport: 'tcp' | 'udp', host: string, port: number): Promise<string> => {
  const ask = `exec 3<>/dev/${transport}/${host}/${port}; echo 'x 0' >&3; timeout 2 head -c 3 <&3`;
  const { stdout } = await world.scope.run(['bash', '-c', ask], { netns: world.net.client.netns, timeoutMs: 5_000 });
  return stdout;
};

export const steering: readonly Case[] = [
  {
    name: 'prefixes and a thousand ports have one socket per worker, and an engine of another build takes them over: nothing is lost',
    run: async (world: World) => {
      const { client, proxy, backends } = world.net;
      const built = world.engine ?? path.join(REPOSITORY, 'dataplane-c/build/src/marcher-engine');
      const installed = path.join(world.scope.dir, 'marcher-engine');
      copyFileSync(built, installed);
      chmodSync(installed, 0o755);
      const bpfDir = path.join(world.scope.addBpffs(), 'steered');
      const agent = world.agent({ engine: installed, args: ['--sk-lookup', '--bpf-dir', bpfDir] });
      await Promise.all([world.backends(2), agent.start()]);
      inside(client.netns, 'ip', 'route', 'add', PREFIX4, 'via', proxy.v4);
      inside(client.netns, 'ip', '-6', 'route', 'add', PREFIX6, 'via', proxy.v6);
      const service = (name: string, listeners: object[]): ServiceFile => ({
        name,
        listeners: listeners.flatMap((listener) => ['tcp', 'udp'].map((protocol) => ({ protocol, ...listener }))),
        backends: backends.slice(0, 2).map(({ v4 }, i) => ({ name: `b${i + 1}`, address: `${v4}:8080` })),
      });
      const services = [
        service('wide', [
          { address: PREFIX4, port: 80 },
          { address: PREFIX6, port: 80 },
        ]),
        service('range', [{ ports: `${FIRST}-${LAST}` }]),
        service('whole', [{ address: '198.51.100.99', port: 80 }]),
      ];

      // Nobody takes in packets for the prefix yet.
      const refused = await agent.marcher('apply', '--prune', '-f', agent.writeConfig(services));
      world.check(refused.code !== 0, 'a prefix that is not the node’s was taken');
      const said = refused.stderr + refused.stdout;
      world.check(said.includes('ip route add local PREFIX dev lo'), `no way out was named: ${said}`);
      inside(proxy.netns, 'ip', 'route', 'add', 'local', PREFIX4, 'dev', 'lo');
      inside(proxy.netns, 'ip', '-6', 'route', 'add', 'local', PREFIX6, 'dev', 'lo');
      await agent.apply(services);
      await until('the prefix to be served', async () => (await asked(world, 'tcp', '198.51.100.7', 80)) !== '');

      const { engine } = await agent.node.status({});
      const workers = engine?.workers ?? 0;
      const listening = socketsOf(proxy.netns, engine?.pid ?? 0, 't');
      world.note('listening TCP sockets of the engine', listening);
      // Two prefixes, a range of a thousand ports, an address.
      world.equal(listening, 4 * workers, 'listening TCP sockets');
      for (const [host, port] of [
        ['198.51.100.200', 80],
        ['198.51.100.99', 80],
        ['2001:db8:51::abcd', 80],
        [proxy.v4, FIRST],
        [proxy.v6, LAST],
      ] as const) {
        for (const transport of ['tcp', 'udp'] as const) {
          const answer = await asked(world, transport, host, port);
          world.check(answer !== '', `no answer by ${transport} from ${host} port ${port}`);
        }
      }
      world.equal(await asked(world, 'tcp', proxy.v4, LAST + 1), '', 'an answer from beside the range');
      const { stdout: explained } = await agent.marcher('explain', 'service', 'range');
      world.check(explained.includes('sk_lookup'), `marcher explain says nothing of sk_lookup: ${explained}`);

      const load = (name: string, kind: 'tcp-short' | 'tcp-keepalive' | 'udp', host: string, port: number) =>
        world.load({ name, kind, host, port, rate: 50, connections: 10, timeoutMs: 10_000 });
      const loads = await Promise.all([
        load('tcp prefix', 'tcp-short', '198.51.100.7', 80),
        load('standing tcp prefix', 'tcp-keepalive', '198.51.100.8', 80),
        load('udp prefix', 'udp', '198.51.100.9', 80),
        load('tcp v6 prefix', 'tcp-short', '2001:db8:51::7', 80),
        load('tcp range', 'tcp-short', proxy.v4, FIRST + 500),
        load('udp range', 'udp', proxy.v4, FIRST + 501),
      ]);
      await sleep(700);
      // The agent dies, and the next one finds another build of the engine.
      copyFileSync(built, `${installed}.new`);
      appendFileSync(`${installed}.new`, 'another build');
      chmodSync(`${installed}.new`, 0o755);
      renameSync(`${installed}.new`, installed);
      agent.kill();
      await agent.exited();
      await agent.start();
      await until('the new build to serve', async () => {
        const next = (await agent.node.status({})).engine;
        return next?.running === true && next.pid !== engine?.pid;
      });
      await sleep(1_000);
      await settleAll(world, loads);

      // More listening sockets than the agent may keep open: it takes the few that are steered.
      const limit = 512;
      execFileSync('prlimit', [`--nofile=${limit}:${limit}`, '--pid', String(agent.pid)]);
      await agent.apply([
        ...services,
        service('many', [{ ports: Array.from({ length: 80 }, (_, i) => 30_000 + 2 * i) }]),
        service('later', [{ address: '198.51.100.128/25', port: 81 }]),
      ]);
      await until(
        'a prefix to be served beside too many sockets',
        async () => (await asked(world, 'tcp', '198.51.100.200', 81)) !== '',
      );
      world.check((await asked(world, 'udp', '198.51.100.7', 80)) !== '', 'the first prefix has no answer');
      const status = await agent.node.status({});
      world.check(
        status.engine?.lastError.includes('LimitNOFILE') === true,
        `the status does not say what to raise: ${status.engine?.lastError}`,
      );

      agent.kill('SIGTERM');
      await agent.exited();
      await world.scope.must([MARCHERD, 'uninstall-dataplane', '--bpf-dir', bpfDir], { netns: proxy.netns });
      world.equal(await asked(world, 'tcp', '198.51.100.7', 80), '', 'an answer after uninstall-dataplane');
    },
  },
  {
    name: 'every port of a prefix by tc, and an address of it by the relay',
    run: async (world: World) => {
      const { client, proxy, backends } = world.net;
      const back = backends[0];
      world.check(back !== undefined, 'there is a backend');
      inside(proxy.netns, 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
      inside(client.netns, 'ip', 'route', 'add', PREFIX4, 'via', proxy.v4);
      inside(client.netns, 'ip', '-6', 'route', 'add', PREFIX6, 'via', proxy.v6);
      inside(back.netns, 'ip', 'route', 'add', 'default', 'via', '10.78.1.1');
      inside(back.netns, 'ip', '-6', 'route', 'add', 'default', 'via', 'fd78:1::1');
      inside(proxy.netns, 'ip', 'address', 'add', '198.51.100.99/32', 'dev', 'lo');
      const bpfDir = path.join(world.scope.addBpffs(), 'd');
      const agent = world.agent({ args: ['--interfaces', 'front,back1', '--bpf-dir', bpfDir] });
      const serve = (name: string, host: string) =>
        BackendProcess.start(world.scope, { name, host, tcp: 8080, udp: 8080 }, back.netns);
      await Promise.all([agent.start(), serve('b1', back.v4), serve('b1', back.v6), world.backend(2)]);
      const every = (name: string, prefix: string, address: string): ServiceFile => ({
        name,
        listeners: ['tcp', 'udp'].map((protocol) => ({ protocol, address: prefix, ports: '1-65535' })),
        forwarding: { mode: 'nat' },
        backends: [{ name: 'b1', address }],
      });
      await agent.apply([
        every('v4', PREFIX4, `${back.v4}:8080`),
        every('v6', PREFIX6, `[${back.v6}]:8080`),
        {
          name: 'within',
          listeners: [{ protocol: 'tcp', address: '198.51.100.99', port: 80 }],
          backends: [{ name: 'b2', address: `${backends[1]?.v4}:8080` }],
        },
      ]);
      await until('tc to carry the prefix', async () => (await asked(world, 'tcp', '198.51.100.7', 81)) !== '');
      const load = (name: string, kind: 'tcp-short' | 'udp', host: string, port: number) =>
        world.load({ name, kind, host, port, rate: 50, connections: 10, timeoutMs: 10_000 });
      const loads = await Promise.all([
        load('tcp v4', 'tcp-short', '198.51.100.1', 1),
        load('udp v4', 'udp', '198.51.100.254', 65_535),
        load('tcp v6', 'tcp-short', '2001:db8:51::ffff', 443),
        load('within', 'tcp-short', '198.51.100.99', 80),
      ]);
      world.check((await asked(world, 'udp', '2001:db8:51::1', 53)) !== '', 'no answer by UDP from an IPv6 address');
      world.check(
        (await asked(world, 'tcp', '198.51.100.99', 81)) !== '',
        'a port beside the relayed one has no answer',
      );
      await sleep(700);
      for (const one of loads) {
        const { failed, answered, backends: by, reasons } = await world.settle(one);
        world.equal(failed, 0, `${one.settings.name}: failed (${JSON.stringify(reasons)})`);
        world.check(answered > 20, `${one.settings.name}: only ${answered} answered`);
        const whose = one.settings.name === 'within' ? 'b2' : 'b1';
        world.equal(Object.keys(by).join(), whose, `${one.settings.name}: answered by`);
      }
    },
  },
];
