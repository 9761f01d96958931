// SPDX-License-Identifier: Apache-2.0
/**
 * npm run bench -- nat: CPU per Gb of TCP through a node that translates addresses, by tc beside nftables and the engine's
 * relay, and beside plain routing, which all but the relay contain. Each has its own client, node and backend in network
 * namespaces; iperf3 sends as fast as it can, and what is counted is the whole machine's time: in the kernel nobody else
 * can be told apart from who forwards.
 */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { printTable } from '@marcher/e2e/demo/table';
import { Agent } from '@marcher/e2e/harness/agent';
import { REPOSITORY, Scope, sleep, until } from '@marcher/e2e/harness/scope';
import { makeTopology, type Topology } from '@marcher/e2e/harness/topology';
import { coreTime, machine, type Spread, spread, version } from './measure.js';
import { writeResult } from './result.js';

const BUILD = path.join(REPOSITORY, 'dataplane-c/build-release/src');
const LOGS = path.join(REPOSITORY, '.cache/bench-logs');
const VIP = '198.51.100.10';
const PORT = 5201;
const RELAY_PORT = 5202;
const CORES = 2;

interface Contender {
  readonly name: string;
  /** Where the client sends to. */
  readonly target: string;
  readonly port: number;
  readonly net: Topology;
  readonly scope: Scope;
}

interface Run {
  readonly gigabits: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
}

const inside = (netns: string, ...argv: string[]): void => {
  execFileSync('nsenter', [`--net=/run/netns/${netns}`, '--', ...argv], { stdio: ['ignore', 'ignore', 'pipe'] });
};

const has = (command: string): boolean => {
  try {
    execFileSync(command, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};

/** A client, a node that routes, a backend that iperf3 listens on. */
const ground = async (scope: Scope): Promise<Topology> => {
  const net = makeTopology(scope, 1);
  const [backend] = net.backends;
  if (backend === undefined) throw new Error('no backend');
  inside(net.proxy.netns, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
  inside(net.client.netns, 'ip', 'route', 'add', 'default', 'via', net.proxy.v4);
  inside(backend.netns, 'ip', 'route', 'add', 'default', 'via', '10.78.1.1');
  scope.spawn(['iperf3', '--server', '--port', String(PORT)], { netns: backend.netns, log: 'iperf3.log' });
  return net;
};

const NFT = `table ip bench {
  chain to { type nat hook prerouting priority dstnat; ip daddr ${VIP} tcp dport ${PORT} dnat to 10.78.1.2:${PORT}; }
  chain from { type nat hook postrouting priority srcnat; oifname "back1" masquerade; }
}`;

const marcher = async (scope: Scope, net: Topology): Promise<void> => {
  const agent = new Agent(scope, {
    netns: net.proxy.netns,
    engine: path.join(BUILD, 'marcher-engine'),
    args: [
      ...['--library', path.join(BUILD, 'control/libmarcher.so'), '--interfaces', 'front,back1', '--xdp', 'off'],
      ...['--bpf-dir', path.join(scope.addBpffs(), 'node')],
    ],
  });
  await agent.start();
  const backends = [{ name: 'b1', address: `10.78.1.2:${PORT}` }];
  await agent.apply([
    {
      name: 'nat',
      listeners: [{ protocol: 'tcp', port: PORT, address: VIP }],
      forwarding: { mode: 'nat', sourceNat: true },
      backends,
    },
    { name: 'relay', listeners: [{ protocol: 'tcp', port: RELAY_PORT, address: net.proxy.v4 }], backends },
  ]);
  await until('tc to carry the service', async () => {
    const { services } = await agent.node.tiers({ service: 'nat' });
    return services[0]?.tier === 'tc';
  });
};

const busy = (): number =>
  Array.from({ length: CORES }, (_, core) => coreTime(core).busySeconds).reduce((sum, one) => sum + one, 0);

const run = async ({ scope, net, target, port }: Contender, seconds: number): Promise<Run> => {
  const argv = [
    'iperf3',
    '--client',
    target,
    '--port',
    String(port),
    '--time',
    String(seconds),
    '--json',
    '--congestion',
    'cubic',
  ];
  const before = busy();
  const text = await scope.must(argv, { netns: net.client.netns, timeoutMs: (seconds + 20) * 1_000 });
  const cpuSeconds = busy() - before;
  const { end } = JSON.parse(text) as { end: { sum_received: { bytes: number; seconds: number } } };
  return { gigabits: (end.sum_received.bytes * 8) / 1e9, seconds: end.sum_received.seconds, cpuSeconds };
};

export const nat = async (rounds: number, seconds: number): Promise<boolean> => {
  if (!has('iperf3')) throw new Error('iperf3 is not installed: apt install iperf3');
  const scopes = { plain: new Scope(LOGS), nftables: new Scope(LOGS), marcher: new Scope(LOGS) };
  try {
    const contenders: Contender[] = [];
    const plain = await ground(scopes.plain);
    contenders.push({ name: 'routing', target: '10.78.1.2', port: PORT, net: plain, scope: scopes.plain });
    const missing: string[] = [];
    if (has('nft')) {
      const net = await ground(scopes.nftables);
      inside(net.proxy.netns, 'nft', NFT);
      contenders.push({ name: 'nftables', target: VIP, port: PORT, net, scope: scopes.nftables });
    } else missing.push('nftables: nft is not installed (apt install nftables)');
    const net = await ground(scopes.marcher);
    await marcher(scopes.marcher, net);
    contenders.push({ name: 'marcher tc', target: VIP, port: PORT, net, scope: scopes.marcher });
    contenders.push({ name: 'marcher relay', target: net.proxy.v4, port: RELAY_PORT, net, scope: scopes.marcher });
    await sleep(500);

    const runs = new Map<string, Run[]>(contenders.map(({ name }) => [name, []]));
    for (let round = 0; round < rounds; round++) {
      // Another one first each time.
      for (let i = 0; i < contenders.length; i++) {
        const one = contenders[(round + i) % contenders.length] as Contender;
        runs.get(one.name)?.push(await run(one, seconds));
      }
    }
    const of = (name: string, figure: (run: Run) => number): Spread => spread((runs.get(name) ?? []).map(figure));
    const figures = contenders.map(({ name }) => ({
      name,
      gbps: of(name, ({ gigabits, seconds: took }) => gigabits / took),
      cpuSecondsPerGigabit: of(name, ({ gigabits, cpuSeconds }) => cpuSeconds / gigabits),
    }));
    const routing = figures[0]?.cpuSecondsPerGigabit.median ?? 0;
    printTable(
      ['', 'Gb/s', 'CPU ms per Gb', 'spread', 'beside routing'],
      figures.map(({ name, gbps, cpuSecondsPerGigabit: cpu }) => [
        name,
        gbps.median.toFixed(2),
        (cpu.median * 1_000).toFixed(1),
        `${(cpu.min * 1_000).toFixed(1)} to ${(cpu.max * 1_000).toFixed(1)}`,
        `${(cpu.median / routing).toFixed(2)} times`,
      ]),
    );
    for (const line of missing) console.log(`not measured: ${line}`);
    const file = writeResult('nat', {
      machine: machine(),
      versions: {
        iperf3: version('iperf3', '--version'),
        ...(missing.length === 0 ? { nft: version('nft', '--version') } : {}),
      },
      rounds,
      seconds,
      what: 'one TCP connection of iperf3 over veth with its offloads; CPU of the whole machine',
      figures,
      missing,
    });
    console.log(`\n${file}`);
    const cost = (name: string): number =>
      figures.find((one) => one.name === name)?.cpuSecondsPerGigabit.median ?? Number.POSITIVE_INFINITY;
    return cost('marcher tc') <= Math.min(cost('nftables'), cost('marcher relay')) && missing.length === 0;
  } finally {
    for (const scope of Object.values(scopes)) await scope.close();
  }
};
