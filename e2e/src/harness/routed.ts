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
import { batch, type Host } from './topology.js';

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
  batch(router, [`route replace 198.51.100.0/24 via ${director.v4}`, `route replace fd99::/64 via ${director.v6}`]);
};

export interface RoutedOptions {
  readonly directors: number;
  readonly backends: number;
  /** Directors and backends on one link, 10.79.0.0/24 and fd79::/64, behind a bridge of the router. */
  readonly oneLink?: boolean;
  /**
   * Directors reach clients and backends by two VLANs of their one link, both tags in the frame: 20 has 10.79.i.0/24,
   * where the service addresses are sent to, and 30 has 10.80.i.0/24 and the routes to backends.
   */
  readonly vlans?: boolean;
  /** Receive queues of each device; default 1. */
  readonly queues?: number;
}

export const makeRouted = (scope: Scope, options: RoutedOptions): Routed => {
  const queues = ['numtxqueues', 'numrxqueues'].flatMap((name) => [name, String(options.queues ?? 1)]);
  /** Without duplicate address detection: IPv6 would say nothing for its second. */
  const addNetns = (suffix: string): string => {
    const netns = scope.addNetns(suffix);
    inside(netns, 'sysctl', '-qw', 'net.ipv6.conf.all.accept_dad=0', 'net.ipv6.conf.default.accept_dad=0');
    return netns;
  };
  const forwarding = (netns: string): void =>
    inside(netns, 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
  const router = addNetns('r');
  forwarding(router);
  /** Addresses and an interface that is up, and sends whole frames: checksums in place, no larger than the link. */
  const bring = (netns: string, device: string, v4?: string, v6?: string, routes: readonly string[] = []): void => {
    batch(netns, [
      ...(v4 === undefined ? [] : [`addr add ${v4}/24 dev ${device}`]),
      ...(v6 === undefined ? [] : [`addr add ${v6}/64 dev ${device} nodad`]),
      `link set ${device} up`,
      ...routes,
    ]);
    inside(netns, 'ethtool', '-K', device, 'tx', 'off', 'tso', 'off', 'gso', 'off', 'gro', 'on');
  };
  /** bridged: the router's end is a port of its bridge. */
  const attach = (suffix: string, v4: string, v6: string, end: number, bridged: boolean): Host => {
    const netns = addNetns(suffix);
    ip(
      '-n',
      router,
      'link',
      'add',
      suffix,
      ...queues,
      'type',
      'veth',
      'peer',
      'name',
      'up0',
      ...queues,
      'netns',
      netns,
    );
    if (bridged) {
      bring(router, suffix);
      ip('-n', router, 'link', 'set', suffix, 'master', 'lan');
    } else bring(router, suffix, `${v4}.1`, `${v6}::1`);
    const host = { netns, v4: `${v4}.${end}`, v6: `${v6}::${end}` };
    bring(netns, 'up0', host.v4, host.v6, [`route add default via ${v4}.1`, `route add default via ${v6}::1`]);
    return host;
  };
  /** Addresses move to VLAN 20 of the link to director i; the way to backends is VLAN 30. */
  const tag = (i: number, { netns, v4, v6 }: Host): void => {
    const ends = [
      { at: router, device: `d${i}`, end: 1 },
      { at: netns, device: 'up0', end: 2 },
    ];
    for (const { at, device, end } of ends) {
      ip('-n', at, 'addr', 'flush', 'dev', device, 'scope', 'global');
      // A tag that the driver is to put in is one that XDP at the other end does not see.
      inside(at, 'ethtool', '-K', device, 'txvlan', 'off', 'rxvlan', 'off');
      for (const [id, net] of [
        ['20', '79'],
        ['30', '80'],
      ]) {
        ip('-n', at, 'link', 'add', 'link', device, 'name', `${device}.${id}`, 'type', 'vlan', 'id', `${id}`);
        bring(at, `${device}.${id}`, `10.${net}.${i}.${end}`, `fd${net}:${i}::${end}`);
      }
    }
    // IPv6's route by the link itself has stayed.
    ip('-n', netns, 'route', 'add', 'default', 'via', v4.replace(/\d+$/, '1'));
    ip('-n', netns, '-6', 'route', 'replace', 'default', 'via', v6.replace(/\d+$/, '1'));
    ip('-n', netns, 'route', 'add', '10.78.0.0/16', 'via', `10.80.${i}.1`);
    ip('-n', netns, '-6', 'route', 'add', 'fd78::/16', 'via', `fd80:${i}::1`);
  };
  const oneLink = options.oneLink === true;
  if (oneLink) {
    ip('-n', router, 'link', 'add', 'lan', 'type', 'bridge');
    bring(router, 'lan', '10.79.0.1', 'fd79::1');
  }
  const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);
  const client = attach('c', '10.77.0', 'fd77', 2, false);
  const directors = numbers(options.directors).map((i) =>
    oneLink ? attach(`d${i}`, '10.79.0', 'fd79', 10 + i, true) : attach(`d${i}`, `10.79.${i}`, `fd79:${i}`, 2, false),
  );
  directors.forEach(({ netns }, i) => {
    // XDP asks for the kernel's routes, which it tells only where forwarding is on.
    forwarding(netns);
    // What XDP_TX puts into a veth's ring is fetched at once only when the other end has a program, too: with GRO alone
    // it lies there until the next frame comes (veth_xdp_flush, drivers/net/veth.c). This one passes everything.
    ip('-n', router, 'link', 'set', 'dev', `d${i + 1}`, 'xdpdrv', 'obj', PASSING_PROGRAM, 'sec', 'xdp');
  });
  if (options.vlans === true) directors.forEach((host, i) => void tag(i + 1, host));
  const backends = numbers(options.backends).map((i) =>
    oneLink ? attach(`b${i}`, '10.79.0', 'fd79', 20 + i, true) : attach(`b${i}`, `10.78.${i}`, `fd78:${i}`, 2, false),
  );
  for (const { netns } of backends) {
    batch(netns, [`addr add ${VIP4}/32 dev lo`, `addr add ${VIP6}/128 dev lo nodad`]);
  }
  const routed = { client, router, directors, backends };
  const [first] = directors;
  if (first !== undefined) routeVips(routed, first);
  return routed;
};
