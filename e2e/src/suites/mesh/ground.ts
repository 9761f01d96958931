// SPDX-License-Identifier: Apache-2.0
/**
 * A mesh of agents, each in a network namespace behind a router, where a backend and a client are, too:
 *   client 10.77.0.2 -- 10.77.0.1 router, backend :8080 -- 10.78.i.2 node i
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { type Client, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { type Member, MemberState, type Mesh, MeshService } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { Agent, MARCHER, type ServiceFile } from '../../harness/agent.js';
import { BackendProcess } from '../../harness/backend.js';
import type { CrowdCounts, CrowdSettings } from '../../harness/crowd-main.js';
import { Load } from '../../harness/load.js';
import { PACE } from '../../harness/pace.js';
import { type Output, until } from '../../harness/scope.js';
import type { StrangerResults, StrangerSettings } from '../../harness/stranger-main.js';
import type { World } from '../../harness/suite.js';

export const MESH_PORT = 7400;
/** At a time: each takes a processor for a second. */
const STARTS = 4;
const BACKEND = '10.77.0.1:8080';

const ip = (...args: string[]): void => {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
};

type Crowd = Omit<CrowdSettings, 'host' | 'port' | 'sources'>;

export interface MeshNode {
  readonly number: number;
  readonly netns: string;
  readonly v4: string;
  readonly agent: Agent;
  readonly mesh: Client<typeof MeshService>;
}

export class MeshGround {
  readonly world: World;
  readonly nodes: readonly MeshNode[];
  /** Where clients are: everything reaches the nodes from there. */
  readonly clientNetns: string;
  readonly #router: string;

  /**
   * extra: flags of node i (from 1); apiPort: where all have their API for operators elsewhere; stateDirs: of nodes that
   * have theirs in a place of its own.
   */
  constructor(
    world: World,
    count: number,
    extra: (number: number) => readonly string[] = () => [],
    apiPort?: number,
    stateDirs: Readonly<Record<number, string>> = {},
  ) {
    this.world = world;
    const { scope } = world;
    this.clientNetns = scope.addNetns('c');
    this.#router = scope.addNetns('r');
    execFileSync('nsenter', [`--net=/run/netns/${this.#router}`, '--', 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
    const attach = (netns: string, device: string, prefix: string): void => {
      ip('-n', this.#router, 'link', 'add', device, 'type', 'veth', 'peer', 'name', 'up0', 'netns', netns);
      ip('-n', this.#router, 'addr', 'add', `${prefix}.1/24`, 'dev', device);
      ip('-n', this.#router, 'link', 'set', device, 'up');
      ip('-n', netns, 'addr', 'add', `${prefix}.2/24`, 'dev', 'up0');
      ip('-n', netns, 'link', 'set', 'up0', 'up');
      ip('-n', netns, 'route', 'add', 'default', 'via', `${prefix}.1`);
    };
    attach(this.clientNetns, 'c', '10.77.0');
    this.nodes = Array.from({ length: count }, (_, i) => {
      const number = i + 1;
      const netns = scope.addNetns(`n${number}`);
      attach(netns, `n${number}`, `10.78.${number}`);
      const v4 = `10.78.${number}.2`;
      const name = `node-${number}`;
      const join = ['--join', `10.78.1.2:${MESH_PORT}`, '--join-token-file', this.#tokenFile(number)];
      const args = ['--mesh', `${v4}:${MESH_PORT}`, ...(number === 1 ? [] : join), ...extra(number)];
      const api = apiPort === undefined ? {} : { api: `${v4}:${apiPort}` };
      const stateDir = stateDirs[number];
      const state = stateDir === undefined ? {} : { stateDir };
      const agent = new Agent(scope, { netns, name, engine: world.engine, args, ...api, ...state });
      const transport = createGrpcTransport({
        baseUrl: 'http://localhost',
        nodeOptions: { createConnection: () => net.connect(agent.socket) },
      });
      return { number, netns, v4, agent, mesh: createClient(MeshService, transport) };
    });
  }

  node(number: number): MeshNode {
    return this.nodes[number - 1] as MeshNode;
  }

  #tokenFile(number: number): string {
    return path.join(this.world.scope.dir, `token-${number}`);
  }

  /** Node 1 makes the mesh, the others join it by tokens; all are alive to all. */
  async start(): Promise<void> {
    const [first, ...others] = this.nodes as [MeshNode, ...MeshNode[]];
    await Promise.all([this.backend('b1', 8080), first.agent.start()]);
    const { code, stderr } = await first.agent.marcher('mesh', 'init', 'edge');
    this.world.equal(code, 0, `marcher mesh init: ${stderr}`);
    for (let i = 0; i < others.length; i += STARTS) {
      await Promise.all(others.slice(i, i + STARTS).map((node) => this.join(node)));
    }
    await this.together(this.nodes, 20_000 + 3_000 * this.nodes.length);
  }

  async join(node: MeshNode): Promise<void> {
    await this.giveToken(node);
    await node.agent.start();
  }

  async giveToken({ number }: MeshNode): Promise<void> {
    const { code, stdout, stderr } = await this.node(1).agent.marcher('mesh', 'token');
    this.world.equal(code, 0, `marcher mesh token: ${stderr}`);
    writeFileSync(this.#tokenFile(number), stdout, { mode: 0o600 });
  }

  /** Where all nodes reach it, at 10.77.0.1. */
  async backend(name: string, port: number): Promise<void> {
    await BackendProcess.start(this.world.scope, { name, host: '::', tcp: port, udp: port }, this.#router);
  }

  /** Each of these sees all of them, and has the mesh's state. */
  async together(nodes: readonly MeshNode[], timeoutMs = 20_000): Promise<void> {
    const there = ({ state }: Member): boolean => state === MemberState.ALIVE || state === MemberState.SELF;
    for (const { agent, mesh } of nodes) {
      await until(
        `${agent.name} to see ${nodes.length} nodes alive`,
        async () => {
          const [{ members }, { mesh: state }] = await Promise.all([mesh.listMembers({}), mesh.getMesh({})]);
          return state?.admitted === true && members.filter(there).length === nodes.length;
        },
        timeoutMs,
      );
    }
  }

  async status({ mesh, agent }: MeshNode): Promise<Mesh> {
    const { mesh: state } = await mesh.getMesh({});
    if (state === undefined) throw new Error(`${agent.name} says nothing of its mesh`);
    return state;
  }

  /** All have these services and no others, the same in every byte, and their engines run them. */
  async agreed(
    services: readonly string[],
    nodes: readonly MeshNode[] = this.nodes,
    timeoutMs = 15_000,
  ): Promise<void> {
    const wanted = [...services].sort().join(' ');
    await until(
      `${nodes.length} nodes to agree on ${wanted}`,
      async () => {
        const hashes = await Promise.all(nodes.map(async (node) => (await this.status(node)).configHash));
        if (new Set(hashes).size !== 1) throw new Error(`they have ${[...new Set(hashes)].length} configurations`);
        for (const { agent } of nodes) {
          const { resources: found } = await agent.config.list({});
          const names = found.map(({ service }) => service?.name ?? '').sort();
          if (names.join(' ') !== wanted) throw new Error(`${agent.name} has ${names.join(' ')}`);
          const idle = found.find(({ conditions }) =>
            conditions.some(({ type, status }) => type === 'Programmed' && !status),
          );
          if (idle !== undefined) throw new Error(`${agent.name}: ${idle.service?.name} is not programmed`);
        }
        return true;
      },
      timeoutMs,
    );
  }

  service(name: string, port: number, extra: Readonly<Record<string, unknown>> = {}): ServiceFile {
    return { name, listeners: [{ protocol: 'tcp', port }], backends: [{ name: 'b1', address: BACKEND }], ...extra };
  }

  /** At that node, beside what is there. Must succeed. */
  async apply({ agent }: MeshNode, ...services: readonly ServiceFile[]): Promise<void> {
    const { code, stdout, stderr } = await agent.marcher('apply', '-f', agent.writeConfig(services));
    if (code !== 0) throw new Error(`marcher apply ended with ${code}: ${stderr || stdout}\n${agent.logTail(8)}`);
  }

  /** That node is in these, and has what is in them. */
  async inClusters(node: MeshNode, ...wanted: readonly string[]): Promise<void> {
    await until(`${node.agent.name} to be in ${wanted.join(', ')}`, async () => {
      const { clusters } = await this.status(node);
      const ready = clusters.filter(({ admitted }) => admitted).map(({ name }) => name);
      return ready.join() === wanted.join() && ready.length === clusters.length;
    });
  }

  /** Whether a client's connection is taken. */
  async isOpen({ v4 }: MeshNode, port: number): Promise<boolean> {
    const connect = `exec 3<>/dev/tcp/${v4}/${port}`;
    const { code } = await this.world.scope.run(['timeout', '3', 'bash', '-c', connect], { netns: this.clientNetns });
    return code === 0;
  }

  load({ v4, agent }: MeshNode, port: number, rate = 50): Promise<Load> {
    const name = `${agent.name} :${port}`;
    const settings = { name, kind: 'tcp-short', host: v4, port, rate, bytes: 100, timeoutMs: 3_000 } as const;
    return Load.start(this.world.scope, settings, this.clientNetns);
  }

  /** Connections that stay, each in use now and then. */
  hold({ v4, agent }: MeshNode, port: number, connections: number): Promise<Load> {
    const name = `${agent.name} :${port} held`;
    const settings = { name, kind: 'tcp-keepalive', host: v4, port, rate: 2 * connections, connections } as const;
    return Load.start(this.world.scope, settings, this.clientNetns);
  }

  /** Strangers at a node's mesh port, from so many addresses of the client's network. */
  async crowd({ v4 }: MeshNode, addresses: number, settings: Crowd): Promise<CrowdCounts> {
    const sources = Array.from({ length: addresses }, (_, i) => `10.77.0.${10 + i}`);
    for (const source of sources) ip('-n', this.clientNetns, 'addr', 'replace', `${source}/24`, 'dev', 'up0');
    const whole: CrowdSettings = { ...settings, host: v4, port: MESH_PORT, sources };
    const script = path.join(import.meta.dirname, '../../harness/crowd-main.js');
    const argv = [process.execPath, script, JSON.stringify(whole)];
    const { stdout, stderr } = await this.world.scope.run(argv, { netns: this.clientNetns, timeoutMs: 400_000 });
    if (stdout === '') throw new Error(`the crowd has ended without its counts: ${stderr.trim()}`);
    return JSON.parse(stdout) as CrowdCounts;
  }

  /** `marcher` on a machine that is no node. */
  elsewhere(env: Readonly<Record<string, string>>, ...args: string[]): Promise<Output> {
    return this.world.scope.run([MARCHER, ...args], { netns: this.clientNetns, env, timeoutMs: 60_000 });
  }

  /** From there, too. */
  async stranger(settings: StrangerSettings): Promise<StrangerResults> {
    const script = path.join(import.meta.dirname, '../../harness/stranger-main.js');
    const argv = [process.execPath, script, JSON.stringify(settings)];
    return JSON.parse(await this.world.scope.must(argv, { netns: this.clientNetns })) as StrangerResults;
  }

  /** Ends loads: none has lost anything. */
  async unharmed(loads: readonly Load[]): Promise<void> {
    for (const load of loads) {
      const { failed, answered, reasons } = await this.world.settle(load);
      this.world.equal(failed, 0, `${load.settings.name}: failed (${JSON.stringify(reasons)})`);
      this.world.check(answered > 20 / PACE, `${load.settings.name}: only ${answered} answered`);
    }
  }

  /** Nothing passes between the two sides, and nobody is told. */
  cut(side: readonly MeshNode[], other: readonly MeshNode[], cut: boolean): void {
    for (const [from, to] of [
      [side, other],
      [other, side],
    ] as const) {
      for (const { netns } of from) {
        for (const { number } of to) {
          ip('-n', netns, 'route', cut ? 'add' : 'del', 'blackhole', `10.78.${number}.0/24`);
        }
      }
    }
  }
}
