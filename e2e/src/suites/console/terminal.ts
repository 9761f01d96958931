// SPDX-License-Identifier: Apache-2.0
/** The terminal console over three agents that carry traffic, by an SSH session as somebody has it who can reach one machine. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { makeKey } from '@marcher/client/testing/sshd';
import { MARCHER } from '../../harness/agent.js';
import { until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { Terminal } from '../../harness/terminal.js';
import { pictureOf } from '../../harness/terminal-picture.js';
import { MeshGround, type MeshNode } from '../mesh/ground.js';
import { pictureOfPage } from './browser.js';

const SSH_PORT = 2222;

interface Sshd {
  /** The command by which a session on that node is begun from elsewhere. */
  readonly command: string;
  stop(): void;
}

function startSshd({ scope }: World, { netns, v4 }: MeshNode): Sshd {
  const directory = path.join(scope.dir, 'ssh');
  mkdirSync(directory, { mode: 0o700 });
  const [own, host] = ['key', 'host_key'].map((name) => path.join(directory, name)) as [string, string];
  const known = path.join(directory, 'known_hosts');
  writeFileSync(path.join(directory, 'authorized_keys'), `${makeKey(own)}\n`);
  writeFileSync(known, `[${v4}]:${SSH_PORT} ${makeKey(host)}\n`);
  mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
  const settings = [
    `ListenAddress ${v4}:${SSH_PORT}`,
    `HostKey ${host}`,
    `AuthorizedKeysFile ${path.join(directory, 'authorized_keys')}`,
    ...['PidFile none', 'StrictModes no', 'UsePAM no', 'PermitRootLogin prohibit-password', 'PrintMotd no'],
  ];
  const file = path.join(directory, 'sshd_config');
  writeFileSync(file, `${settings.join('\n')}\n`);
  // It writes its title over the mark by which the scope would find it: it ends with this case, or with whoever runs it.
  const argv = ['setpriv', '--pdeathsig', 'KILL', '/usr/sbin/sshd', '-D', '-e', '-f', file];
  const child = scope.spawn(argv, { netns, log: 'sshd.log' });
  const options = ['-F', 'none', '-i', own, '-p', String(SSH_PORT), '-o', `UserKnownHostsFile=${known}`];
  const command = `ssh -tt ${[...options, '-o', 'StrictHostKeyChecking=yes', '-o', 'IdentitiesOnly=yes'].join(' ')} root@${v4}`;
  return { command, stop: () => child.kill('SIGKILL') };
}

const headers = (screen: string): number => screen.split('\n').filter((line) => line.startsWith(' Marcher ')).length;
const nodesAre = (screen: string, link: string, count: number): boolean =>
  screen.split('\n').filter((line) => new RegExp(`^[> ]\\s?node-\\d +${link}`).test(line)).length === count;

export const terminal: readonly Case[] = [
  {
    name: 'three agents from a terminal over SSH: sizes, one killed and back, one drained through another, a cluster made and taken back, the shell again',
    run: async (world: World) => {
      const ground = new MeshGround(world, 3);
      await ground.start();
      const [first, second, third] = [ground.node(1), ground.node(2), ground.node(3)];
      await ground.apply(first, ground.service('web', 8001), ground.service('api', 8002));
      await ground.agreed(['api', 'web']);
      const loads = await Promise.all([first, second].map((node) => ground.load(node, 8001)));
      const sshd = startSshd(world, first);
      try {
        const window = await Terminal.open(world.scope, { columns: 110, rows: 24, netns: ground.clientNetns });
        const remote = `env LANG=C.UTF-8 TERM=tmux-256color PATH=${process.env['PATH']} ${MARCHER} -t unix:${first.agent.socket}`;
        const log = path.join(world.scope.logs, 'sshd.log');
        await until('sshd to listen', () => existsSync(log) && readFileSync(log, 'utf8').includes('Server listening'));
        await window.keys(`${sshd.command} '${remote}'`, 'Enter');
        await window.shows('the console', (screen) => headers(screen) === 1, 40_000);
        await window.shows('all three', /3 nodes\s+read-only/);
        await window.keys(':nodes', 'Enter');
        await window.shows('three that are live', (screen) => nodesAre(screen, 'live', 3));
        await window.shows('what clients really do', /node-1 .* [1-9][\d.]* +[\d.]+\w*B\/s/);
        for (const [columns, rows] of [
          [60, 12],
          [150, 40],
          [110, 24],
        ] as const) {
          await window.resize(columns, rows);
          await window.shows(`one header at ${columns}×${rows}`, (screen) => {
            return headers(screen) === 1 && nodesAre(screen, 'live', 3) && screen.split('\n').length === rows + 1;
          });
        }

        third.agent.kill('SIGKILL');
        await third.agent.exited();
        await window.shows('who is stale', /2 of 3 nodes; 1 stale for \d+ ?s/);
        await window.shows('its row', (screen) => nodesAre(screen, 'stale', 1));
        await pictureOfPage(pictureOf(await window.screen(true)), 'terminal-nodes');
        await third.agent.start();
        await window.shows('all three again', (screen) => nodesAre(screen, 'live', 3), 45_000);

        await window.keys('j', 'd');
        await window.shows('that it is read-only', /:unlock/);
        await window.keys(':unlock', 'Enter');
        await window.shows('that it is unlocked', /UNLOCKED/);
        await window.keys('d');
        const asked = await window.shows('what is to be drained', /Drain node-2\?/);
        world.check(/drain --node node-2/.test(asked), `the same as a command:\n${asked}`);
        await window.keys('y');
        await until('node-2 to drain', async () => (await second.agent.node.status({})).draining);
        world.equal((await first.agent.node.status({})).draining, false, 'node-1 draining');
        await window.shows('its state', /node-2 .*draining/);
        await window.keys('u');
        await window.shows('what is to be undone', /Have node-2 take connections again\?/);
        await window.keys('y');
        await until('node-2 to take connections again', async () => !(await second.agent.node.status({})).draining);

        await window.keys(':clusters', 'Enter', 'n');
        await window.shows('a form', /Make a cluster/);
        await window.keys('eu', 'Enter');
        await window.shows('what comes of it, and the same as a command', /Make cluster eu\?[\s\S]*cluster create eu/);
        await window.keys('y');
        const clusters = async (): Promise<string> =>
          (await third.mesh.listClusters({})).clusters.map(({ name }) => name).join();
        await until('another node to know the cluster', async () => (await clusters()) === 'eu');
        await window.shows('its row', /^> ?\s*eu +0\/0/m);
        await window.keys(':undo', 'Enter');
        await window.shows('what takes it back', /Delete cluster eu\?[\s\S]*Type eu and Enter/);
        await window.keys('eu', 'Enter');
        await until('another node to know it no more', async () => (await clusters()) === '');

        await window.keys('C-c');
        const left = await window.shows('the shell', (screen) => /shell>\s*$/.test(screen.trimEnd()));
        world.equal(headers(left), 0, 'headers on the screen that was there before');
      } finally {
        sshd.stop();
      }
      const [kept] = await Promise.all(loads.map((load) => world.settle(load)));
      world.equal(kept?.failed, 0, 'connections that were lost at a node that was not drained');
    },
  },
];
