// SPDX-License-Identifier: Apache-2.0
/**
 * A node that is added by SSH to a mesh of one: the installation that is sent is what this tree makes, sshd is OpenSSH's, and the agent
 * runs from what has come. Below a prefix, so that the machine itself has nothing of it; sessions are in the namespace of a node.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createAgentClient } from '@marcher/client';
import {
  archivesIn,
  layoutUnder,
  lookAt,
  type Plan,
  type Progress,
  Provision,
  plainProcess,
  portsOf,
} from '@marcher/client/provision';
import { RemoteShell } from '@marcher/client/ssh';
import { makeKey, startSshd } from '@marcher/client/testing/sshd';
import type { Case, World } from '../../harness/suite.js';
import { MESH_PORT, MeshGround } from '../mesh/ground.js';
import { installation } from './installation.js';

function phases({ steps }: Progress): string {
  return steps.map(({ name, phase }) => `${name} ${phase}`).join(', ');
}

function files(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((each) => !each.isDirectory())
    .map((each) => path.join(each.parentPath, each.name));
}

/** Processes that run what is below the directory. */
function running(directory: string): string {
  return execFileSync('sh', ['-c', `ls -l /proc/[0-9]*/exe 2>/dev/null | grep -F -- "${directory}/" || :`]).toString();
}

export const provision: readonly Case[] = [
  {
    name: 'a node added by SSH: sent, started, a member; taken back after a failure in the middle, and after success',
    limitSeconds: 240,
    run: async (world: World) => {
      const { scope } = world;
      const ground = new MeshGround(world, 2);
      const [first, machine] = [ground.node(1), ground.node(2)];
      await first.agent.start();
      const { code, stderr } = await first.agent.marcher('mesh', 'init', 'edge');
      world.equal(code, 0, `marcher mesh init: ${stderr}`);

      const [archive] = archivesIn([installation(world)]);
      world.check(archive !== undefined, 'there is no archive');
      world.note('archive, MiB', archive.bytes / 2 ** 20);

      const ssh = path.join(scope.dir, 'ssh');
      const root = path.join(scope.dir, 'machine');
      mkdirSync(path.join(ssh, '.ssh'), { recursive: true, mode: 0o700 });
      mkdirSync(root);
      const authorizedKeys = [makeKey(path.join(ssh, 'key'))];
      // The machine that is added has the network of node 2.
      const config = [
        `ForceCommand exec nsenter --net=/run/netns/${machine.netns} -- /bin/sh -c "$SSH_ORIGINAL_COMMAND"`,
      ];
      const sshd = await startSshd({ directory: ssh, authorizedKeys, config });
      const confirmed: string[] = [];
      const shell = new RemoteShell(
        { kind: 'ssh', host: '127.0.0.1', port: sshd.port, user: sshd.user, path: '/' },
        {
          identityFile: path.join(ssh, 'key'),
          surroundings: { home: ssh, systemDirectory: path.join(ssh, 'etc'), localUser: 'root', environment: {} },
          ask: {
            confirmHostKey: async ({ fingerprint }) => {
              confirmed.push(fingerprint);
              return true;
            },
          },
        },
      );
      const agent = createAgentClient({ kind: 'unix', path: first.agent.socket });
      const layout = layoutUnder(root);
      const states: string[] = [];
      const provisionOf = (meshAddress: string, joinMs: number): Provision => {
        const plan: Plan = { nodeName: 'added', meshAddress, archive, layout };
        const pause = async (ms: number, signal?: AbortSignal): Promise<void> =>
          void (await sleep(ms, undefined, { signal }));
        const parts = { plan, machine: shell, privilege: 'root' as const, runner: plainProcess, agent, pause, joinMs };
        return new Provision(parts, (progress) => states.push(phases(progress)));
      };
      try {
        const meshAddress = `${machine.v4}:${MESH_PORT}`;
        const looked = await lookAt({
          ...{ machine: shell, agent, layout, archives: [archive], runner: plainProcess },
          ports: portsOf(meshAddress),
        });
        world.equal(looked.findings.map(({ text }) => text).join('; '), '', 'what speaks against the machine');
        world.equal(confirmed.length, 1, 'times that the unknown host key was asked about');

        // An address that the machine does not have: the agent ends, and says so.
        const wrong = provisionOf(`10.78.99.9:${MESH_PORT}`, 2_000);
        const failure = await wrong.run();
        world.equal(failure.phase, 'failed', phases(failure));
        const reason = failure.steps.find(({ phase }) => phase === 'failed')?.reason ?? '';
        world.check(/join|start/.test(phases(failure)) && /10\.78\.99\.9/.test(reason), `its reason: ${reason}`);
        const back = await wrong.undo();
        world.equal(back.phase, 'undone', `${phases(back)}: ${back.steps.map(({ reason }) => reason).join('; ')}`);
        world.equal(files(root).join(' '), '', 'files that are left after a failure');
        world.equal(running(root), '', 'processes that are left after a failure');

        const right = provisionOf(meshAddress, 60_000);
        const adding = Date.now();
        const done = await right.run();
        world.note('added, s', (Date.now() - adding) / 1_000);
        const why = done.steps.map(({ reason, lines }) => reason ?? lines.at(-1)).join('; ');
        world.equal(done.phase, 'done', `${phases(done)}: ${why}`);
        const { members } = await first.mesh.listMembers({});
        world.equal(
          members
            .map(({ name }) => name)
            .sort()
            .join(' '),
          'added node-1',
          'members',
        );
        const asked = await shell.run(`'${layout.command}' -t 'unix:${layout.socket}' mesh status`);
        world.check(asked.code === 0 && /admitted|edge/.test(asked.stdout), `there: ${asked.stdout}${asked.stderr}`);
        world.check(!files(root).some((file) => file === layout.token), 'the used token is still there');
        world.check(running(root).includes('marcher-engine'), 'an engine runs from what was sent');

        const undone = await right.undo();
        world.equal(
          undone.phase,
          'undone',
          `${phases(undone)}: ${undone.steps.map(({ reason }) => reason).join('; ')}`,
        );
        world.equal(files(root).join(' '), '', 'files that are left');
        world.equal(running(root), '', 'processes that are left');
        const left = (await first.mesh.listMembers({})).members;
        world.equal(left.map(({ name }) => name).join(' '), 'node-1', 'members after it was taken back');
        const { tokens } = await first.mesh.listJoinTokens({});
        world.equal(tokens.filter(({ usedBy }) => usedBy === '').length, 0, 'tokens that let somebody in');
      } finally {
        agent.close();
        shell.close();
        await sshd.stop();
        execFileSync('sh', ['-c', `ip netns pids ${machine.netns} | xargs -r kill -9`]);
      }
    },
  },
];
