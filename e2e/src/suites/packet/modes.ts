// SPDX-License-Identifier: Apache-2.0
/**
 * Each mode of XDP's, with TCP and UDP over both families, while the ways on both sides get narrower: clients are told
 * by the director, backends by the router, whose word to the service address the director has to bring them.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Agent } from '../../harness/agent.js';
import { VIP4, VIP6 } from '../../harness/routed.js';
import { sleep, until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import type { Host } from '../../harness/topology.js';
import { carry, SERVICES, settleAll } from './carried.js';
import { datagram, iperf, serveIperf, upload } from './clients.js';
import { Ground, HTTP_PORT, IPERF_PORT, PORT } from './ground.js';

const BACKENDS = [1, 2, 3, 4];
const NARROW_TO_BACKENDS = 1400;
/** More than the other: what backends say in their SYNs leaves it to clients to find that out. */
const NARROW_TO_CLIENT = 1440;
/** Outer headers, over IPv4 and IPv6. */
const OVERHEAD: Readonly<Record<string, readonly [number, number]>> = { ipip: [20, 40], gue: [28, 48], l2: [0, 0] };

const ip = (netns: string, ...args: string[]): string =>
  execFileSync('ip', ['-n', netns, ...args], { encoding: 'utf8' });

const drops = async (director: Agent, reason: string): Promise<bigint | undefined> => {
  const { xdpDrops } = await director.node.status({ withTraffic: true });
  return xdpDrops.find((drop) => drop.reason === reason)?.packets;
};

class Narrowing {
  readonly #ground: Ground;
  readonly #oneLink: boolean;

  constructor(ground: Ground, oneLink: boolean) {
    this.#ground = ground;
    this.#oneLink = oneLink;
  }

  /** By routes: a device's MTU would be known to the host at its other end, too, or lose what is larger. */
  #routes(verb: 'add' | 'del'): void {
    const { client, router, directors, backends } = this.#ground.net;
    const director = directors[0] as Host;
    const gateways = [director.v4.replace(/\d+$/, '1'), director.v6.replace(/::.*$/, '::1')];
    const lock = (mtu: number): string[] => (verb === 'add' ? ['mtu', 'lock', String(mtu)] : []);
    for (const host of backends) {
      for (const [i, address] of [host.v4, host.v6].entries()) {
        const via = this.#oneLink ? ['dev', 'up0'] : ['via', gateways[i] as string];
        ip(director.netns, 'route', verb, address, ...via, ...lock(NARROW_TO_BACKENDS));
      }
    }
    for (const address of [client.v4, client.v6]) {
      ip(router, 'route', verb, address, 'dev', 'c', ...lock(NARROW_TO_CLIENT));
    }
  }

  begin(): void {
    this.#routes('add');
    // What the client has learned of the path before: it would send the first large datagram in pieces.
    this.forget(this.#ground.net.client.netns);
  }

  /** What hosts have learned is forgotten, too. */
  end(): void {
    const { client, backends } = this.#ground.net;
    this.#routes('del');
    for (const { netns } of [client, ...backends]) this.forget(netns);
  }

  forget(netns: string): void {
    ip(netns, 'route', 'flush', 'cache');
    ip(netns, '-6', 'route', 'flush', 'cache');
  }
}

/** The mode carries everything, on a ground whose backends are up. */
const shows = async (ground: Ground, director: Agent, mode: string): Promise<void> => {
  const { net } = ground;
  const world: World = ground.world;
  const narrowing = new Narrowing(ground, mode === 'l2');
  const affine = ground.service('iperf4', VIP4, mode, BACKENDS, { port: IPERF_PORT });
  // What belongs to one run of iperf3 has several ports, and has to come to one backend.
  const balance = { affinity: { by: 'source-ip' } };
  const services = [
    ...ground.services(mode, BACKENDS),
    { ...affine, balance },
    { ...ground.service('iperf6', VIP6, mode, BACKENDS, { port: IPERF_PORT }), balance },
    ground.service('http4', VIP4, mode, BACKENDS, { port: HTTP_PORT }),
    ground.service('http6', VIP6, mode, BACKENDS, { port: HTTP_PORT }),
  ];
  await carry(director, services, BACKENDS);
  const loads = await ground.loads(['tcp-short', 'tcp-keepalive', 'udp'], 150, 8_000);
  await sleep(500);
  narrowing.begin();
  const families = [VIP4, VIP6].map((vip, i) => ({ vip, left: NARROW_TO_BACKENDS - (OVERHEAD[mode]?.[i] ?? 0) }));
  const told = (vip: string, left: number): boolean =>
    ip(net.client.netns, 'route', 'get', vip).includes(`mtu ${left}`);
  for (const { vip, left } of families) {
    // The director knows its routes for up to 250 ms: a datagram may still go as it went before.
    await until(`${mode}: the client to be told by a datagram that ${left} bytes fit to ${vip}`, async () => {
      await datagram(world, net.client, vip, PORT, 1_450);
      return told(vip, left);
    });
  }
  narrowing.forget(net.client.netns);
  for (const { vip, left } of families) {
    await upload(world, net.client, vip, HTTP_PORT, 300_000);
    world.check(told(vip, left), `${mode}: the client has sent a file by TCP to ${vip}, and was not told ${left}`);
  }
  // What a client knows of the way to a service it says in its SYNs: answers would not be too large any more.
  narrowing.forget(net.client.netns);
  // Each has to have answered somebody since.
  for (const { netns } of net.backends) {
    for (const [client, vip] of [
      [net.client.v4, VIP4],
      [net.client.v6, VIP6],
    ] as const) {
      const what = `${mode}: the route from ${vip} to ${client} of a backend to say ${NARROW_TO_CLIENT}`;
      await until(what, () => ip(netns, 'route', 'get', client, 'from', vip).includes(`mtu ${NARROW_TO_CLIENT}`));
    }
  }
  await settleAll(world, loads, `${mode}: `);
  world.equal(await drops(director, 'too-big'), 0n, `${mode}: packets whose senders could not be told`);
  narrowing.end();
  await Promise.all([VIP4, VIP6].map((vip) => iperf(world, net.client, vip, IPERF_PORT)));
};

const withoutSockets = async (world: World, director: Agent): Promise<void> => {
  const { stdout } = await director.marcher('explain', 'service', SERVICES[0] as string);
  world.check(stdout.includes('xdp'), `marcher explain says: ${stdout}`);
  // Nobody listens: the packets never reach a socket of the director.
  const listening = readFileSync(`/proc/${director.pid}/net/tcp`, 'latin1').includes(
    `:${PORT.toString(16).toUpperCase().padStart(4, '0')} 00000000:0000 0A`,
  );
  world.check(!listening, 'the director listens on the service port');
};

const carries = (modes: readonly string[]): Case => ({
  name: `${modes.join(', ')}: TCP and UDP over IPv4 and IPv6 to four backends, while paths get narrower`,
  run: async (world: World) => {
    const l2 = modes.includes('l2');
    const ground = new Ground(world, { directors: 1, backends: BACKENDS.length, oneLink: l2 });
    const director = ground.director(1);
    await Promise.all([ground.backends(BACKENDS.length, !l2), director.start()]);
    for (const host of ground.net.backends) serveIperf(world, host, [VIP4, VIP6], IPERF_PORT);
    for (const mode of modes) await shows(ground, director, mode);
    await withoutSockets(world, director);
  },
});

export const modes: readonly Case[] = [carries(['ipip', 'gue']), carries(['l2'])];
