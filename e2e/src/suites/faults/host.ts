// SPDX-License-Identifier: Apache-2.0
/** The machine's troubles: a full disk, a damaged database, a port that somebody else has. */
import { closeSync, openSync, readdirSync, rmSync, statSync, writeSync } from 'node:fs';
import path from 'node:path';
import { BackendProcess } from '../../harness/backend.js';
import { fill } from '../../harness/full-disk.js';
import { sleep } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { targets, tcpService } from '../services.js';
import { carriesOn } from './backends.js';
import { bringUp, standardServices } from './load.js';

/** The SQLite database file in the state directory. */
const databaseOf = (stateDir: string): string => {
  const names = readdirSync(stateDir, { recursive: true, encoding: 'utf8' });
  const candidates = names.filter((name) => /\.(db|sqlite3?)$/.test(name)).map((name) => path.join(stateDir, name));
  const [largest] = candidates.sort((a, b) => statSync(b).size - statSync(a).size);
  if (largest === undefined) throw new Error(`no database file in ${stateDir}: ${names.join(', ')}`);
  return largest;
};

export const hostFaults: readonly Case[] = [
  {
    name: 'disk full on the state directory: the change is refused, traffic and the old configuration stay',
    run: async (world: World) => {
      await world.backends(3);
      const disk = world.scope.addSmallDisk('disk', 48 << 20);
      const agent = world.agent({ stateDir: path.join(disk, 'state') });
      await bringUp(world, agent);
      const before = (await agent.node.status({})).configVersion;
      await carriesOn(world, async () => {
        fill(path.join(disk, 'filler'));
        const services = [...standardServices(world), tcpService('more', 5003, targets(world, 3))];
        const file = agent.writeConfig(services);
        // A database may have room in its own files for a while: change until the full disk is met.
        let refused: { code: number; text: string } | undefined;
        for (let i = 0; i < 200 && refused === undefined; i++) {
          const bulky = services.map((s) => ({ ...s, labels: { filler: `${i}-${'x'.repeat(20_000)}` } }));
          const out = await agent.marcher('apply', '-f', i === 0 ? file : agent.writeConfig(bulky));
          if (out.code !== 0) refused = { code: out.code, text: (out.stderr || out.stdout).trim() };
          rmSync(path.join(disk, 'nothing'), { force: true });
        }
        world.check(refused !== undefined, 'a change on a full disk must be refused');
        world.note('exit code', refused.code);
        world.note('what it said', refused.text.split('\n')[0]);
        world.check(/full|space|disk/i.test(refused.text), `the refusal must name the disk: ${refused.text}`);
        world.check((await agent.node.status({})).configVersion >= before, 'the agent still answers');
        rmSync(path.join(disk, 'filler'));
        await agent.apply(services);
      });
    },
  },
  {
    name: 'corrupt database file: traffic carries on, and the agent says what it found',
    run: async (world: World) => {
      await world.backends(3);
      const agent = world.agent();
      await bringUp(world, agent);
      await carriesOn(world, async () => {
        agent.kill('SIGKILL');
        await agent.exited();
        const database = databaseOf(agent.stateDir);
        const fd = openSync(database, 'r+');
        writeSync(fd, Buffer.alloc(8_192, 0xa5), 0, 8_192, 0);
        closeSync(fd);
        for (const suffix of ['-wal', '-shm']) rmSync(database + suffix, { force: true });
        world.note('agent ready again after ms', await agent.start());
        const status = await agent.node.status({});
        const told = status.conditions.map((c) => `${c.type}: ${c.message}`).join('; ');
        world.note('what the status says', told);
        world.check(/database|store/i.test(told + agent.logTail(200)), 'the agent names the damaged store');
        world.check(status.engine?.adopted === true, 'the engine was adopted');
        await sleep(500);
        // An operator puts the configuration back, and everything is as before.
        await agent.apply(standardServices(world));
      });
    },
  },
  {
    name: 'port already in use by a foreign process: the change is refused with the port, nothing else is touched',
    run: async (world: World) => {
      await world.backends(3);
      const agent = world.agent();
      await bringUp(world, agent);
      const foreign = await BackendProcess.start(
        world.scope,
        { name: 'foreign', host: '0.0.0.0', tcp: 5002 },
        world.net.proxy.netns,
      );
      const before = (await agent.node.status({})).configVersion;
      const services = [...standardServices(world), tcpService('late', 5002, targets(world, 3))];
      await carriesOn(world, async () => {
        const { code, stderr, stdout } = await agent.marcher('apply', '-f', agent.writeConfig(services));
        const text = stderr || stdout;
        world.note('exit code', code);
        world.note('what it said', text.trim().split('\n').slice(0, 3).join(' / '));
        world.check(code !== 0, 'the change must be refused');
        world.check(text.includes('5002'), `the refusal must name the port: ${text}`);
        world.equal((await agent.node.status({})).configVersion, before, 'version of the configuration');
        foreign.kill();
        await sleep(100);
        await agent.apply(services);
      });
      const load = await world.load({
        name: 'the service, once the port is free',
        kind: 'tcp-short',
        port: 5002,
        rate: 100,
      });
      await sleep(500);
      world.equal((await world.settle(load)).failed, 0, 'failed requests');
    },
  },
];
