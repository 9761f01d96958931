// SPDX-License-Identifier: Apache-2.0
/** The agent dies, is doubled, or changes the configuration as fast as it can. */
import { create } from '@bufbuild/protobuf';
import { Algorithm, Protocol, ServiceSchema } from '@marcher/proto/marcher/v1/model_pb';
import { percentile } from '../../harness/load.js';
import { now, sleep } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { bringUp, nothingLost, startLoad } from './load.js';

export const agentFaults: readonly Case[] = [
  {
    name: 'kill -9 of the agent: nothing lost, the next one adopts the engine',
    run: async (world: World) => {
      await world.backends(3);
      const agent = world.agent();
      await bringUp(world, agent);
      const engine = await agent.enginePid();
      const load = await startLoad(world);
      await sleep(1_000);
      agent.kill('SIGKILL');
      await agent.exited();
      await sleep(2_000);
      world.note('agent ready again after ms', await agent.start());
      const { engine: status } = await agent.node.status({});
      world.equal(status?.pid, engine, 'the engine is still the same process');
      world.check(status?.adopted === true, 'the agent says that it adopted the engine');
      await sleep(1_000);
      await nothingLost(world, load);
    },
  },
  {
    name: 'two agents on one state directory: the second is refused, the first carries on',
    run: async (world: World) => {
      await world.backends(3);
      const agent = world.agent();
      await bringUp(world, agent);
      const load = await startLoad(world);
      await sleep(500);
      const second = world.agent({ stateDir: agent.stateDir, name: 'node2' });
      second.launch();
      const code = await Promise.race([second.exited(), sleep(15_000).then(() => 'still running')]);
      world.note('exit code of the second', code);
      world.note('what it said', second.logTail(1));
      world.check(typeof code === 'number' && code !== 0, `the second agent must end with an error, but: ${code}`);
      world.check(second.logTail().includes(agent.stateDir), 'the second agent names the state directory');
      await sleep(500);
      world.check((await agent.node.status({})).ready, 'the first agent is ready');
      await nothingLost(world, load);
    },
  },
  {
    name: '1,000 configuration changes in a row: nothing lost on untouched services',
    alone: true,
    limitSeconds: 240,
    run: async (world: World) => {
      await world.backends(3);
      const agent = world.agent();
      await bringUp(world, agent);
      const load = await startLoad(world);
      await sleep(500);
      const took: number[] = [];
      const begin = now();
      for (let i = 0; i < 1_000; i++) {
        const churn = create(ServiceSchema, {
          name: `churn-${i % 7}`,
          listeners: [{ protocol: Protocol.TCP, ports: [{ first: 6_000 + (i % 50), last: 6_000 + (i % 50) }] }],
          backends: [{ name: 'x', address: `10.78.${1 + (i % 3)}.2:8080`, weight: 1 + (i % 9) }],
          balance: { algorithm: i % 2 === 0 ? Algorithm.RANDOM : Algorithm.ROUND_ROBIN },
        });
        const remove = i % 5 === 4 ? [`churn-${(i + 3) % 7}`] : [];
        const at = now();
        await agent.config.apply({ change: { upsert: [churn], remove }, omitDiff: true });
        took.push(now() - at);
      }
      took.sort((a, b) => a - b);
      world.note('changes per second', 1_000 / ((now() - begin) / 1_000));
      world.note('ms per change, median', percentile(took, 0.5));
      world.note('ms per change, p99', percentile(took, 0.99));
      await sleep(500);
      await nothingLost(world, load);
    },
  },
];
