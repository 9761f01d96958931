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

/** ip in a namespace. In one process: a case makes a hundred of these, and each would stop the runner for some milliseconds. */
export const batch = (netns: string, commands: readonly string[]): void => {
  execFileSync('ip', ['-n', netns, '-batch', '-'], {
    input: `${commands.join('\n')}\n`,
    stdio: ['pipe', 'ignore', 'pipe'],
  });
};

const veth = (name: string, peer: string): string => `link add ${name} type veth peer name up0 netns ${peer}`;

const address = (device: string, v4: string, v6: string): string[] => [
  `addr add ${v4}/24 dev ${device}`,
  `addr add ${v6}/64 dev ${device} nodad`,
  `link set ${device} up`,
];

export const makeTopology = (scope: Scope, backendCount: number): Topology => {
  const client = scope.addNetns('c');
  const proxy = scope.addNetns('p');
  const hosts = Array.from({ length: backendCount }, (_, i) => i + 1).map((i) => ({
    i,
    netns: scope.addNetns(`b${i}`),
    v4: `10.78.${i}.2`,
    v6: `fd78:${i}::2`,
  }));
  batch(proxy, [
    veth('front', client),
    ...address('front', '10.77.0.1', 'fd77::1'),
    ...hosts.flatMap(({ i, netns }) => [
      veth(`back${i}`, netns),
      ...address(`back${i}`, `10.78.${i}.1`, `fd78:${i}::1`),
    ]),
  ]);
  // More clients than one, for limits and affinity by source address.
  const more = Array.from({ length: 38 }, (_, i) => `addr add 10.77.0.${i + 3}/24 dev up0`);
  batch(client, [...address('up0', '10.77.0.2', 'fd77::2'), ...more]);
  for (const { netns, v4, v6 } of hosts) batch(netns, address('up0', v4, v6));
  return {
    client: { netns: client, v4: '10.77.0.2', v6: 'fd77::2' },
    proxy: { netns: proxy, v4: '10.77.0.1', v6: 'fd77::1' },
    backends: hosts.map(({ netns, v4, v6 }) => ({ netns, v4, v6 })),
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
