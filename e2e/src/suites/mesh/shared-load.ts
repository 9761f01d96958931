// SPDX-License-Identifier: Apache-2.0
/** Balancing by what other nodes have open: `loadOf: mesh`, beside a service whose load is each node's own. */
import type { BackendStatus } from '@marcher/proto/marcher/v1/node_service_pb';
import { until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { MeshGround, type MeshNode } from './ground.js';

const HELD = 100;
const FEW = 8;

export const sharedLoad: readonly Case[] = [
  {
    name: "a backend that another node keeps busy is chosen less, where the load is the mesh's; and again when that node leaves",
    run: async (world: World) => {
      const ground = new MeshGround(world, 2);
      const [first, second] = ground.nodes as [MeshNode, MeshNode];
      await Promise.all([ground.start(), ground.backend('b2', 8081)]);
      const backends = [
        { name: 'b1', address: '10.77.0.1:8080' },
        { name: 'b2', address: '10.77.0.1:8081' },
      ];
      const service = (name: string, port: number, loadOf: string) =>
        ground.service(name, port, { backends, balance: { algorithm: 'least-connections', loadOf } });
      await ground.apply(first, service('alone', 8001, 'node'), service('shared', 8002, 'mesh'));
      const both = ['alone', 'shared'];
      await ground.agreed(both);
      const at = async ({ agent }: MeshNode, name: string): Promise<Record<string, BackendStatus>> => {
        const { backends: found } = await agent.node.backends({ service: name });
        return Object.fromEntries(found.map((status) => [status.backend, status]));
      };
      const open = (node: MeshNode, name: string, port: number, connections: number) =>
        Promise.all([
          ground.hold(node, port, connections),
          until(`${connections} connections of ${name} at ${node.agent.name}`, async () => {
            const { b1, b2 } = await at(node, name);
            return Number((b1?.connections ?? 0n) + (b2?.connections ?? 0n)) === connections;
          }),
        ]).then(([load]) => load);

      // All that the first node holds is at one backend.
      await Promise.all(both.map((name) => first.agent.node.drain({ service: name, backend: 'b2' })));
      const held = await Promise.all([open(first, 'alone', 8001, HELD), open(first, 'shared', 8002, HELD)]);
      await Promise.all(both.map((name) => first.agent.node.undrain({ service: name, backend: 'b2' })));
      await until('the second node to hear of it', async () => {
        const { b1, b2 } = await at(second, 'shared');
        return (b1?.elsewhere ?? 0n) > FEW && b2?.elsewhere === 0n;
      });
      const few = await Promise.all([open(second, 'alone', 8001, FEW), open(second, 'shared', 8002, FEW)]);
      const [alone, shared] = [await at(second, 'alone'), await at(second, 'shared')];
      world.equal(
        shared['b2']?.connections,
        BigInt(FEW),
        "connections to the backend that is free, by the mesh's load",
      );
      world.equal(alone['b2']?.connections, BigInt(FEW / 2), 'connections to it by the load of the node');
      world.equal(
        alone['b1']?.elsewhere,
        undefined,
        'what is said to be open elsewhere of a service that does not ask',
      );
      for (const load of few) world.equal((await world.settle(load)).failed, 0, `${load.settings.name}: failed`);
      await ground.unharmed(held);

      first.agent.kill('SIGTERM');
      await first.agent.exited();
      await until('the second node to forget what the first had open', async () => {
        const { b1 } = await at(second, 'shared');
        return b1?.elsewhere === 0n;
      });
    },
  },
];
