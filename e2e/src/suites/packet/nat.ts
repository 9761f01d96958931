// SPDX-License-Identifier: Apache-2.0
/**
 * Services that tc carries: a director translates addresses and ports on the way to backends and back. Unlike XDP's cases
 * these run with every offload on, as hosts have it: large buffers and checksums that are not complete yet pass.
 */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import type { Agent, ServiceFile } from '../../harness/agent.js';
import { BackendProcess } from '../../harness/backend.js';
import type { LoadSettings } from '../../harness/load-main.js';
import { VIP4, VIP6 } from '../../harness/routed.js';
import { sleep, until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import type { Host, Topology } from '../../harness/topology.js';
import { carry, HEALTHY, settleAll } from './carried.js';
import { datagram, iperf, serveIperf, upload } from './clients.js';
import { health } from './ground.js';

/** Where clients come to, and where backends are: never the same, so that nothing passes untranslated. */
export const PORT = 80;
const HTTP_PORT = 81;
const BACKEND_PORT = 8080;
const BACKEND_HTTP_PORT = 8081;
const IPERF_PORT = 82;
const BACKEND_IPERF_PORT = 5201;

const FAMILIES = [
  { family: 'v4', vip: VIP4 },
  { family: 'v6', vip: VIP6 },
] as const;

export const inside = (netns: string, ...argv: string[]): void => {
  execFileSync('nsenter', [`--net=/run/netns/${netns}`, '--', ...argv], { stdio: ['ignore', 'ignore', 'pipe'] });
};

export class NatGround {
  readonly world: World;
  readonly #bpffs: string;

  constructor(world: World) {
    this.world = world;
    const { client, proxy, backends } = world.net;
    this.#bpffs = world.scope.addBpffs();
    inside(proxy.netns, 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
    inside(client.netns, 'ip', 'route', 'add', `${VIP4}/32`, 'via', proxy.v4);
    inside(client.netns, 'ip', '-6', 'route', 'add', `${VIP6}/128`, 'via', proxy.v6);
    backends.forEach(({ netns }, i) => {
      inside(netns, 'ip', 'route', 'add', 'default', 'via', `10.78.${i + 1}.1`);
      inside(netns, 'ip', '-6', 'route', 'add', 'default', 'via', `fd78:${i + 1}::1`);
    });
  }

  /** interfaces: default all. */
  async director(args: readonly string[] = [], interfaces = this.#interfaces()): Promise<Agent> {
    const agent = this.world.agent({
      args: ['--interfaces', interfaces.join(','), '--bpf-dir', path.join(this.#bpffs, 'd'), ...args],
    });
    await agent.start();
    return agent;
  }

  #interfaces(): string[] {
    return ['front', ...this.world.net.backends.map((_, i) => `back${i + 1}`)];
  }

  /** On both of a host's addresses. */
  backendsAt({ netns, v4, v6 }: Host, name = 'b1'): Promise<BackendProcess[]> {
    const ports = { tcp: BACKEND_PORT, udp: BACKEND_PORT, http: BACKEND_HTTP_PORT };
    return Promise.all([v4, v6].map((host) => BackendProcess.start(this.world.scope, { name, host, ...ports }, netns)));
  }

  async backends(count: number): Promise<void> {
    await Promise.all(this.world.net.backends.slice(0, count).map((host, i) => this.backendsAt(host, `b${i + 1}`)));
  }

  /** Whose address a backend sees behind a connection. */
  async clientSeen(): Promise<string> {
    const { scope, net } = this.world;
    const ask = `exec 3<>/dev/tcp/${VIP4}/${PORT}; echo 'x 0' >&3; read -r line <&3; echo "$line"`;
    const answer = await scope.must(['bash', '-c', ask], { netns: net.client.netns });
    const [, , seen = ''] = answer.split(' ');
    if (seen.startsWith('10.77.0.2:')) return 'the client';
    return seen.startsWith('10.78.') ? 'the director' : seen;
  }

  /** For each family one service of TCP and UDP, and one of HTTP. */
  services(hosts: readonly Host[], forwarding: object): ServiceFile[] {
    return FAMILIES.flatMap(({ family, vip }) => {
      const service = (name: string, port: number, protocols: string[], backendPort: number): ServiceFile => ({
        name: `${name}-${family}`,
        listeners: protocols.map((protocol) => ({ protocol, port, address: vip })),
        forwarding,
        backends: hosts.map((host, i) => ({
          name: `b${i + 1}`,
          address: family === 'v4' ? `${host.v4}:${backendPort}` : `[${host.v6}]:${backendPort}`,
        })),
        health,
      });
      return [
        service('echo', PORT, ['tcp', 'udp'], BACKEND_PORT),
        service('web', HTTP_PORT, ['tcp'], BACKEND_HTTP_PORT),
        {
          ...service('iperf', IPERF_PORT, ['tcp', 'udp'], BACKEND_IPERF_PORT),
          balance: { affinity: { by: 'source-ip' } },
        },
      ];
    });
  }

  /** In force, by tc, with all backends up. */
  async carry(director: Agent, hosts: readonly Host[], sourceNat: boolean): Promise<void> {
    const numbers = hosts.map((_, i) => i + 1);
    await carry(director, this.services(hosts, { mode: 'nat', sourceNat }), numbers, 'tc');
  }

  loads(kinds: readonly LoadSettings['kind'][], rate: number) {
    return Promise.all(
      FAMILIES.flatMap(({ family, vip }) =>
        kinds.map((kind) =>
          this.world.load({
            name: `${kind} ${family}`,
            kind,
            host: vip,
            port: PORT,
            rate,
            connections: 20,
            timeoutMs: 3_000,
          }),
        ),
      ),
    );
  }

  /** An upload and its answer through the service, both families. */
  async upload(bytes: number): Promise<void> {
    const { world } = this;
    for (const { vip } of FAMILIES) await upload(world, world.net.client, vip, HTTP_PORT, bytes);
  }
}

const NARROW_TO_BACKENDS = 1400;
const NARROW_TO_CLIENT = 1380;

/** Of the routes alone: a device's MTU would be known to the host at its other end, too, or lose what is larger. */
const narrow = ({ client, proxy, backends }: Topology): void => {
  const lock = ({ v4, v6 }: Host, device: string, mtu: number): void => {
    for (const host of [v4, v6]) {
      inside(proxy.netns, 'ip', 'route', 'add', host, 'dev', device, 'mtu', 'lock', String(mtu));
    }
  };
  backends.forEach((host, i) => {
    lock(host, `back${i + 1}`, NARROW_TO_BACKENDS);
  });
  lock(client, 'front', NARROW_TO_CLIENT);
};

const carries = (sourceNat: boolean): Case => ({
  name: `nat ${sourceNat ? 'with' : 'without'} sourceNat: TCP and UDP to remote backends over both families, while paths get narrower`,
  run: async (world: World) => {
    const ground = new NatGround(world);
    const { backends, client, proxy } = world.net;
    const [director] = await Promise.all([ground.director(), ground.backends(3)]);
    for (const host of backends) serveIperf(world, host, [host.v4, host.v6], BACKEND_IPERF_PORT);
    await ground.carry(director, backends, sourceNat);
    await ground.upload(3_000_000);
    const big = { kind: 'tcp-keepalive', rate: 50, connections: 10, bytes: 60_000, timeoutMs: 4_000 } as const;
    const loads = [
      ...(await ground.loads(['tcp-short', 'udp'], 200)),
      ...(await Promise.all(
        FAMILIES.map(({ family, vip }) => world.load({ name: `big ${family}`, host: vip, port: PORT, ...big })),
      )),
    ];
    await sleep(700);
    const seen = await ground.clientSeen();
    world.equal(seen, sourceNat ? 'the director' : 'the client', 'whom the backend sees');
    narrow(world.net);
    await ground.upload(500_000);
    await sleep(700);
    await settleAll(world, loads);
    // Checksums that the client's kernel left open are completed here now, inside what an error quotes.
    inside(proxy.netns, 'ethtool', '-K', 'front', 'tx', 'off');
    // SYNs were advised of the size; a datagram's sender hears of it by an error, whose checksum has to be right.
    for (const { vip } of FAMILIES) {
      await until(`the client to be told what fits to ${vip}`, async () => {
        await datagram(world, client, vip, PORT, 1_450);
        const route = await world.scope.must(['ip', 'route', 'get', vip], { netns: client.netns });
        return route.includes(`mtu ${NARROW_TO_BACKENDS}`);
      });
    }
    const { traffic, xdpDrops } = await director.node.status({ withTraffic: true });
    world.equal(xdpDrops.find(({ reason }) => reason === 'too-big')?.packets, 0n, 'senders that could not be told');
    const tc = traffic.find(({ tier }) => tier === 'tc');
    world.check(tc !== undefined && tc.bytes > 3_000_000n, `tc has carried ${tc?.bytes} bytes`);
    world.check(tc.bytesReturned > 50_000n, `tc has returned ${tc.bytesReturned} bytes`);
    await Promise.all(FAMILIES.map(({ vip }) => iperf(world, client, vip, IPERF_PORT)));
  },
});

export const nat: readonly Case[] = [
  carries(true),
  carries(false),
  {
    name: 'nat to a backend on the director itself, under the service address and back',
    run: async (world: World) => {
      const ground = new NatGround(world);
      const { proxy } = world.net;
      await ground.backendsAt(proxy);
      const director = await ground.director();
      // What asks for source NAT gets none here: a packet from this node to this node would be taken for forged.
      await ground.carry(director, [proxy], true);
      await ground.upload(3_000_000);
      const loads = await ground.loads(['tcp-short', 'tcp-keepalive', 'udp'], 200);
      await sleep(800);
      world.equal(await ground.clientSeen(), 'the client', 'whom the backend sees');
      await settleAll(world, loads);
    },
  },
  {
    name: 'nat: flows stay when backends come and are drained, and when the agent is killed',
    run: async (world: World) => {
      const ground = new NatGround(world);
      const { backends } = world.net;
      await ground.backends(3);
      const director = await ground.director();
      await ground.carry(director, backends.slice(0, 2), true);
      const loads = await ground.loads(['tcp-keepalive', 'tcp-short', 'udp'], 200);
      await sleep(400);
      await director.apply(ground.services(backends, { mode: 'nat', sourceNat: true }));
      for (const { family } of FAMILIES) await director.backendsAre(`echo-${family}`, HEALTHY, ['b3']);
      for (const { family } of FAMILIES) {
        const { code, stderr } = await director.marcher('drain', `echo-${family}`, 'b1');
        world.equal(code, 0, `marcher drain: ${stderr}`);
      }
      await sleep(400);
      director.kill();
      await director.exited();
      await sleep(500);
      await director.start();
      await sleep(500);
      await settleAll(world, loads);
    },
  },
];
