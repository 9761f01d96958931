// SPDX-License-Identifier: Apache-2.0
/** What every case of the suite stands on: clients, directors and backends behind a router, with agents on both. */
import path from 'node:path';
import { Agent, type ServiceFile } from '../../harness/agent.js';
import { BackendProcess } from '../../harness/backend.js';
import { Load } from '../../harness/load.js';
import type { LoadSettings } from '../../harness/load-main.js';
import { makeRouted, type Routed, type RoutedOptions, VIP4, VIP6 } from '../../harness/routed.js';
import type { World } from '../../harness/suite.js';
import type { Host } from '../../harness/topology.js';
import { quickHealth } from '../services.js';

export const PORT = 8080;
export const HTTP_PORT = 8081;

export class Ground {
  readonly world: World;
  readonly net: Routed;
  readonly #bpffs: string;

  constructor(world: World, options: RoutedOptions) {
    this.world = world;
    this.net = makeRouted(world.scope, options);
    this.#bpffs = world.scope.addBpffs();
  }

  #agent(name: string, host: Host, args: readonly string[], interfaces = 'up0'): Agent {
    const { scope, engine } = this.world;
    const bpfDir = this.pins(name);
    return new Agent(scope, {
      netns: host.netns,
      engine,
      name,
      args: ['--interfaces', interfaces, '--bpf-dir', bpfDir, ...args],
    });
  }

  /** Where the agent of that name pins: d1, b1 ... */
  pins(name: string): string {
    return path.join(this.#bpffs, name);
  }

  director(i: number, interfaces?: string): Agent {
    return this.#agent(`d${i}`, this.net.directors[i - 1] as Host, [], interfaces);
  }

  /** The agent of a backend's node: takes off the outer headers of what directors send. */
  async receiver(i: number, args: readonly string[] = []): Promise<Agent> {
    const host = this.net.backends[i - 1] as Host;
    const agent = this.#agent(`b${i}`, host, ['--decapsulate', `${host.v4},${host.v6}`, ...args]);
    await agent.start();
    return agent;
  }

  /** TCP on every address; UDP on the service addresses, from which the answers have to come. */
  async backend(i: number): Promise<BackendProcess> {
    const { netns } = this.net.backends[i - 1] as Host;
    const start = (settings: { host: string; tcp?: number; udp?: number; http?: number }): Promise<BackendProcess> =>
      BackendProcess.start(this.world.scope, { name: `b${i}`, ...settings }, netns);
    const [tcp] = await Promise.all([
      start({ host: '::', tcp: PORT, http: HTTP_PORT }),
      start({ host: VIP4, udp: PORT }),
      start({ host: VIP6, udp: PORT }),
    ]);
    return tcp as BackendProcess;
  }

  /** encapsulated: what comes has an outer header. */
  async backends(count: number, encapsulated = true): Promise<BackendProcess[]> {
    const numbers = Array.from({ length: count }, (_, i) => i + 1);
    if (encapsulated) await Promise.all(numbers.map((i) => this.receiver(i)));
    return Promise.all(numbers.map((i) => this.backend(i)));
  }

  /** One service per family, TCP and UDP. */
  services(mode: string, backends: readonly number[], port = PORT): ServiceFile[] {
    const service = (name: string, vip: string, addressOf: (host: Host) => string): ServiceFile => ({
      name,
      listeners: [
        { protocol: 'tcp', port, address: vip },
        { protocol: 'udp', port, address: vip },
      ],
      forwarding: { mode },
      backends: backends.map((i) => ({
        name: `b${i}`,
        address: addressOf(this.net.backends[i - 1] as Host),
      })),
      health: { ...quickHealth, port: PORT },
    });
    return [service('web4', VIP4, ({ v4 }) => `${v4}:${port}`), service('web6', VIP6, ({ v6 }) => `[${v6}]:${port}`)];
  }

  load(settings: Omit<LoadSettings, 'port'> & { port?: number }): Promise<Load> {
    return Load.start(this.world.scope, { port: PORT, ...settings }, this.net.client.netns);
  }

  /** Loads of TCP and UDP to both addresses. */
  loads(kinds: readonly LoadSettings['kind'][], rate: number): Promise<Load[]> {
    return Promise.all(
      [
        ['v4', VIP4],
        ['v6', VIP6],
      ].flatMap(([family, host]) =>
        kinds.map((kind) =>
          this.load({ name: `${kind} ${family}`, kind, host: host as string, rate, connections: 20, timeoutMs: 3_000 }),
        ),
      ),
    );
  }
}
