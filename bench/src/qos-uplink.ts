// SPDX-License-Identifier: Apache-2.0
/**
 * What priorities are worth in tc: short exchanges of a P0 service beside bulk of a P3 service, over a link to clients that
 * is narrow behind the director and has a deep queue, as an uplink behind a modem. The policy holds bulk to less than that
 * link, so that it waits here: by fq's departure times where the kernel has fq, else in classes of HTB.
 */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { Agent } from '@marcher/e2e/harness/agent';
import { Flow } from '@marcher/e2e/harness/flow';
import { makeRouted, VIP4 } from '@marcher/e2e/harness/routed';
import { type Scope, sleep, until } from '@marcher/e2e/harness/scope';
import { type Latencies, type Latency, sayRound, shortExchanges } from './latency.js';
import { LOAD_CORE, pinned } from './peers.js';

const SERVER = { sink: 9000, source: 9001, udp: 9002 } as const;
const SHORT_PORT = 9100;
const LINK = '40mbit';
const BULK_RATE = '30Mbit';
const HEALTHY = 2;

export interface UplinkOptions {
  readonly rounds: number;
  /** Folder of the release build. */
  readonly build: string;
  /** Programs of bench/load. */
  readonly load: string;
  readonly backend: string;
  /** Of what measures. */
  readonly wrapper: readonly string[];
}

/** Returns by what bulk waits, too. */
export const measureUplink = async (
  scope: Scope,
  { rounds, build, load, backend: backendProgram, wrapper }: UplinkOptions,
): Promise<{ waitsBy: string; latencies: Latencies }> => {
  const net = makeRouted(scope, { directors: 1, backends: 1 });
  const [director] = net.directors;
  const [backend] = net.backends;
  if (director === undefined || backend === undefined) throw new Error('the ground has no hosts');
  const narrow = `tc qdisc add dev c root tbf rate ${LINK} burst 32k limit 4mb`;
  execFileSync('nsenter', [`--net=/run/netns/${net.router}`, '--', ...narrow.split(' ')]);
  const agent = new Agent(scope, {
    netns: director.netns,
    name: 'uplink',
    engine: path.join(build, 'marcher-engine'),
    args: [
      ...['--library', path.join(build, 'control/libmarcher.so'), '--interfaces', 'up0', '--xdp', 'off'],
      ...['--bpf-dir', path.join(scope.addBpffs(), 'node')],
    ],
  });
  await agent.start();
  await Flow.server(scope, 'uplink server', SERVER, backend.netns);
  const argv = [backendProgram, backend.v4, SHORT_PORT, 1, SHORT_PORT + 1].map(String);
  const short = scope.spawn(pinned(LOAD_CORE, [...wrapper, ...argv]), { netns: backend.netns });
  await new Promise<void>((resolve, reject) => {
    short.stdout?.once('data', () => resolve());
    short.once('exit', (code) => reject(new Error(`bench-backend ended with ${code}`)));
  });

  const apply = async (policies: boolean): Promise<void> => {
    const ports = [
      ['short', SHORT_PORT],
      ['bulk', SERVER.source],
    ] as const;
    const services = ports.map(([name, port]) => ({
      name,
      listeners: [{ protocol: 'tcp', address: VIP4, port }],
      backends: [{ name: 'b', address: `${backend.v4}:${port}` }],
      forwarding: { mode: 'nat', sourceNat: true },
      health: { type: 'tcp', port: SERVER.sink, interval: '500ms', timeout: '400ms' },
      ...(policies && { trafficPolicy: name }),
    }));
    const trafficPolicies = [
      { name: 'short', priority: 'P0' },
      { name: 'bulk', priority: 'P3', egress: { rate: BULK_RATE } },
    ];
    await agent.apply(services, policies ? { trafficPolicies } : {});
    await until('tc to carry the services', async () => {
      const found = (await agent.node.tiers({ service: '' })).services;
      return found.length === services.length && found.every(({ tier }) => tier === 'tc');
    });
    for (const { name } of services) await agent.backendsAre(name, HEALTHY, ['b']);
    await sleep(500); // tc hears of it a moment later
  };
  const target = { netns: net.client.netns, host: VIP4, port: SHORT_PORT, load, wrapper };
  const beside = async (name: 'without' | 'with'): Promise<Latency> => {
    const settings = { host: VIP4, port: SERVER.source, kind: 'tcp-receive', count: 12 } as const;
    const bulk = await Flow.client(scope, `bulk ${name}`, settings, net.client.netns);
    await sleep(2_000); // its burst has to leave the narrow link's queue
    const began = await bulk.count();
    const found = await shortExchanges(scope, target);
    const ended = await bulk.count();
    await bulk.stop();
    const bulkBitsPerSecond = ((ended.bytes - began.bytes) * 8) / ((ended.atMs - began.atMs) / 1_000);
    return { ...found, bulkBitsPerSecond };
  };

  const latencies: Latencies = { alone: [], without: [], with: [] };
  let waitsBy = '';
  for (let i = 0; i < rounds; i++) {
    await apply(false);
    latencies.alone.push({ ...(await shortExchanges(scope, target)), bulkBitsPerSecond: 0 });
    latencies.without.push(await beside('without'));
    await apply(true);
    const { xdpInterfaces } = await agent.node.status({ withTraffic: false });
    waitsBy = xdpInterfaces.find(({ name }) => name === 'up0')?.shaping ?? '';
    latencies.with.push(await beside('with'));
    sayRound('uplink', i, latencies);
  }
  await agent.apply([]);
  agent.kill('SIGTERM');
  return { waitsBy, latencies };
};
