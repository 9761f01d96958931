// SPDX-License-Identifier: Apache-2.0
/**
 * The second part of npm run demo: three agents become a mesh, each in a network namespace. One is changed and all carry
 * it; one is cut off, both sides are changed, and they heal to one configuration. Requests go through all three
 * meanwhile. Needs root.
 */
import path from 'node:path';
import { tally } from '../harness/load.js';
import { now, REPOSITORY, Scope, sleep } from '../harness/scope.js';
import { CheckFailed, World } from '../harness/suite.js';
import { MeshGround, type MeshNode } from '../suites/mesh/ground.js';
import { printTable } from './table.js';

const hashOf = async (ground: MeshGround, node: MeshNode): Promise<string> =>
  (await ground.status(node)).configHash.slice(0, 12);

const demo = async (scope: Scope): Promise<number> => {
  const world = new World(scope, undefined);
  const ground = new MeshGround(world, 3);
  const [first, second, third] = ground.nodes as [MeshNode, MeshNode, MeshNode];
  const steps: string[][] = [];
  const step = async (title: string, work: () => Promise<void>): Promise<void> => {
    const begin = now();
    await work();
    const ms = now() - begin;
    console.log(`  ${title}: ${ms.toFixed(0)} ms`);
    const hashes = await Promise.all(ground.nodes.map((node) => hashOf(ground, node)));
    steps.push([title, ms.toFixed(0), ...hashes]);
  };
  console.log('\nThree agents, each in a network namespace of its own');
  await step('marcher mesh init; two join by tokens', () => ground.start());
  await step('web applied at node-2: carried by all', async () => {
    await ground.apply(second, ground.service('web', 8001));
    await ground.agreed(['web']);
  });
  const loads = await Promise.all(ground.nodes.map((node) => ground.load(node, 8001, 100)));
  await sleep(1_000);
  await step('node-1 cut off; mine applied there, yours and theirs at node-3', async () => {
    ground.cut([first], [second, third], true);
    await ground.apply(first, ground.service('mine', 8002));
    // Both want the port.
    await ground.apply(third, ground.service('theirs', 8002), ground.service('yours', 8003));
    await ground.agreed(['theirs', 'web', 'yours'], [second, third]);
  });
  await step('healed: one configuration, the older service has the port', async () => {
    ground.cut([first], [second, third], false);
    await ground.agreed(['mine', 'web', 'yours'], ground.nodes, 40_000);
  });
  await step('agent of node-2 killed and started again', async () => {
    second.agent.kill('SIGKILL');
    await second.agent.exited();
    await second.agent.start();
    await ground.together(ground.nodes);
  });
  const exchanges = await Promise.all(loads.map((load) => load.stop()));
  const rows = exchanges.map((all, i) => {
    const { sent, answered, failed, p50Ms, p99Ms } = tally(all);
    return [
      ground.nodes[i]?.agent.name ?? '',
      ...[sent, answered, failed].map(String),
      p50Ms.toFixed(2),
      p99Ms.toFixed(2),
    ];
  });
  console.log();
  printTable(['step', 'ms', 'hash at node-1', 'at node-2', 'at node-3'], steps);
  console.log();
  printTable(['through', 'sent', 'answered', 'lost', 'p50 ms', 'p99 ms'], rows);
  const sent = exchanges.reduce((sum, all) => sum + all.length, 0);
  const lost = exchanges.flat().filter(({ failure }) => failure !== '').length;
  console.log(lost === 0 ? `\n${sent} requests through three nodes, nothing lost.` : `\n${lost} of ${sent} lost.`);
  return lost === 0 ? 0 : 1;
};

const logs = path.join(REPOSITORY, '.cache/demo-mesh-logs');
const scope = new Scope(logs);
const end = async (code: number): Promise<void> => {
  await scope.close();
  process.exit(code);
};
process.once('SIGINT', () => void end(130));
process.once('SIGTERM', () => void end(130));
try {
  await end(await demo(scope));
} catch (error) {
  const reason = error instanceof CheckFailed ? error.message : String((error as Error).stack ?? error);
  console.error(`The mesh could not be shown: ${reason}\nLogs: ${path.relative(REPOSITORY, logs)}`);
  await end(1);
}
