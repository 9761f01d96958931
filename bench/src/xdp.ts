// SPDX-License-Identifier: Apache-2.0
/**
 * npm run bench -- xdp: net time per packet of the XDP path, by BPF_PROG_TEST_RUN on the programs that an agent has
 * pinned, with the maps that it has filled, at numbers of flows that fit into less and less cache; then frames that really
 * travel.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import path from 'node:path';
import { printTable } from '@marcher/e2e/demo/table';
import { Agent } from '@marcher/e2e/harness/agent';
import { makeRouted, VIP4 } from '@marcher/e2e/harness/routed';
import { REPOSITORY, Scope, until } from '@marcher/e2e/harness/scope';
import { liveFrames, reflect } from './live-frames.js';
import { machine, type Spread, spread } from './measure.js';
import { PROXY_CORE, pinned } from './peers.js';
import { writeResult } from './result.js';

const BUILD = path.join(REPOSITORY, 'dataplane-c/build-release/src');
const XDP = path.join(REPOSITORY, 'bench/xdp/build');
const LOGS = path.join(REPOSITORY, '.cache/bench-logs');
const PORT = 80;
const BACKENDS = 100;
const REPEAT = 4_000_000;
/** Flows, and the time that a packet may take. */
const GOALS: readonly (readonly [flows: number, ns: number])[] = [
  [1, 95],
  [4_096, 105],
  [65_536, 170],
  [1_048_576, 280],
];

const NAT_PORT = 81;
const NAT_FLOWS = [1, 4_096, 65_536] as const;

/** What looks at every packet: shapes, martians, and prefixes of which none is a client's. */
const GUARD = {
  name: 'edge',
  rules: [
    { action: 'deny', sources: ['203.0.113.0/24', '198.18.0.0/15', '192.0.2.128/25'] },
    { action: 'deny', protocol: 'tcp', ports: [22, '6000-6063'] },
  ],
};

interface Line {
  readonly flows: number;
  readonly verdict: number;
  readonly program_ns: number[];
  readonly empty_ns: number[];
}

const XDP_TX = 3;
/** Of the first client. */
const SOURCE = '10.0.0.1';
/** Of one that the guard denies. */
const DENIED = '198.18.0.1';
/** All cores together. */
const LIVE: Readonly<Record<'drop' | 'forward' | 'reflect', { readonly what: string; readonly goal?: number }>> = {
  drop: { what: 'dropped by a rule of the guard, 4,096 flows', goal: 6.5 },
  forward: { what: 'forwarded, IPIP, 4,096 flows', goal: 3.3 },
  reflect: { what: 'sent back by a program that looks at nothing' },
};

/** The way to all backends leads over the router: its address is known from now on. */
const knowRouter = (router: string, netns: string): void => {
  const lladdr = execFileSync('ip', ['-n', router, '-br', 'link', 'show', 'd1'], { encoding: 'utf8' })
    .trim()
    .split(/\s+/)[2];
  const neighbour = ['neigh', 'replace', '10.79.1.1', 'lladdr', lladdr ?? '', 'nud', 'permanent', 'dev', 'up0'];
  execFileSync('ip', ['-n', netns, ...neighbour]);
};

/** NAT's fast path, without a guard, of flows that are open. What is sent to is the address that flows.bpf.c writes. */
const translated = async (
  { scope, agent, router, netns, maps }: { scope: Scope; agent: Agent; router: string; netns: string; maps: string },
  rounds: number,
  measure: (flows: number, port: number) => Promise<readonly number[]>,
): Promise<{ flows: number; ns: Spread }[]> => {
  const { code, stderr } = await agent.marcher('delete', 'guard', GUARD.name);
  if (code !== 0) throw new Error(stderr);
  // With its address an interface forgets its neighbours.
  execFileSync('ip', ['-n', netns, 'link', 'set', 'up0', 'address', '02:02:02:02:02:02']);
  knowRouter(router, netns);
  const backend = '10.78.0.2';
  await agent.apply([
    {
      name: 'translated',
      listeners: [{ protocol: 'tcp', port: NAT_PORT, address: VIP4 }],
      forwarding: { mode: 'nat' },
      backends: [{ name: 'b0', address: `${backend}:${PORT}` }],
    },
  ]);
  await until('XDP to carry open flows', async () => {
    const { xdpInterfaces } = await agent.node.status({});
    return xdpInterfaces.every(({ nat }) => nat === 'xdp');
  });
  const figures: { flows: number; ns: Spread }[] = [];
  for (const flows of NAT_FLOWS) {
    const net: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const open = [maps, VIP4, String(NAT_PORT), backend, String(PORT), String(flows)];
      await scope.must([path.join(XDP, 'bench-open'), ...open], { netns });
      net.push(...(await measure(flows, NAT_PORT)));
    }
    figures.push({ flows, ns: spread(net) });
  }
  printTable(
    ['open flows of NAT', 'net ns per packet', 'spread'],
    figures.map(({ flows, ns }) => [
      flows.toLocaleString('en'),
      ns.median.toFixed(0),
      `${ns.min.toFixed(0)} to ${ns.max.toFixed(0)}`,
    ]),
  );
  return figures;
};

export const xdp = async (rounds: number): Promise<boolean> => {
  const scope = new Scope(LOGS);
  try {
    const net = makeRouted(scope, { directors: 2, backends: 0, queues: cpus().length });
    const [director] = net.directors;
    if (director === undefined) throw new Error('no director');
    const pins = path.join(scope.addBpffs(), 'director');
    const agent = new Agent(scope, {
      netns: director.netns,
      engine: path.join(BUILD, 'marcher-engine'),
      args: ['--library', path.join(BUILD, 'control/libmarcher.so'), '--interfaces', 'up0', '--bpf-dir', pins],
    });
    await agent.start();
    await agent.apply([
      {
        name: 'web',
        listeners: [{ protocol: 'tcp', port: PORT, address: VIP4 }],
        forwarding: { mode: 'ipip' },
        backends: Array.from({ length: BACKENDS }, (_, i) => ({ name: `b${i}`, address: `10.78.${i}.2:${PORT}` })),
      },
    ]);
    await until('XDP to carry the service', async () => {
      const { services } = await agent.node.tiers({ service: '' });
      return services[0]?.tier === 'xdp';
    });
    knowRouter(net.router, director.netns);

    const [layout] = readdirSync(pins);
    if (layout === undefined) throw new Error(`nothing is pinned in ${pins}`);
    const program = path.join(pins, layout, 'programs/xdp_root');
    /** Net ns per packet of so many flows. */
    const measure = async (flows: number, port = PORT): Promise<readonly number[]> => {
      const argv = [path.join(XDP, 'bench-xdp'), path.join(XDP, 'flows.bpf.o'), program, 'up0', VIP4, String(port)];
      const output = await scope.must(pinned(PROXY_CORE, [...argv, String(REPEAT), String(flows)]), {
        netns: director.netns,
        timeoutMs: 120_000,
      });
      const line = JSON.parse(output) as Line;
      if (line.verdict !== XDP_TX) throw new Error(`the program did not forward: verdict ${line.verdict}`);
      return line.program_ns.map((ns, i) => ns - (line.empty_ns[i] ?? 0));
    };
    const file = path.join(scope.dir, 'guard.json');
    writeFileSync(file, JSON.stringify({ apiVersion: 'marcher/v1', guards: [GUARD] }));
    const guard = async (...command: string[]): Promise<void> => {
      const { code, stderr } = await agent.marcher(...command);
      if (code !== 0) throw new Error(stderr);
    };
    const measured: { flows: number; goal: number; guarded: number[]; unguarded: number[] }[] = [];
    // From few flows to many, with and without a guard at each number: the flow table grows and never shrinks, and
    // few flows in a table for many would be measured otherwise.
    for (const [flows, goal] of GOALS) {
      const guarded: number[] = [];
      const unguarded: number[] = [];
      for (let round = 0; round < rounds; round++) {
        unguarded.push(...(await measure(flows)));
        await guard('apply', '-f', file);
        guarded.push(...(await measure(flows)));
        await guard('delete', 'guard', GUARD.name);
      }
      measured.push({ flows, goal, guarded, unguarded });
    }
    await guard('apply', '-f', file);
    const figures = measured.map(({ flows, goal, guarded, unguarded }) => {
      const ns = spread(guarded);
      return { flows, ns, unguarded: spread(unguarded), goal, met: ns.median <= goal };
    });
    printTable(
      ['flows', 'net ns per packet', 'spread', 'without guard', 'goal', ''],
      figures.map(({ flows, ns, unguarded, goal, met }) => [
        flows.toLocaleString('en'),
        ns.median.toFixed(0),
        `${ns.min.toFixed(0)} to ${ns.max.toFixed(0)}`,
        unguarded.median.toFixed(0),
        `<= ${goal}`,
        met ? 'met' : 'SHORT',
      ]),
    );
    reflect(net, 2);
    const dropped = async (): Promise<number> => {
      const { xdpDrops } = await agent.node.status({ withTraffic: true });
      return Number(xdpDrops.find(({ reason }) => reason === 'guard-rule')?.packets ?? 0n);
    };
    const lived: Record<keyof typeof LIVE, number[]> = { drop: [], forward: [], reflect: [] };
    for (let round = 0; round < rounds; round++) {
      lived.reflect.push((await liveFrames(scope, net, 2, SOURCE, PORT)).returnedMpps);
      lived.forward.push((await liveFrames(scope, net, 1, SOURCE, PORT)).returnedMpps);
      const before = await dropped();
      const { sent, mpps, returnedMpps } = await liveFrames(scope, net, 1, DENIED, PORT);
      if ((await dropped()) - before < sent || returnedMpps > 0)
        throw new Error('the guard did not drop what was sent');
      lived.drop.push(mpps);
    }
    const nat = await translated(
      { scope, agent, router: net.router, netns: director.netns, maps: path.join(pins, layout, 'maps') },
      rounds,
      measure,
    );
    const live = (['drop', 'forward', 'reflect'] as const).map((name) => {
      const { what, goal } = LIVE[name];
      const mpps = spread(lived[name]);
      return { name, what, mpps, goal, met: goal === undefined || mpps.median >= goal };
    });
    printTable(
      ['frames that travel', 'Mpps', 'spread', 'goal', ''],
      live.map(({ what, mpps, goal, met }) => [
        what,
        mpps.median.toFixed(2),
        `${mpps.min.toFixed(2)} to ${mpps.max.toFixed(2)}`,
        goal === undefined ? '' : `>= ${goal}`,
        goal === undefined ? '' : met ? 'met' : 'SHORT',
      ]),
    );
    const result = writeResult('xdp', {
      machine: machine(),
      rounds,
      repeat: REPEAT,
      what: `TCP over IPv4 in 64 B packets, IPIP, ${BACKENDS} backends, statistics on; guard with ${GUARD.rules.length} rules, shapes and martians`,
      figures,
      nat,
      live,
    });
    console.log(`\n${result}`);
    return figures.every(({ met }) => met) && live.every(({ met }) => met);
  } finally {
    await scope.close();
  }
};
