// SPDX-License-Identifier: Apache-2.0
/** A member's machine in trouble: its disk is full, its ports are somebody else's. */
import { readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { ServiceFile } from '../../harness/agent.js';
import { BackendProcess } from '../../harness/backend.js';
import { fill } from '../../harness/full-disk.js';
import { until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { MESH_PORT, MeshGround, type MeshNode } from './ground.js';

const DISK_BYTES = 32 << 20;
/** More than the database has room for in its own files. */
const BULKY = { changes: 4, services: 100, labels: 16, bytes: 240 } as const;
/** docs/operating.md: can not start. */
const UNAVAILABLE = 69;
const API_PORT = 7443;

const bulky = (ground: MeshGround, change: number): ServiceFile[] => {
  const labels = Array.from({ length: BULKY.labels }, (_, i) => [`l${i}`, `${change}-${'x'.repeat(BULKY.bytes)}`]);
  return Array.from({ length: BULKY.services }, (_, i) =>
    ground.service(`bulky-${i}`, 9_000 + i, { labels: Object.fromEntries(labels) }),
  );
};

export const troubles: readonly Case[] = [
  {
    name: "a member's disk is full while others make changes: it serves on, says so, and has them all once there is room",
    run: async (world: World) => {
      const disk = world.scope.addSmallDisk('disk', DISK_BYTES);
      const ground = new MeshGround(world, 2, undefined, undefined, { 2: path.join(disk, 'state') });
      await ground.start();
      const [first, second] = ground.nodes as [MeshNode, MeshNode];
      await ground.apply(second, ground.service('web', 8001));
      await ground.agreed(['web']);
      const loads = await Promise.all(ground.nodes.map((node) => ground.load(node, 8001)));
      const filler = path.join(disk, 'filler');
      fill(filler);
      for (let change = 0; change < BULKY.changes; change++) await ground.apply(first, ...bulky(ground, change));
      const problem = await until('the node to say what is wrong', async () => {
        const { stdout } = await second.agent.marcher('status');
        return /changes that were made on other nodes: .*/.exec(stdout)?.[0];
      });
      world.note('what its status says', problem);
      world.check(/disk/.test(problem), `its status does not name the disk: ${problem}`);
      const behind = await until('the other node to see it behind', async () => {
        const { members } = await first.mesh.listMembers({});
        const lag = members.find(({ name }) => name === 'node-2')?.behind ?? 0n;
        return Number(lag) > 0 && Number(lag);
      });
      world.note('changes that it lacks', behind);
      const refused = await second.agent.marcher(
        'apply',
        '-f',
        second.agent.writeConfig([ground.service('mine', 8002)]),
      );
      world.check(refused.code !== 0, 'a change was taken on a full disk');
      world.check(/full|space|disk/i.test(refused.stderr), `the refusal does not name the disk: ${refused.stderr}`);
      rmSync(filler);
      const names = bulky(ground, 0).map(({ name }) => name);
      await ground.agreed(['web', ...names]);
      await ground.apply(second, ground.service('mine', 8002));
      await ground.agreed(['mine', 'web', ...names]);
      await until('the node to say that nothing is wrong any more', async () => {
        const { stdout } = await second.agent.marcher('status');
        return !stdout.includes('changes that were made on other nodes');
      });
      for (const { agent } of ground.nodes) {
        const log = readFileSync(agent.logFile, 'utf8');
        world.check(!log.includes('two different changes have one number'), `${agent.name} found a fork`);
      }
      const log = readFileSync(second.agent.logFile, 'utf8');
      const lines = log.split('\n').filter((line) => line.includes('could not be stored'));
      world.note('lines in its log', lines.length);
      world.check(lines.length > 0, 'its log says nothing of it');
      await ground.unharmed(loads);
    },
  },
  {
    name: 'a port of the mesh or of the API is taken when an agent starts: it says which, and its engine serves on',
    run: async (world: World) => {
      const ground = new MeshGround(world, 2, undefined, API_PORT);
      await ground.start();
      const [first, second] = ground.nodes as [MeshNode, MeshNode];
      await ground.apply(first, ground.service('web', 8001));
      await ground.agreed(['web']);
      const loads = await Promise.all(ground.nodes.map((node) => ground.load(node, 8001)));
      second.agent.kill('SIGTERM');
      await second.agent.exited();
      const taken = [
        { what: 'the mesh port', port: MESH_PORT, by: { tcp: MESH_PORT } },
        { what: 'gossip', port: MESH_PORT + 1, by: { tcp: MESH_PORT + 1 } },
        { what: 'gossip', port: MESH_PORT + 1, by: { udp: MESH_PORT + 1 } },
        { what: 'the API', port: API_PORT, by: { tcp: API_PORT } },
      ];
      for (const { what, port, by } of taken) {
        const other = await BackendProcess.start(world.scope, { name: 'other', host: '0.0.0.0', ...by }, second.netns);
        second.agent.launch();
        const code = await second.agent.exited();
        const said = second.agent.logTail(8);
        world.equal(code, UNAVAILABLE, `exit code while ${JSON.stringify(by)} is taken; its log ends:\n${said}`);
        const line = said.split('\n').findLast((one) => one.includes('can not start')) ?? '';
        world.note(JSON.stringify(by), (JSON.parse(line || '{}') as { reason?: string }).reason);
        world.check(
          line.includes(what) && line.includes(`${second.v4}:${port}`) && line.includes('another process'),
          `it does not say that ${what} can't have port ${port}, and why: ${said}`,
        );
        other.kill();
      }
      await second.agent.start();
      await ground.together(ground.nodes);
      await ground.apply(second, ground.service('late', 8002));
      await ground.agreed(['late', 'web']);
      await ground.unharmed(loads);
    },
  },
];
