// SPDX-License-Identifier: Apache-2.0
/**
 * npm run bench -- nat: CPU per Gb of TCP through a node that translates addresses, by tc beside nftables and the engine's
 * relay, and beside plain routing, which all but the relay contain. Each has its own client, node and backend in network
 * namespaces; iperf3 sends as fast as it can, and what is counted is the whole machine's time: in the kernel nobody else
 * can be told apart from who forwards.
 *
 * Twice: with the offloads of veth, which hands over many segments in one buffer, and with frames one by one and complete,
 * as they come from a wire. XDP, which carries open flows in its fast path, knows no others: it has a row there alone.
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
  /** What its row is compared with. */
  readonly plain: string;
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

const ONE_BY_ONE = ['tx', 'off', 'tso', 'off', 'gso', 'off'];

/** A client, a node that routes, a backend that iperf3 listens on. */
const ground = async (scope: Scope, oneByOne: boolean): Promise<Topology> => {
  const net = makeTopology(scope, 1);
  const [backend] = net.backends;
  if (backend === undefined) throw new Error('no backend');
  inside(net.proxy.netns, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
  if (oneByOne) {
    // Whoever receives joins segments, as hosts do; and a veth takes what XDP sends only with GRO at its other end.
    for (const { netns } of [net.client, backend]) inside(netns, 'ethtool', '-K', 'up0', ...ONE_BY_ONE, 'gro', 'on');
    for (const device of ['front', 'back1']) inside(net.proxy.netns, 'ethtool', '-K', device, ...ONE_BY_ONE);
  }
  inside(net.client.netns, 'ip', 'route', 'add', 'default', 'via', net.proxy.v4);
  inside(backend.netns, 'ip', 'route', 'add', 'default', 'via', '10.78.1.1');
  scope.spawn(['iperf3', '--server', '--port', String(PORT)], { netns: backend.netns, log: 'iperf3.log' });
  return net;
};

const NFT = `table ip bench {
  chain to { type nat hook prerouting priority dstnat; ip daddr ${VIP} tcp dport ${PORT} dnat to 10.78.1.2:${PORT}; }
  chain from { type nat hook postrouting priority srcnat; oifname "back1" masquerade; }
}`;

const marcher = async (scope: Scope, net: Topology, xdp: 'native' | 'off'): Promise<void> => {
  const agent = new Agent(scope, {
    netns: net.proxy.netns,
    engine: path.join(BUILD, 'marcher-engine'),
    args: [
      ...['--library', path.join(BUILD, 'control/libmarcher.so'), '--interfaces', 'front,back1', '--xdp', xdp],
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
  if (xdp === 'off') return;
  await until('XDP to carry open flows', async () => {
    const { xdpInterfaces } = await agent.node.status({});
    return xdpInterfaces.every(({ nat: by }) => by === 'xdp');
  });
};

/** All of them, with frames of one kind. */
const contend = async (scopeOf: () => Scope, oneByOne: boolean, nft: boolean): Promise<Contender[]> => {
  const plain = oneByOne ? 'routing, one by one' : 'routing';
  const named = (name: string): string => (oneByOne ? `${name}, one by one` : name);
  const found: Contender[] = [];
  const add = (name: string, scope: Scope, net: Topology, target = VIP, port = PORT): void => {
    found.push({ name: named(name), plain, target, port, net, scope });
  };
  const routing = scopeOf();
  add('routing', routing, await ground(routing, oneByOne), '10.78.1.2');
  if (nft) {
    const scope = scopeOf();
    const net = await ground(scope, oneByOne);
    inside(net.proxy.netns, 'nft', NFT);
    add('nftables', scope, net);
  }
  const tc = scopeOf();
  const net = await ground(tc, oneByOne);
  await marcher(tc, net, 'off');
  add('marcher tc', tc, net);
  add('marcher relay', tc, net, net.proxy.v4, RELAY_PORT);
  if (oneByOne) {
    const xdp = scopeOf();
    const by = await ground(xdp, true);
    await marcher(xdp, by, 'native');
    add('marcher xdp', xdp, by);
  }
  return found;
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
  const scopes: Scope[] = [];
  const scopeOf = (): Scope => {
    const scope = new Scope(LOGS);
    scopes.push(scope);
    return scope;
  };
  try {
    const nft = has('nft');
    const missing = nft ? [] : ['nftables: nft is not installed (apt install nftables)'];
    const contenders = [...(await contend(scopeOf, false, nft)), ...(await contend(scopeOf, true, nft))];
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
    const figures = contenders.map(({ name, plain }) => ({
      name,
      plain,
      gbps: of(name, ({ gigabits, seconds: took }) => gigabits / took),
      cpuSecondsPerGigabit: of(name, ({ gigabits, cpuSeconds }) => cpuSeconds / gigabits),
    }));
    const cost = (name: string): number =>
      figures.find((one) => one.name === name)?.cpuSecondsPerGigabit.median ?? Number.POSITIVE_INFINITY;
    printTable(
      ['', 'Gb/s', 'CPU ms per Gb', 'spread', 'beside routing'],
      figures.map(({ name, plain, gbps, cpuSecondsPerGigabit: cpu }) => [
        name,
        gbps.median.toFixed(2),
        (cpu.median * 1_000).toFixed(1),
        `${(cpu.min * 1_000).toFixed(1)} to ${(cpu.max * 1_000).toFixed(1)}`,
        `${(cpu.median / cost(plain)).toFixed(2)} times`,
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
      what: 'one TCP connection of iperf3 over veth, with its offloads or with frames one by one; CPU of the whole machine',
      figures,
      missing,
    });
    console.log(`\n${file}`);
    return cost('marcher tc') <= Math.min(cost('nftables'), cost('marcher relay')) && missing.length === 0;
  } finally {
    for (const scope of scopes) await scope.close();
  }
};
