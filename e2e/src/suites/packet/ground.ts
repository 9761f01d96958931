// SPDX-License-Identifier: Apache-2.0
/** What every case of the suite stands on: clients, directors and backends behind a router, with agents on both. */
import path from 'node:path';
import { Agent, type ServiceFile } from '../../harness/agent.js';
import { BackendProcess } from '../../harness/backend.js';
import { Load } from '../../harness/load.js';
import type { LoadSettings } from '../../harness/load-main.js';
import { PACE } from '../../harness/pace.js';
import { makeRouted, type Routed, type RoutedOptions, VIP4, VIP6 } from '../../harness/routed.js';
import type { World } from '../../harness/suite.js';
import type { Host } from '../../harness/topology.js';

export const PORT = 8080;
export const HTTP_PORT = 8081;
export const IPERF_PORT = 5201;

/** Found dead within a second; a busy machine is no death. */
export const health = {
  type: 'tcp',
  interval: `${250 * PACE}ms`,
  timeout: `${250 * PACE}ms`,
  fall: 3,
  rise: 1,
  port: PORT,
} as const;

export interface ServiceOptions {
  /** Default: PORT. */
  readonly port?: number;
  /** Where backends are; default: port. */
  readonly backendPort?: number;
  readonly sourceNat?: boolean;
}

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

  director(i: number, interfaces?: string, args: readonly string[] = []): Agent {
    return this.#agent(`d${i}`, this.net.directors[i - 1] as Host, args, interfaces);
  }

  /** The agent of a backend's node: takes off the outer headers of what directors send. */
  async receiver(i: number, args: readonly string[] = []): Promise<Agent> {
    const host = this.net.backends[i - 1] as Host;
    const agent = this.#agent(`b${i}`, host, ['--decapsulate', `${host.v4},${host.v6}`, ...args]);
    await agent.start();
    return agent;
  }

  /** TCP on every address; UDP on its own and the service addresses, from which the answers have to come. */
  backend(i: number): Promise<BackendProcess> {
    const { netns, v4, v6 } = this.net.backends[i - 1] as Host;
    const settings = { host: '::', tcp: PORT, http: HTTP_PORT, udp: PORT, udpHosts: [VIP4, VIP6, v4, v6] };
    return BackendProcess.start(this.world.scope, { name: `b${i}`, ...settings }, netns);
  }

  /** encapsulated: what comes has an outer header. */
  async backends(count: number, encapsulated = true): Promise<BackendProcess[]> {
    const numbers = Array.from({ length: count }, (_, i) => i + 1);
    const [, started] = await Promise.all([
      Promise.all(encapsulated ? numbers.map((i) => this.receiver(i)) : []),
      Promise.all(numbers.map((i) => this.backend(i))),
    ]);
    return started;
  }

  /** A service on both transports of the address. */
  service(name: string, vip: string, mode: string, backends: readonly number[], options: ServiceOptions): ServiceFile {
    const { port = PORT, backendPort = port, sourceNat } = options;
    return {
      name,
      listeners: [
        { protocol: 'tcp', port, address: vip },
        { protocol: 'udp', port, address: vip },
      ],
      forwarding: { mode, ...(sourceNat === undefined ? {} : { sourceNat }) },
      backends: backends.map((i) => {
        const { v4, v6 } = this.net.backends[i - 1] as Host;
        return { name: `b${i}`, address: vip === VIP4 ? `${v4}:${backendPort}` : `[${v6}]:${backendPort}` };
      }),
      health,
    };
  }

  /** One service per family, TCP and UDP. */
  services(mode: string, backends: readonly number[], options: ServiceOptions = {}): ServiceFile[] {
    return [this.service('web4', VIP4, mode, backends, options), this.service('web6', VIP6, mode, backends, options)];
  }

  load(settings: Omit<LoadSettings, 'port'> & { port?: number }): Promise<Load> {
    return Load.start(this.world.scope, { port: PORT, ...settings }, this.net.client.netns);
  }

  /** Loads of TCP and UDP to both addresses. bytes: of TCP's answers. */
  loads(kinds: readonly LoadSettings['kind'][], rate: number, bytes = 0, port = PORT): Promise<Load[]> {
    return Promise.all(
      [
        ['v4', VIP4],
        ['v6', VIP6],
      ].flatMap(([family, host]) =>
        kinds.map((kind) =>
          this.load({
            name: port === PORT ? `${kind} ${family}` : `${kind} ${family} :${port}`,
            kind,
            host: host as string,
            port,
            rate,
            bytes: kind === 'udp' ? 0 : bytes,
            connections: 20,
            timeoutMs: 3_000,
          }),
        ),
      ),
    );
  }
}
