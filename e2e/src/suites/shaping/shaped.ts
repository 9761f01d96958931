// SPDX-License-Identifier: Apache-2.0
/** What cases on shaping stand on: services that tc carries to one backend, under policies, and what arrives of them. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Agent, ServiceFile } from '../../harness/agent.js';
import { Flow, type Received } from '../../harness/flow.js';
import type { FlowClient } from '../../harness/flow-main.js';
import { VIP4 } from '../../harness/routed.js';
import { sleep, until } from '../../harness/scope.js';
import type { World } from '../../harness/suite.js';
import { quickHealth } from '../services.js';

export const SERVER = { sink: 9000, source: 9001, udp: 9002 } as const;

export interface Shaped {
  readonly name: string;
  readonly port: number;
  readonly protocol?: 'tcp' | 'udp';
  /** Of the backend; the same unless said. */
  readonly backend?: number;
  readonly policy?: string;
}

export const inside = (netns: string, ...argv: string[]): string =>
  execFileSync('nsenter', [`--net=/run/netns/${netns}`, '--', ...argv], {
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
  });

/** A packet as tcpdump saw it: seconds, and bytes of payload. */
export interface Seen {
  readonly at: number;
  readonly bytes: number;
}

export class ShapedGround {
  readonly world: World;
  readonly #bpffs: string;
  #captures = 0;

  constructor(world: World) {
    this.world = world;
    const { client, proxy, backends } = world.net;
    this.#bpffs = world.scope.addBpffs();
    inside(proxy.netns, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
    inside(client.netns, 'ip', 'route', 'add', `${VIP4}/32`, 'via', proxy.v4);
    inside(backends[0]?.netns as string, 'ip', 'route', 'add', 'default', 'via', '10.78.1.1');
  }

  async director(args: readonly string[] = []): Promise<Agent> {
    const bpfDir = path.join(this.#bpffs, 'd');
    const agent = this.world.agent({
      args: ['--interfaces', 'front,back1', '--xdp', 'off', '--bpf-dir', bpfDir, ...args],
    });
    await agent.start();
    return agent;
  }

  /** Has tc carry them. */
  async apply(director: Agent, services: readonly Shaped[], trafficPolicies: readonly object[]): Promise<void> {
    const files = services.map(
      ({ name, port, protocol = 'tcp', backend = port, policy }): ServiceFile => ({
        name,
        listeners: [{ protocol, port, address: VIP4 }],
        forwarding: { mode: 'nat' },
        backends: [{ name: 'b1', address: `10.78.1.2:${backend}` }],
        health: { ...quickHealth, port: SERVER.sink },
        ...(policy === undefined ? {} : { trafficPolicy: policy }),
      }),
    );
    await director.apply(files, { trafficPolicies });
    await until('tc to carry the services', async () => {
      const found = await director.node.tiers({ service: '' });
      return found.services.length === files.length && found.services.every(({ tier }) => tier === 'tc');
    });
    for (const { name } of files) await director.backendsAre(name, 2, ['b1']);
  }

  server(): Promise<Flow> {
    return Flow.server(this.world.scope, 'server', SERVER, this.world.net.backends[0]?.netns as string);
  }

  client(name: string, settings: Omit<FlowClient, 'host'>): Promise<Flow> {
    return Flow.client(this.world.scope, name, { host: VIP4, ...settings }, this.world.net.client.netns);
  }

  /** By what packets wait on an interface of the director. */
  async shaping(director: Agent, name: string): Promise<string> {
    const { xdpInterfaces } = await director.node.status({ withTraffic: false });
    const found = xdpInterfaces.find((one) => one.name === name);
    return found === undefined ? '' : found.shaping || found.shapingReason;
  }

  /** Datagrams to a service, all at once, as often as asked for. */
  async bursts(port: number, count: number, bytes: number, times: number, pauseMs: number): Promise<void> {
    const send = `for ((i = 0; i < ${count}; i++)); do printf '%0${bytes}d' 0 >&3; done`;
    const all = `exec 3<>/dev/udp/${VIP4}/${port}; for ((n = 0; n < ${times}; n++)); do ${send}; sleep ${pauseMs / 1_000}; done`;
    await this.world.scope.must(['bash', '-c', all], { netns: this.world.net.client.netns });
  }

  /** Packets that come to the client or the backend while something happens, as the kernel has timed them. */
  async arrivals(host: 'client' | 'backend', filter: string, during: () => Promise<void>): Promise<Seen[]> {
    const { scope, net } = this.world;
    const netns = host === 'client' ? net.client.netns : (net.backends[0]?.netns as string);
    this.#captures += 1;
    const log = `tcpdump-${this.#captures}.log`;
    const argv = ['tcpdump', '-i', 'up0', '-nn', '-tt', '-l', '-B', '8192', '-s', '128', '-Q', 'in', filter];
    const child = scope.spawn(argv, { netns, log });
    const text = (): string => readFileSync(path.join(scope.logs, log), 'utf8');
    await until('tcpdump to listen', () => text().includes('listening on'));
    await during();
    await sleep(300);
    child.kill('SIGINT');
    await new Promise((resolve) => child.once('exit', resolve));
    // 1700000000.123456 IP 10.78.1.1.40000 > 10.78.1.2.9002: UDP, length 1200
    return [...text().matchAll(/^(\d+\.\d+) IP .* length (\d+)$/gm)].map(([, at, bytes]) => ({
      at: Number(at),
      bytes: Number(bytes),
    }));
  }

  /** within: how far from the rate it may be. */
  holds(what: string, { bitsPerSecond }: Received, expected: number, below: number, above: number): void {
    const ratio = bitsPerSecond / expected;
    this.world.note(what, `${(bitsPerSecond / 1e6).toFixed(2)} of ${expected / 1e6} Mbit/s`);
    this.world.check(ratio >= 1 - below && ratio <= 1 + above, `${what}: ${ratio.toFixed(3)} of the configured rate`);
  }
}
