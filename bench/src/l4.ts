// SPDX-License-Identifier: Apache-2.0
/**
 * npm run bench -- l4: Marcher beside HAProxy and nginx stream, CPU time per unit of work (bench/README.md).
 * Within a round every proxy gets a slice of the same length, one after the other; a figure is the median over the
 * rounds of Marcher beside the best peer in the same round, so that a machine whose speed drifts falls on all alike.
 */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { printTable } from '@marcher/e2e/demo/table';
import { REPOSITORY, Scope, sleep, until } from '@marcher/e2e/harness/scope';
import {
  coreTime,
  cpuSeconds,
  family,
  type Memory,
  machine,
  memory,
  spread,
  tcpMemoryBytes,
  version,
} from './measure.js';
import { type Contender, type Ground, haproxy, LOAD_CORE, marcher, nginx, PROXY_CORE, pinned } from './peers.js';
import { writeResult } from './result.js';
import { IDLE, idleLoad, type LoadResult, type Workload, workloads } from './workloads.js';

const BACKEND = path.join(REPOSITORY, 'bench/load/build/bench-backend');
const ENGINE = path.join(REPOSITORY, 'dataplane-c/build-release/src/marcher-engine');
/** A round is set aside and repeated when others had more of a core than this share of a slice. */
const DISTURBED = 0.08;
const CONGESTION_CONTROL = 'cubic';

export interface L4Options {
  readonly rounds: number;
  /** Length of one proxy's slice of a round. */
  readonly seconds: number;
  /** Only workloads whose name contains this. */
  readonly only: string | undefined;
}

interface Slice {
  readonly cpuUs: number;
  readonly cpuUsByProcess: Readonly<Record<string, number>>;
  readonly load: LoadResult;
  /** The largest share of a core that processes which are not part of the measurement had, or the hypervisor. */
  readonly foreign: number;
}

type Round = ReadonlyMap<string, Slice>;

const partSeconds = (proxy: Contender): Record<string, number> =>
  Object.fromEntries(Object.entries(proxy.processes()).map(([part, pids]) => [part, cpuSeconds(pids)]));

const total = (parts: Readonly<Record<string, number>>): number => Object.values(parts).reduce((a, b) => a + b, 0);

const slice = async (
  ground: Ground,
  backendPid: number,
  proxy: Contender,
  workload: Workload,
  exchanges: number,
  seconds: number,
): Promise<Slice> => {
  const before = {
    parts: partSeconds(proxy),
    backend: cpuSeconds([backendPid]),
    cores: [PROXY_CORE, LOAD_CORE].map(coreTime),
    at: performance.now(),
  };
  const load = await workload.run(ground, proxy, exchanges, seconds);
  const wall = (performance.now() - before.at) / 1000;
  const backend = cpuSeconds([backendPid]) - before.backend;
  const cores = [PROXY_CORE, LOAD_CORE].map(coreTime).map((core, i) => ({
    busy: core.busySeconds - (before.cores[i]?.busySeconds ?? 0),
    stolen: core.stolenSeconds - (before.cores[i]?.stolenSeconds ?? 0),
  }));
  const used = total(partSeconds(proxy)) - total(before.parts);
  // The last closes are still under way when the load has its last reply.
  await sleep(100);
  const after = partSeconds(proxy);
  const unit = (cpu: number): number => (cpu / load.done) * 1e6;
  if (load.failed > 0) throw new Error(`${proxy.name}, ${workload.name}: ${load.failed} exchanges failed`);
  const [proxyCore = { busy: 0, stolen: 0 }, loadCore = { busy: 0, stolen: 0 }] = cores;
  const foreign = [proxyCore.busy - used + proxyCore.stolen, loadCore.stolen];
  if (load.cpuSeconds !== undefined) foreign.push(loadCore.busy - backend - load.cpuSeconds + loadCore.stolen);
  return {
    cpuUs: unit(total(after) - total(before.parts)),
    cpuUsByProcess: Object.fromEntries(
      Object.entries(after).map(([part, cpu]) => [part, unit(cpu - (before.parts[part] ?? 0))]),
    ),
    load,
    foreign: Math.max(...foreign) / wall,
  };
};

interface Outcome {
  readonly proxies: ReadonlyMap<string, readonly Slice[]>;
  readonly disturbedRounds: number;
  readonly setAside: number;
}

/** Rounds until enough are undisturbed, at most twice as many as asked for; the least disturbed count. */
const measureWorkload = async (
  ground: Ground,
  backendPid: number,
  taking: readonly Contender[],
  workload: Workload,
  { rounds, seconds }: L4Options,
): Promise<Outcome> => {
  const exchanges = new Map<string, number>();
  for (const proxy of taking) {
    const { load } = await slice(ground, backendPid, proxy, workload, workload.warmUp, 1);
    exchanges.set(proxy.name, Math.ceil((load.done / load.seconds) * seconds));
  }
  const all: Round[] = [];
  const disturbance = (round: Round): number => Math.max(...[...round.values()].map((s) => s.foreign));
  for (let i = 0; i < 2 * rounds; i++) {
    const round = new Map<string, Slice>();
    for (let k = 0; k < taking.length; k++) {
      // Another one begins each time.
      const proxy = taking[(i + k) % taking.length] as Contender;
      round.set(
        proxy.name,
        await slice(ground, backendPid, proxy, workload, exchanges.get(proxy.name) as number, seconds),
      );
    }
    all.push(round);
    if (all.filter((r) => disturbance(r) <= DISTURBED).length >= rounds) break;
  }
  const counted = [...all].sort((a, b) => disturbance(a) - disturbance(b)).slice(0, rounds);
  return {
    proxies: new Map(taking.map((p) => [p.name, counted.map((round) => round.get(p.name) as Slice)])),
    disturbedRounds: counted.filter((round) => disturbance(round) > DISTURBED).length,
    setAside: all.length - counted.length,
  };
};

const medianOf = (slices: readonly Slice[], value: (s: Slice) => number): number => spread(slices.map(value)).median;

interface Verdict {
  readonly bestPeer: string;
  /** Marcher's CPU per unit divided by the best peer's; medians over the rounds. */
  readonly cpuPerUnit: number;
  readonly workPerCpuSecond: number;
  readonly ofMedians: number;
  readonly met: boolean | undefined;
  readonly text: string;
}

const judge = (workload: Workload, { proxies }: Outcome): Verdict => {
  const cpu = (name: string): readonly number[] => proxies.get(name)?.map((s) => s.cpuUs) ?? [];
  const own = cpu('marcher');
  const bestPeer = workload.peers.reduce((a, b) => (spread(cpu(a)).median <= spread(cpu(b)).median ? a : b));
  const cpuPerUnit = spread(own.map((value, i) => value / (cpu(bestPeer)[i] ?? value))).median;
  const workPerCpuSecond = 1 / cpuPerUnit;
  const { goal } = workload;
  const ofMedians = spread(own).median / spread(cpu(bestPeer)).median;
  if (goal === undefined) {
    const text = `CPU ${cpuPerUnit.toFixed(3)} x ${bestPeer} (no goal)`;
    return { bestPeer, cpuPerUnit, workPerCpuSecond, ofMedians, met: undefined, text };
  }
  const met = goal.figure === 'cpu' ? cpuPerUnit <= goal.atMost : workPerCpuSecond >= goal.atLeast;
  const text =
    goal.figure === 'cpu'
      ? `CPU ${cpuPerUnit.toFixed(3)} x ${bestPeer}, goal <= ${goal.atMost}: ${met ? 'met' : 'SHORT'}`
      : `work ${workPerCpuSecond.toFixed(3)} x ${bestPeer}, goal >= ${goal.atLeast}: ${met ? 'met' : 'SHORT'}`;
  return { bestPeer, cpuPerUnit, workPerCpuSecond, ofMedians, met, text };
};

const report = (workload: Workload, outcome: Outcome, verdict: Verdict): Record<string, unknown> => ({
  what: workload.what,
  goal: workload.goal,
  ...verdict,
  text: undefined,
  disturbedRounds: outcome.disturbedRounds,
  roundsSetAside: outcome.setAside,
  proxies: Object.fromEntries(
    [...outcome.proxies].map(([name, slices]) => [
      name,
      {
        competes: name === 'marcher' || workload.peers.includes(name),
        cpuUsPerUnit: spread(slices.map((s) => s.cpuUs)),
        cpuUsByProcess: Object.fromEntries(
          Object.keys(slices[0]?.cpuUsByProcess ?? {}).map((part) => [
            part,
            medianOf(slices, (s) => s.cpuUsByProcess[part] ?? 0),
          ]),
        ),
        perCpuSecond: 1e6 / medianOf(slices, (s) => s.cpuUs),
        perSecond: spread(slices.map((s) => s.load.done / s.load.seconds)),
        p50Us: slices[0]?.load.p50Us === undefined ? undefined : medianOf(slices, (s) => s.load.p50Us ?? 0),
        p99Us: slices[0]?.load.p99Us === undefined ? undefined : medianOf(slices, (s) => s.load.p99Us ?? 0),
        lost: slices.reduce((sum, s) => sum + s.load.lost, 0),
        foreignShareOfCore: spread(slices.map((s) => s.foreign)),
      },
    ]),
  ),
});

const memoryByProcess = (proxy: Contender): Record<string, Memory> =>
  Object.fromEntries(Object.entries(proxy.processes()).map(([part, pids]) => [part, memory(pids)]));

/**
 * Memory with IDLE connections that have each had one exchange, beside that with none. What a connection costs is the
 * growth of the process that relays: the agent's heap comes and goes by itself.
 */
const idle = async (ground: Ground, proxy: Contender): Promise<Record<string, unknown>> => {
  const before = memoryByProcess(proxy);
  const kernelBefore = tcpMemoryBytes();
  // The load holds its connections until its input ends.
  const child = ground.scope.spawn(['sh', '-c', 'sleep 600 | exec "$@"', 'sh', ...idleLoad(ground, proxy)], {
    netns: ground.netns,
  });
  let ready = false;
  child.stdout?.on('data', () => {
    ready = true;
  });
  await until(`${IDLE} idle connections through ${proxy.name}`, () => ready, 60_000);
  await sleep(500);
  const after = memoryByProcess(proxy);
  const kernel = tcpMemoryBytes() - kernelBefore;
  for (const pid of family(child.pid as number)) process.kill(pid, 'SIGTERM');
  await sleep(1_500);
  const sum = (parts: typeof after, value: (m: Memory) => number): number =>
    Object.values(parts).reduce((bytes, m) => bytes + value(m), 0);
  const relay = 'engine' in after ? 'engine' : 'proxy';
  const growth = (after[relay]?.pssBytes ?? 0) - (before[relay]?.pssBytes ?? 0);
  return {
    pssBytesEmpty: sum(before, (m) => m.pssBytes),
    pssBytes: sum(after, (m) => m.pssBytes),
    rssBytes: sum(after, (m) => m.rssBytes),
    pssBytesPerConnection: Math.round(growth / IDLE),
    before,
    after,
    kernelTcpBytesAllEnds: kernel,
  };
};

/**
 * A namespace with loopback alone: no listener, rule or traffic of the machine takes part. Loopback gets Debian's
 * default congestion control where the kernel has it, whatever this machine's is, since others pace by timers whose
 * cost is not the proxies'. Returns what holds.
 */
const prepareNetwork = (netns: string): Record<string, string> => {
  const inside = (...argv: string[]): string =>
    execFileSync('nsenter', [`--net=/run/netns/${netns}`, '--', ...argv], { encoding: 'utf8' });
  // As many closed connections as the longest run leaves behind, at different ports.
  inside('sysctl', '-qw', 'net.ipv4.tcp_max_tw_buckets=1000000', 'net.ipv4.ip_local_port_range=10000 65000');
  const setting = (key: string): string => inside('sysctl', '-n', key).trim();
  let congestionControl = setting('net.ipv4.tcp_congestion_control');
  const choices = setting('net.ipv4.tcp_available_congestion_control').split(' ');
  if (congestionControl !== CONGESTION_CONTROL && choices.includes(CONGESTION_CONTROL)) {
    for (const prefix of ['127.0.0.0/8', '127.0.0.1'])
      inside(
        ...['ip', 'route', 'replace', 'local', prefix, 'dev', 'lo', 'proto', 'kernel', 'scope', 'host'],
        ...['src', '127.0.0.1', 'table', 'local', 'congctl', CONGESTION_CONTROL],
      );
    congestionControl = CONGESTION_CONTROL;
  }
  return { congestionControl, portRange: '10000-65000' };
};

const describeProgress = (text: string): void => {
  console.error(`${new Date().toISOString().slice(11, 19)} ${text}`);
};

interface Arena {
  readonly ground: Ground;
  readonly backendPid: number;
  readonly proxies: readonly Contender[];
  readonly network: Readonly<Record<string, string>>;
}

const startAll = async (scope: Scope): Promise<Arena> => {
  const netns = scope.addNetns('bench');
  const network = prepareNetwork(netns);
  const ground: Ground = { scope, netns, host: '127.0.0.1', ports: [7000, 7001, 7002, 7003], httpPort: 7010 };
  const argv = [BACKEND, ground.host, ground.ports[0], ground.ports.length, ground.httpPort].map(String);
  const backend = scope.spawn(pinned(LOAD_CORE, argv), { netns });
  await new Promise<void>((resolve, reject) => {
    backend.stdout?.once('data', () => resolve());
    backend.once('exit', (code) => reject(new Error(`bench-backend ended with ${code}`)));
  });
  const proxies = [
    await marcher(ground, 7100, ENGINE),
    await haproxy(ground, { name: 'haproxy', splice: false }, 7110),
    await haproxy(ground, { name: 'haproxy-splice', splice: true }, 7120),
    await nginx(ground, { name: 'nginx', buffer: '16k', halfClose: false }, 7130),
    await nginx(ground, { name: 'nginx-256k', buffer: '256k', halfClose: false }, 7140),
    await nginx(ground, { name: 'nginx-half-close', buffer: '16k', halfClose: true }, 7150),
  ];
  return { ground, backendPid: backend.pid as number, proxies, network };
};

/** Returns whether every goal was met. */
export const l4 = async (options: L4Options): Promise<boolean> => {
  const { only } = options;
  const scope = new Scope(path.join(REPOSITORY, '.cache/bench-logs'));
  try {
    const { ground, backendPid, proxies, network } = await startAll(scope);
    const result: Record<string, unknown> = {};
    const rows: string[][] = [];
    const verdicts: string[][] = [];
    let passed = true;
    for (const workload of workloads.filter((w) => only === undefined || w.name.includes(only))) {
      describeProgress(`${workload.name}: ${workload.what}`);
      const names = ['marcher', ...workload.peers, ...workload.shown];
      const taking = proxies.filter((p) => names.includes(p.name));
      const outcome = await measureWorkload(ground, backendPid, taking, workload, options);
      const verdict = judge(workload, outcome);
      passed &&= verdict.met !== false;
      result[workload.name] = report(workload, outcome, verdict);
      verdicts.push([workload.name, verdict.text]);
      if (outcome.disturbedRounds > 0)
        verdicts.push(['', `${outcome.disturbedRounds} of ${options.rounds} rounds disturbed by other processes`]);
      for (const [name, slices] of outcome.proxies) {
        const cpu = spread(slices.map((s) => s.cpuUs));
        rows.push([
          workload.name,
          name,
          cpu.median.toFixed(2),
          cpu.min.toFixed(2),
          cpu.max.toFixed(2),
          (1e6 / cpu.median).toFixed(0),
          medianOf(slices, (s) => s.load.done / s.load.seconds).toFixed(0),
          slices[0]?.load.p99Us === undefined ? '' : medianOf(slices, (s) => s.load.p99Us ?? 0).toFixed(0),
        ]);
      }
    }
    const idleResult: Record<string, unknown> = {};
    if (only === undefined || 'idle'.includes(only)) {
      describeProgress(`idle: ${IDLE} connections that have each had one exchange`);
      for (const proxy of proxies.filter((p) => ['marcher', 'haproxy', 'nginx'].includes(p.name))) {
        const figures = await idle(ground, proxy);
        idleResult[proxy.name] = figures;
        const mebibytes = (Number(figures['pssBytes']) / 2 ** 20).toFixed(1);
        verdicts.push([
          `idle-${IDLE}`,
          `${proxy.name}: ${mebibytes} MiB, ${figures['pssBytesPerConnection']} B per connection in the relaying process (PSS)`,
        ]);
      }
    }
    if (rows.length > 0) {
      printTable(['workload', 'proxy', 'CPU us/unit', 'min', 'max', 'per CPU-s', 'per s', 'p99 us'], rows);
      console.log();
    }
    printTable(['figure', 'result'], verdicts);
    const file = writeResult(only === undefined ? 'l4' : `l4-${only}`, {
      machine: { ...machine(), network },
      rounds: options.rounds,
      secondsPerSlice: options.seconds,
      cores: { proxy: PROXY_CORE, loadAndBackend: LOAD_CORE },
      versions: { ...Object.fromEntries(proxies.map((p) => [p.name, p.version])), wrk: version('wrk', '-v') },
      workloads: result,
      idle: { connections: IDLE, proxies: idleResult },
    });
    console.log(`\n${file}`);
    return passed;
  } finally {
    await scope.close();
  }
};
