// SPDX-License-Identifier: Apache-2.0
/**
 * client -- proxy -- backend 1..n, each a network namespace, veth pairs between them, IPv4 and IPv6:
 *   client 10.77.0.2, fd77::2  --  10.77.0.1, fd77::1 proxy 10.78.i.1, fd78:i::1  --  10.78.i.2, fd78:i::2 backend i
 */
import { execFileSync } from 'node:child_process';
import type { Scope } from './scope.js';

export interface Host {
  readonly netns: string;
  readonly v4: string;
  readonly v6: string;
}

export interface Topology {
  readonly client: Host;
  readonly proxy: Host;
  readonly backends: readonly Host[];
}

const ip = (...args: string[]): void => {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
};

export const makeTopology = (scope: Scope, backendCount: number): Topology => {
  const client = scope.addNetns('c');
  const proxy = scope.addNetns('p');
  const link = (a: string, aName: string, b: string, bName: string): void => {
    ip('-n', a, 'link', 'add', aName, 'type', 'veth', 'peer', 'name', bName, 'netns', b);
  };
  const address = (ns: string, device: string, v4: string, v6: string): void => {
    ip('-n', ns, 'addr', 'add', `${v4}/24`, 'dev', device);
    ip('-n', ns, 'addr', 'add', `${v6}/64`, 'dev', device, 'nodad');
    ip('-n', ns, 'link', 'set', device, 'up');
  };
  link(proxy, 'front', client, 'up0');
  address(proxy, 'front', '10.77.0.1', 'fd77::1');
  address(client, 'up0', '10.77.0.2', 'fd77::2');
  // More clients than one, for limits and affinity by source address.
  for (let host = 3; host <= 40; host++) ip('-n', client, 'addr', 'add', `10.77.0.${host}/24`, 'dev', 'up0');
  const backends: Host[] = [];
  for (let i = 1; i <= backendCount; i++) {
    const backend = scope.addNetns(`b${i}`);
    link(proxy, `back${i}`, backend, 'up0');
    address(proxy, `back${i}`, `10.78.${i}.1`, `fd78:${i}::1`);
    address(backend, 'up0', `10.78.${i}.2`, `fd78:${i}::2`);
    backends.push({ netns: backend, v4: `10.78.${i}.2`, v6: `fd78:${i}::2` });
  }
  return {
    client: { netns: client, v4: '10.77.0.2', v6: 'fd77::2' },
    proxy: { netns: proxy, v4: '10.77.0.1', v6: 'fd77::1' },
    backends,
  };
};

/**
 * The host's answers vanish without a word: packets reach it, but the way back is a hole. (Nothing but iproute2 is
 * needed for it, and unlike a link that is down no ICMP error tells.)
 */
export const blackhole = (host: Host, on: boolean): void => {
  const peer4 = host.v4.replace(/\.\d+$/, '.1');
  const peer6 = host.v6.replace(/::\d+$/, '::1');
  ip('-n', host.netns, 'route', on ? 'add' : 'del', 'blackhole', `${peer4}/32`);
  ip('-n', host.netns, '-6', 'route', on ? 'add' : 'del', 'blackhole', `${peer6}/128`);
};
