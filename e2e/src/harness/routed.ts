// SPDX-License-Identifier: Apache-2.0
/**
 * For direct server return: everything hangs on a router, so that what a backend answers need not pass the director.
 *
 *   client 10.77.0.2, fd77::2 -- 10.77.0.1 router 10.79.i.1 -- 10.79.i.2, fd79:i::2 director i
 *                                          router 10.78.i.1 -- 10.78.i.2, fd78:i::2 backend i
 *
 * The router sends 198.51.100.0/24 and fd99::/64, where the service addresses are, to the first director; each backend has
 * the service addresses on its loopback interface.
 */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { REPOSITORY, type Scope } from './scope.js';
import type { Host } from './topology.js';

export const VIP4 = '198.51.100.10';
export const VIP6 = 'fd99::10';

/** xdp_root without anything in its slots. */
const PASSING_PROGRAM = path.join(REPOSITORY, 'dataplane-c/build/src/control/bpf/xdp_root.o');

export interface Routed {
  readonly client: Host;
  readonly router: string;
  readonly directors: readonly Host[];
  readonly backends: readonly Host[];
}

const run = (command: string, ...args: string[]): void => {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
};
const ip = (...args: string[]): void => run('ip', ...args);
const inside = (netns: string, ...argv: string[]): void => run('nsenter', `--net=/run/netns/${netns}`, '--', ...argv);

/** Where the router sends the service addresses. */
export const routeVips = ({ router }: Routed, director: Host): void => {
  ip('-n', router, 'route', 'replace', '198.51.100.0/24', 'via', director.v4);
  ip('-n', router, '-6', 'route', 'replace', 'fd99::/64', 'via', director.v6);
};

export const makeRouted = (scope: Scope, counts: { directors: number; backends: number }): Routed => {
  const forwarding = (netns: string): void =>
    inside(netns, 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
  const router = scope.addNetns('r');
  forwarding(router);
  const attach = (suffix: string, v4: string, v6: string): Host => {
    const netns = scope.addNetns(suffix);
    ip('-n', router, 'link', 'add', suffix, 'type', 'veth', 'peer', 'name', 'up0', 'netns', netns);
    for (const [ns, device, end] of [
      [router, suffix, 1],
      [netns, 'up0', 2],
    ] as const) {
      ip('-n', ns, 'addr', 'add', `${v4}.${end}/24`, 'dev', device);
      ip('-n', ns, 'addr', 'add', `${v6}::${end}/64`, 'dev', device, 'nodad');
      ip('-n', ns, 'link', 'set', device, 'up');
      // Frames that XDP sends on must be whole: checksums in place, no larger than the link.
      inside(ns, 'ethtool', '-K', device, 'tx', 'off', 'tso', 'off', 'gso', 'off', 'gro', 'on');
    }
    ip('-n', netns, 'route', 'add', 'default', 'via', `${v4}.1`);
    ip('-n', netns, '-6', 'route', 'add', 'default', 'via', `${v6}::1`);
    return { netns, v4: `${v4}.2`, v6: `${v6}::2` };
  };
  const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);
  const client = attach('c', '10.77.0', 'fd77');
  const directors = numbers(counts.directors).map((i) => attach(`d${i}`, `10.79.${i}`, `fd79:${i}`));
  directors.forEach(({ netns }, i) => {
    // XDP asks for the kernel's routes, which it tells only where forwarding is on.
    forwarding(netns);
    // What XDP_TX puts into a veth's ring is fetched at once only when the other end has a program, too: with GRO alone
    // it lies there until the next frame comes (veth_xdp_flush, drivers/net/veth.c). This one passes everything.
    ip('-n', router, 'link', 'set', 'dev', `d${i + 1}`, 'xdpdrv', 'obj', PASSING_PROGRAM, 'sec', 'xdp');
  });
  const backends = numbers(counts.backends).map((i) => attach(`b${i}`, `10.78.${i}`, `fd78:${i}`));
  for (const { netns } of backends) {
    ip('-n', netns, 'addr', 'add', `${VIP4}/32`, 'dev', 'lo');
    ip('-n', netns, 'addr', 'add', `${VIP6}/128`, 'dev', 'lo', 'nodad');
  }
  const routed = { client, router, directors, backends };
  const [first] = directors;
  if (first !== undefined) routeVips(routed, first);
  return routed;
};
