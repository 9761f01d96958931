// SPDX-License-Identifier: Apache-2.0
/** Which backend gets a client: algorithms, affinity, health, names. */
import { DnsServer } from '../../harness/dns.js';
import type { Tally } from '../../harness/load.js';
import { sleep, until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { quickHealth, targets, tcpService } from '../services.js';
import { curl, netcat } from './client.js';

const HEALTHY = 2;
const UNHEALTHY = 3;
const sources = Array.from({ length: 38 }, (_, i) => `10.77.0.${i + 3}`);

const measure = async (world: World, port: number, name: string): Promise<Tally> => {
  const load = await world.load({ name, kind: 'tcp-short', port, rate: 400, sources });
  await sleep(1_500);
  const counts = await world.settle(load);
  world.equal(counts.failed, 0, `${name}: failed requests`);
  return counts;
};

/** Each backend's share must lie within so much of the expected one. */
const shares = (world: World, name: string, counts: Tally, expected: readonly number[], tolerance: number): void => {
  expected.forEach((share, i) => {
    const got = (counts.backends[`b${i + 1}`] ?? 0) / counts.answered;
    world.check(
      Math.abs(got - share) <= tolerance,
      `${name}: b${i + 1} got ${got.toFixed(3)}, expected ${share.toFixed(3)}`,
    );
  });
};

export const balancing: readonly Case[] = [
  {
    name: 'distribution of each algorithm',
    run: async (world: World) => {
      await world.backends(3);
      const agent = world.agent();
      await agent.start();
      const weighted = targets(world, 3).map((t, i) => ({ ...t, weight: i + 1 }));
      const balance = (algorithm: string): Record<string, unknown> => ({ balance: { algorithm } });
      await agent.apply([
        tcpService('rr', 5001, targets(world, 3), balance('round-robin')),
        tcpService('wrr', 5002, weighted, balance('weighted-round-robin')),
        tcpService('random', 5003, targets(world, 3), balance('random')),
        tcpService('least', 5004, targets(world, 3), balance('least-connections')),
      ]);
      const third = [1 / 3, 1 / 3, 1 / 3];
      // Per worker the turn is exact; a few requests of unevenness per worker remain.
      shares(world, 'round-robin', await measure(world, 5001, 'round-robin'), third, 0.03);
      shares(world, 'weighted', await measure(world, 5002, 'weighted-round-robin'), [1 / 6, 2 / 6, 3 / 6], 0.03);
      // 600 draws: standard deviation 0.019; five of them.
      shares(world, 'random', await measure(world, 5003, 'random'), third, 0.1);
      shares(world, 'least-connections', await measure(world, 5004, 'least-connections'), third, 0.12);
    },
  },
  {
    name: 'geo: the country of the client, its region, then the region of the node',
    run: async (world: World) => {
      await world.backends(3);
      const agent = world.agent({ args: ['--country', 'BR'] });
      await agent.start();
      const [b1, b2, b3] = targets(world, 3);
      const service = tcpService(
        'near',
        5001,
        [
          { ...b1, country: 'NL' },
          { ...b2, country: 'JP' },
          { ...b3, region: 'sa' },
        ],
        { balance: { algorithm: 'geo' } },
      );
      await agent.apply([
        { ...service, listeners: [{ protocol: 'tcp', port: 5001, acceptProxyFrom: ['10.77.0.0/24'] }] },
      ]);
      // Addresses of registries and root servers, whose places do not change: RIPE NCC, JPNIC, DENIC; and one of nowhere.
      for (const [client, expected, why] of [
        ['193.0.6.139', 'b1', 'the same country'],
        ['202.12.30.115', 'b2', 'the same country'],
        ['81.91.170.12', 'b1', 'the same region'],
        ['203.0.113.7', 'b3', "the node's own region"],
      ] as const) {
        for (let i = 0; i < 4; i++) {
          const header = `PROXY TCP4 ${client} 198.51.100.1 4711 443\\r\\n`;
          const answer = await netcat(world, world.net.proxy.v4, 5001, `${header}1 0\\n`, '-N');
          world.check(answer.startsWith(`1 ${expected} `), `${client} (${why}): expected ${expected}, got: ${answer}`);
        }
      }
    },
  },
  {
    name: 'Maglev and affinity keep a source on its backend',
    run: async (world: World) => {
      await world.backends(3);
      const agent = world.agent();
      await agent.start();
      await agent.apply([
        tcpService('maglev', 5001, targets(world, 3), { balance: { algorithm: 'maglev' } }),
        tcpService('sticky', 5002, targets(world, 3), {
          balance: { algorithm: 'random', affinity: { by: 'source-ip', ttl: '1m' } },
        }),
      ]);
      for (const [port, name] of [
        [5001, 'maglev'],
        [5002, 'affinity'],
      ] as const) {
        const used = new Set<string>();
        for (const source of sources.slice(0, 8)) {
          const load = await world.load({
            name: `${name} from ${source}`,
            kind: 'tcp-short',
            port,
            rate: 100,
            sources: [source],
          });
          await sleep(150);
          const counts = await world.settle(load);
          delete world.figures[`${name} from ${source}`];
          const backends = Object.keys(counts.backends);
          world.equal(backends.length, 1, `${name}: backends of ${source}`);
          used.add(backends[0] ?? '');
        }
        world.note(`${name}: backends used by 8 sources`, used.size);
        world.check(used.size > 1, `${name}: sources are spread over backends`);
      }
    },
  },
  {
    name: 'health: an ill backend gets no traffic and comes back',
    run: async (world: World) => {
      const [, second] = await world.backends(3);
      const agent = world.agent();
      await agent.start();
      const health = {
        ...quickHealth,
        type: 'http',
        port: 8081,
        http: { path: '/health', expectStatus: ['200'], expectBody: 'healthy' },
      };
      await agent.apply([tcpService('web', 5001, targets(world, 3), { health })]);
      await agent.backendsAre('web', HEALTHY, ['b1', 'b2', 'b3']);
      await second?.behave({ mode: 'unhealthy' });
      await agent.backendsAre('web', UNHEALTHY, ['b2']);
      const ill = await measure(world, 5001, 'while b2 is ill');
      world.equal(ill.backends['b2'] ?? 0, 0, 'requests to the ill backend');
      await second?.behave({ mode: 'normal' });
      await agent.backendsAre('web', HEALTHY, ['b2']);
      const well = await measure(world, 5001, 'when b2 is well');
      world.check((well.backends['b2'] ?? 0) > 0, 'the backend serves again');
    },
  },
  {
    name: 'DNS: every address of a name is used, changes are followed',
    run: async (world: World) => {
      await world.backends(3);
      const dns = await DnsServer.start(world.scope, world.net.proxy.netns, { 'app.test': ['10.78.1.2', 'fd78:2::2'] });
      const agent = world.agent({ resolvConf: dns.resolvConf });
      await agent.start();
      await agent.apply([
        tcpService('web', 5001, [{ name: 'app', address: 'app.test:8080' }], { dns: { minTtl: '1s' } }),
      ]);
      const endpoints = async (): Promise<string> => {
        const { backends } = await agent.node.backends({ service: 'web' });
        return backends
          .flatMap((b) => b.endpoints.map((e) => e.address))
          .sort()
          .join(' ');
      };
      await until('both addresses', async () => (await endpoints()).split(' ').length === 2);
      const both = await measure(world, 5001, 'two addresses');
      world.equal(Object.keys(both.backends).sort().join(' '), 'b1 b2', 'backends that answered');
      await dns.change({ 'app.test': ['10.78.3.2'] });
      await until('the new address', async () => (await endpoints()) === '10.78.3.2:8080', 6_000);
      const one = await measure(world, 5001, 'after the change');
      world.equal(Object.keys(one.backends).join(' '), 'b3', 'backends that answered');
    },
  },
  {
    name: 'counters agree with the client: statistics and metrics',
    run: async (world: World) => {
      await world.backends(2);
      const agent = world.agent({ metrics: '10.77.0.1:9100' });
      await agent.start();
      await agent.apply([tcpService('web', 5001, targets(world, 2))]);
      const counts = await measure(world, 5001, 'load');
      const opened = await until('the counters to have caught up', async () => {
        for await (const { services } of agent.traffic.stats({ service: 'web' })) {
          const counters = services[0]?.counters;
          if (counters !== undefined && counters.connectionsClosed === BigInt(counts.sent))
            return counters.connectionsOpened;
        }
        return undefined;
      });
      world.equal(opened, BigInt(counts.sent), 'connections opened');
      const metrics = await curl(world, 'http://10.77.0.1:9100/metrics');
      for (const name of ['marcher_tcp_bytes_total', 'marcher_tcp_connections_active']) {
        world.check(metrics.includes(name), `/metrics has ${name}`);
      }
      world.equal(
        await curl(world, '--output', '/dev/null', '--write-out', '%{http_code}', 'http://10.77.0.1:9100/readyz'),
        '200',
        '/readyz',
      );
    },
  },
];
