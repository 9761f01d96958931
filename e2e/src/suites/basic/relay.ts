// SPDX-License-Identifier: Apache-2.0
/** Bytes and datagrams through the proxy: families, Unix sockets, half-close, PROXY protocol, ranges, limits. */
import path from 'node:path';
import { sleep } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { targets, tcpService, udpService } from '../services.js';
import { curl, netcat } from './client.js';

export const relay: readonly Case[] = [
  {
    name: 'TCP over IPv4, IPv6 and a Unix socket, one dual-stack listener',
    run: async (world: World) => {
      const unix = path.join(world.scope.dir, 'backend.sock');
      await world.backend(1);
      await world.backend(2, { unix, name: 'unix' });
      const agent = world.agent();
      await agent.start();
      await agent.apply([
        tcpService('mixed', 5001, [
          { address: '10.78.1.2:8080' },
          { address: '[fd78:1::2]:8080' },
          { address: `unix:${unix}` },
        ]),
      ]);
      for (const host of [world.net.proxy.v4, world.net.proxy.v6]) {
        const load = await world.load({
          name: `to ${host}`,
          kind: 'tcp-short',
          host,
          port: 5001,
          rate: 200,
          bytes: 3_000,
        });
        await sleep(900);
        const counts = await world.settle(load);
        world.equal(counts.failed, 0, 'failed requests');
        world.check((counts.backends['b1'] ?? 0) > (counts.backends['unix'] ?? 0), 'two of three backends are b1');
        world.check((counts.backends['unix'] ?? 0) > 0, 'the Unix socket served');
      }
    },
  },
  {
    name: 'an address of one family listens on that one only',
    run: async (world: World) => {
      await world.backend(1);
      const agent = world.agent();
      await agent.start();
      await agent.apply([
        {
          ...tcpService('four', 5001, targets(world, 1)),
          listeners: [{ protocol: 'tcp', address: world.net.proxy.v4, port: 5001 }],
        },
      ]);
      world.check((await netcat(world, world.net.proxy.v4, 5001, '1 0\\n', '-N')).startsWith('1 b1 '), 'IPv4 answers');
      world.equal(await netcat(world, world.net.proxy.v6, 5001, '1 0\\n', '-N'), '', 'what IPv6 answers');
    },
  },
  {
    name: 'bodies of 1 MB arrive whole',
    run: async (world: World) => {
      await world.backends(2);
      const agent = world.agent();
      await agent.start();
      await agent.apply([tcpService('bulk', 5001, targets(world, 2))]);
      const short = await world.load({ name: 'short', kind: 'tcp-short', port: 5001, rate: 20, bytes: 1 << 20 });
      const standing = await world.load({
        name: 'standing',
        kind: 'tcp-keepalive',
        port: 5001,
        rate: 40,
        bytes: 1 << 20,
        connections: 4,
      });
      await sleep(2_000);
      world.equal((await world.settle(short)).failed, 0, 'failed requests (connection per request)');
      world.equal((await world.settle(standing)).failed, 0, 'failed requests (standing connections)');
    },
  },
  {
    name: 'half-close: a reply after the client has ended its direction arrives whole',
    run: async (world: World) => {
      const backend = await world.backend(1);
      const agent = world.agent();
      await agent.start();
      await agent.apply([tcpService('half', 5001, targets(world, 1))]);
      await backend.behave({ mode: 'slow', delayMs: 500 });
      const reply = await netcat(world, world.net.proxy.v4, 5001, '1 200000\\n', '-N');
      const head = reply.indexOf('\n') + 1;
      world.equal(reply.length - head, 200_000, 'bytes of the reply');
    },
  },
  {
    name: 'PROXY protocol v1 and v2 to the backend',
    run: async (world: World) => {
      await world.backend(1, { proxyProtocol: true });
      const agent = world.agent();
      await agent.start();
      await agent.apply([
        tcpService('one', 5001, targets(world, 1, { sendProxy: 'v1' })),
        tcpService('two', 5002, targets(world, 1, { sendProxy: 'v2' })),
      ]);
      for (const [port, version] of [
        [5001, 'v1'],
        [5002, 'v2'],
      ] as const) {
        const four = await netcat(world, world.net.proxy.v4, port, '1 0\\n', '-N');
        world.check(four.includes(` ${version}:10.77.0.`), `${version} over IPv4, the backend saw: ${four}`);
        const six = await netcat(world, world.net.proxy.v6, port, '1 0\\n', '-N');
        world.check(six.includes(` ${version}:[fd77:`), `${version} over IPv6, the backend saw: ${six}`);
      }
    },
  },
  {
    name: 'PROXY protocol from listed sources is believed, from others not read',
    run: async (world: World) => {
      await world.backend(1, { proxyProtocol: true });
      const agent = world.agent();
      await agent.start();
      const listed = (port: number, from: string): object[] => [{ protocol: 'tcp', port, acceptProxyFrom: [from] }];
      const backends = targets(world, 1, { sendProxy: 'v1' });
      await agent.apply([
        { ...tcpService('trusted', 5001, backends), listeners: listed(5001, '10.77.0.0/24') },
        { ...tcpService('untrusted', 5002, backends), listeners: listed(5002, '192.0.2.0/24') },
      ]);
      const header = 'PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\\r\\n';
      const trusted = await netcat(world, world.net.proxy.v4, 5001, `${header}1 0\\n`, '-N');
      world.check(trusted.includes('v1:203.0.113.7:4711'), `the backend saw: ${trusted}`);
      const without = await netcat(world, world.net.proxy.v4, 5001, '1 0\\n', '-N');
      world.equal(without, '', 'what a trusted source without a header gets');
      const untrusted = await netcat(world, world.net.proxy.v4, 5002, `${header}1 0\\n`, '-N');
      world.check(!untrusted.includes('203.0.113.7:4711 '), `a source that is not listed was believed: ${untrusted}`);
      world.check(untrusted.includes('v1:10.77.0.'), `the backend saw: ${untrusted}`);
    },
  },
  {
    name: 'ports: lists and ranges, and a backend on the port that the client came to',
    run: async (world: World) => {
      await world.backend(1);
      await world.backend(2, { tcp: 5_107, name: 'same-port' });
      const agent = world.agent();
      await agent.start();
      await agent.apply([
        { ...tcpService('range', 0, targets(world, 1)), listeners: [{ protocol: 'tcp', ports: ['5200-5219', 5_300] }] },
        {
          ...tcpService('same', 0, [{ address: '10.78.2.2' }]),
          listeners: [{ protocol: 'tcp', ports: [5_106, 5_107] }],
        },
      ]);
      for (const port of [5_200, 5_210, 5_219, 5_300]) {
        world.check(
          (await netcat(world, world.net.proxy.v4, port, '1 0\\n', '-N')).startsWith('1 b1'),
          `port ${port} answers`,
        );
      }
      world.equal(await netcat(world, world.net.proxy.v4, 5_220, '1 0\\n', '-N'), '', 'beside the range');
      world.check(
        (await netcat(world, world.net.proxy.v4, 5_107, '1 0\\n', '-N')).startsWith('1 same-port'),
        'same port',
      );
    },
  },
  {
    name: 'connection limits: per source address and per listener',
    run: async (world: World) => {
      await world.backend(1);
      const agent = world.agent();
      await agent.start();
      await agent.apply([
        tcpService('source', 5001, targets(world, 1), { limits: { maxConnectionsPerSource: 2 } }),
        {
          ...tcpService('listener', 5002, targets(world, 1)),
          listeners: [{ protocol: 'tcp', port: 5002, maxConnections: 3 }],
        },
      ]);
      const sources = ['10.77.0.3', '10.77.0.4'];
      const bySource = await world.load({
        name: 'by source',
        kind: 'tcp-keepalive',
        port: 5001,
        rate: 200,
        connections: 12,
        sources,
      });
      const byListener = await world.load({
        name: 'by listener',
        kind: 'tcp-keepalive',
        port: 5002,
        rate: 200,
        connections: 12,
        sources,
      });
      for (let i = 0; i < 10; i++) {
        await sleep(100);
        const source = await agent.traffic.listConnections({ service: 'source', limit: 100 });
        const listener = await agent.traffic.listConnections({ service: 'listener', limit: 100 });
        world.check(source.total <= 4n, `${source.total} connections from two sources with a limit of 2 each`);
        world.check(listener.total <= 3n, `${listener.total} connections on a listener with a limit of 3`);
      }
      const counts = [await world.settle(bySource), await world.settle(byListener)];
      for (const one of counts) {
        world.check(one.answered > 0, 'those within the limit are served');
        world.check(one.failed > 0, 'those above the limit are refused');
      }
    },
  },
  {
    name: 'HTTP clients: curl through the proxy',
    run: async (world: World) => {
      await world.backends(2);
      const agent = world.agent();
      await agent.start();
      await agent.apply([tcpService('http', 8000, [{ address: '10.78.1.2:8081' }, { address: '10.78.2.2:8081' }])]);
      const seen = new Set<string>();
      for (let i = 0; i < 6; i++) seen.add((await curl(world, `http://${world.net.proxy.v4}:8000/`)).trim());
      seen.add((await curl(world, `http://[${world.net.proxy.v6}]:8000/`)).trim());
      world.equal([...seen].sort().join(' '), 'b1 b2', 'backends that answered');
    },
  },
  {
    name: 'UDP over IPv4 and IPv6, replies from the address that was asked',
    run: async (world: World) => {
      await world.backends(2);
      await world.scope.must(['ip', '-n', world.net.proxy.netns, 'addr', 'add', '10.77.0.200/24', 'dev', 'front']);
      const agent = world.agent();
      await agent.start();
      await agent.apply([udpService('dns', 5353, targets(world, 2))]);
      // netcat connects its socket: a reply from another address would never reach it.
      for (const address of [world.net.proxy.v4, '10.77.0.200', world.net.proxy.v6]) {
        const reply = await netcat(world, address, 5353, '1 ................................\\n', '-u', '-W', '1');
        world.check(reply.startsWith('1 b'), `reply from ${address}: '${reply}'`);
      }
      for (const host of [world.net.proxy.v4, world.net.proxy.v6]) {
        const load = await world.load({
          name: `to ${host}`,
          kind: 'udp',
          host,
          port: 5353,
          rate: 500,
          connections: 20,
          bytes: 512,
          timeoutMs: 2_000,
        });
        await sleep(1_000);
        const counts = await world.settle(load);
        world.equal(counts.failed, 0, 'failed requests');
        world.equal(Object.keys(counts.backends).length, 2, 'backends that answered');
      }
    },
  },
];
