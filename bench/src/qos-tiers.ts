// SPDX-License-Identifier: Apache-2.0
/**
 * How exactly XDP and tc keep the rates of traffic policies: the part of npm run bench -- qos beside the relay's. A client,
 * a director and a backend behind a router, whole frames without offloads; what is counted is payload as it arrives.
 *
 * Servers end with each measurement: what senders still have in their buffers is reset, and does not come in the next one.
 */
import path from 'node:path';
import { Agent } from '@marcher/e2e/harness/agent';
import { Flow } from '@marcher/e2e/harness/flow';
import type { FlowClient } from '@marcher/e2e/harness/flow-main';
import { makeRouted, VIP4 } from '@marcher/e2e/harness/routed';
import { type Scope, sleep, until } from '@marcher/e2e/harness/scope';
import { type Rate, rateOf } from './rate.js';

const NAT_VIP = '198.51.100.11';
const HEALTHY = 2;
const UNHEALTHY = 3;
const SERVER = { sink: 9000, source: 9001, udp: 9002 } as const;

interface Measured {
  readonly tier: 'xdp' | 'tc';
  readonly what: string;
  readonly policy: Readonly<Record<string, unknown>>;
  readonly backend: number;
  readonly client: Omit<FlowClient, 'host' | 'port'>;
  readonly at: 'client' | 'server';
  readonly bitsPerSecond: number;
  readonly flood?: number;
}

const RATE = 40e6;
const EACH = 10e6;

const inward = (tier: 'xdp' | 'tc'): Measured[] => [
  ...[1, 4].map(
    (count): Measured => ({
      tier,
      what: `service in, TCP, ${count}`,
      policy: { ingress: { rate: '40Mbit' } },
      backend: SERVER.sink,
      client: { kind: 'tcp-send', count },
      at: 'server',
      bitsPerSecond: RATE,
    }),
  ),
  {
    tier,
    what: 'service in, UDP, 4',
    policy: { ingress: { rate: '40Mbit' } },
    backend: SERVER.udp,
    client: { kind: 'udp', count: 4, bitsPerSecond: 2 * RATE },
    at: 'server',
    bitsPerSecond: RATE,
  },
  {
    tier,
    what: 'flow in, TCP, 4',
    policy: { perConnection: { ingress: { rate: '10Mbit' } } },
    backend: SERVER.sink,
    client: { kind: 'tcp-send', count: 4 },
    at: 'server',
    bitsPerSecond: 4 * EACH,
  },
  {
    tier,
    what: 'flow in, UDP, 4',
    policy: { perConnection: { ingress: { rate: '10Mbit' } } },
    backend: SERVER.udp,
    client: { kind: 'udp', count: 4, bitsPerSecond: 8 * EACH },
    at: 'server',
    bitsPerSecond: 4 * EACH,
  },
];

/** Answers come back through tc alone. */
const outward: readonly Measured[] = [
  ...[1, 4].map(
    (count): Measured => ({
      tier: 'tc',
      what: `service out, TCP, ${count}`,
      policy: { egress: { rate: '40Mbit' } },
      backend: SERVER.source,
      client: { kind: 'tcp-receive', count },
      at: 'client',
      bitsPerSecond: RATE,
    }),
  ),
  {
    tier: 'tc',
    what: 'service out, UDP, 4',
    policy: { egress: { rate: '40Mbit' } },
    backend: SERVER.udp,
    client: { kind: 'udp', count: 4 },
    at: 'client',
    bitsPerSecond: RATE,
    flood: 2 * RATE,
  },
];

const measured: readonly Measured[] = [...inward('xdp'), ...inward('tc'), ...outward];

/** wrapper: of clients and servers, and of the agent, which only watches. */
export const measureTiers = async (
  scope: Scope,
  seconds: number,
  build: string,
  wrapper: readonly string[],
): Promise<Rate[]> => {
  const net = makeRouted(scope, { directors: 1, backends: 1, oneLink: true });
  const [director] = net.directors;
  const [backend] = net.backends;
  if (director === undefined || backend === undefined) throw new Error('the ground has no hosts');
  const agent = new Agent(scope, {
    netns: director.netns,
    name: 'tiers',
    engine: path.join(build, 'marcher-engine'),
    args: [
      ...['--library', path.join(build, 'control/libmarcher.so'), '--interfaces', 'up0'],
      ...['--bpf-dir', path.join(scope.addBpffs(), 'node')],
    ],
  });
  await agent.start();
  const results: Rate[] = [];
  for (const [i, m] of measured.entries()) {
    const protocol = m.client.kind === 'udp' ? 'udp' : 'tcp';
    const host = m.tier === 'tc' ? NAT_VIP : VIP4;
    const forwarding = m.tier === 'tc' ? { mode: 'nat', sourceNat: true } : { mode: 'l2' };
    const service = {
      name: 's',
      listeners: [{ protocol, address: host, port: m.backend }],
      backends: [{ name: 'b', address: `${backend.v4}:${m.backend}` }],
      forwarding,
      trafficPolicy: 'p',
      // XDP asks nobody for Ethernet addresses: probes keep the backend's known.
      health: { type: 'tcp', port: SERVER.sink, interval: '200ms', timeout: '150ms' },
    };
    await agent.apply([service], { trafficPolicies: [{ name: 'p', ...m.policy }] });
    await until(`${m.tier} to carry the service`, async () => {
      const { services } = await agent.node.tiers({ service: 's' });
      return services[0]?.tier === m.tier;
    });
    const server = await Flow.server(scope, `tier server ${i}`, SERVER, backend.netns, wrapper);
    await agent.backendsAre('s', HEALTHY, ['b']);
    await sleep(500); // the tiers hear of it a moment later
    const client = await Flow.client(
      scope,
      `tier client ${i}`,
      { host, port: m.backend, ...m.client },
      net.client.netns,
      wrapper,
    );
    if (m.flood !== undefined) {
      await sleep(200);
      await server.flood(m.flood);
    }
    await sleep(1_000);
    const received = await (m.at === 'client' ? client : server).received(seconds * 1_000);
    await server.stop();
    await client.stop();
    await agent.backendsAre('s', UNHEALTHY, ['b']);
    results.push(rateOf(`${m.tier}: ${m.what}`, m.bitsPerSecond, protocol === 'tcp' ? m.client.count : 0, received));
  }
  await agent.apply([]);
  agent.kill('SIGTERM');
  return results;
};
