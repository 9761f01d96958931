// SPDX-License-Identifier: Apache-2.0
/** The proxies that are compared, each pinned to core 0 and configured for one worker. */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Agent } from '@marcher/e2e/harness/agent';
import { REPOSITORY, type Scope, until } from '@marcher/e2e/harness/scope';
import { family, version } from './measure.js';

export const PROXY_CORE = '0';
export const LOAD_CORE = '1';

export interface Contender {
  readonly name: string;
  readonly version: string;
  readonly port: number;
  /** Every process that belongs to it. */
  readonly pids: () => number[];
}

export interface Target {
  readonly host: string;
  readonly ports: readonly number[];
}

const fillIn = (template: string, file: string, values: Readonly<Record<string, string>>): void => {
  let text = readFileSync(path.join(REPOSITORY, 'bench/peers', template), 'utf8');
  for (const [name, value] of Object.entries(values)) text = text.replaceAll(`@${name}@`, value);
  writeFileSync(file, text);
};

/** Waits for the TCP port to accept; asks the kernel's table, so that the proxy sees no extra connection. */
export const listening = (port: number): Promise<boolean> =>
  until(`a listener on port ${port}`, () => {
    const hex = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
    const rows = ['tcp', 'tcp6'].flatMap((table) => readFileSync(`/proc/self/net/${table}`, 'latin1').split('\n'));
    return rows.some((row) => {
      const fields = row.trim().split(/\s+/);
      return fields[1]?.endsWith(hex) === true && fields[3] === '0A';
    });
  });

const pinned = (argv: readonly string[]): string[] => ['taskset', '-c', PROXY_CORE, ...argv];

export const haproxy = async (scope: Scope, target: Target, port: number, splice: boolean): Promise<Contender> => {
  const name = splice ? 'haproxy-splice' : 'haproxy';
  const file = path.join(scope.dir, `${name}.cfg`);
  fillIn('haproxy.cfg', file, {
    PORT: String(port),
    PIPES: splice ? 'maxpipes 128\n    tune.pipesize 1048576' : '',
    SPLICE: splice ? 'option splice-auto\n    option splice-request\n    option splice-response' : '',
    SERVERS: target.ports.map((p, i) => `server s${i} ${target.host}:${p}`).join('\n    '),
  });
  const child = scope.spawn(pinned(['haproxy', '-db', '-f', file]), { log: `${name}.log` });
  await listening(port);
  return { name, version: version('haproxy', '-v'), port, pids: () => family(child.pid as number) };
};

export const nginx = async (scope: Scope, target: Target, port: number, buffer: string): Promise<Contender> => {
  const name = buffer === '16k' ? 'nginx' : `nginx-${buffer}`;
  const file = path.join(scope.dir, `${name}.conf`);
  fillIn('nginx.conf', file, {
    DIR: scope.dir,
    PORT: String(port),
    BUFFER: buffer,
    SERVERS: target.ports.map((p) => `server ${target.host}:${p};`).join(' '),
  });
  const child = scope.spawn(pinned(['nginx', '-c', file, '-p', scope.dir]), { log: `${name}.log` });
  await listening(port);
  return { name, version: version('nginx', '-v'), port, pids: () => family(child.pid as number) };
};

export const marcher = async (scope: Scope, target: Target, port: number, engine: string): Promise<Contender> => {
  const agent = new Agent(scope, { engine, args: ['--workers', '1', '--cpus', PROXY_CORE], wrapper: pinned([]) });
  await agent.start();
  const backends = target.ports.map((p) => ({ address: `${target.host}:${p}` }));
  const listener = { address: '127.0.0.1', port };
  const shared = { backends, balance: { algorithm: 'round-robin' } };
  await agent.apply([
    { name: 'tcp', listeners: [{ protocol: 'tcp', backlog: 16_384, ...listener }], ...shared },
    { name: 'udp', listeners: [{ protocol: 'udp', ...listener }], ...shared },
  ]);
  await listening(port);
  const enginePid = await agent.enginePid();
  const status = await agent.node.status({});
  return {
    name: 'marcher',
    version: `marcher ${status.version}, engine ${status.engine?.version} ${status.engine?.buildId.slice(0, 12)}`,
    port,
    pids: () => [...family(agent.pid).filter((pid) => pid !== enginePid), enginePid],
  };
};
