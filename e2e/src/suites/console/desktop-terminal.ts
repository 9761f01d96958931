// SPDX-License-Identifier: Apache-2.0
/** The desktop app's own pages: terminals of this machine in its utility process, and setting up, as far as that changes nothing. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { systemAmbient } from '@marcher/client/fleet';
import { simulatedAgents } from '@marcher/client/testing';
import { makeKey, startSshd } from '@marcher/client/testing/sshd';
import { until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { ConsolePage } from './browser.js';
import { startDesktop } from './desktop-app.js';
import { serveSimulation } from './served-simulation.js';

export const desktopTerminal: readonly Case[] = [
  {
    name: 'desktop: a shell and the terminal console in its Terminal page, and a machine looked at by SSH in Set Up',
    run: async (world: World) => {
      const { dir } = world.scope;
      const configuration = path.join(dir, 'config');
      const home = path.join(dir, 'home');
      mkdirSync(path.join(configuration, 'marcher'), { recursive: true, mode: 0o700 });
      mkdirSync(path.join(home, '.ssh'), { recursive: true, mode: 0o700 });
      const simulation = simulatedAgents({ nodes: 3, services: 6, backends: 2, ambient: systemAmbient(), moving: 0.5 });
      const socket = path.join(dir, 'prod.sock');
      const server = await serveSimulation(simulation, socket);
      const book = JSON.stringify({ version: 1, current: 'prod', targets: { prod: { url: `unix:${socket}` } } });
      writeFileSync(path.join(configuration, 'marcher/targets.json'), book, { mode: 0o600 });
      const key = makeKey(path.join(home, '.ssh/id_ed25519'));
      const sshd = await startSshd({ directory: path.join(dir, 'sshd'), authorizedKeys: [key] });
      const env = {
        HOME: home,
        SHELL: '/bin/bash',
        LANG: 'C.UTF-8',
        MARCHER_TOKEN_FILE: '/secret',
        ELECTRON_SECRET: 'x',
      };
      const app = await startDesktop(world, { configuration, env });
      const console_ = new ConsolePage(app.page);
      const { page } = console_;
      const screen = async (): Promise<string> =>
        (await page.locator('.xterm-rows > div').allTextContents()).join('\n');
      const shows = async (what: string, wanted: RegExp, timeoutMs = 15_000): Promise<string> => {
        let last = '';
        await until(
          what,
          async () => {
            last = await screen();
            return wanted.test(last);
          },
          timeoutMs,
        ).catch(() => world.check(false, `${what}; the terminal shows:\n${last}`));
        return last;
      };
      const type = async (text: string): Promise<void> => {
        await page.keyboard.type(text);
        await page.keyboard.press('Enter');
      };
      try {
        await page.getByText('all of 3 nodes').waitFor();
        await console_.theme('dark');
        await console_.goTo('#/terminal', 'Terminal');
        await page.getByRole('button', { name: 'New shell' }).click();
        await page.locator('.xterm-rows').waitFor();
        await type('echo "<$((6*7))> <$MARCHER_TARGET> <$MARCHER_TOKEN_FILE$ELECTRON_SECRET>"');
        await shows('what the shell says, without what is not its own', /<42> <prod> <>/);
        await type('stty size');
        const before =
          /^(\d+) (\d+)\s*$/m
            .exec(await shows('its size', /^\d+ \d+\s*$/m))
            ?.slice(1)
            .map(Number) ?? [];
        world.check((before[0] ?? 0) > 10 && (before[1] ?? 0) > 80, `its size: ${before.join(' ')}`);
        await type("printf '\\033[38;2;90;200;90mtrue\\033[0m colour\\n'");
        // One of 24 bits is a style of its own, which the page's policy must not see as one in the text.
        const colour = page.locator('.xterm-rows span', { hasText: /^true$/ }).last();
        await colour.waitFor();
        const style = await colour.getAttribute('style');
        world.check(style?.includes('rgb(90, 200, 90)') === true, `a colour of 24 bits is missing: ${style}`);
        await type('clear; seq 1 200000 | tail -n 3');
        await shows('all of what says much', /199998\s+199999\s+200000/);
        await console_.accessible('Terminal');
        await console_.picture('desktop-terminal-dark');

        await console_.goTo('#/services', 'Services');
        await console_.goTo('#/terminal', 'Terminal');
        await shows('the same as before another page', /199998\s+199999\s+200000/);
        await page.getByRole('button', { name: 'New console' }).click();
        await shows('the terminal console of the mesh', /Marcher simulated +prod +3 nodes/, 30_000);
        await page.locator('.xterm-helper-textarea').press('Control+Shift+K');
        const palette = page.getByRole('combobox', { name: 'Page, proxy, service or command' });
        await palette.waitFor();
        await page.keyboard.press('Escape');
        await palette.waitFor({ state: 'hidden' });
        world.check((await page.locator('#main').count()) === 1, 'the page is empty after the palette was closed');
        await console_.theme('light');
        await console_.accessible('Terminal, light');
        await console_.picture('desktop-terminal-light');
        await page.getByRole('button', { name: 'Close Console 2' }).click();
        await page.locator('.xterm-helper-textarea').focus();
        await type('exit 3');
        await page.getByText('It has ended with 3.').waitFor();
        await page.getByRole('button', { name: 'Close Shell 1' }).click();
        await page.getByText('No terminal is open').waitFor();

        await console_.goTo('#/setup', 'Set up');
        const node = page.getByRole('region', { name: /Another node, by SSH/ });
        await node.getByLabel('Host').fill('127.0.0.1');
        await node.getByLabel('User').fill(sshd.user);
        await node.getByLabel('SSH port').fill(String(sshd.port));
        await node.getByRole('button', { name: 'Look at it' }).click();
        const question = page.getByRole('dialog', { name: /Is that the key of/ });
        await question.getByText('SHA256:').waitFor();
        world.check(!sshd.log().includes('Accepted'), 'somebody logged in before the host key was confirmed');
        await question.getByRole('button', { name: 'It is the same' }).click();
        await node.getByText('stops it').first().waitFor();
        await node.getByText(/glibc 2\./).waitFor();
        await console_.accessible('Set up, light');
        await console_.picture('desktop-setup-light');
        await console_.theme('dark');
        await console_.accessible('Set up');
        world.equal(console_.complaints.join('\n'), '', 'errors in the console of the browser');
      } finally {
        await app.close();
        await sshd.stop();
        server.close();
      }
    },
  },
];
