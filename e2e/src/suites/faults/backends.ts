// SPDX-License-Identifier: Apache-2.0
/** Backends die, vanish, slow down, refuse and reset; the DNS server that names them goes away. */
import { DnsServer } from '../../harness/dns.js';
import type { Exchange } from '../../harness/load-main.js';
import { now, sleep } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { blackhole } from '../../harness/topology.js';
import { quickHealth, targets, tcpService } from '../services.js';
import { bringUp, DETECTION_MS, HEALTHY, nothingLost, startLoad, UNHEALTHY } from './load.js';

/** One in the dead backend's queue, and up to three that are refused before a flow that was answered moves. */
const UDP_LOST_PER_FLOW = 4;

/** Failures must lie within [from, to) of their sending. */
const failuresWithin = (
  world: World,
  what: string,
  exchanges: readonly Exchange[],
  from: number,
  to: number,
): number => {
  const failures = exchanges.filter((e) => e.failure !== '');
  const outside = failures.filter((e) => e.sent < from || e.sent >= to);
  const first = outside[0];
  world.check(
    first === undefined,
    `${what}: ${outside.length} requests failed outside of the detection time, the first ${first?.failure} sent ` +
      `${((first?.sent ?? 0) - from).toFixed(0)} ms after the fault`,
  );
  return failures.length;
};

export const backendFaults: readonly Case[] = [
  {
    name: 'backend killed: only what was open on it is lost',
    alone: true,
    run: async (world: World) => {
      const [, second] = await world.backends(3);
      world.check(second !== undefined, 'three backends');
      const agent = world.agent();
      await bringUp(world, agent);
      const tcp = await world.load({
        name: 'tcp, a connection per request',
        kind: 'tcp-short',
        port: 5001,
        rate: 400,
        bytes: 1_000,
      });
      const udp = await world.load({
        name: 'udp',
        kind: 'udp',
        port: 5353,
        rate: 150,
        connections: 9,
        timeoutMs: 1_000,
      });
      await sleep(1_500);
      const { from: killed, to: gone } = second.kill();
      world.note('ms until the kernel had closed its sockets', gone - killed);
      await sleep(2_500);
      const counts = await world.settle(tcp);
      const cut = await agent.cutShort('web', 'b2', killed, 1_000);
      world.note('tcp: connections to the backend that its death cut short', cut);
      const lost = counts.exchanges.filter((e) => e.failure !== '');
      const straddling = lost.filter((e) => e.sent <= gone && e.done >= killed);
      world.equal(
        lost.length - straddling.length,
        0,
        'tcp: requests lost that were not under way while the backend died',
      );
      world.check(lost.length <= cut, `tcp: ${lost.length} lost, ${cut} were cut short on the backend`);
      const datagrams = await world.settle(udp);
      const failed = failuresWithin(world, 'udp', datagrams.exchanges, killed - 100, gone + DETECTION_MS);
      // Each flow loses what was queued on the backend and what brings the refusals that make it move.
      world.check(failed <= 9 * UDP_LOST_PER_FLOW, `udp: ${failed} of 9 flows' datagrams lost`);
    },
  },
  {
    name: 'backend blackholed (packets dropped): clients are moved to the others',
    run: async (world: World) => {
      await world.backends(3);
      const agent = world.agent();
      await bringUp(world, agent);
      const load = await world.load({
        name: 'tcp, a connection per request',
        kind: 'tcp-short',
        port: 5001,
        rate: 200,
        bytes: 1_000,
        timeoutMs: 8_000,
      });
      await sleep(1_000);
      const host = world.net.backends[1];
      world.check(host !== undefined, 'a second backend host');
      const at = now();
      blackhole(host, true);
      await agent.backendsAre('web', UNHEALTHY, ['b2']);
      world.note('found out after ms', now() - at);
      await sleep(2_000);
      blackhole(host, false);
      await agent.backendsAre('web', HEALTHY, ['b2']);
      await sleep(500);
      const counts = await world.settle(load);
      const failed = failuresWithin(world, 'tcp', counts.exchanges, at - 50, at + DETECTION_MS);
      world.note('failed within the detection time', failed);
      world.check((counts.backends['b2'] ?? 0) > 0, 'the backend serves again');
    },
  },
  {
    name: 'backend slow: nothing lost, least-connections sends it less',
    run: async (world: World) => {
      const [, second] = await world.backends(3);
      const agent = world.agent();
      await agent.start();
      await agent.apply([
        tcpService('web', 5001, targets(world, 3), {
          balance: { algorithm: 'least-connections' },
          health: quickHealth,
        }),
      ]);
      await agent.backendsAre('web', HEALTHY, ['b1', 'b2', 'b3']);
      await second?.behave({ mode: 'slow', delayMs: 400 });
      const load = await world.load({
        name: 'tcp, a connection per request',
        kind: 'tcp-short',
        port: 5001,
        rate: 200,
        bytes: 1_000,
      });
      await sleep(4_000);
      const counts = await world.settle(load);
      world.equal(counts.failed, 0, 'failed requests');
      const share = (counts.backends['b2'] ?? 0) / counts.answered;
      world.note('share of the slow backend', share);
      world.check(share < 0.25, `the slow one of three backends got ${(share * 100).toFixed(0)} %`);
    },
  },
  {
    name: 'backend refusing: nothing lost, the next one is tried',
    alone: true,
    run: async (world: World) => {
      const [, second] = await world.backends(3);
      const agent = world.agent();
      await bringUp(world, agent);
      const load = await world.load({
        name: 'tcp, a connection per request',
        kind: 'tcp-short',
        port: 5001,
        rate: 200,
        bytes: 1_000,
      });
      await sleep(1_000);
      const closing = now();
      await second?.behave({ mode: 'refuse' });
      const closed = now();
      await sleep(2_000);
      await second?.behave({ mode: 'normal' });
      await agent.backendsAre('web', HEALTHY, ['b2']);
      const { exchanges } = await world.settle(load);
      // A connection that the backend's kernel had accepted and the backend had not yet is reset when the socket closes.
      const queued = ({ sent }: { sent: number }): boolean => sent >= closing - 100 && sent <= closed;
      const failed = exchanges.filter(({ failure }) => failure !== '');
      world.equal(failed.filter((exchange) => !queued(exchange)).length, 0, 'failed requests');
      world.check(failed.length <= 2, `${failed.length} requests were lost when the socket closed`);
    },
  },
  {
    name: 'backend resetting: lost only until the probe finds out',
    run: async (world: World) => {
      const [, second] = await world.backends(3);
      const agent = world.agent();
      await agent.start();
      const health = { ...quickHealth, type: 'http', port: 8081, http: { path: '/health' } };
      await agent.apply([tcpService('web', 5001, targets(world, 3), { health })]);
      await agent.backendsAre('web', HEALTHY, ['b1', 'b2', 'b3']);
      const load = await world.load({
        name: 'tcp, a connection per request',
        kind: 'tcp-short',
        port: 5001,
        rate: 200,
        bytes: 1_000,
      });
      await sleep(1_000);
      const at = now();
      await second?.behave({ mode: 'reset' });
      await agent.backendsAre('web', UNHEALTHY, ['b2']);
      world.note('found out after ms', now() - at);
      await sleep(1_500);
      const counts = await world.settle(load);
      world.note(
        'failed within the detection time',
        failuresWithin(world, 'tcp', counts.exchanges, at - 20, at + DETECTION_MS),
      );
    },
  },
  {
    name: 'DNS server gone: the last good answer is kept',
    run: async (world: World) => {
      await world.backends(3);
      const dns = await DnsServer.start(world.scope, world.net.proxy.netns, { 'app.test': ['10.78.1.2', '10.78.2.2'] });
      const agent = world.agent({ resolvConf: dns.resolvConf });
      await agent.start();
      await agent.apply([
        tcpService('web', 5001, [{ name: 'app', address: 'app.test:8080' }], {
          health: quickHealth,
          dns: { minTtl: '1s' },
        }),
      ]);
      await agent.backendsAre('web', HEALTHY, ['app']);
      const load = await world.load({
        name: 'tcp, a connection per request',
        kind: 'tcp-short',
        port: 5001,
        rate: 200,
        bytes: 1_000,
      });
      await sleep(1_000);
      dns.kill();
      await sleep(6_000);
      const counts = await world.settle(load);
      world.equal(counts.failed, 0, 'failed requests (the TTL is 1 s, the server was gone for 6 s)');
      world.equal(Object.keys(counts.backends).length, 2, 'addresses of the name that served');
    },
  },
  {
    name: 'backend killed and back: standing connections of the others untouched',
    run: async (world: World) => {
      const [first, second] = await world.backends(3);
      world.check(first !== undefined && second !== undefined, 'three backends');
      const agent = world.agent();
      await agent.start();
      await agent.apply([
        tcpService('web', 5001, targets(world, 3).slice(0, 2), { health: quickHealth }),
        tcpService('other', 5002, targets(world, 3).slice(2), { health: quickHealth }),
      ]);
      await agent.backendsAre('web', HEALTHY, ['b1', 'b2']);
      const load = await world.load({
        name: 'tcp of the other service',
        kind: 'tcp-keepalive',
        port: 5002,
        rate: 200,
        connections: 8,
      });
      await sleep(500);
      second.kill();
      await agent.backendsAre('web', UNHEALTHY, ['b2']);
      await world.backend(2);
      await agent.backendsAre('web', HEALTHY, ['b2']);
      const counts = await world.settle(load);
      world.equal(counts.failed, 0, 'failed requests of the other service');
    },
  },
];

/** Used by the host faults too. */
export const carriesOn = async (world: World, during: () => Promise<void>): Promise<void> => {
  const load = await startLoad(world);
  await sleep(700);
  await during();
  await sleep(700);
  await nothingLost(world, load);
};
