// SPDX-License-Identifier: Apache-2.0
/** A node that is added by SSH from the desktop app's Set Up page, as a service, to a mesh of one: what is sent is what this tree makes. */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { makeKey } from '@marcher/client/testing/sshd';
import type { Case, World } from '../../harness/suite.js';
import { MESH_PORT, MeshGround } from '../mesh/ground.js';
import { ConsolePage } from './browser.js';
import { startDesktop } from './desktop-app.js';
import { installation } from './installation.js';
import { startMachine } from './other-machine.js';

/** What a node leaves on a machine, and nothing else of it. */
const LEFT = `ls -d /opt/marcher /usr/local/bin/marcher /etc/default/marcherd /etc/marcher /etc/systemd/system/marcherd.service \\
  /etc/sysusers.d/marcher.conf /var/lib/marcher /run/marcher /var/tmp/marcher-add.* 2>/dev/null
getent passwd marcher; getent group marcher; ls -l /proc/[0-9]*/exe 2>/dev/null | grep -F /opt/marcher; :`;

export const desktopProvision: readonly Case[] = [
  {
    name: 'desktop: a node added by SSH as a service: stopped and taken back, a ready member, and taken back again',
    limitSeconds: 240,
    run: async (world: World) => {
      const { dir } = world.scope;
      const ground = new MeshGround(world, 2);
      const [first, other] = [ground.node(1), ground.node(2)];
      await first.agent.start();
      const { code, stderr } = await first.agent.marcher('mesh', 'init', 'edge');
      world.equal(code, 0, `marcher mesh init: ${stderr}`);

      const home = path.join(dir, 'home');
      const configuration = path.join(dir, 'config');
      mkdirSync(path.join(home, '.ssh'), { recursive: true, mode: 0o700 });
      mkdirSync(path.join(configuration, 'marcher'), { recursive: true, mode: 0o700 });
      const targets = { edge: { url: `unix:${first.agent.socket}` } };
      const book = JSON.stringify({ version: 1, current: 'edge', targets });
      writeFileSync(path.join(configuration, 'marcher/targets.json'), book, { mode: 0o600 });
      mkdirSync(path.join(configuration, 'marcher/console'), { mode: 0o700 });
      symlinkSync(installation(world), path.join(configuration, 'marcher/console/archives'));

      const machine = await startMachine(world, other.netns, [makeKey(path.join(home, '.ssh/id_ed25519'))]);
      const app = await startDesktop(world, { configuration, env: { HOME: home } });
      const console_ = new ConsolePage(app.page);
      const { page } = console_;
      const panel = page.getByRole('region', { name: /Another node, by SSH, for edge/ });
      const look = async (): Promise<void> => {
        await panel.getByLabel('Host').fill('127.0.0.1');
        await panel.getByLabel('User').fill(machine.sshd.user);
        await panel.getByLabel('SSH port').fill(String(machine.sshd.port));
        await panel.getByRole('button', { name: 'Look at it' }).click();
      };
      const add = async (address: string): Promise<void> => {
        await panel.getByLabel('Name of the node').fill('added');
        await panel.getByLabel('Address where the others reach it').fill(address);
        await panel.getByRole('button', { name: 'Add it' }).click();
      };
      const isTakenBack = async (when: string): Promise<void> => {
        await panel.getByText(/added was taken back/).waitFor({ timeout: 60_000 });
        world.equal((await machine.run(LEFT)).trim(), '', `what is left ${when}`);
        const { members } = await first.mesh.listMembers({});
        world.equal(members.map(({ name }) => name).join(' '), 'node-1', `members ${when}`);
        const { tokens } = await first.mesh.listJoinTokens({});
        world.equal(tokens.filter(({ usedBy }) => usedBy === '').length, 0, `tokens that let somebody in ${when}`);
      };
      try {
        await console_.goTo('#/setup', 'Set up');
        await look();
        await page.getByRole('dialog').getByRole('button', { name: 'It is the same' }).click();
        await panel.getByLabel('Name of the node').waitFor();
        world.equal(await panel.getByText('stops it').count(), 0, 'what stops it');
        await console_.picture('desktop-setup-machine-dark');

        // In the midst of it.
        await add(`${other.v4}:${MESH_PORT}`);
        await panel.getByText('Unpack it – now').waitFor();
        await panel.getByRole('button', { name: 'Stop' }).click();
        await panel.getByText('it was stopped').waitFor();
        await panel.getByRole('button', { name: 'Take it back' }).click({ timeout: 60_000 });
        await isTakenBack('after it was stopped');

        await look();
        const adding = Date.now();
        await add(`${other.v4}:${MESH_PORT}`);
        await panel.getByText('The node is a member').waitFor({ timeout: 90_000 });
        world.note('added, s', (Date.now() - adding) / 1_000);
        await console_.accessible('Set up, with a node that was added');
        await console_.picture('desktop-setup-added-dark');
        const who = await machine.run('ps -eo user:20,comm | grep marcher-engine; marcher mesh status');
        world.check(/^marcher +marcher-engine/m.test(who) && /edge/.test(who), `what runs there: ${who}`);
        world.equal((await machine.run('ls /etc/marcher')).trim(), '', 'the token, which was used');
        await page.getByText('all of 2 nodes').waitFor();

        await panel.getByRole('button', { name: 'Undo…' }).click();
        await panel.getByRole('button', { name: /Take added out of the mesh/ }).click();
        await isTakenBack('after it was a member');
        world.equal(console_.complaints.join('\n'), '', 'errors in the console of the browser');
      } finally {
        await app.close();
        await machine.stop();
      }
    },
  },
];
