// SPDX-License-Identifier: Apache-2.0
/**
 * npm run bench -- floods: SYN, UDP and fragment floods from forged sources against a node with a relayed service: with a
 * guard in XDP, with nftables doing the same at the ingress hook of the same device, and with nothing. What is counted is
 * the whole machine's time per frame, the sender's included, which is the same for all; and what becomes of requests that
 * a client makes meanwhile by another link.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { printTable } from '@marcher/e2e/demo/table';
import { Agent } from '@marcher/e2e/harness/agent';
import { BackendProcess } from '@marcher/e2e/harness/backend';
import { Flooder, type FloodKind } from '@marcher/e2e/harness/flood';
import { Load, tally } from '@marcher/e2e/harness/load';
import { REPOSITORY, Scope, sleep } from '@marcher/e2e/harness/scope';
import { makeTopology, type Topology } from '@marcher/e2e/harness/topology';
import { coreTime, machine, type Spread, spread, version } from './measure.js';
import { writeResult } from './result.js';

const BUILD = path.join(REPOSITORY, 'dataplane-c/build-release/src');
const LOGS = path.join(REPOSITORY, '.cache/bench-logs');
const PORT = 8080;
const BACKEND_PORT = 9000;
const CORES = 2;
const KINDS: readonly FloodKind[] = ['syn', 'udp', 'fragment'];
const SOURCES = '203.0.0.0/16';
const SUCCESS_GOAL = 0.999;

const GUARD = {
  name: 'edge',
  rules: [{ action: 'deny', sources: ['203.0.200.0/22'] }],
  sourceLimits: { packetsPerSecond: 20, burst: '100ms' },
  synCookies: { mode: 'auto', onPerSecond: 2_000, offPerSecond: 1_000 },
};
/** SYNs are proven by cookies alone, of XDP's or of the kernel's. */
const WITHOUT_LIMITS = { ...GUARD, sourceLimits: undefined };

/** SYNs are answered by synproxy, which the stack and the relay do not see; others are limited as the guard limits. */
const nftRules = (syn: boolean): string => `
table netdev guard {
  set sources { type ipv4_addr; size 65536; flags dynamic, timeout; timeout 10s; }
  chain in {
    type filter hook ingress device "flood0" priority 0; policy accept;
    ip saddr 203.0.200.0/22 counter drop comment "denied"
    ip frag-off & 0x1fff == 1 ip protocol tcp counter drop comment "fragment-overlap"
    ip frag-off & 0x2000 != 0 ip frag-off & 0x1fff == 0 ip length < 40 counter drop comment "fragment-tiny"
    ${syn ? '' : 'update @sources { ip saddr & 255.255.255.0 limit rate over 20/second burst 2 packets } counter drop comment "limit"'}
  }
}
${
  syn
    ? `table ip proxy {
  chain raw { type filter hook prerouting priority -300; policy accept; tcp dport ${PORT} tcp flags syn notrack; }
  chain in {
    type filter hook input priority 0; policy accept;
    tcp dport ${PORT} ct state invalid,untracked counter synproxy mss 1460 wscale 7 timestamp sack-perm comment "synproxy"
    tcp dport ${PORT} ct state invalid counter drop comment "invalid"
  }
}`
    : ''
}
`;

/** The counters of its rules, by their comments. */
interface NftRules {
  readonly nftables: readonly {
    readonly rule?: {
      readonly comment?: string;
      readonly expr: readonly { readonly counter?: { readonly packets: number } }[];
    };
  }[];
}

const nftCounts = async (scope: Scope, netns: string): Promise<ReadonlyMap<string, bigint>> => {
  const { nftables } = JSON.parse(await scope.must(['nft', '--json', 'list', 'ruleset'], { netns })) as NftRules;
  const counts = new Map<string, bigint>();
  for (const { rule } of nftables) {
    const packets = rule?.expr.find(({ counter }) => counter !== undefined)?.counter?.packets ?? 0;
    if (rule?.comment !== undefined) counts.set(rule.comment, BigInt(packets));
  }
  return counts;
};

interface Contender {
  readonly name: string;
  readonly scope: Scope;
  readonly net: Topology;
  readonly flooder: Flooder;
  readonly agent: Agent;
  /** Before a flood of this kind. */
  readonly prepare: (kind: FloodKind) => Promise<void>;
  /** What it has dropped or answered, by reason. */
  readonly counts: () => Promise<ReadonlyMap<string, bigint>>;
}

type Made = Omit<Contender, 'prepare' | 'counts'>;

interface Run {
  readonly sent: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly answered: number;
  readonly failed: number;
  readonly drops: Readonly<Record<string, number>>;
}

const has = (command: string): boolean => {
  try {
    execFileSync(command, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};

const contender = async (
  name: string,
  guarded: boolean,
  prepare: (one: Made, kind: FloodKind) => Promise<void>,
  counts: (one: Made) => Promise<ReadonlyMap<string, bigint>>,
): Promise<Contender> => {
  const scope = new Scope(LOGS);
  const net = makeTopology(scope, 1);
  const { netns } = net.proxy;
  const [backend] = net.backends;
  if (backend === undefined) throw new Error('no backend');
  const flooder = new Flooder(scope, net.proxy);
  const settings = [
    'net.ipv4.tcp_syncookies=2',
    'net.netfilter.nf_conntrack_tcp_loose=0',
    'net.ipv4.conf.all.rp_filter=0',
    'net.ipv4.conf.flood0.rp_filter=0',
  ];
  const inside = ['nsenter', `--net=/run/netns/${netns}`, '--'];
  execFileSync('nsenter', [...inside.slice(1), 'sysctl', '-qw', ...settings]);
  // What is sent by XDP arrives at a device without an XDP program only where that receives in batches.
  execFileSync('nsenter', [...inside.slice(1), 'ethtool', '-K', 'flood0', 'gro', 'on']);
  // A way for answers of the kernel's: it would not make any otherwise.
  const ip = (...args: string[]): void => void execFileSync('ip', ['-n', netns, ...args]);
  ip('addr', 'add', '10.99.0.1/24', 'dev', 'flood0');
  ip('neigh', 'add', '10.99.0.2', 'lladdr', '02:00:00:00:00:99', 'dev', 'flood0', 'nud', 'permanent');
  ip('route', 'add', SOURCES, 'via', '10.99.0.2');
  await BackendProcess.start(scope, { name: 'b1', host: backend.v4, tcp: BACKEND_PORT }, backend.netns);
  const pins = path.join(scope.addBpffs(), 'node');
  const agent = new Agent(scope, {
    netns,
    engine: path.join(BUILD, 'marcher-engine'),
    args: [
      ...['--library', path.join(BUILD, 'control/libmarcher.so')],
      ...(guarded ? ['--interfaces', 'flood0', '--bpf-dir', pins] : []),
    ],
  });
  await agent.start();
  await agent.apply([
    {
      name: 'web',
      listeners: [{ protocol: 'tcp', port: PORT, address: net.proxy.v4 }],
      backends: [{ name: 'b1', address: `${backend.v4}:${BACKEND_PORT}` }],
    },
  ]);
  const made = { name, scope, net, flooder, agent };
  return { ...made, prepare: (kind) => prepare(made, kind), counts: () => counts(made) };
};

const setGuard = async ({ scope, agent }: Made, kind: FloodKind): Promise<void> => {
  const file = path.join(scope.dir, 'guard.json');
  const guards = [kind === 'syn' ? WITHOUT_LIMITS : GUARD];
  writeFileSync(file, JSON.stringify({ apiVersion: 'marcher/v1', guards }));
  const { code, stderr } = await agent.marcher('apply', '-f', file);
  if (code !== 0) throw new Error(`marcher apply: ${stderr}`);
};

const setRules = async ({ scope, net }: Made, kind: FloodKind): Promise<void> => {
  const file = path.join(scope.dir, 'rules.nft');
  writeFileSync(file, nftRules(kind === 'syn'));
  await scope.must(['nft', 'flush', 'ruleset'], { netns: net.proxy.netns });
  await scope.must(['nft', '-f', file], { netns: net.proxy.netns });
};

const dropsOf = async ({ agent }: Made): Promise<ReadonlyMap<string, bigint>> => {
  const { xdpDrops } = await agent.node.status({ withTraffic: true });
  return new Map(xdpDrops.map(({ reason, packets }) => [reason, packets]));
};

const busy = (): number => Array.from({ length: CORES }, (_, i) => coreTime(i).busySeconds).reduce((a, b) => a + b);

const run = async (
  { scope, net, flooder, prepare, counts }: Contender,
  kind: FloodKind,
  seconds: number,
): Promise<Run> => {
  await prepare(kind);
  const before = await counts();
  const load = await Load.start(
    scope,
    { name: kind, kind: 'tcp-short', host: net.proxy.v4, port: PORT, rate: 100, connections: 20, timeoutMs: 3_000 },
    net.client.netns,
  );
  await sleep(300);
  const began = busy();
  const flood = { kind, sources: SOURCES, destination: net.proxy.v4, port: PORT, cpu: 0, seconds };
  const { sent, seconds: elapsed } = await flooder.run(flood);
  const cpuSeconds = busy() - began;
  const { answered, failed } = tally(await load.stop());
  const after = await counts();
  const drops = Object.fromEntries(
    [...after].flatMap(([reason, packets]) => {
      const more = Number(packets - (before.get(reason) ?? 0n));
      return more > 0 ? [[reason, more]] : [];
    }),
  );
  return { sent, seconds: elapsed, cpuSeconds, answered, failed, drops };
};

interface Figure {
  readonly kind: FloodKind;
  readonly name: string;
  readonly framesPerSecond: Spread;
  /** Of the whole machine, the sender and the client included. */
  readonly cpuNsPerFrame: Spread;
  readonly answered: number;
  readonly failed: number;
  readonly success: number;
  readonly drops: Readonly<Record<string, number>>;
}

const figureOf = (kind: FloodKind, name: string, runs: readonly Run[]): Figure => {
  const drops: Record<string, number> = {};
  for (const one of runs)
    for (const [reason, packets] of Object.entries(one.drops)) drops[reason] = (drops[reason] ?? 0) + packets;
  const answered = runs.reduce((sum, one) => sum + one.answered, 0);
  const failed = runs.reduce((sum, one) => sum + one.failed, 0);
  return {
    kind,
    name,
    framesPerSecond: spread(runs.map(({ sent, seconds }) => sent / seconds)),
    cpuNsPerFrame: spread(runs.map(({ sent, cpuSeconds }) => (cpuSeconds * 1e9) / sent)),
    answered,
    failed,
    success: answered / Math.max(1, answered + failed),
    drops,
  };
};

export const floods = async (rounds: number, seconds: number): Promise<boolean> => {
  const contenders: Contender[] = [];
  const missing: string[] = [];
  try {
    contenders.push(
      await contender(
        'nothing',
        false,
        async () => undefined,
        async () => new Map(),
      ),
    );
    if (has('nft'))
      contenders.push(
        await contender('nftables', false, setRules, ({ scope, net }) => nftCounts(scope, net.proxy.netns)),
      );
    else missing.push('nftables: nft is not installed (apt install nftables)');
    contenders.push(await contender('marcher', true, setGuard, dropsOf));
    const runs = new Map<string, Run[]>();
    for (let round = 0; round < rounds; round++) {
      for (const kind of KINDS) {
        // Another one first each time.
        for (let i = 0; i < contenders.length; i++) {
          const one = contenders[(round + i) % contenders.length] as Contender;
          const key = `${kind} ${one.name}`;
          runs.set(key, [...(runs.get(key) ?? []), await run(one, kind, seconds)]);
        }
      }
    }
    const figures = KINDS.flatMap((kind) =>
      contenders.map(({ name }) => figureOf(kind, name, runs.get(`${kind} ${name}`) ?? [])),
    );
    printTable(
      ['flood', 'defence', 'frames/s', 'CPU ns per frame', 'requests served', 'dropped or answered'],
      figures.map(({ kind, name, framesPerSecond, cpuNsPerFrame, answered, failed, drops }) => [
        kind,
        name,
        Math.round(framesPerSecond.median).toLocaleString('en'),
        cpuNsPerFrame.median.toFixed(0),
        `${answered} of ${answered + failed}`,
        Object.entries(drops)
          .map(([reason, packets]) => `${packets.toLocaleString('en')} ${reason}`)
          .join(', '),
      ]),
    );
    for (const line of missing) console.log(`missing: ${line}`);
    const file = writeResult('floods', {
      machine: machine(),
      versions: missing.length === 0 ? { nft: version('nft', '--version') } : {},
      rounds,
      seconds,
      what: '82 B frames from forged sources by one core over veth; relayed requests by another link; net.ipv4.tcp_syncookies=2',
      figures,
      missing,
    });
    console.log(`\n${file}`);
    const mine = figures.filter(({ name }) => name === 'marcher');
    return missing.length === 0 && mine.every(({ success }) => success >= SUCCESS_GOAL);
  } finally {
    for (const { scope } of contenders) await scope.close();
  }
};
