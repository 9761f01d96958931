// SPDX-License-Identifier: Apache-2.0
/** Clusters from outside: what is in one is served by its nodes alone, who come and go, under load. */
import { until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { MeshGround, type MeshNode } from './ground.js';

export const clusters: readonly Case[] = [
  {
    name: 'two clusters of four nodes: each served by its nodes alone; a node moves; edits on both sides of a cut heal',
    run: async (world: World) => {
      const ground = new MeshGround(world, 4);
      await ground.start();
      const [first, second, third, fourth] = ground.nodes as [MeshNode, MeshNode, MeshNode, MeshNode];
      const marcher = async (...args: string[]): Promise<string> => {
        const { code, stdout, stderr } = await first.agent.marcher(...args);
        world.equal(code, 0, `marcher ${args.join(' ')}: ${stderr || stdout}`);
        return stdout;
      };
      const carries = async (node: MeshNode, ...ports: readonly number[]): Promise<void> => {
        for (const port of [8000, 8001, 8002]) {
          world.equal(await ground.isOpen(node, port), ports.includes(port), `${node.agent.name} listens on ${port}`);
        }
      };
      await Promise.all([first.mesh.createCluster({ name: 'eu' }), first.mesh.createCluster({ name: 'us' })]);
      await ground.apply(third, ground.service('all', 8000));
      await ground.agreed(['all']);
      await marcher('cluster', 'assign', 'node-1', 'eu');
      for (const [node, cluster] of [
        ['node-2', 'eu'],
        ['node-3', 'us'],
        ['node-4', 'us'],
      ] as const) {
        await first.mesh.assignClusters({ node, clusters: [cluster] });
      }
      await ground.inClusters(second, 'eu');
      await ground.inClusters(third, 'us');
      await Promise.all([
        ground.apply(second, ground.service('of-eu', 8001, { cluster: 'eu' })),
        ground.apply(third, ground.service('of-us', 8002, { cluster: 'us' })),
      ]);
      await ground.agreed(['all', 'of-eu'], [first, second]);
      await ground.agreed(['all', 'of-us'], [third, fourth]);
      await Promise.all([carries(second, 8000, 8001), carries(fourth, 8000, 8002)]);
      const refused = await third.agent.marcher(
        'apply',
        '-f',
        third.agent.writeConfig([ground.service('of-eu', 8003, { cluster: 'eu' })]),
      );
      world.equal(refused.code === 0, false, 'a change of a cluster at a node that is not in it');
      world.check(/node-1, node-2/.test(refused.stderr), `the refusal names no node of the cluster: ${refused.stderr}`);

      // The fourth goes from one to the other, under what it goes on carrying, and what the others do.
      const loads = await Promise.all([
        ground.load(first, 8001),
        ground.load(second, 8001),
        ground.load(third, 8002),
        ground.load(fourth, 8000),
      ]);
      await first.mesh.unassignClusters({ node: 'node-4', clusters: ['us'] });
      await marcher('cluster', 'assign', 'node-4', 'eu');
      await ground.inClusters(fourth, 'eu');
      await ground.agreed(['all', 'of-eu'], [first, second, fourth]);
      await Promise.all([carries(fourth, 8000, 8001), carries(third, 8000, 8002)]);

      // One of three from the two others; the node of the other cluster still hears all of them.
      ground.cut([first], [second, fourth], true);
      await Promise.all([
        ground.apply(first, ground.service('left', 8003, { cluster: 'eu' })),
        ground.apply(fourth, ground.service('right', 8004, { cluster: 'eu' })),
      ]);
      await ground.agreed(['all', 'of-eu', 'right'], [second, fourth]);
      await ground.agreed(['all', 'left', 'of-eu'], [first]);
      ground.cut([first], [second, fourth], false);
      await ground.agreed(['all', 'left', 'of-eu', 'right'], [first, second, fourth], 30_000);
      await ground.agreed(['all', 'of-us'], [third]);
      const digests = await Promise.all(
        [first, second, fourth].map(async (node) => (await ground.status(node)).clusters[0]?.digest),
      );
      world.check(new Set(digests).size === 1, `nodes of a cluster have different digests: ${digests.join(', ')}`);
      await until('the fourth to be gone from the other cluster', async () => {
        const { stdout } = await third.agent.marcher('cluster', 'list');
        return /\bus\b.*node-3/.test(stdout) && !/\bus\b.*node-4/.test(stdout);
      });
      await ground.unharmed(loads);
    },
  },
];
