// SPDX-License-Identifier: Apache-2.0
/** Changes under traffic: nothing that a change does not concern may notice it. */
import { create } from '@bufbuild/protobuf';
import { Protocol, ServiceSchema } from '@marcher/proto/marcher/v1/model_pb';
import { sleep } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { targets, tcpService, udpService } from '../services.js';

export const reload: readonly Case[] = [
  {
    name: 'a port moves from one service to another: nothing lost',
    run: async (world: World) => {
      await world.backends(2);
      const agent = world.agent();
      await agent.start();
      const all = targets(world, 2);
      await agent.apply([tcpService('old', 5001, all.slice(0, 1)), udpService('old-udp', 5353, all.slice(0, 1))]);
      const short = await world.load({ name: 'short', kind: 'tcp-short', port: 5001, rate: 300 });
      const standing = await world.load({
        name: 'standing',
        kind: 'tcp-keepalive',
        port: 5001,
        rate: 100,
        connections: 6,
      });
      const udp = await world.load({
        name: 'udp',
        kind: 'udp',
        port: 5353,
        rate: 200,
        connections: 8,
        timeoutMs: 2_000,
      });
      await sleep(600);
      await agent.apply([tcpService('new', 5001, all.slice(1)), udpService('new-udp', 5353, all.slice(1))]);
      await sleep(600);
      await agent.apply([tcpService('old', 5001, all.slice(0, 1)), udpService('old-udp', 5353, all.slice(0, 1))]);
      await sleep(600);
      for (const load of [short, standing, udp]) {
        const counts = await world.settle(load);
        world.equal(counts.failed, 0, `${load.settings.name}: failed requests`);
        if (load === short)
          world.equal(Object.keys(counts.backends).sort().join(' '), 'b1 b2', 'backends that answered');
      }
    },
  },
  {
    name: 'a service is removed and put back at once: its ports are free again each time',
    run: async (world: World) => {
      await world.backends(1);
      const agent = world.agent();
      await agent.start();
      const backends = [{ name: 'b1', address: '10.78.1.2:8080' }];
      const service = (name: string, protocol: Protocol, port: number) =>
        create(ServiceSchema, { name, listeners: [{ protocol, ports: [{ first: port, last: port }] }], backends });
      const upsert = [service('web', Protocol.TCP, 5001), service('dns', Protocol.UDP, 5353)];
      // What is late is not lost: on a machine that is full, a worker may wait for its processor over half a second.
      const traffic = (timeoutMs?: number) => [
        world.load({ name: 'tcp', kind: 'tcp-short', port: 5001, rate: 100 }),
        world.load({
          name: 'udp',
          kind: 'udp',
          port: 5353,
          rate: 100,
          connections: 4,
          ...(timeoutMs && { timeoutMs }),
        }),
      ];
      for (let i = 0; i < 100; i++) {
        await agent.config.apply({ change: { upsert }, omitDiff: true });
        if (i === 30) await sleep(1_500); // the agent holds duplicates of the sockets by now
        await agent.config.apply({ change: { remove: ['web', 'dns'] }, omitDiff: true });
      }
      // Sessions keep their sockets after the service has gone.
      await agent.config.apply({ change: { upsert }, omitDiff: true });
      const meanwhile = await Promise.all(traffic(500));
      for (let i = 0; i < 100; i++) {
        await agent.config.apply({ change: { remove: ['web', 'dns'] }, omitDiff: true });
        await agent.config.apply({ change: { upsert }, omitDiff: true });
        if (i % 10 === 0) await sleep(100);
      }
      for (const load of meanwhile) await world.settle(load);
      for (const load of await Promise.all(traffic())) {
        await sleep(500);
        world.equal((await world.settle(load)).failed, 0, `${load.settings.name}: failed requests`);
      }
    },
  },
  {
    name: 'a removed backend and a removed service drain',
    run: async (world: World) => {
      await world.backends(2);
      const agent = world.agent();
      await agent.start();
      await agent.apply([tcpService('web', 5001, targets(world, 2)), tcpService('gone', 5002, targets(world, 1))]);
      const web = await world.load({
        name: 'standing, web',
        kind: 'tcp-keepalive',
        port: 5001,
        rate: 100,
        connections: 6,
      });
      const gone = await world.load({
        name: 'standing, gone',
        kind: 'tcp-keepalive',
        port: 5002,
        rate: 100,
        connections: 6,
      });
      await sleep(500);
      await agent.apply([tcpService('web', 5001, targets(world, 1))]);
      await sleep(800);
      for (const load of [web, gone]) {
        world.equal((await world.settle(load)).failed, 0, `${load.settings.name}: failed requests`);
      }
      const late = await world.load({
        name: 'new connections to the removed service',
        kind: 'tcp-short',
        port: 5002,
        rate: 50,
      });
      await sleep(300);
      world.equal((await world.settle(late)).answered, 0, 'answered on a removed listener');
    },
  },
  {
    name: 'a drained backend takes no new connections and keeps its old ones',
    run: async (world: World) => {
      await world.backends(2);
      const agent = world.agent();
      await agent.start();
      await agent.apply([tcpService('web', 5001, targets(world, 2))]);
      const standing = await world.load({
        name: 'standing',
        kind: 'tcp-keepalive',
        port: 5001,
        rate: 100,
        connections: 6,
      });
      await sleep(400);
      const drained = await agent.marcher('drain', 'web', 'b2');
      world.equal(drained.code, 0, `marcher drain: ${drained.stderr}`);
      const fresh = await world.load({ name: 'new', kind: 'tcp-short', port: 5001, rate: 200 });
      await sleep(600);
      const counts = await world.settle(fresh);
      world.equal(counts.failed, 0, 'failed new requests');
      world.equal(counts.backends['b2'] ?? 0, 0, 'new requests to the drained backend');
      const old = await world.settle(standing);
      world.equal(old.failed, 0, 'failed requests of standing connections');
      world.check((old.backends['b2'] ?? 0) > 0, 'standing connections stay on the drained backend');
    },
  },
];
