// SPDX-License-Identifier: Apache-2.0
import type { World } from '../../harness/suite.js';
import { MeshGround } from '../mesh/ground.js';
import { startGateway } from './gateway.js';

/** Three agents of a mesh, clients at the service web of the first two, and a gateway at the first. */
export async function threeAgents(world: World) {
  const ground = new MeshGround(world, 3);
  await ground.start();
  const nodes = [ground.node(1), ground.node(2), ground.node(3)] as const;
  const [first, second] = nodes;
  await ground.apply(first, ground.service('web', 8001));
  await ground.agreed(['web']);
  const loads = await Promise.all([first, second].map((node) => ground.load(node, 8001)));
  return { ground, nodes, loads, address: await startGateway(world, `unix:${first.agent.socket}`) };
}
