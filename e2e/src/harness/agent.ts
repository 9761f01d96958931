// SPDX-License-Identifier: Apache-2.0
/** marcherd and marcher as an operator has them: the daemon as a process, the command line, the API on the socket. */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { timestampMs } from '@bufbuild/protobuf/wkt';
import { type Client, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { ConfigService } from '@marcher/proto/marcher/v1/config_service_pb';
import { NodeService } from '@marcher/proto/marcher/v1/node_service_pb';
import { LogKind, TrafficService } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { PACE } from './pace.js';
import { COMPILED, now, type Output, REPOSITORY, type Scope, until } from './scope.js';

export interface AgentOptions {
  readonly netns?: string | undefined;
  /** Default: a directory of the scope's own. */
  readonly stateDir?: string;
  readonly engine?: string | undefined;
  readonly args?: readonly string[];
  /** Where /metrics, /healthz and /readyz are served. Default: a free port on loopback. */
  readonly metrics?: string;
  /** Where the API is beside the socket. Default: a free port on loopback. */
  readonly api?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly name?: string;
  /** Takes the place of /etc/resolv.conf for the agent and its engine. */
  readonly resolvConf?: string;
  /** Command that the agent is run by, such as taskset. */
  readonly wrapper?: readonly string[];
}

/** One service in the file form (docs/configuration.md). */
export type ServiceFile = { readonly name: string } & Readonly<Record<string, unknown>>;

const MARCHERD = path.join(REPOSITORY, 'agent/bin/marcherd');
export const MARCHER = path.join(REPOSITORY, 'tui/bin/marcher');

/** An agent that is killed leaves nothing of what V8 made of its sources (scope.ts), so one is run to its end. */
export const compileOnce = (): void => {
  execFileSync(MARCHERD, ['--version'], { env: { ...process.env, NODE_COMPILE_CACHE: COMPILED }, stdio: 'ignore' });
};

export class Agent {
  readonly scope: Scope;
  readonly options: AgentOptions;
  readonly stateDir: string;
  readonly socket: string;
  readonly name: string;
  #child: ChildProcess | undefined;
  #exit: Promise<number | string> = Promise.resolve(0);
  #serial = 0;
  config!: Client<typeof ConfigService>;
  node!: Client<typeof NodeService>;
  traffic!: Client<typeof TrafficService>;

  constructor(scope: Scope, options: AgentOptions = {}) {
    this.scope = scope;
    this.options = options;
    this.name = options.name ?? 'node1';
    this.stateDir = options.stateDir ?? path.join(scope.dir, `state-${this.name}`);
    this.socket = path.join(scope.dir, `${this.name}.sock`);
  }

  get logFile(): string {
    return path.join(this.scope.logs, `agent-${this.name}.log`);
  }

  get pid(): number {
    return this.#child?.pid as number;
  }

  /** Starts the process without waiting for anything. */
  launch(): void {
    const { netns, engine, args = [], env = {}, resolvConf, wrapper = [] } = this.options;
    const { api = '127.0.0.1:0', metrics = '127.0.0.1:0' } = this.options;
    const argv = [
      // A mount namespace of its own, in which the file is another one.
      ...(resolvConf === undefined
        ? []
        : ['unshare', '--mount', '--', 'sh', '-c', `mount --bind ${resolvConf} /etc/resolv.conf && exec "$@"`, 'sh']),
      ...wrapper,
      MARCHERD,
      '--state',
      this.stateDir,
      '--socket',
      this.socket,
      '--node-name',
      this.name,
      '--api',
      api,
      '--metrics',
      metrics,
      ...(engine === undefined ? [] : ['--engine', engine]),
      ...args,
    ];
    const child = this.scope.spawn(argv, { netns, env, log: `agent-${this.name}.log` });
    this.#exit = new Promise((resolve) => {
      child.on('error', (error) => resolve(error.message));
      child.on('exit', (code, signal) => resolve(code ?? signal ?? 0));
    });
    this.#child = child;
    const transport = createGrpcTransport({
      baseUrl: 'http://localhost',
      nodeOptions: { createConnection: () => net.connect(this.socket) },
    });
    this.config = createClient(ConfigService, transport);
    this.node = createClient(NodeService, transport);
    this.traffic = createClient(TrafficService, transport);
  }

  /** Resolves with the exit code or the signal's name. */
  exited(): Promise<number | string> {
    return this.#exit;
  }

  /** Starts, and waits until the node says that it is ready; returns how long that took in ms. */
  async start(timeoutMs = 40_000): Promise<number> {
    const begin = now();
    this.launch();
    let ended: number | string | undefined;
    void this.#exit.then((code) => {
      ended = code;
    });
    await until(
      'marcherd to be ready',
      async () => {
        if (ended !== undefined) return true;
        const status = await this.node.status({}, { timeoutMs: 2_000 * PACE });
        return status.ready;
      },
      timeoutMs,
    );
    if (ended !== undefined) {
      throw new Error(`marcherd ended with ${ended} before it was ready; its log ends:\n${this.logTail()}`);
    }
    return now() - begin;
  }

  logTail(lines = 20): string {
    try {
      return readFileSync(this.logFile, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
    } catch {
      return '(no log)';
    }
  }

  /** The command line, against this agent. */
  marcher(...args: string[]): Promise<Output> {
    return this.scope.run([MARCHER, '--target', `unix:${this.socket}`, ...args], {
      netns: this.options.netns,
      timeoutMs: 60_000,
    });
  }

  /** rest: lists of other kinds, such as trafficPolicies. */
  writeConfig(services: readonly ServiceFile[], rest: Readonly<Record<string, unknown>> = {}): string {
    this.#serial += 1;
    const file = path.join(this.scope.dir, `${this.name}-${this.#serial}.yaml`);
    // JSON is YAML.
    writeFileSync(file, JSON.stringify({ apiVersion: 'marcher/v1', ...rest, services }, null, 2));
    return file;
  }

  /** marcher apply -f --prune: these services (and what else is given) and no others. Must succeed. */
  async apply(services: readonly ServiceFile[], rest: Readonly<Record<string, unknown>> = {}): Promise<void> {
    const file = this.writeConfig(services, rest);
    const { code, stdout, stderr } = await this.marcher('apply', '--prune', '-f', file);
    if (code !== 0) {
      throw new Error(`marcher apply ended with ${code}:\n${stderr || stdout}\nagent's log ends:\n${this.logTail(8)}`);
    }
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    process.kill(this.pid, signal);
  }

  async enginePid(): Promise<number> {
    const { engine } = await this.node.status({});
    if (engine === undefined || !engine.running) throw new Error('no engine is running');
    return engine.pid;
  }

  /**
   * TCP connections that were established with the backend, ended after that moment and got less than the whole answer:
   * what its death has cost, by the proxy's own log. An answer lost without ever having reached the backend is not there.
   */
  async cutShort(service: string, backend: string, fromMs: number, bytes: number): Promise<number> {
    let count = 0;
    for await (const { entry } of this.traffic.logs({ service, tail: 10_000 })) {
      if (entry === undefined || entry.kind !== LogKind.CONNECTION_CLOSED || entry.transport !== 'tcp') continue;
      if (entry.backend !== backend || entry.bytesSent >= bytes || entry.time === undefined) continue;
      if (timestampMs(entry.time) >= fromMs - 1) count++;
    }
    return count;
  }

  /** Waits until the named backends are in the given health, as the data plane sees it. */
  async backendsAre(service: string, health: number, backends: readonly string[], timeoutMs = 15_000): Promise<void> {
    await until(
      `backends ${backends.join(', ')} of ${service} to be in health state ${health}`,
      async () => {
        const { backends: all } = await this.node.backends({ service }, { timeoutMs: 2_000 * PACE });
        return backends.every((name) =>
          all.some(
            (b) => b.backend === name && b.endpoints.length > 0 && b.endpoints.every((e) => e.health === health),
          ),
        );
      },
      timeoutMs,
    );
  }
}
