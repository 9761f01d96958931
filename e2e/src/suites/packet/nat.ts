// SPDX-License-Identifier: Apache-2.0
/**
 * Services that tc carries: a director translates addresses and ports on the way to backends and back. Unlike XDP's cases
 * these run with every offload on, as hosts have it: large buffers and checksums that are not complete yet pass.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Agent, ServiceFile } from '../../harness/agent.js';
import { BackendProcess } from '../../harness/backend.js';
import type { LoadSettings } from '../../harness/load-main.js';
import { VIP4, VIP6 } from '../../harness/routed.js';
import { sleep, until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import type { Host } from '../../harness/topology.js';
import { quickHealth } from '../services.js';

/** Where clients come to, and where backends are: never the same, so that nothing passes untranslated. */
const PORT = 80;
const HTTP_PORT = 81;
const BACKEND_PORT = 8080;
const BACKEND_HTTP_PORT = 8081;
const HEALTHY = 2;

const FAMILIES = [
  { family: 'v4', vip: VIP4 },
  { family: 'v6', vip: VIP6 },
] as const;

const inside = (netns: string, ...argv: string[]): void => {
  execFileSync('nsenter', [`--net=/run/netns/${netns}`, '--', ...argv], { stdio: ['ignore', 'ignore', 'pipe'] });
};

class NatGround {
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

  async director(args: readonly string[] = []): Promise<Agent> {
    const interfaces = ['front', ...this.world.net.backends.map((_, i) => `back${i + 1}`)];
    const agent = this.world.agent({
      args: ['--interfaces', interfaces.join(','), '--bpf-dir', path.join(this.#bpffs, 'd'), ...args],
    });
    await agent.start();
    return agent;
  }

  backends(count: number): Promise<BackendProcess[]> {
    return Promise.all(
      this.world.net.backends.slice(0, count).flatMap(({ netns, v4, v6 }, i) =>
        [v4, v6].map((host) => {
          const ports = { tcp: BACKEND_PORT, udp: BACKEND_PORT, http: BACKEND_HTTP_PORT };
          return BackendProcess.start(this.world.scope, { name: `b${i + 1}`, host, ...ports }, netns);
        }),
      ),
    );
  }

  /** For each family one service of TCP and UDP, and one of HTTP. */
  services(hosts: readonly Host[], sourceNat: boolean): ServiceFile[] {
    return FAMILIES.flatMap(({ family, vip }) => {
      const service = (name: string, port: number, protocols: string[], backendPort: number): ServiceFile => ({
        name: `${name}-${family}`,
        listeners: protocols.map((protocol) => ({ protocol, port, address: vip })),
        forwarding: { mode: 'nat', sourceNat },
        backends: hosts.map((host, i) => ({
          name: `b${i + 1}`,
          address: family === 'v4' ? `${host.v4}:${backendPort}` : `[${host.v6}]:${backendPort}`,
        })),
        health: { ...quickHealth, port: BACKEND_PORT },
      });
      return [
        service('echo', PORT, ['tcp', 'udp'], BACKEND_PORT),
        service('web', HTTP_PORT, ['tcp'], BACKEND_HTTP_PORT),
      ];
    });
  }

  /** In force, by tc, with all backends up. */
  async carry(director: Agent, hosts: readonly Host[], sourceNat: boolean): Promise<void> {
    const services = this.services(hosts, sourceNat);
    await director.apply(services);
    const names = hosts.map((_, i) => `b${i + 1}`);
    for (const { name } of services) await director.backendsAre(name, HEALTHY, names);
    await until('tc to carry the services', async () => {
      const found = await director.node.tiers({ service: '' });
      return found.services.length === services.length && found.services.every(({ tier }) => tier === 'tc');
    });
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
    const file = path.join(world.scope.dir, 'upload');
    writeFileSync(file, Buffer.alloc(bytes, 'x'));
    for (const host of [VIP4, `[${VIP6}]`]) {
      const out = ['-o', '/dev/null', '-w', '%{http_code} %{size_upload}'];
      const url = `http://${host}:${HTTP_PORT}/health`;
      const answer = await world.scope.must(
        ['curl', '--silent', '--show-error', '--max-time', '10', ...out, '--data-binary', `@${file}`, url],
        { netns: world.net.client.netns },
      );
      world.equal(answer, `200 ${bytes}`, `upload to ${host}`);
    }
  }
}

const settleAll = async (world: World, loads: Awaited<ReturnType<NatGround['loads']>>): Promise<void> => {
  for (const load of loads) {
    const counts = await world.settle(load);
    world.check(counts.answered > 100, `${load.settings.name}: only ${counts.answered} answered`);
    world.equal(counts.failed, 0, `${load.settings.name}: failed (${JSON.stringify(counts.reasons)})`);
  }
};

const carries = (sourceNat: boolean): Case => ({
  name: `nat ${sourceNat ? 'with' : 'without'} sourceNat: TCP and UDP to remote backends over both families`,
  run: async (world: World) => {
    const ground = new NatGround(world);
    const { backends } = world.net;
    await ground.backends(3);
    const director = await ground.director();
    await ground.carry(director, backends, sourceNat);
    await ground.upload(3_000_000);
    const loads = await ground.loads(['tcp-short', 'tcp-keepalive', 'udp'], 200);
    await sleep(1_500);
    await settleAll(world, loads);
  },
});

export const nat: readonly Case[] = [carries(true), carries(false)];
