// SPDX-License-Identifier: Apache-2.0
/** The proxies that are compared: each in the bench's namespace, pinned to one core, configured for one worker. */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Agent } from '@marcher/e2e/harness/agent';
import { REPOSITORY, type Scope, until } from '@marcher/e2e/harness/scope';
import { family, version } from './measure.js';

export const PROXY_CORE = 0;
export const LOAD_CORE = 1;

export interface Contender {
  readonly name: string;
  readonly version: string;
  readonly port: number;
  readonly httpPort: number;
  /** Every process that belongs to it, by what it is for. */
  readonly processes: () => Record<string, number[]>;
}

/** Where proxies and backends meet. */
export interface Ground {
  readonly scope: Scope;
  readonly netns: string;
  readonly host: string;
  readonly ports: readonly number[];
  readonly httpPort: number;
}

export const pinned = (core: number, argv: readonly string[]): string[] => ['taskset', '-c', String(core), ...argv];

const fillIn = (template: string, file: string, values: Readonly<Record<string, string>>): void => {
  let text = readFileSync(path.join(REPOSITORY, 'bench/peers', template), 'utf8');
  for (const [name, value] of Object.entries(values)) text = text.replaceAll(`@${name}@`, value);
  writeFileSync(file, text);
};

/** Waits for TCP ports to accept, by the kernel's table, so that the proxy sees no extra connection. pid: any process
 * of the namespace. */
const listening = (pid: number, ports: readonly number[]): Promise<boolean> =>
  until(`listeners on ports ${ports.join(', ')}`, () => {
    const rows = readFileSync(`/proc/${pid}/net/tcp`, 'latin1').split('\n');
    const open = new Set<string | undefined>();
    for (const row of rows) {
      const fields = row.trim().split(/\s+/);
      if (fields[3] === '0A') open.add(fields[1]?.split(':')[1]);
    }
    return ports.every((port) => open.has(port.toString(16).toUpperCase().padStart(4, '0')));
  });

const spawnPeer = async (
  ground: Ground,
  name: string,
  argv: readonly string[],
  port: number,
): Promise<() => Record<string, number[]>> => {
  // nginx overwrites its environment with its title, so that the scope's reaper does not know it again; it is the first
  // process of a namespace instead, which ends with the unshare in front of it.
  const child = ground.scope.spawn(['unshare', '--pid', '--fork', '--kill-child', '--', ...pinned(PROXY_CORE, argv)], {
    netns: ground.netns,
    log: `${name}.log`,
  });
  const ended = new Promise<never>((_, reject) => {
    child.once('exit', (code) => reject(new Error(`${name} ended with ${code}; see .cache/bench-logs/${name}.log`)));
  });
  // It may also end later: then the work fails.
  ended.catch(() => {});
  await Promise.race([listening(child.pid as number, [port, port + 1]), ended]);
  return () => ({ proxy: family(child.pid as number) });
};

export interface HaproxyVariant {
  readonly name: string;
  /** Splices, through pipes of 1 MiB as Marcher does (its default is 64 KiB). */
  readonly splice: boolean;
}

export const haproxy = async (ground: Ground, variant: HaproxyVariant, port: number): Promise<Contender> => {
  const { name, splice } = variant;
  const file = path.join(ground.scope.dir, `${name}.cfg`);
  fillIn('haproxy.cfg', file, {
    PORT: String(port),
    HTTP_PORT: String(port + 1),
    HTTP_SERVER: `${ground.host}:${ground.httpPort}`,
    PIPES: splice ? 'maxpipes 128\n    tune.pipesize 1048576' : '',
    SPLICE: splice ? 'option splice-auto\n    option splice-request\n    option splice-response' : '',
    SERVERS: ground.ports.map((p, i) => `server s${i} ${ground.host}:${p}`).join('\n    '),
  });
  const processes = await spawnPeer(ground, name, ['haproxy', '-db', '-f', file], port);
  return { name, version: version('haproxy', '-v'), port, httpPort: port + 1, processes };
};

export interface NginxVariant {
  readonly name: string;
  readonly buffer: string;
  /** Passes a FIN on and waits for the other side's, as Marcher and HAProxy do; off by default in nginx. */
  readonly halfClose: boolean;
}

export const nginx = async (ground: Ground, variant: NginxVariant, port: number): Promise<Contender> => {
  const { name, buffer, halfClose } = variant;
  const file = path.join(ground.scope.dir, `${name}.conf`);
  fillIn('nginx.conf', file, {
    DIR: ground.scope.dir,
    NAME: name,
    PORT: String(port),
    HTTP_PORT: String(port + 1),
    HTTP_SERVER: `${ground.host}:${ground.httpPort}`,
    BUFFER: buffer,
    HALF_CLOSE: halfClose ? 'on' : 'off',
    SERVERS: ground.ports.map((p) => `server ${ground.host}:${p};`).join(' '),
  });
  const processes = await spawnPeer(ground, name, ['nginx', '-c', file, '-p', ground.scope.dir], port);
  return { name, version: version('nginx', '-v'), port, httpPort: port + 1, processes };
};

/** As installed, with its connection events: only the worker's core is given. The agent counts as part of the proxy. */
export const marcher = async (ground: Ground, port: number, engine: string): Promise<Contender> => {
  const agent = new Agent(ground.scope, {
    netns: ground.netns,
    engine,
    args: ['--workers', '1', '--cpus', String(PROXY_CORE)],
    wrapper: pinned(PROXY_CORE, []),
  });
  await agent.start();
  const backends = ground.ports.map((p) => ({ address: `${ground.host}:${p}` }));
  const listener = { address: '127.0.0.1', port };
  const tcp = { protocol: 'tcp', backlog: 16_384 };
  const shared = { backends, balance: { algorithm: 'round-robin' } };
  await agent.apply([
    { name: 'tcp', listeners: [{ ...tcp, ...listener }], ...shared },
    { name: 'udp', listeners: [{ protocol: 'udp', ...listener }], ...shared },
    {
      name: 'http',
      listeners: [{ ...tcp, address: '127.0.0.1', port: port + 1 }],
      backends: [{ address: `${ground.host}:${ground.httpPort}` }],
    },
  ]);
  const enginePid = await agent.enginePid();
  await listening(enginePid, [port, port + 1]);
  const status = await agent.node.status({});
  return {
    name: 'marcher',
    version: `marcher ${status.version}, engine ${status.engine?.version} ${status.engine?.buildId.slice(0, 12)}`,
    port,
    httpPort: port + 1,
    processes: () => ({ engine: [enginePid], agent: family(agent.pid).filter((pid) => pid !== enginePid) }),
  };
};
