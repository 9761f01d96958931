// SPDX-License-Identifier: Apache-2.0
/** The engine dies, or is replaced by a new build. */
import { appendFileSync, chmodSync, copyFileSync, renameSync } from 'node:fs';
import path from 'node:path';
import { now, REPOSITORY, sleep, until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { bringUp, nothingLost, startLoad } from './load.js';

/** The bound for a crashed engine. */
const RESTART_MS = 200;

export const engineFaults: readonly Case[] = [
  {
    name: 'kill -9 of the engine: serving again within 200 ms',
    alone: true,
    run: async (world: World) => {
      await world.backends(3);
      const agent = world.agent();
      await bringUp(world, agent);
      const engine = await agent.enginePid();
      const tcp = await world.load({ name: 'tcp, a connection per request', kind: 'tcp-short', port: 5001, rate: 500 });
      const udp = await world.load({
        name: 'udp',
        kind: 'udp',
        port: 5353,
        rate: 500,
        connections: 9,
        timeoutMs: 1_000,
      });
      await sleep(1_000);
      const killed = now();
      process.kill(engine, 'SIGKILL');
      await sleep(2_000);
      const status = await until('another engine', async () => {
        const { engine: next } = await agent.node.status({});
        return next?.running === true && next.pid !== engine && next;
      });
      world.note('restarts', status.restarts);
      for (const load of [tcp, udp]) {
        const counts = await world.settle(load);
        const after = counts.exchanges.filter((e) => e.sent >= killed);
        const firstAnswer = Math.min(...after.filter((e) => e.failure === '').map((e) => e.done)) - killed;
        const lastFailure = Math.max(0, ...after.filter((e) => e.failure !== '').map((e) => e.sent - killed));
        const before = counts.exchanges.filter((e) => e.failure !== '' && e.done < killed).length;
        world.note(`${load.settings.name}: first answer after ms`, firstAnswer);
        world.note(`${load.settings.name}: last request that failed was sent after ms`, lastFailure);
        world.equal(before, 0, `${load.settings.name}: failed before the engine was killed`);
        world.check(
          firstAnswer <= RESTART_MS,
          `${load.settings.name}: first answer ${firstAnswer.toFixed(0)} ms after the kill`,
        );
        world.check(
          lastFailure <= RESTART_MS,
          `${load.settings.name}: a request sent ${lastFailure.toFixed(0)} ms after the kill failed`,
        );
      }
    },
  },
  {
    name: 'engine replaced by a new build: nothing lost',
    run: async (world: World) => {
      await world.backends(3);
      const built = world.engine ?? path.join(REPOSITORY, 'dataplane-c/build/src/marcher-engine');
      const installed = path.join(world.scope.dir, 'marcher-engine');
      copyFileSync(built, installed);
      chmodSync(installed, 0o755);
      const agent = world.agent({ engine: installed });
      await bringUp(world, agent);
      const old = (await agent.node.status({})).engine;
      const load = await startLoad(world);
      await sleep(1_000);
      // As a package does it: the new file takes the old one's place, then the service is restarted. The trailing
      // bytes make it another build and change nothing else.
      copyFileSync(built, `${installed}.new`);
      appendFileSync(`${installed}.new`, 'another build');
      chmodSync(`${installed}.new`, 0o755);
      renameSync(`${installed}.new`, installed);
      agent.kill('SIGTERM');
      world.equal(await agent.exited(), 0, 'exit code of the agent at SIGTERM');
      await agent.start();
      const begin = now();
      const next = await until('the new build to serve', async () => {
        const { engine } = await agent.node.status({});
        return engine?.running === true && engine.buildId !== old?.buildId && engine;
      });
      world.note('new build serving ms after the agent was ready', now() - begin);
      world.check(next.pid !== old?.pid, 'the new build is a new process');
      await sleep(2_000);
      await nothingLost(world, load);
    },
  },
];
