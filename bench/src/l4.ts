// SPDX-License-Identifier: Apache-2.0
/** npm run bench -- l4: Marcher beside HAProxy and nginx stream, in turn, CPU time per unit of work. */
import path from 'node:path';
import { printTable } from '@marcher/e2e/demo/table';
import { REPOSITORY, Scope, sleep, until } from '@marcher/e2e/harness/scope';
import { cpuSeconds, family, machine, memory, type Spread, spread, tcpMemoryBytes } from './measure.js';
import { type Contender, haproxy, LOAD_CORE, marcher, nginx, type Target } from './peers.js';
import { writeResult } from './result.js';

const LOAD = path.join(REPOSITORY, 'bench/load/build/bench-load');
const BACKEND = path.join(REPOSITORY, 'bench/load/build/bench-backend');
const ENGINE = path.join(REPOSITORY, 'dataplane-c/build-release/src/marcher-engine');
const IDLE = 8_000;
const PROXY_PROCESSES = '0 (every process of the proxy; for Marcher engine and agent)';

interface LoadResult {
  readonly done: number;
  readonly failed: number;
  readonly lost: number;
  readonly seconds: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

interface Workload {
  readonly name: string;
  readonly what: string;
  readonly args: readonly string[];
  readonly count: number;
  /** Names of proxies that take part beside Marcher. */
  readonly peers: readonly string[];
  /** Least ratio of work per CPU-second, Marcher to the best peer. */
  readonly goal: number;
}

const workloads: readonly Workload[] = [
  {
    name: 'keepalive-64B',
    what: 'requests of 64 B on 50 standing connections',
    args: ['keepalive', '50', '64'],
    count: 150_000,
    peers: ['haproxy', 'nginx'],
    goal: 1 / 0.95,
  },
  {
    name: 'connect',
    what: 'connect, one request of 64 B, close; 50 at a time',
    args: ['connect', '50', '64'],
    count: 20_000,
    peers: ['haproxy', 'nginx'],
    goal: 1.2,
  },
  {
    name: 'bulk-1MB',
    what: 'replies of 1 MB on 8 standing connections',
    args: ['keepalive', '8', '1048576'],
    count: 4_000,
    peers: ['haproxy', 'haproxy-splice', 'nginx', 'nginx-256k'],
    goal: 1.1,
  },
  {
    name: 'udp-512B',
    what: 'datagrams of 512 B, 200 clients, each answered',
    args: ['udp', '200', '512'],
    count: 150_000,
    peers: ['nginx'],
    goal: 1.2,
  },
];

const onLoadCore = (argv: readonly string[]): string[] => ['taskset', '-c', LOAD_CORE, ...argv];

interface Sample {
  readonly perCpuSecond: number;
  readonly cpuUs: number;
  readonly load: LoadResult;
}

const round = async (scope: Scope, proxy: Contender, workload: Workload, count: number): Promise<Sample> => {
  const [mode = '', connections = '', bytes = ''] = workload.args;
  const before = cpuSeconds(proxy.pids());
  const argv = [LOAD, mode, '127.0.0.1', String(proxy.port), connections, String(count), bytes];
  const load = JSON.parse(await scope.must(onLoadCore(argv), { timeoutMs: 130_000 })) as LoadResult;
  // The last closes are still under way when the load has its last reply.
  await sleep(50);
  const cpu = cpuSeconds(proxy.pids()) - before;
  if (load.failed > 0) throw new Error(`${proxy.name}, ${workload.name}: ${load.failed} of ${count} exchanges failed`);
  return { perCpuSecond: load.done / cpu, cpuUs: (cpu / load.done) * 1e6, load };
};

const idle = async (scope: Scope, proxy: Contender): Promise<Record<string, number>> => {
  const before = memory(proxy.pids());
  const kernelBefore = tcpMemoryBytes();
  const child = scope.spawn(
    [
      'sh',
      '-c',
      'sleep 600 | exec "$@"',
      'sh',
      ...onLoadCore([LOAD, 'idle', '127.0.0.1', String(proxy.port), String(IDLE), '0', '64']),
    ],
    {},
  );
  let ready = false;
  child.stdout?.on('data', () => {
    ready = true;
  });
  await until(`${IDLE} idle connections through ${proxy.name}`, () => ready, 60_000);
  await sleep(500);
  const after = memory(proxy.pids());
  const kernel = tcpMemoryBytes() - kernelBefore;
  for (const pid of family(child.pid as number)) process.kill(pid, 'SIGTERM');
  await sleep(1_500);
  return {
    pssBytesEmpty: before.pssBytes,
    pssBytes: after.pssBytes,
    rssBytes: after.rssBytes,
    pssBytesPerConnection: Math.round((after.pssBytes - before.pssBytes) / IDLE),
    kernelTcpBytesAllEnds: kernel,
  };
};

export const l4 = async (rounds: number, only: string | undefined): Promise<boolean> => {
  const scope = new Scope(path.join(REPOSITORY, '.cache/bench-logs'));
  try {
    const target: Target = { host: '127.0.0.1', ports: [19_700, 19_701, 19_702, 19_703] };
    const backend = scope.spawn(onLoadCore([BACKEND, target.host, '19700', String(target.ports.length)]), {});
    await new Promise<void>((resolve, reject) => {
      backend.stdout?.once('data', () => resolve());
      backend.once('exit', (code) => reject(new Error(`bench-backend ended with ${code}; is port 19700 taken?`)));
    });
    const proxies = [
      await marcher(scope, target, 19_800, ENGINE),
      await haproxy(scope, target, 19_801, false),
      await haproxy(scope, target, 19_802, true),
      await nginx(scope, target, 19_803, '16k'),
      await nginx(scope, target, 19_804, '256k'),
    ];
    const result: Record<string, unknown> = {};
    const rows: string[][] = [];
    let passed = true;
    for (const workload of workloads.filter((w) => only === undefined || w.name.includes(only))) {
      const taking = proxies.filter((p) => p.name === 'marcher' || workload.peers.includes(p.name));
      const samples = new Map<string, Sample[]>(taking.map((p) => [p.name, []]));
      for (const proxy of taking) await round(scope, proxy, workload, Math.ceil(workload.count / 10));
      for (let i = 0; i < rounds; i++) {
        // Another one begins each time, so that drift of the machine falls on all alike.
        for (let k = 0; k < taking.length; k++) {
          const proxy = taking[(i + k) % taking.length] as Contender;
          samples.get(proxy.name)?.push(await round(scope, proxy, workload, workload.count));
        }
      }
      const rate = new Map<string, Spread>();
      for (const [name, list] of samples) rate.set(name, spread(list.map((s) => s.perCpuSecond)));
      const best = workload.peers.reduce((a, b) => ((rate.get(a)?.median ?? 0) >= (rate.get(b)?.median ?? 0) ? a : b));
      const ratio = (rate.get('marcher')?.median ?? 0) / (rate.get(best)?.median ?? 1);
      const good = ratio >= workload.goal;
      passed &&= good;
      result[workload.name] = {
        what: workload.what,
        count: workload.count,
        bestPeer: best,
        ratioOfWorkPerCpuSecond: ratio,
        ratioOfCpuPerUnit: 1 / ratio,
        goal: workload.goal,
        passed: good,
        proxies: Object.fromEntries(
          [...samples].map(([name, list]) => [
            name,
            {
              perCpuSecond: rate.get(name),
              cpuUsPerUnit: spread(list.map((s) => s.cpuUs)),
              perSecond: spread(list.map((s) => s.load.done / s.load.seconds)),
              p50Us: spread(list.map((s) => s.load.p50Us)).median,
              p99Us: spread(list.map((s) => s.load.p99Us)).median,
              lost: list.reduce((sum, s) => sum + s.load.lost, 0),
            },
          ]),
        ),
      };
      for (const [name, list] of samples) {
        const r = rate.get(name) as Spread;
        rows.push([
          workload.name,
          name,
          spread(list.map((s) => s.cpuUs)).median.toFixed(2),
          r.median.toFixed(0),
          r.min.toFixed(0),
          r.max.toFixed(0),
          spread(list.map((s) => s.load.p99Us)).median.toFixed(0),
          name === 'marcher'
            ? `${ratio.toFixed(3)} x ${best}, goal ${workload.goal.toFixed(3)}: ${good ? 'pass' : 'SHORT'}`
            : '',
        ]);
      }
    }
    const idleResult: Record<string, Record<string, number>> = {};
    if (only === undefined || 'idle'.includes(only)) {
      for (const proxy of proxies.filter((p) => ['marcher', 'haproxy', 'nginx'].includes(p.name))) {
        const figures = await idle(scope, proxy);
        idleResult[proxy.name] = figures;
        rows.push([
          `idle-${IDLE}`,
          proxy.name,
          '',
          '',
          '',
          '',
          '',
          `PSS ${((figures['pssBytes'] ?? 0) / 2 ** 20).toFixed(1)} MiB, ${figures['pssBytesPerConnection']} B per connection`,
        ]);
      }
    }
    printTable(['workload', 'proxy', 'CPU us', 'per CPU-s', 'min', 'max', 'p99 us', ''], rows);
    const file = writeResult(only === undefined ? 'l4' : `l4-${only}`, {
      machine: machine(),
      rounds,
      cores: { proxy: PROXY_PROCESSES, loadAndBackend: LOAD_CORE },
      versions: Object.fromEntries(proxies.map((p) => [p.name, p.version])),
      workloads: result,
      idle: { connections: IDLE, proxies: idleResult },
    });
    console.log(`\n${file}`);
    return passed;
  } finally {
    await scope.close();
  }
};
