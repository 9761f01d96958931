// SPDX-License-Identifier: Apache-2.0
/** One agent that is asked for another: no other port than that of the mesh is open between them. */
import { until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { MeshGround, type MeshNode } from './ground.js';

export const relayedCalls: readonly Case[] = [
  {
    name: 'a node is asked, watched and drained through another, which says so when it can not be reached',
    run: async (world: World) => {
      const ground = new MeshGround(world, 2);
      await ground.start();
      const [first, second] = ground.nodes as [MeshNode, MeshNode];
      await ground.apply(first, ground.service('web', 8001));
      await ground.agreed(['web']);
      const asked = async (...args: string[]): Promise<string> => {
        const { code, stdout, stderr } = await first.agent.marcher(...args, '--node', 'node-2');
        world.equal(code, 0, `marcher ${args.join(' ')} --node node-2: ${stderr}`);
        return stdout;
      };
      const load = await ground.load(second, 8001);
      world.check((await asked('status')).startsWith('Node     node-2: ready'), 'marcher status is of another node');
      await until('a connection of the second node to be shown by the first', async () => {
        return /^web +10\.77\.0\.2:/m.test(await asked('connections', 'web'));
      });
      await ground.unharmed([load]);
      await asked('drain');
      world.check((await asked('status')).startsWith('Node     node-2: draining'), 'it was not drained');
      world.check(/: ready/.test((await first.agent.marcher('status')).stdout), 'the other one was drained');
      const { stdout: audit } = await second.agent.marcher('audit', 'list');
      world.check(
        /root \(uid 0\) via node-1 .*NodeService\/Drain/.test(audit),
        `the audit log does not say by whom:\n${audit}`,
      );
      await asked('undrain');
      second.agent.kill('SIGKILL');
      await second.agent.exited();
      const { code, stderr } = await first.agent.marcher('status', '--node', 'node-2');
      world.equal(code, 5, `marcher status of a node that is not there: ${stderr}`);
      world.check(stderr.includes('node-2'), `it is not said which node does not answer: ${stderr}`);
    },
  },
];
