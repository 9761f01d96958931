// SPDX-License-Identifier: Apache-2.0
/** Agents as a mesh: joined, changed anywhere, cut apart and healed, killed, removed; data planes lose nothing meanwhile. */
import { sleep, until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { clusters } from './clusters.js';
import { crowd } from './crowd.js';
import { MeshGround, type MeshNode } from './ground.js';
import { operators } from './operators.js';
import { relayedCalls } from './relayed-calls.js';
import { sharedLoad } from './shared-load.js';
import { troubles } from './troubles.js';

const three = async (world: World): Promise<[MeshGround, MeshNode, MeshNode, MeshNode]> => {
  const ground = new MeshGround(world, 3);
  await ground.start();
  return [ground, ground.node(1), ground.node(2), ground.node(3)];
};

export const mesh: readonly Case[] = [
  {
    name: 'three nodes: a change made at any is carried by all, and is in the history of all',
    run: async (world: World) => {
      const ground = new MeshGround(world, 3);
      const [first, second, third] = ground.nodes as [MeshNode, MeshNode, MeshNode];
      // What the first node has before there is a mesh becomes the mesh's.
      await first.agent.start();
      await ground.apply(first, ground.service('old', 8000));
      await first.agent.marcher('mesh', 'status');
      first.agent.kill('SIGTERM');
      await first.agent.exited();
      await ground.start();
      await ground.agreed(['old']);
      await ground.apply(second, ground.service('web', 8001));
      await ground.apply(third, ground.service('api', 8002));
      await ground.agreed(['api', 'old', 'web']);
      const loads = await Promise.all(
        ground.nodes.flatMap((node) => [8000, 8001, 8002].map((port) => ground.load(node, port))),
      );
      await sleep(1_000);
      await ground.unharmed(loads);
      const { stdout } = await first.agent.marcher('history');
      world.check(/mesh/.test(stdout), `marcher history of the first node says nothing of the mesh:\n${stdout}`);
    },
  },
  {
    name: 'cut apart, changed on both sides, healed: one configuration; the older service has the port',
    run: async (world: World) => {
      const [ground, first, second, third] = await three(world);
      await ground.apply(first, ground.service('web', 8001));
      await ground.agreed(['web']);
      const loads = await Promise.all(ground.nodes.map((node) => ground.load(node, 8001)));
      ground.cut([first], [second, third], true);
      await ground.apply(first, ground.service('mine', 8002));
      await ground.apply(third, ground.service('theirs', 8002), ground.service('other', 8003));
      await ground.agreed(['other', 'theirs', 'web'], [second, third]);
      await sleep(500);
      ground.cut([first], [second, third], false);
      await ground.agreed(['mine', 'other', 'web'], ground.nodes, 30_000);
      const { stdout } = await third.agent.marcher('status');
      world.check(stdout.includes('theirs'), `marcher status does not name what was left out:\n${stdout}`);
      await ground.unharmed(loads);
    },
  },
  {
    name: 'a node that is killed is told of what it missed; nothing of its traffic is lost',
    run: async (world: World) => {
      const [ground, first, second, third] = await three(world);
      await ground.apply(second, ground.service('web', 8001));
      await ground.agreed(['web']);
      const loads = await Promise.all(ground.nodes.map((node) => ground.load(node, 8001)));
      third.agent.kill('SIGKILL');
      await third.agent.exited();
      await ground.apply(first, ground.service('late', 8002));
      await ground.agreed(['late', 'web'], [first, second]);
      await third.agent.start();
      await ground.agreed(['late', 'web'], ground.nodes, 30_000);
      // All at once: each finds the others by what it remembers.
      for (const { agent } of ground.nodes) agent.kill('SIGKILL');
      await Promise.all(ground.nodes.map(({ agent }) => agent.exited()));
      await Promise.all(ground.nodes.map(({ agent }) => agent.start()));
      await ground.together(ground.nodes, 40_000);
      await ground.apply(third, ground.service('after', 8003));
      await ground.agreed(['after', 'late', 'web']);
      await ground.unharmed(loads);
    },
  },
  {
    name: 'a token lets in one node, once; a node that was removed is kept out',
    run: async (world: World) => {
      const ground = new MeshGround(world, 3);
      const [first, second, third] = ground.nodes as [MeshNode, MeshNode, MeshNode];
      await first.agent.start();
      world.equal((await first.agent.marcher('mesh', 'init', 'edge')).code, 0, 'marcher mesh init');
      world.equal((await first.agent.marcher('mesh', 'init', 'again')).code === 0, false, 'a second mesh on one node');
      await ground.join(second);
      await ground.together([first, second]);
      // The token of the second, which is spent.
      const spent = await world.scope.must(['cat', `${world.scope.dir}/token-2`]);
      await world.scope.must(['sh', '-c', `umask 077; printf %s '${spent.trim()}' > ${world.scope.dir}/token-3`]);
      await third.agent.start();
      const refused = await until('the third node to say why it is not in', async () => {
        const { stdout } = await third.agent.marcher('status');
        return stdout.includes('does not let this machine join') ? stdout : undefined;
      });
      world.check(/used|spent/.test(refused), `marcher status does not say that the token was used:\n${refused}`);
      third.agent.kill('SIGTERM');
      await third.agent.exited();
      await ground.join(third);
      await ground.together(ground.nodes);
      world.equal((await first.agent.marcher('mesh', 'remove', 'node-3', '--yes')).code, 0, 'marcher mesh remove');
      await until('the removed node to say so', async () => {
        const { stdout } = await third.agent.marcher('status');
        return stdout.includes('was removed');
      });
      await ground.together([first, second]);
      // It was given two seconds to hear of it.
      await sleep(2_500);
      await ground.apply(second, ground.service('web', 8001));
      await ground.agreed(['web'], [first, second]);
      await sleep(1_000);
      const { resources } = await third.agent.config.list({});
      world.equal(resources.length, 0, 'services that came to a removed node');
    },
  },
  ...clusters,
  ...sharedLoad,
  ...operators,
  ...relayedCalls,
  ...troubles,
  ...crowd,
];
