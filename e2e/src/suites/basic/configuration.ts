// SPDX-License-Identifier: Apache-2.0
/** The operator's side: files, refusals, history, restarts. */
import { renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { sleep, until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { targets, tcpService } from '../services.js';

export const configuration: readonly Case[] = [
  {
    name: 'an invalid file is refused with every error and its path, and changes nothing',
    run: async (world: World) => {
      await world.backends(1);
      const agent = world.agent();
      await agent.start();
      await agent.apply([tcpService('web', 5001, targets(world, 1))]);
      const before = (await agent.node.status({})).configVersion;
      const file = agent.writeConfig([
        tcpService('web', 70_000, targets(world, 1)),
        tcpService('Bad Name', 5002, [{ address: 'not an address:x' }]),
      ]);
      const { code, stdout, stderr } = await agent.marcher('apply', '-f', file);
      const text = stdout + stderr;
      world.check(code !== 0, 'exit code');
      for (const where of ['services[0].listeners[0]', 'services[1].name', 'services[1].backends[0].address']) {
        world.check(text.includes(where), `the refusal must name ${where}:\n${text}`);
      }
      world.equal((await agent.node.status({})).configVersion, before, 'version of the configuration');
    },
  },
  {
    name: 'history and revert',
    run: async (world: World) => {
      await world.backends(2);
      const agent = world.agent();
      await agent.start();
      await agent.apply([tcpService('web', 5001, targets(world, 1))]);
      const first = (await agent.node.status({})).configVersion;
      await agent.apply([tcpService('web', 5001, targets(world, 2).slice(1))]);
      const served = async (): Promise<string> => {
        const load = await world.load({ name: 'probe', kind: 'tcp-short', port: 5001, rate: 100 });
        await sleep(200);
        return Object.keys((await world.settle(load)).backends).join(' ');
      };
      world.equal(await served(), 'b2', 'backend of the second version');
      const history = await agent.marcher('history');
      world.equal(history.code, 0, `marcher history: ${history.stderr}`);
      const reverted = await agent.marcher('revert', String(first));
      world.equal(reverted.code, 0, `marcher revert: ${reverted.stderr}`);
      world.equal(await served(), 'b1', 'backend after the revert');
    },
  },
  {
    name: 'a watched file: atomic rename is followed, a broken file is refused and the last good one stays',
    run: async (world: World) => {
      await world.backends(2);
      const file = path.join(world.scope.dir, 'watched.yaml');
      const write = (services: unknown, raw?: string): void => {
        writeFileSync(`${file}.new`, raw ?? JSON.stringify({ apiVersion: 'marcher/v1', services }));
        renameSync(`${file}.new`, file);
      };
      write([tcpService('web', 5001, targets(world, 1))]);
      const agent = world.agent({ args: ['--config', file] });
      await agent.start();
      const backend = async (): Promise<string> => {
        const { resource } = await agent.config.get({ name: 'web' });
        return resource?.service?.backends.map((b) => b.name).join(' ') ?? '';
      };
      await until('the first file', async () => (await backend()) === 'b1');
      const load = await world.load({ name: 'load', kind: 'tcp-short', port: 5001, rate: 200 });
      write([tcpService('web', 5001, targets(world, 2))]);
      await until('the second file', async () => (await backend()) === 'b1 b2');
      write(undefined, 'apiVersion: marcher/v1\nservices: [{ name: web, listeners: [');
      await sleep(1_000);
      world.equal(await backend(), 'b1 b2', 'backends after a broken file');
      // Started on a broken file, the agent serves the last good configuration.
      agent.kill('SIGTERM');
      await agent.exited();
      await agent.start();
      world.equal(await backend(), 'b1 b2', 'backends after a start on a broken file');
      world.equal((await world.settle(load)).failed, 0, 'failed requests');
    },
  },
  {
    name: 'the command line: plan, get, status, explain, test ping',
    run: async (world: World) => {
      await world.backends(2);
      const agent = world.agent();
      await agent.start();
      const file = agent.writeConfig([tcpService('web', 5001, targets(world, 2))]);
      const plan = await agent.marcher('plan', '-f', file);
      world.check(plan.stdout.includes('web'), `plan: ${plan.stdout}${plan.stderr}`);
      world.equal((await agent.config.list({})).resources.length, 0, 'services after a plan');
      await agent.apply([tcpService('web', 5001, targets(world, 2))]);
      for (const [args, expected] of [
        [['get', 'services'], 'web'],
        [['get', 'services', 'web', '-o', 'json'], '"web"'],
        [['status'], 'node1'],
        [['explain', 'service', 'web'], 'relay'],
        [['test', 'ping', `${world.net.proxy.v4}:5001`], '5001'],
      ] as const) {
        const out = await agent.marcher(...args);
        world.equal(out.code, 0, `marcher ${args.join(' ')}: ${out.stderr}`);
        world.check(out.stdout.includes(expected), `marcher ${args.join(' ')} says '${expected}': ${out.stdout}`);
      }
    },
  },
];
