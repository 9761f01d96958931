// SPDX-License-Identifier: Apache-2.0
/**
 * npm run bench -- qos: how exactly the relay, XDP and tc (qos-tiers.ts) keep the rates of traffic policies, and what a
 * priority is worth, in the relay and in tc (qos-uplink.ts).
 *
 * Rates are payload as it arrives, over so many seconds after the burst has gone. For priorities, clients of a P0 service
 * have short exchanges while those of a P3 service keep the engine's core busy with bulk: once with the policies, once
 * without any, in turn. Client and server of the short exchanges are real-time processes, so that what is measured is the
 * wait in the proxy and not that for their own core.
 */
import path from 'node:path';
import { printTable } from '@marcher/e2e/demo/table';
import { Agent, type ServiceFile } from '@marcher/e2e/harness/agent';
import { Flow } from '@marcher/e2e/harness/flow';
import type { FlowClient } from '@marcher/e2e/harness/flow-main';
import { REPOSITORY, Scope, sleep } from '@marcher/e2e/harness/scope';
import {
  type Latencies,
  type Latency,
  printLatencies,
  priorityHelps,
  SHORT,
  sayRound,
  shortExchanges,
  summaries,
} from './latency.js';
import { machine } from './measure.js';
import { LOAD_CORE, PROXY_CORE, pinned } from './peers.js';
import { measureTiers } from './qos-tiers.js';
import { measureUplink } from './qos-uplink.js';
import { type Rate, rateOf } from './rate.js';
import { writeResult } from './result.js';

const BUILD = path.join(REPOSITORY, 'dataplane-c/build-release/src');
const LOAD = path.join(REPOSITORY, 'bench/load/build/bench-load');
const BACKEND = path.join(REPOSITORY, 'bench/load/build/bench-backend');
const BULK = path.join(REPOSITORY, 'bench/load/build/bench-bulk');
const HOST = '127.0.0.1';
const SERVER = { sink: 9000, source: 9001, udp: 9002 } as const;
const SHORT_PORT = 9100;
const BULK_PORT = 9200;
/** Most that a rate may be off. */
const GOAL_ERROR = 0.03;
const BULK_CONNECTIONS = 16;

interface Measured {
  readonly what: string;
  readonly policy: Readonly<Record<string, unknown>>;
  readonly backend: number;
  readonly client: Omit<FlowClient, 'host' | 'port'>;
  /** Where the bytes arrive. */
  readonly at: 'client' | 'server';
  readonly bitsPerSecond: number;
  /** UDP to clients: what the server sends. */
  readonly flood?: number;
}

const rates: readonly Measured[] = [
  ...[1, 16].flatMap((count): Measured[] => [
    {
      what: `service in, TCP, ${count}`,
      policy: { ingress: { rate: '100Mbit' } },
      backend: SERVER.sink,
      client: { kind: 'tcp-send', count },
      at: 'server',
      bitsPerSecond: 100e6,
    },
    {
      what: `service out, TCP, ${count}`,
      policy: { egress: { rate: '100Mbit' } },
      backend: SERVER.source,
      client: { kind: 'tcp-receive', count },
      at: 'client',
      bitsPerSecond: 100e6,
    },
    {
      what: `connection in, TCP, ${count}`,
      policy: { perConnection: { ingress: { rate: '10Mbit' } } },
      backend: SERVER.sink,
      client: { kind: 'tcp-send', count },
      at: 'server',
      bitsPerSecond: 10e6 * count,
    },
    {
      what: `connection out, TCP, ${count}`,
      policy: { perConnection: { egress: { rate: '10Mbit' } } },
      backend: SERVER.source,
      client: { kind: 'tcp-receive', count },
      at: 'client',
      bitsPerSecond: 10e6 * count,
    },
  ]),
  {
    what: 'service out, TCP, 4, at 1 Gbit/s',
    policy: { egress: { rate: '1Gbit' } },
    backend: SERVER.source,
    client: { kind: 'tcp-receive', count: 4 },
    at: 'client',
    bitsPerSecond: 1e9,
  },
  {
    what: 'service out, TCP, 4, at 1 Mbit/s',
    policy: { egress: { rate: '1Mbit' } },
    backend: SERVER.source,
    client: { kind: 'tcp-receive', count: 4 },
    at: 'client',
    bitsPerSecond: 1e6,
  },
  {
    what: 'service in, UDP, 4',
    policy: { ingress: { rate: '50Mbit' } },
    backend: SERVER.udp,
    client: { kind: 'udp', count: 4, bitsPerSecond: 100e6 },
    at: 'server',
    bitsPerSecond: 50e6,
  },
  {
    what: 'session in, UDP, 4',
    policy: { perConnection: { ingress: { rate: '10Mbit' } } },
    backend: SERVER.udp,
    client: { kind: 'udp', count: 4, bitsPerSecond: 80e6 },
    at: 'server',
    bitsPerSecond: 40e6,
  },
  {
    what: 'service out, UDP, 4',
    policy: { egress: { rate: '50Mbit' } },
    backend: SERVER.udp,
    client: { kind: 'udp', count: 4 },
    at: 'client',
    bitsPerSecond: 50e6,
    flood: 100e6,
  },
];

const service = (name: string, port: number, protocol: string, backend: number, policy: string): ServiceFile => ({
  name,
  listeners: [{ protocol, address: HOST, port }],
  backends: [{ name: 'b', address: `${HOST}:${backend}` }],
  ...(policy === '' ? {} : { trafficPolicy: policy }),
});

/**
 * Whatever else runs on the machine, what is looked at is the proxy, not the wait for a core: real-time processes where
 * cores have time to spare. Not where the proxy is to be busy, since the kernel lets those have no whole core.
 */
const REAL_TIME = ['chrt', '-f', '10'];
const FIRST = ['nice', '-n', '-20'];

const started = async (
  scope: Scope,
  netns: string,
  name: string,
  workers: number,
  wrapper: readonly string[],
): Promise<Agent> => {
  const agent = new Agent(scope, {
    netns,
    name,
    wrapper,
    engine: path.join(BUILD, 'marcher-engine'),
    args: [
      ...['--library', path.join(BUILD, 'control/libmarcher.so'), '--workers', String(workers)],
      ...(workers === 1 ? ['--cpus', String(PROXY_CORE)] : []),
    ],
  });
  await agent.start();
  return agent;
};

/** Two workers: what is shared by connections is shared by threads too. */
const measureRates = async (scope: Scope, seconds: number): Promise<Rate[]> => {
  const netns = scope.addNetns('r');
  const agent = await started(scope, netns, 'rates', 2, REAL_TIME);
  const results: Rate[] = [];
  for (const [i, m] of rates.entries()) {
    const port = 7000 + i;
    const server = await Flow.server(scope, `server ${i}`, SERVER, netns, REAL_TIME);
    const protocol = m.client.kind === 'udp' ? 'udp' : 'tcp';
    await agent.apply([service('s', port, protocol, m.backend, 'p')], {
      trafficPolicies: [{ name: 'p', ...m.policy }],
    });
    const client = await Flow.client(scope, `client ${i}`, { host: HOST, port, ...m.client }, netns, REAL_TIME);
    if (m.flood !== undefined) {
      await sleep(200);
      await server.flood(m.flood);
    }
    await sleep(1_000);
    const received = await (m.at === 'client' ? client : server).received(seconds * 1_000);
    await client.stop();
    await server.stop();
    results.push(rateOf(m.what, m.bitsPerSecond, protocol === 'tcp' ? m.client.count : 0, received));
  }
  await agent.apply([]);
  agent.kill('SIGTERM');
  return results;
};

const SHORT_TARGET = { host: HOST, port: 7101, load: LOAD, wrapper: REAL_TIME };

/** Short exchanges beside bulk that never ends. */
const beside = async (scope: Scope, netns: string): Promise<Latency> => {
  const argv = [BULK, 'drain', HOST, 7102, BULK_CONNECTIONS].map(String);
  const drain = scope.spawn(pinned(LOAD_CORE, argv), { netns });
  const ended = new Promise((resolve) => drain.once('exit', resolve));
  const counts: { atMs: number; bytes: number }[] = [];
  drain.stdout?.setEncoding('utf8').on('data', (lines: string) => {
    for (const [, at, bytes] of lines.matchAll(/^(\d+) (\d+)$/gm))
      counts.push({ atMs: Number(at), bytes: Number(bytes) });
  });
  await sleep(500);
  const first = counts.length - 1;
  const found = await shortExchanges(scope, { ...SHORT_TARGET, netns });
  const [before, after] = [counts[first], counts.at(-1)];
  drain.kill();
  await ended;
  if (before === undefined || after === undefined) throw new Error('bench-bulk counted nothing');
  const bulkBitsPerSecond = ((after.bytes - before.bytes) * 8) / ((after.atMs - before.atMs) / 1_000);
  return { ...found, bulkBitsPerSecond };
};

const measurePriorities = async (scope: Scope, rounds: number): Promise<Latencies> => {
  const netns = scope.addNetns('l');
  const agent = await started(scope, netns, 'priorities', 1, FIRST);
  const backend = scope.spawn(
    pinned(LOAD_CORE, [...REAL_TIME, BACKEND, HOST, String(SHORT_PORT), '1', String(SHORT_PORT + 1)]),
    { netns },
  );
  await new Promise<void>((resolve, reject) => {
    backend.stdout?.once('data', () => resolve());
    backend.once('exit', (code) => reject(new Error(`bench-backend ended with ${code}`)));
  });
  scope.spawn(pinned(LOAD_CORE, [BULK, 'source', HOST, String(BULK_PORT)]), { netns });
  const apply = (policies: boolean): Promise<void> =>
    agent.apply(
      [
        service('short', 7101, 'tcp', SHORT_PORT, policies ? 'gold' : ''),
        service('bulk', 7102, 'tcp', BULK_PORT, policies ? 'bulk' : ''),
      ],
      policies
        ? {
            trafficPolicies: [
              { name: 'gold', priority: 'P0' },
              { name: 'bulk', priority: 'P3' },
            ],
          }
        : {},
    );
  const results: Latencies = { alone: [], without: [], with: [] };
  for (let i = 0; i < rounds; i++) {
    await apply(false);
    await sleep(200);
    results.alone.push({ ...(await shortExchanges(scope, { ...SHORT_TARGET, netns })), bulkBitsPerSecond: 0 });
    results.without.push(await beside(scope, netns));
    await apply(true);
    await sleep(200);
    results.with.push(await beside(scope, netns));
    sayRound('relay', i, results);
  }
  return results;
};

export interface QosOptions {
  readonly rounds: number;
  /** Over which a rate is measured. */
  readonly seconds: number;
  /** rates (the relay's), tiers (those of XDP and tc), priorities (of the relay) or uplink (of tc) alone; the result goes to a file of its own. */
  readonly only: string | undefined;
}

/** Nothing of an earlier measurement runs beside it. */
const onOwnGround = async <T>(measure: (scope: Scope) => Promise<T>): Promise<T> => {
  const scope = new Scope(path.join(REPOSITORY, '.cache/bench-logs'));
  try {
    return await measure(scope);
  } finally {
    await scope.close();
  }
};

/** Returns whether every goal was met. */
export const qos = async ({ rounds, seconds, only }: QosOptions): Promise<boolean> => {
  const result: Record<string, unknown> = {};
  let passed = true;
  const rates = {
    rates: (scope: Scope) => measureRates(scope, seconds),
    tiers: (scope: Scope) => measureTiers(scope, seconds, BUILD, REAL_TIME),
  } as const;
  for (const [name, measure] of Object.entries(rates)) {
    if (only !== undefined && !name.includes(only)) continue;
    const measured = await onOwnGround(measure);
    passed &&= measured.every(({ error }) => Math.abs(error) <= GOAL_ERROR);
    result[name] = measured;
    const rows = measured.map(({ what, configuredBitsPerSecond, bitsPerSecond, error, shares }) => [
      what,
      (configuredBitsPerSecond / 1e6).toFixed(0),
      (bitsPerSecond / 1e6).toFixed(2),
      `${(error * 100).toFixed(2)} %`,
      shares === undefined ? '' : shares.map((s) => s.toFixed(2)).join(' to '),
      Math.abs(error) <= GOAL_ERROR ? 'met' : 'SHORT',
    ]);
    printTable(['rate', 'Mbit/s', 'measured', 'error', 'of an even share', `goal ${GOAL_ERROR * 100} %`], rows);
    console.log();
  }
  if (only === undefined || 'priorities'.includes(only)) {
    const latencies = await onOwnGround((scope) => measurePriorities(scope, rounds));
    result['priorities'] = {
      short: SHORT,
      bulkConnections: BULK_CONNECTIONS,
      ...summaries(latencies),
    };
    passed &&= priorityHelps(latencies);
    printLatencies('relay: short exchanges', latencies);
  }
  if (only === undefined || 'uplink'.includes(only)) {
    const options = { rounds, build: BUILD, load: LOAD, backend: BACKEND, wrapper: REAL_TIME };
    const { waitsBy, latencies } = await onOwnGround((scope) => measureUplink(scope, options));
    result['uplink'] = { waitsBy, ...summaries(latencies) };
    passed &&= priorityHelps(latencies);
    printLatencies(`tc, narrow link, waits by ${waitsBy}`, latencies);
  }
  const name = only === undefined ? 'qos' : `qos-${only}`;
  console.log(`${writeResult(name, { machine: machine(), rounds, secondsPerRate: seconds, ...result })}`);
  return passed;
};
